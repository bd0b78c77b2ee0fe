package punch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

var (
	alice   = netip.MustParseAddrPort("192.0.2.1:1000")
	bob     = netip.MustParseAddrPort("192.0.2.2:2000")
	mallory = netip.MustParseAddrPort("192.0.2.66:6666")
)

// bench is one machine on a table: the test is its clock and its network.
type bench struct {
	*pingerMachine
	t      *testing.T
	now    time.Time
	sent   []machine.Transmit
	events []pingerEvent
}

func newBench(t *testing.T, cfg PingerConfig) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Unix(1e9, 0)}
	m, err := newPingerMachine(b.now, cfg, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	b.pingerMachine = m
	return b
}

func (b *bench) drain() {
	machine.Drain(b.pingerMachine, func(t machine.Transmit) {
		t.Data = append([]byte(nil), t.Data...)
		b.sent = append(b.sent, t)
	}, func(e pingerEvent) { b.events = append(b.events, e) })
}

// wait lets d pass, and what falls due meanwhile happen.
func (b *bench) wait(d time.Duration) {
	b.drain()
	end := b.now.Add(d)
	for next := b.NextTimeout(); !next.IsZero() && !next.After(end); next = b.NextTimeout() {
		if next.After(b.now) {
			b.now = next
		}
		b.HandleTimeout(b.now)
		b.drain()
	}
	b.now = end
}

// take returns what was sent since the last call.
func (b *bench) take() []machine.Transmit {
	b.drain()
	sent := b.sent
	b.sent = nil
	return sent
}

func (b *bench) probe() ping {
	b.t.Helper()
	sent := b.take()
	if len(sent) != 1 {
		b.t.Fatalf("%d datagrams were sent, want 1", len(sent))
	}
	p, ok := decodePing(sent[0].Data)
	if !ok || p.kind != pingProbe || !sent[0].DontFragment || len(sent[0].Data) != 8 {
		b.t.Fatalf("sent %+v, want a probe of 8 bytes with don't-fragment", sent[0])
	}
	return p
}

func (b *bench) get(from netip.AddrPort, kind byte, p ping) {
	p.kind = kind
	data := p.encode()
	b.HandleDatagram(b.now, machine.Datagram{Remote: from, Local: alice, Data: data[:]})
	b.drain()
}

func (b *bench) add(remote netip.AddrPort) {
	b.t.Helper()
	if err := b.Add(b.now, remote); err != nil {
		b.t.Fatal(err)
	}
	b.wait(0)
}

func (b *bench) stats() PingStats {
	b.t.Helper()
	s, ok := b.Stats(b.now, bob)
	if !ok {
		b.t.Fatal("bob is not registered")
	}
	return s
}

const ms = time.Millisecond

func TestPingerMeasures(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: 100 * ms})
	b.add(bob)
	rtts := []time.Duration{10 * ms, 14 * ms, 6 * ms, 30 * ms}
	for _, rtt := range rtts {
		p := b.probe()
		b.wait(rtt)
		b.get(bob, pingAnswer, p)
		b.wait(100*ms - rtt)
	}
	s := b.stats()
	want := PingStats{
		Remote: bob, Sent: 5, Received: 4, Late: 1,
		Last: 30 * ms, Min: 6 * ms, Max: 30 * ms, Mean: 15 * ms, Median: 12 * ms,
		// SRTT 10, 10.5, 9.9375, 12.4453125; RTTVAR 5, 4.75, 4.6875, 8.53125 (RFC 6298).
		Smoothed: 12445312, Variation: 8531250,
		// |D| of 4, 8 and 24 ms: 0.25, then + (8-0.25)/16, then + (24-0.734375)/16 (RFC 3550).
		Jitter:   2188477,
		Deadline: 12445312 + 4*8531250,
	}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

// Late is what comes after the deadline, which follows the round trips upwards; lost
// is what does not come within LostAfter; what comes later still is a stray.
func TestPingerLateAndLost(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: time.Second})
	b.add(bob)
	if d := b.stats().Deadline; d != 15*ms {
		t.Errorf("deadline %v before the first answer, want 15 ms", d)
	}
	p := b.probe()
	b.wait(15 * ms)
	if s := b.stats(); s.Overdue != 0 {
		t.Errorf("overdue at the deadline: %+v", s)
	}
	b.wait(25 * ms)
	if s := b.stats(); s.Overdue != 1 || s.Late != 0 || s.Lost != 0 || s.Pending() != 1 {
		t.Errorf("after 40 ms without an answer: %+v", s)
	}
	b.get(bob, pingAnswer, p)
	if s := b.stats(); s.Late != 1 || s.Received != 1 || s.Lost != 0 || s.Overdue != 0 || s.Deadline != 40*ms+4*20*ms {
		t.Errorf("after an answer in 40 ms: %+v", s)
	}
	for range 40 { // the same round trip again and again: on time now
		b.wait(960 * ms)
		p = b.probe()
		b.wait(40 * ms)
		b.get(bob, pingAnswer, p)
	}
	if s := b.stats(); s.Sent != 41 || s.Late != 1 || s.Deadline < 41*ms || s.Deadline > 42*ms {
		t.Errorf("after 40 more answers in 40 ms: %+v", s)
	}

	b = newBench(t, PingerConfig{Interval: 10 * time.Second, LostAfter: 3 * time.Second})
	b.add(bob)
	p = b.probe()
	b.wait(3*time.Second - 1)
	if s := b.stats(); s.Lost != 0 || s.Overdue != 1 {
		t.Errorf("just before LostAfter: %+v", s)
	}
	b.wait(1)
	b.get(bob, pingAnswer, p)
	if s := b.stats(); s.Lost != 1 || s.Received != 0 || s.Late != 0 || s.Strays != 1 || s.Loss() != 1 {
		t.Errorf("after LostAfter: %+v", s)
	}
	if len(b.events) != 1 || b.events[0].Kind != pingLost || b.events[0].Sequence != p.seq {
		t.Errorf("events %+v", b.events)
	}
}

func TestPingerDeadlineOff(t *testing.T) {
	b := newBench(t, PingerConfig{Deadline: -1})
	b.add(bob)
	p := b.probe()
	b.wait(900 * ms)
	b.get(bob, pingAnswer, p)
	if s := b.stats(); s.Late != 0 || s.Received != 1 {
		t.Errorf("without a deadline: %+v", s)
	}
}

// However many probes come, answers stay within the rate: 200 a second and 50 at once.
// Whatever is not the very answer to a probe that is open is counted apart, and
// measures nothing.
// Two machines that start alike must not have the same sequences, nor two remotes.
// Answers in any order find their probes; those that were overtaken count as
// reordered. Sequence and timestamp wrap meanwhile.
// The kernel's receive time makes up for the wait in our queue, unless the wall clock
// it is from was set meanwhile.
// A Ping is over when its last probe is answered or lost, and does not touch the
// statistics of the regular probing beside it.
func TestPingerPing(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: 100 * ms})
	id, err := b.Ping(b.now, netip.AddrPortFrom(netip.AddrFrom16(bob.Addr().As16()), bob.Port()), 3)
	if err != nil {
		t.Fatal(err)
	}
	b.wait(0)
	for range 2 {
		b.get(bob, pingAnswer, b.probe())
		b.wait(100 * ms)
	}
	b.get(bob, pingProbe, ping{}) // registered meanwhile
	if s, ok := b.Progress(b.now, id); !ok || s.Sent != 3 || s.Received != 2 || s.Pending() != 1 || s.Served != 1 {
		t.Errorf("progress %+v, %v", s, ok)
	}
	if _, ok := b.Stats(b.now, bob); ok {
		t.Error("a Ping adds its remote")
	}
	b.take()
	b.wait(2*time.Second - 1)
	if e := b.events[len(b.events)-1]; e.Kind == pingDone {
		t.Error("over before the last probe is lost")
	}
	b.wait(1)
	e := b.events[len(b.events)-1]
	if e.Kind != pingDone || e.ID != id || e.Err != nil || e.Stats.Sent != 3 || e.Stats.Received != 2 || e.Stats.Lost != 1 {
		t.Errorf("last event %+v", e)
	}
	if len(b.take()) != 0 || len(b.remotes) != 0 || len(b.byAddr) != 0 || !b.NextTimeout().IsZero() {
		t.Error("something is left of a Ping that is over")
	}

	b.add(bob)
	b.probe()
	id, _ = b.Ping(b.now, bob, 1)
	b.wait(0)
	b.get(bob, pingAnswer, b.probe())
	if e := b.events[len(b.events)-1]; e.Kind != pingDone || e.ID != id {
		t.Errorf("last event %+v, want the end of Ping %d at its only answer", e, id)
	}
	if s := b.stats(); s.Sent != 1 || s.Received != 0 {
		t.Errorf("a Ping counts for the regular probing: %+v", s)
	}
	id, _ = b.Ping(b.now, bob, 1e6)
	b.wait(0)
	b.Cancel(id)
	if _, ok := b.Progress(b.now, id); ok {
		t.Error("a cancelled Ping goes on")
	}
}

func TestPingerNotices(t *testing.T) {
	b := newBench(t, PingerConfig{})
	b.add(bob)
	id, _ := b.Ping(b.now, bob, 5)
	refused := errors.New("port unreachable")
	b.HandleNotice(b.now, machine.Notice{Kind: machine.Unreachable, Remote: bob, Err: refused})
	b.HandleNotice(b.now, machine.Notice{Kind: machine.Unreachable, Remote: mallory, Err: refused})
	if s := b.stats(); s.Err != refused || s.Lost != 0 {
		t.Errorf("after an ICMP error: %+v", s)
	}
	broken := errors.New("cable eaten")
	b.HandleNotice(b.now, machine.Notice{Kind: machine.SocketFailed, Err: broken})
	b.drain()
	if e := b.events[len(b.events)-1]; e.Kind != pingDone || e.ID != id || e.Err != broken {
		t.Errorf("the Ping does not end with its socket: %+v", e)
	}
	if _, err := b.Ping(b.now, mallory, 1); err != broken {
		t.Errorf("Ping over a broken socket: %v", err)
	}
	b.HandleTimeout(b.now)
	if !b.NextTimeout().IsZero() {
		t.Error("goes on with a broken socket")
	}
}

// Memory and traffic stay bounded whatever the caller asks for.
// A machine that was asleep does not make up for it by a burst.
func TestPingerDoesNotCatchUp(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: 100 * ms})
	b.add(bob)
	b.probe()
	b.now = b.now.Add(time.Hour)
	b.wait(0)
	b.probe()
	b.wait(99 * ms)
	if n := len(b.take()); n != 0 {
		t.Errorf("%d probes within 100 ms after a sleep", n)
	}
}

func TestPingerConfigErrors(t *testing.T) {
	for _, c := range []struct {
		field string
		cfg   PingerConfig
	}{
		{"Interval", PingerConfig{Interval: time.Microsecond}},
		{"LostAfter", PingerConfig{LostAfter: -1}},
		{"LostAfter", PingerConfig{LostAfter: time.Hour}},
		{"Deadline", PingerConfig{Deadline: time.Second, LostAfter: ms}},
		{"Deadline", PingerConfig{Deadline: time.Minute}},
		{"AnswerRate", PingerConfig{AnswerRate: 1e9}},
	} {
		_, err := newPingerMachine(time.Time{}, c.cfg, nil)
		var e *ConfigError
		if !errors.As(err, &e) || e.Field != c.field {
			t.Errorf("%+v: %v, want a *ConfigError for %s", c.cfg, err, c.field)
		}
	}
	b := newBench(t, PingerConfig{Deadline: 20 * time.Second})
	if b.cfg.LostAfter != MaxPingLostAfter {
		t.Errorf("LostAfter is %v with a deadline of 20 s", b.cfg.LostAfter)
	}
	for _, bad := range []string{"0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:5", "255.255.255.255:5"} {
		var e *ConfigError
		if err := b.Add(b.now, netip.MustParseAddrPort(bad)); !errors.As(err, &e) || e.Field != "remote" {
			t.Errorf("Add %s: %v", bad, err)
		}
	}
	var e *ConfigError
	if _, err := b.Ping(b.now, bob, 0); !errors.As(err, &e) || e.Field != "n" {
		t.Errorf("Ping of no probes: %v", err)
	}
	if got := fmt.Sprint(pingAnswered, pingLost, pingDone); got != "answered lost done" {
		t.Errorf("kinds are %q", got)
	}
}
