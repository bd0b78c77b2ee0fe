package turnclient_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// at are endpoints at addresses, over one transport.
func at(t turnclient.Transport, addrs ...string) (all []turnclient.Endpoint) {
	for _, a := range addrs {
		all = append(all, turnclient.Endpoint{Addr: netip.MustParseAddrPort(a), Transport: t, Name: "turn.example.org"})
	}
	return all
}

// firsts are when each address was first sent to, or dialled.
func (l *lab) firsts() (order []string) {
	seen := make(map[netip.AddrPort]bool)
	for _, s := range l.sent {
		if !seen[s.to] {
			seen[s.to] = true
			order = append(order, s.at.String()+" "+s.to.String())
		}
	}
	return order
}

// RFC 8305 section 5: attempts 250 ms apart, one at a time, and none once one has
// succeeded; one that fails makes room for the next at once.
func TestServersAreRaced(t *testing.T) {
	const six, four, other = "[2001:db8::1]:3478", "192.0.2.1:3478", "192.0.2.2:3478"
	for _, c := range []struct {
		name    string
		servers []turnclient.Endpoint
		alive   string
		want    []string
	}{
		{"the first answers", at(turnclient.UDP, six, four), six, []string{"0s " + six}},
		{"IPv6 is dead", at(turnclient.UDP, six, four), four, []string{"0s " + six, "250ms " + four}},
		{"the last of three", at(turnclient.UDP, six, four, other), other, []string{"0s " + six, "250ms " + four, "500ms " + other}},
		{"streams, which connect first", at(turnclient.TCP, six, four), four, []string{"290ms " + four}},
		{"a stream after datagrams", append(at(turnclient.UDP, six, four), at(turnclient.TCP, other)...), other, []string{"0s " + six, "250ms " + four, "1.29s " + other}},
		{"datagrams after a stream", append(at(turnclient.TCP, six), at(turnclient.UDP, four)...), four, []string{"250ms " + four}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: c.servers})
			cfg := authed()
			cfg.Relay, cfg.Relay6 = relayIP, relayIP6
			s := l.serve(netip.MustParseAddrPort(c.alive), cfg)
			id := l.ready()
			if got := l.firsts(); !slices.Equal(got, c.want) {
				t.Errorf("sent at %q, want %q", got, c.want)
			}
			if e := l.last(turnclient.EventAllocated); e.Server.Addr.String() != c.alive {
				t.Errorf("%v serves", e.Server)
			}
			l.run(time.Minute) // nothing goes on beside
			if s.Allocations(l.now) != 1 || len(l.sockets)+len(l.streams) != 1 || !l.m.State(id).Usable() {
				t.Errorf("%d allocations, %d sockets, %d streams", s.Allocations(l.now), len(l.sockets), len(l.streams))
			}
		})
	}
}

// A datagram that is lost is sent again before a stream is tried beside: else one
// allocation in fifty would run over TCP for good.
func TestLossDoesNotLeadToTCP(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: append(at(turnclient.UDP, "192.0.2.1:3478"), at(turnclient.TCP, "192.0.2.1:3478")...)})
	l.serve(serverAddr, authed())
	lost := 0
	l.up = func(b []byte) []byte {
		if lost++; lost == 1 {
			return nil
		}
		return b
	}
	l.ready()
	if e := l.last(turnclient.EventAllocated); e.Server.Transport != turnclient.UDP {
		t.Errorf("it runs over %v", e.Server)
	}
}

// A server that refuses at once is no reason to wait before the next.
func TestRefusalStartsTheNextAtOnce(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: append(at(turnclient.UDP, "192.0.2.1:3478"), at(turnclient.TCP, "192.0.2.2:3478")...)})
	cfg := authed()
	cfg.Refuse = map[wire.Method]int{wire.Allocate: wire.CodeInsufficientCapacity}
	l.serve(serverAddr, cfg)
	l.serve(otherAddr, authed())
	l.ready()
	if e := l.last(turnclient.EventAllocated); e.Server.Addr != otherAddr || e.At.Sub(l.start) > 300*time.Millisecond {
		t.Errorf("%v serves, after %v", e.Server, e.At.Sub(l.start))
	}
}

// Servers that were looked up anew take the place of the old ones, which serve what they
// have given; what they have said is not forgotten (RFC 5928 section 3).
func TestSetServers(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: at(turnclient.UDP, "192.0.2.1:3478")})
	s := l.serve(serverAddr, authed())
	o := l.serve(otherAddr, authed())
	set := func(addrs ...string) {
		l.do(func(now time.Time) {
			if err := l.m.SetServers(now, at(turnclient.UDP, addrs...)); err != nil {
				t.Fatal(err)
			}
		})
	}
	first := l.ready()
	set("192.0.2.2:3478")
	second := l.ready()
	if s.Allocations(l.now) != 1 || o.Allocations(l.now) != 1 {
		t.Fatalf("%d and %d allocations", s.Allocations(l.now), o.Allocations(l.now))
	}
	l.run(30 * time.Minute)
	if !l.m.State(first).Usable() || !l.m.State(second).Usable() || s.Made != 1 || o.Made != 1 {
		t.Errorf("%v, %v: %v", l.m.State(first), l.m.State(second), l.failures())
	}
	// 486: a minute, wherever it was meanwhile.
	o.Refuse = map[wire.Method]int{wire.Allocate: wire.CodeAllocationQuota}
	l.failed(l.allocate(), time.Second)
	set("192.0.2.1:3478")
	asked := len(l.requests(wire.Allocate))
	set("192.0.2.2:3478")
	_, err := l.failed(l.allocate(), time.Second)
	if !errors.Is(err, turnclient.ErrHeld) || len(l.requests(wire.Allocate)) != asked {
		t.Errorf("%v, %d requests", err, len(l.requests(wire.Allocate))-asked)
	}
	var bad *turnclient.ConfigError
	for _, servers := range [][]turnclient.Endpoint{nil, at(turnclient.UDP, "0.0.0.0:1"), {{Host: "a:1"}}} {
		l.do(func(now time.Time) {
			if err := l.m.SetServers(now, servers); !errors.As(err, &bad) {
				t.Errorf("%v: %v", servers, err)
			}
		})
	}
	// However often that happens, only so many are remembered.
	for i := range 200 {
		o.Refuse = nil
		set(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 3, byte(i)}), 3478).String())
		l.failed(l.allocate(), time.Minute)
		if n := l.m.Servers(); n > 70 {
			t.Fatalf("%d servers are remembered", n)
		}
	}
}
