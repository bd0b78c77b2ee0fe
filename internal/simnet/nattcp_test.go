package simnet

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// punchWorld is two sites and a server that tells each its outside endpoint of TCP
// port 5000.
type punchWorld struct {
	*World
	t       *testing.T
	sites   [2]*Site
	outside [2]netip.AddrPort
	ends    [2]*end
}

const punchPort = 5000

func newPunchWorld(t *testing.T, seed uint64, loss float64, a, b NATConfig) *punchWorld {
	w := &punchWorld{World: New(seed), t: t}
	server := w.AddHost("server", w.Internet(), Link{})
	var seen netip.AddrPort
	if _, err := server.tcp.listen(at(server, 80), false, func(c *tcpConn) { seen = c.tuple.remote }); err != nil {
		t.Fatal(err)
	}
	for i, c := range []NATConfig{a, b} {
		var err error
		if w.sites[i], err = w.AddSiteOf(string(rune('a'+i)), preset(c), Link{Delay: 20 * time.Millisecond, Loss: loss}); err != nil {
			t.Fatal(err)
		}
		var ask end
		ask.dial(t, w.sites[i].Host, at(w.sites[i].Host, punchPort), at(server, 80))
		if !w.RunUntil(time.Minute, func() bool { return seen.IsValid() && ask.connected }) {
			t.Fatalf("seed %d: no answer from the server: %v", seed, ask.err)
		}
		w.outside[i], seen = seen, netip.AddrPort{}
		ask.c.abort()
	}
	return w
}

func (w *punchWorld) dial(i int) {
	w.ends[i] = &end{}
	w.ends[i].dial(w.t, w.sites[i].Host, at(w.sites[i].Host, punchPort), w.outside[1-i])
}

func (w *punchWorld) connected() bool {
	return w.ends[0] != nil && w.ends[0].connected && w.ends[1] != nil && w.ends[1].connected
}

// Simultaneous open gets through every pair of NATs that RFC 5382 would allow, and
// carries data, whoever comes first.
func TestSimultaneousOpenThroughTwoNATs(t *testing.T) {
	for _, a := range []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
		for _, b := range []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
			for seed := range uint64(30) {
				w := newPunchWorld(t, seed, .05, NATConfig{Filtering: a}, NATConfig{Filtering: b, Ports: PortPolicy{Kind: Random}})
				late := time.Duration(seed) * 10 * time.Millisecond
				w.dial(0)
				w.After(late, func() { w.dial(1) })
				// A filter that lets strangers in lets the SYN in before its host dials.
				ok := w.RunUntil(3*time.Minute, func() bool {
					for i, e := range w.ends {
						if e != nil && e.closed {
							w.dial(i)
						}
					}
					return w.connected()
				})
				if !ok {
					t.Fatalf("filters %v and %v, seed %d: not connected", a, b, seed)
				}
				w.ends[0].c.write([]byte("ping"), true)
				w.ends[1].c.write([]byte("pong"), true)
				if !w.RunUntil(time.Minute, func() bool { return string(w.ends[0].got) == "pong" && string(w.ends[1].got) == "ping" }) {
					t.Fatalf("filters %v and %v, seed %d: got %q and %q", a, b, seed, w.ends[0].got, w.ends[1].got)
				}
			}
		}
	}
}

// What the first SYN meets where nobody has dialled yet: silence lets it be repeated,
// anything else ends the attempt.
func TestAPrematureSYN(t *testing.T) {
	for answer, want := range map[Answer]error{
		Silence: nil, Reset: syscall.ECONNREFUSED, Unreachable: syscall.ECONNREFUSED, Prohibited: syscall.EHOSTUNREACH,
	} {
		strict := NATConfig{Filtering: AddressAndPortDependent, StraySYN: answer}
		w := newPunchWorld(t, 1, 0, strict, strict)
		w.dial(0)
		w.Run(500 * time.Millisecond)
		if got := w.ends[0].err; !errors.Is(got, want) || w.ends[0].closed != (want != nil) {
			t.Errorf("answer %d: the early dial ends with %v, want %v", answer, got, want)
		}
		// The early one comes again when the other is there.
		w.dial(1)
		w.Run(10 * time.Millisecond)
		if w.ends[0].closed {
			w.dial(0)
		}
		if !w.RunUntil(10*time.Second, w.connected) {
			t.Errorf("answer %d: not connected", answer)
		}
	}
}

// One NAT that drops SYNs which cross its own does not hinder, as the other host's
// SYN-ACK passes; two such NATs do.
func TestNoSimultaneousOpen(t *testing.T) {
	good := NATConfig{Filtering: AddressAndPortDependent}
	bad := good.but(func(c *NATConfig) { c.NoSimultaneousOpen = true })
	for _, c := range []struct {
		a, b NATConfig
		want bool
	}{{good, good, true}, {bad, good, true}, {good, bad, true}, {bad, bad, false}} {
		w := newPunchWorld(t, 1, 0, c.a, c.b)
		w.dial(0)
		w.dial(1)
		if got := w.RunUntil(5*time.Minute, w.connected); got != c.want {
			t.Errorf("%v and %v: connected %v, want %v", c.a.NoSimultaneousOpen, c.b.NoSimultaneousOpen, got, c.want)
		}
		if !c.want && (!errors.Is(w.ends[0].err, syscall.ETIMEDOUT) || !errors.Is(w.ends[1].err, syscall.ETIMEDOUT)) {
			t.Errorf("the dials end with %v and %v", w.ends[0].err, w.ends[1].err)
		}
	}
	// It hinders nobody who dials a listener inside an open filter.
	w := newPunchWorld(t, 1, 0, NATConfig{NoSimultaneousOpen: true}, good)
	var accepted end
	if _, err := w.sites[0].tcp.listen(at(w.sites[0].Host, punchPort), true, accepted.accept); err != nil {
		t.Fatal(err)
	}
	if w.dial(1); !w.RunUntil(time.Second, func() bool { return w.ends[1].connected }) {
		t.Error("a listener cannot be reached")
	}
}

// idle connects a site to a server and lets the connection rest; it tells whether it
// still carries data from the server afterwards.
func survives(t *testing.T, c NATConfig, rest func(w *World, nat *NAT)) bool {
	w := New(1)
	site, err := w.AddSiteOf("a", preset(c), Link{Delay: access})
	if err != nil {
		t.Fatal(err)
	}
	server := w.AddHost("server", w.Internet(), Link{})
	var x, y end
	if _, err := server.tcp.listen(at(server, 80), false, y.accept); err != nil {
		t.Fatal(err)
	}
	x.dial(t, site.Host, netip.AddrPort{}, at(server, 80))
	if !w.RunUntil(time.Second, func() bool { return x.connected && y.connected }) {
		t.Fatal("not connected")
	}
	rest(w, site.NAT)
	x.c.write([]byte("x"), true)
	y.c.write([]byte("y"), true)
	return w.RunUntil(10*time.Second, func() bool { return len(x.got) == 1 && len(y.got) == 1 })
}

func TestConnectionsOutliveIdleness(t *testing.T) {
	for wait, want := range map[time.Duration]bool{5 * time.Minute: true, 2 * time.Hour: true, 2*time.Hour + 5*time.Minute: false} {
		if got := survives(t, NATConfig{}, func(w *World, _ *NAT) { w.Run(wait) }); got != want {
			t.Errorf("after %v without a word: alive %v, want %v", wait, got, want)
		}
	}
}

// A rebooted NAT knows its connections no more, unless it takes them up in their midst
// and gives them the same port.
func TestConnectionsAndReboots(t *testing.T) {
	reboot := func(_ *World, n *NAT) { n.Reboot(0) }
	if survives(t, NATConfig{}, reboot) {
		t.Error("a segment of an unknown connection passes a NAT that tracks SYNs")
	}
	if !survives(t, mustPreset(t, "linux").NATs[0], reboot) {
		t.Error("Linux does not take up a connection in its midst")
	}
	if survives(t, NATConfig{TCPLoose: true, Ports: PortPolicy{Kind: Random}}, reboot) {
		t.Error("a connection survives although its port changed")
	}
}

// The permission of a connection that was reset ends as configured; a closed one's
// lives for the transitory time (RFC 5382 4.3: a SYN may come in TIME_WAIT).
func TestWhatEndedConnectionsLeaveBehind(t *testing.T) {
	for _, c := range []struct {
		reset time.Duration
		after time.Duration
		flags Flags
		want  bool
	}{
		{0, time.Minute, RST, true}, {0, 5 * time.Minute, RST, false},
		{10 * time.Second, 5 * time.Second, RST, true}, {10 * time.Second, 15 * time.Second, RST, false},
		{-1, 0, RST, false},
		{-1, time.Minute, FIN | ACK, true}, {-1, 5 * time.Minute, FIN | ACK, false},
	} {
		l := newLab(t, preset(NATConfig{Filtering: AddressAndPortDependent, TCPReset: c.reset}), 1)
		seen, ok := l.connect(40000)
		if !ok || !l.enters(0, port0, seen, c.flags) {
			t.Fatal("no connection")
		}
		if c.flags == FIN|ACK {
			l.segment(40000, 0, port0, FIN|ACK)
		}
		l.w.Run(c.after)
		for _, which := range []string{"first", "repeated"} {
			if got := l.enters(0, port0, seen, SYN); got != c.want {
				t.Errorf("%+v: the %s SYN enters %v", c, which, got)
			}
		}
	}
	// Half closed is not closed.
	l := newLab(t, preset(NATConfig{}), 1)
	seen, _ := l.connect(40000)
	l.segment(40000, 0, port0, FIN|ACK)
	l.w.Run(2 * time.Hour)
	if !l.enters(0, port0, seen, ACK) {
		t.Error("a connection closed by one side died within two hours")
	}
}

// Several connections share the mapping of a reused port; the end of one does not
// shorten the others' life.
func TestConnectionsOfOneMappingLiveApart(t *testing.T) {
	l := newLab(t, preset(NATConfig{Filtering: AddressAndPortDependent}), 1)
	seen, _ := l.connect(40000)
	if l.segment(40000, 1, port0, SYN) != seen || !l.enters(1, port0, seen, SYN|ACK) || l.segment(40000, 1, port0, ACK) != seen {
		t.Fatal("no second connection by the same mapping")
	}
	l.segment(40000, 1, port0, RST)
	l.w.Run(2 * time.Hour)
	if !l.enters(0, port0, seen, ACK) {
		t.Error("the first connection died with the second")
	}
	if l.enters(1, port0, seen, ACK) {
		t.Error("the second lives on")
	}
}

// What strangers send prolongs nothing unless it is answered.
func TestUnansweredSYNsProlongNothing(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		l := newLab(t, preset(NATConfig{InboundRefresh: refresh}), 1)
		seen := l.segment(40000, 0, port0, SYN)
		l.w.Run(3 * time.Minute)
		if !l.enters(1, port0, seen, SYN) {
			t.Fatal("a full cone keeps a stranger out")
		}
		l.w.Run(2 * time.Minute)
		if got := l.enters(1, port0, seen, SYN); got != refresh {
			t.Errorf("inbound refresh %v: the mapping lives after 5 minutes: %v", refresh, got)
		}
	}
	// Answered by one side only, a connection is but half open.
	l := newLab(t, preset(NATConfig{Filtering: AddressAndPortDependent}), 1)
	seen := l.segment(40000, 0, port0, SYN)
	l.enters(0, port0, seen, SYN)
	l.segment(40000, 0, port0, SYN|ACK)
	l.w.Run(5 * time.Minute)
	if l.enters(0, port0, seen, SYN|ACK) {
		t.Error("a connection acknowledged by one side lives for 5 minutes")
	}
	// And only SYNs are answered by the NAT.
	l = newLab(t, mustPreset(t, "linux"), 1)
	seen = l.segment(40000, 0, port0, SYN)
	for _, f := range []Flags{ACK, SYN | ACK, RST, FIN | ACK} {
		if l.enters(1, port0, seen, f); l.outside[1].last() != nil {
			t.Errorf("a stray %v is answered", f)
		}
	}
}
