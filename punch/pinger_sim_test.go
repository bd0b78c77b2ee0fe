package punch

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// simPingers are two machines in a world, and what its trace tells of them.
type simPingers struct {
	*simnet.World
	t      *testing.T
	a, b   *pingerMachine
	ra, rb *simnet.Runner
	toA    netip.AddrPort
	toB    netip.AddrPort
	events []pingerEvent // of a

	sent  map[uint16]time.Time     // a's probes by sequence
	order []time.Duration          // round trips in the order in which they ended
	rtt   map[uint16]time.Duration // of the first answer to each
}

func newSimPingers(t *testing.T, seed uint64, link simnet.Link, cfg PingerConfig) *simPingers {
	t.Helper()
	w := &simPingers{
		World: simnet.New(seed), t: t,
		sent: make(map[uint16]time.Time), rtt: make(map[uint16]time.Duration),
	}
	run := func(name string, onEvent func(time.Time, pingerEvent)) (*pingerMachine, *simnet.Runner, netip.AddrPort) {
		host := w.AddHost(name, w.Internet(), link)
		m, err := newPingerMachine(w.Now(), cfg, w.Secrets(name))
		if err != nil {
			t.Fatal(err)
		}
		at := netip.AddrPortFrom(host.Addr(), 4000)
		r, err := simnet.Run(host, m, simnet.RunOptions{Sockets: []netip.AddrPort{at}}, onEvent)
		if err != nil {
			t.Fatal(err)
		}
		return m, r, at
	}
	w.a, w.ra, w.toA = run("a", func(_ time.Time, e pingerEvent) { w.events = append(w.events, e) })
	w.b, w.rb, w.toB = run("b", nil)
	w.OnTrace(w.watch)
	return w
}

// watch measures what a sends by itself, without looking into any machine.
func (w *simPingers) watch(e simnet.TraceEvent) {
	p, ok := decodePing(e.Packet.Data)
	if !ok {
		return
	}
	switch {
	case e.Where == "a" && e.What == "send" && p.kind == pingProbe:
		if !e.Packet.DF {
			w.t.Error("a probe without don't-fragment")
		}
		w.sent[p.seq] = e.At
	case e.Where == "a" && e.What == "recv" && p.kind == pingAnswer:
		if _, again := w.rtt[p.seq]; !again {
			w.rtt[p.seq] = e.At.Sub(w.sent[p.seq])
			w.order = append(w.order, w.rtt[p.seq])
		}
	}
}

func (w *simPingers) do(r *simnet.Runner, fn func(now time.Time) error) {
	w.t.Helper()
	r.Do(func(now time.Time) {
		if err := fn(now); err != nil {
			w.t.Fatal(err)
		}
	})
}

// ping runs a Ping of n probes from a to b to its end.
func (w *simPingers) ping(n int) PingStats {
	w.t.Helper()
	w.do(w.ra, func(now time.Time) error {
		_, err := w.a.Ping(now, w.toB, n)
		return err
	})
	if !w.RunUntil(time.Hour, func() bool { return len(w.events) > 0 && w.events[len(w.events)-1].Kind == pingDone }) {
		w.t.Fatalf("the Ping does not end (seed %d)", w.Seed())
	}
	return w.events[len(w.events)-1].Stats
}

// Round trip, jitter, loss, lateness, order and duplicates are the world's own.
func TestPingerAgainstTheWorld(t *testing.T) {
	// A path is two links long each way.
	for _, c := range []struct {
		name string
		link simnet.Link
		late bool // some answers may be late after the first second
	}{
		{"constant", simnet.Link{Delay: 10 * ms}, false},
		{"short", simnet.Link{Delay: 2 * ms}, false},
		{"jitter", simnet.Link{Delay: 10 * ms, Jitter: 8 * ms}, true},
		{"loss", simnet.Link{Delay: 10 * ms, Loss: .05}, false},
		{"duplicates", simnet.Link{Delay: 10 * ms, Duplicate: .1}, false},
		{"all of it", simnet.Link{Delay: 40 * ms, Jitter: 10 * ms, Loss: .03, Duplicate: .05, Reorder: .1}, true},
	} {
		for seed := range uint64(3) {
			w := newSimPingers(t, seed, c.link, PingerConfig{Interval: 10 * ms})
			w.do(w.rb, func(now time.Time) error { return w.b.Add(now, w.toA) })
			const n = 1000
			s := w.ping(n)

			if s.Sent != n || len(w.sent) != n || s.Received != len(w.rtt) || s.Lost != n-len(w.rtt) || s.Pending() != 0 {
				t.Errorf("%s: %+v; the world had %d answers to %d probes (seed %d)", c.name, s, len(w.rtt), len(w.sent), seed)
			}
			survives := math.Pow(1-c.link.Loss, 4)
			if spread := 5 * math.Sqrt(survives*(1-survives)/n); math.Abs(s.Loss()-(1-survives)) > spread {
				t.Errorf("%s: loss %.3f, want %.3f ± %.3f (seed %d)", c.name, s.Loss(), 1-survives, spread, seed)
			}
			if want := summarise(w.order); s.Last != want.Last || s.Min != want.Min || s.Max != want.Max ||
				s.Mean != want.Mean || s.Jitter != want.Jitter || s.Stamped != s.Received {
				t.Errorf("%s: got %+v, want %+v (seed %d)", c.name, s, want, seed)
			}
			if s.Min < 4*c.link.Delay {
				t.Errorf("%s: least round trip %v over links of 4 x %v (seed %d)", c.name, s.Min, c.link.Delay, seed)
			}
			w.checkEvents(c.name, s, c.late)
			if c.link.Duplicate > 0 == (s.Duplicates == 0) || c.link.Reorder > 0 == (s.Reordered == 0) || s.Strays != 0 {
				t.Errorf("%s: %d duplicates, %d reordered, %d strays (seed %d)", c.name, s.Duplicates, s.Reordered, s.Strays, seed)
			}
		}
	}
}

// summarise is a second, plain form of what the machine computes as it goes.
func summarise(rtts []time.Duration) (s PingStats) {
	var sum time.Duration
	jitter := 0.0
	for i, r := range rtts {
		sum += r
		if i == 0 {
			s.Min, s.Max = r, r
		} else {
			jitter += (math.Abs(float64(r-rtts[i-1])) - jitter) / 16
		}
		s.Min, s.Max, s.Last = min(s.Min, r), max(s.Max, r), r
	}
	s.Mean, s.Jitter = sum/time.Duration(len(rtts)), time.Duration(math.Round(jitter))
	return s
}

// checkEvents compares a's events one by one with the trace.
func (w *simPingers) checkEvents(name string, s PingStats, mayBeLate bool) {
	w.t.Helper()
	late, lost := 0, 0
	for _, e := range w.events {
		switch e.Kind {
		case pingAnswered:
			if e.RTT != w.rtt[e.Sequence] {
				w.t.Fatalf("%s: round trip of %d is %v, the world had %v (seed %d)", name, e.Sequence, e.RTT, w.rtt[e.Sequence], w.Seed())
			}
			if !e.Late {
				continue
			}
			late++
			if e.RTT <= 15*ms {
				w.t.Errorf("%s: an answer after %v is late (seed %d)", name, e.RTT, w.Seed())
			}
			if !mayBeLate && w.sent[e.Sequence].Sub(w.Now().Add(-w.Elapsed())) > time.Second {
				w.t.Errorf("%s: late at a constant %v, after a second of learning (seed %d)", name, e.RTT, w.Seed())
			}
		case pingLost:
			lost++
			if _, answered := w.rtt[e.Sequence]; answered {
				w.t.Errorf("%s: probe %d counts as lost, the world had its answer (seed %d)", name, e.Sequence, w.Seed())
			}
		}
	}
	if late != s.Late || lost != s.Lost {
		w.t.Errorf("%s: %d late and %d lost by events, %+v (seed %d)", name, late, lost, s, w.Seed())
	}
	// The probes that left before the first answer had nothing but the default.
	if first := w.order[0]; first > 15*ms && late == 0 || first <= 15*ms && late > 0 {
		w.t.Errorf("%s: %d late at a first round trip of %v (seed %d)", name, late, first, w.Seed())
	}
}

// A remote that has not registered us is as good as silent, and not a byte is sent
// because of our probes.
func TestPingerStrangerGetsNothing(t *testing.T) {
	w := newSimPingers(t, 1, simnet.Link{Delay: 10 * ms}, PingerConfig{Interval: 10 * ms})
	if s := w.ping(100); s.Lost != 100 || s.Received != 0 || s.Loss() != 1 || s.Deadline != 15*ms {
		t.Errorf("got %+v", s)
	}
	if w.b.polled != 0 || len(w.b.out) != 0 {
		t.Error("the stranger was answered")
	}
}

// Both sides probe each other at once; neither's statistics take from the other's.
func TestPingerBothWays(t *testing.T) {
	w := newSimPingers(t, 1, simnet.Link{Delay: 10 * ms}, PingerConfig{Interval: 50 * ms})
	w.do(w.ra, func(now time.Time) error { return w.a.Add(now, w.toB) })
	w.do(w.rb, func(now time.Time) error { return w.b.Add(now, w.toA) })
	w.Run(10*time.Second + 45*ms)
	for _, c := range []struct {
		m  *pingerMachine
		to netip.AddrPort
	}{{w.a, w.toB}, {w.b, w.toA}} {
		s, ok := c.m.Stats(w.Now(), c.to)
		if !ok || s.Sent != 201 || s.Received != 201 || s.Served != 201 || s.Median != 40*ms || s.Jitter != 0 || s.Late != 1 {
			t.Errorf("%v, %+v", ok, s)
		}
	}
}

// A path that goes away and comes back: what was sent meanwhile is lost, the rest is
// measured as before.
func TestPingerBlackout(t *testing.T) {
	w := newSimPingers(t, 1, simnet.Link{Delay: 10 * ms}, PingerConfig{Interval: 100 * ms})
	host := w.AddHost("c", w.Internet(), simnet.Link{})
	m, err := newPingerMachine(w.Now(), PingerConfig{Interval: 100 * ms}, w.Secrets("c"))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(host.Addr(), 4000)
	r, err := simnet.Run(host, m, simnet.RunOptions{Sockets: []netip.AddrPort{at}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.do(w.ra, func(now time.Time) error { return w.a.Add(now, at) })
	w.do(r, func(now time.Time) error { return m.Add(now, w.toA) })
	w.Run(10*time.Second + 50*ms)
	up := simnet.Link{}
	host.Iface().SetLink(simnet.Link{Down: true}, up)
	w.Run(5 * time.Second)
	host.Iface().SetLink(up, up)
	w.Run(5 * time.Second)
	s, _ := w.a.Stats(w.Now(), at)
	if s.Sent != 201 || s.Lost != 50 || s.Received != 151 || s.Late != 1 || s.Median != 20*ms {
		t.Errorf("after 5 s of 20 without a way back: %+v", s)
	}
}
