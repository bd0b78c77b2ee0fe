package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// lab is a network of hosts that answer echo requests, each in its way.
type lab struct {
	mu     sync.Mutex
	hosts  map[netip.Addr]host
	sent   []time.Time
	open   int
	most   int // open at the same time
	dialed int
}

type host struct {
	rtt      time.Duration // 0: silent
	ttl      int
	answers  int // then it is silent; 0: all
	dialErr  error
	sendErr  error
	flood    bool          // answers what was never asked, without end
	slowDial time.Duration // how long a dial takes
}

type labConn struct {
	lab      *lab
	host     host
	sent     int
	replies  chan uint16
	deadline chan time.Time
}

func (l *lab) dial(ctx context.Context, a netip.Addr) (EchoConn, error) {
	h := l.hosts[a] // only read while the test runs
	if h.dialErr != nil {
		return nil, h.dialErr
	}
	if h.slowDial > 0 {
		<-time.After(h.slowDial)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialed++
	l.open++
	l.most = max(l.most, l.open)
	return &labConn{lab: l, host: h, replies: make(chan uint16, 100), deadline: make(chan time.Time, 100)}, nil
}

func (c *labConn) Send(seq uint16) error {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	if c.host.sendErr != nil {
		return c.host.sendErr
	}
	c.lab.sent = append(c.lab.sent, time.Now())
	c.sent++
	if c.host.rtt > 0 && (c.host.answers == 0 || c.sent <= c.host.answers) {
		time.AfterFunc(c.host.rtt, func() { c.replies <- seq })
	}
	return nil
}

func (c *labConn) Receive() (uint16, int, error) {
	if c.host.flood {
		<-time.After(10 * time.Microsecond)
		return 999, 64, nil
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case seq := <-c.replies:
			return seq, c.host.ttl, nil
		case t := <-c.deadline:
			timer.Reset(time.Until(t))
		case <-timer.C:
			return 0, 0, os.ErrDeadlineExceeded
		}
	}
}

func (c *labConn) SetReadDeadline(t time.Time) error {
	if !c.host.flood {
		c.deadline <- t
	}
	return nil
}

func (c *labConn) Close() error {
	c.lab.mu.Lock()
	defer c.lab.mu.Unlock()
	c.lab.open--
	return nil
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		six := netip.MustParseAddr("2001:db8::1")
		l := &lab{hosts: map[netip.Addr]host{
			addrOf(1): {rtt: 40 * ms, ttl: 52},
			addrOf(2): {},
			addrOf(3): {rtt: 60 * ms, ttl: 240, answers: 2},
			addrOf(4): {dialErr: boom},
			addrOf(5): {sendErr: boom},
			addrOf(6): {rtt: 40 * ms},
			addrOf(7): {flood: true},
			addrOf(8): {rtt: 40 * ms, ttl: 60},
			addrOf(9): {rtt: 40 * ms, ttl: 60, slowDial: 2 * time.Second},
			six:       {}, // nothing of its family answers
		}}
		var candidates []netip.Addr
		for i := 1; i <= 9; i++ {
			candidates = append(candidates, addrOf(i))
		}
		candidates = append(candidates, six, addrOf(1), netip.MustParseAddr("::ffff:192.0.2.2"))
		inside := vec(t, masked, 1, 30e3, 3)
		start := time.Now()
		results, err := Collect(t.Context(), candidates, &Config{
			Dial: l.dial, RequestsPerSecond: -1,
			Observe: func(_ context.Context, a netip.Addr) (Vector, error) {
				switch a {
				case addrOf(1):
					return inside, nil
				case addrOf(3):
					return inside, boom
				case addrOf(4):
					return vec(t, 7, masked, masked, masked, .5), nil
				}
				return Vector{}, nil
			},
		})
		if err != nil || len(results) != 10 {
			t.Fatalf("%d results, %v", len(results), err)
		}
		// The slow dial is the test's own fault and takes 2 s; all others keep to the cap.
		if elapsed := time.Since(start); elapsed > 4*time.Second {
			t.Errorf("took %v", elapsed)
		}
		unseen := [NumDims]error{PortPreserve: ErrNotObserved, MappingLifetime: ErrNotObserved, FilteringBehavior: ErrNotObserved}
		reasons := func(e [NumDims]error) [NumDims]error {
			for d, err := range unseen {
				if err != nil && e[d] == nil {
					e[d] = err
				}
			}
			return e
		}
		for i, want := range []Result{
			{addrOf(1), vec(t, 12, 1, 30e3, 3, 1), 5, 5, [NumDims]error{}},
			{addrOf(2), vec(t, masked, masked, masked, masked, 0), 5, 0, reasons([NumDims]error{TTLDelta: ErrNoAnswer})},
			{addrOf(3), vec(t, 15, masked, masked, masked, .4), 5, 2, [NumDims]error{1: boom, 2: boom, 3: boom}},
			{addrOf(4), vec(t, 7, masked, masked, masked, .5), 0, 0, unseen},
			{addrOf(5), Vector{}, 0, 0, reasons([NumDims]error{TTLDelta: boom, ICMPEchoRate: boom})},
			{addrOf(6), vec(t, masked, masked, masked, masked, 1), 5, 5, reasons([NumDims]error{TTLDelta: ErrNoTTL})},
			{addrOf(7), vec(t, masked, masked, masked, masked, 0), 5, 0, reasons([NumDims]error{TTLDelta: ErrNoAnswer})},
			{addrOf(8), vec(t, 4, masked, masked, masked, 1), 5, 5, unseen},
			{addrOf(9), Vector{}, 0, 0, reasons([NumDims]error{TTLDelta: context.DeadlineExceeded, ICMPEchoRate: context.DeadlineExceeded})},
			{six, Vector{}, 5, 0, reasons([NumDims]error{TTLDelta: ErrNoAnswer, ICMPEchoRate: ErrNoControl})},
		} {
			got := results[i]
			for d := range got.Masked {
				if !errors.Is(got.Masked[d], want.Masked[d]) || got.Masked[d] != nil && want.Masked[d] == nil {
					t.Errorf("%v: %v is masked because of %v, want %v", got.Addr, Dim(d), got.Masked[d], want.Masked[d])
				}
			}
			if got.Masked = want.Masked; !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		if l.open != 0 {
			t.Errorf("%d sockets are still open", l.open)
		}
	})
}

// At most Parallel at a time, each for the cap at most.
func TestCollectIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{}
		var candidates []netip.Addr
		for i := range 100 {
			candidates = append(candidates, addrOf(i))
		}
		start := time.Now()
		results, err := Collect(t.Context(), candidates, &Config{Dial: l.dial, Parallel: 10, RequestsPerSecond: -1})
		if elapsed := time.Since(start); err != nil || len(results) != 100 || elapsed != 15*time.Second || l.most != 10 {
			t.Errorf("%d results in %v, %d at a time, %v; want 100 in 15 s, 10 at a time", len(results), elapsed, l.most, err)
		}
	})
}

// The requests to all together keep to the rate.
func TestCollectIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{hosts: map[netip.Addr]host{}}
		var candidates []netip.Addr
		for i := range 200 {
			l.hosts[addrOf(i)] = host{rtt: 20 * ms, ttl: 60}
			candidates = append(candidates, addrOf(i))
		}
		if _, err := Collect(t.Context(), candidates, &Config{Dial: l.dial}); err != nil || len(l.sent) != 1000 {
			t.Fatalf("%d requests, %v", len(l.sent), err)
		}
		for i := range l.sent {
			if i >= 250 && l.sent[i].Sub(l.sent[i-250]) < time.Second {
				t.Fatalf("251 requests in %v; want about 200 a second", l.sent[i].Sub(l.sent[i-250]))
			}
		}
		if whole := l.sent[999].Sub(l.sent[0]); whole < 4900*ms || whole > 5600*ms {
			t.Errorf("1000 requests in %v, want about 5 s", whole)
		}
	})
}

func TestCollectCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{hosts: map[netip.Addr]host{addrOf(1): {rtt: 40 * ms, ttl: 60}, addrOf(2): {rtt: 40 * ms, ttl: 60, answers: 1}}}
		ctx, cancel := context.WithTimeout(t.Context(), 550*ms)
		defer cancel()
		start := time.Now()
		results, err := Collect(ctx, []netip.Addr{addrOf(1), addrOf(2), addrOf(3), addrOf(4)}, &Config{Dial: l.dial, Parallel: 3})
		if elapsed := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || elapsed != 550*ms || len(results) != 4 {
			t.Fatalf("%d results after %v, %v", len(results), elapsed, err)
		}
		if results[0].Vector != vec(t, 4, masked, masked, masked, 1) || results[0].Masked[PortPreserve] != ErrNotObserved {
			t.Errorf("one that was done: %+v", results[0])
		}
		if results[1].Vector != vec(t, 4) || !errors.Is(results[1].Masked[ICMPEchoRate], context.DeadlineExceeded) {
			t.Errorf("one that was under way, and had answered: %+v", results[1])
		}
		for _, r := range results[2:] {
			if r.Vector.Known() != 0 || !errors.Is(r.Masked[TTLDelta], context.DeadlineExceeded) || !errors.Is(r.Masked[ICMPEchoRate], context.DeadlineExceeded) {
				t.Errorf("one that was not: %+v", r)
			}
		}
		ended, stop := context.WithCancel(t.Context())
		stop()
		before := l.dialed
		results, err = Collect(ended, []netip.Addr{addrOf(1)}, &Config{Dial: l.dial})
		if !errors.Is(err, context.Canceled) || len(results) != 1 || results[0].Masked[FilteringBehavior] != context.Canceled || l.dialed != before {
			t.Errorf("with a context that has ended: %+v, %v", results, err)
		}
	})
}

// Without permission for ping sockets, what they would tell is masked, and why.
func TestCollectWithoutPermission(t *testing.T) {
	denied := func(context.Context, netip.Addr) (EchoConn, error) {
		return nil, fmt.Errorf("no ping socket: %w", os.NewSyscallError("socket", syscall.EACCES))
	}
	results, err := Collect(t.Context(), []netip.Addr{addrOf(1)}, &Config{
		Dial:    denied,
		Observe: func(context.Context, netip.Addr) (Vector, error) { return vec(t, masked, 1), nil },
	})
	if err != nil || results[0].Vector != vec(t, masked, 1) ||
		!errors.Is(results[0].Masked[TTLDelta], os.ErrPermission) || !errors.Is(results[0].Masked[ICMPEchoRate], os.ErrPermission) {
		t.Errorf("%+v, %v", results, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for field, c := range map[string]Config{
		"Timeout":  {Timeout: -1},
		"Requests": {Requests: 101},
		"Gap":      {Gap: 9 * ms},
		"Parallel": {Parallel: -1},
	} {
		var bad *ConfigError
		if _, err := Collect(t.Context(), []netip.Addr{addrOf(1)}, &c); !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for requests, ok := range map[int]bool{1: true, 15: true, 16: false} { // the 16th would go when all is over
		if _, err := (&Config{Requests: requests}).withDefaults(); (err == nil) != ok {
			t.Errorf("%d requests in 1.5 s: %v", requests, err)
		}
	}
	for _, candidates := range [][]netip.Addr{
		nil, {{}}, {netip.IPv4Unspecified()}, {netip.MustParseAddr("224.0.0.1")}, {netip.MustParseAddr("ff02::1")},
		{netip.MustParseAddr("::ffff:255.255.255.255")}, {addrOf(1), netip.IPv6Unspecified()},
	} {
		var bad *ConfigError
		if _, err := Collect(t.Context(), candidates, nil); !errors.As(err, &bad) || bad.Field != "candidates" {
			t.Errorf("%v: %v", candidates, err)
		}
	}
}
