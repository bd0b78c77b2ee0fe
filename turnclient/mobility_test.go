package turnclient_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

func ticketOf(s sent) ([]byte, bool) { return s.msg().Get(wire.AttrMobilityTicket) }

// RFC 8016 section 3: an allocation moves with all it has; the newest ticket counts, and
// none is sent from the old address.
func TestMobilityMoves(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, ChannelAfter: 1})
	cfg := authed()
	cfg.Mobility = true
	server := l.serve(serverAddr, cfg)
	id := l.ready()
	for _, s := range l.requests(wire.Allocate) {
		if ticket, ok := ticketOf(s); !ok || len(ticket) != 0 {
			t.Errorf("Allocate with ticket %x, %v", ticket, ok)
		}
	}
	l.send(id, peerA, "x")
	l.run(time.Second)
	inner := l.hosts[serverAddr]
	var tickets [][]byte
	for round := range 2 {
		old := l.sent[len(l.sent)-1].socket
		before := len(l.sent)
		l.hosts[serverAddr] = deafTo{inner, l.sockets[old]} // the old network is gone
		l.do(l.m.NetworkChanged)
		for range 3 { // data is held to the old path until the server has agreed
			l.send(id, peerA, "meanwhile")
		}
		l.run(time.Second)
		for _, s := range l.sent[before:] {
			if s.raw[0] >= 4 && s.socket != old && s.at < l.last(turnclient.EventMoved).At.Sub(l.start) {
				t.Errorf("data went over the new path at %v, before the answer", s.at)
			}
		}
		if n := len(l.all(turnclient.EventMoved)); n != round+1 || l.m.State(id) != turnclient.Permitted {
			t.Fatalf("round %d: %d moves, state %v: %v", round, n, l.m.State(id), l.failures())
		}
		for _, s := range l.requests(wire.Refresh) {
			if ticket, ok := ticketOf(s); ok && !slices.ContainsFunc(tickets, func(b []byte) bool { return bytes.Equal(b, ticket) }) {
				tickets = append(tickets, ticket)
			}
		}
		relayed := len(l.toPeers)
		l.send(id, peerA, "after")
		l.fromPeer(peerA, l.relayed(), "in")
		l.run(time.Second)
		if len(l.toPeers) != relayed+1 || len(l.data()) != round+1 {
			t.Errorf("round %d: %d relayed, came in %q", round, len(l.toPeers)-relayed, l.data())
		}
	}
	if len(tickets) != 2 {
		t.Errorf("%d tickets were presented, want another one for each move", len(tickets))
	}
	l.run(510 * time.Second)
	for _, s := range l.requests(wire.Refresh)[2:] {
		if _, ok := ticketOf(s); ok && s.at > 10*time.Second {
			t.Errorf("a ticket was sent at %v, from the same address", s.at)
		}
	}
	if len(l.all(turnclient.EventAllocated)) != 1 || server.Made != 1 || len(l.sockets) != 1 || len(l.bound()) < 1 {
		t.Errorf("%d allocations told, %d made, %d sockets", len(l.all(turnclient.EventAllocated)), server.Made, len(l.sockets))
	}
}

// The network changed but the old path works still, so that both are answered, in either
// order: the server has moved the allocation, so it is moved here too and not lost.
func TestMobilityWhereBothPathsWork(t *testing.T) {
	for _, first := range []string{"old", "new"} {
		t.Run(first+" path answers first", func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, ChannelAfter: 1})
			cfg := authed()
			cfg.Mobility = true
			server := l.serve(serverAddr, cfg)
			id := l.ready()
			l.send(id, peerA, "x")
			l.run(time.Second)
			slow := func(b []byte, ticket bool) bool { // what is lost once and so comes later
				var m wire.Message
				return m.Decode(b) == nil && m.Method() == wire.Refresh && m.Has(wire.AttrMobilityTicket) == ticket
			}
			lost := false
			l.down = func(b []byte) []byte {
				if !lost && slow(b, first == "old") {
					lost = true
					return nil
				}
				return b
			}
			l.do(l.m.NetworkChanged)
			l.run(5 * time.Second)
			if !lost || len(l.all(turnclient.EventMoved)) != 1 || !l.m.State(id).Usable() {
				t.Fatalf("lost %v, %d moves, state %v: %v", lost, len(l.all(turnclient.EventMoved)), l.m.State(id), l.failures())
			}
			relayed := len(l.toPeers)
			l.send(id, peerA, "after")
			l.fromPeer(peerA, l.relayed(), "in")
			l.run(time.Second)
			if len(l.toPeers) != relayed+1 || len(l.data()) != 1 || server.Made != 1 {
				t.Errorf("%d relayed, came in %q, %d allocations made", len(l.toPeers)-relayed, l.data(), server.Made)
			}
		})
	}
}

// RFC 8016 section 3.2.2: a server uses the old path until data comes by the new one. What
// is on its way there is taken for a moment, by channel or not, and then, or when the
// allocation ends, the old socket is closed.
func TestMobilityListensToTheOldPath(t *testing.T) {
	for name, after := range map[string]int{"channel": 1, "indications": -1} {
		for _, end := range []string{"", "closed", "lost"} {
			t.Run(name+" "+end, func(t *testing.T) {
				l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, ChannelAfter: after})
				cfg := authed()
				cfg.Mobility = true
				server := l.serve(serverAddr, cfg)
				id := l.ready()
				l.send(id, peerA, "x")
				l.run(time.Second)
				l.do(l.m.NetworkChanged)
				l.runUntil(time.Second, func() bool { return len(l.all(turnclient.EventMoved)) == 1 })
				l.fromPeer(peerA, l.relayed(), "in")
				l.run(100 * time.Millisecond)
				if len(l.data()) != 1 || len(l.sockets) != 2 {
					t.Errorf("came in: %q, by %d sockets", l.data(), len(l.sockets))
				}
				want := 1
				switch end {
				case "closed":
					l.do(func(now time.Time) { l.m.Close(now, id) })
					want = 0
				case "lost":
					server.Restart()
					l.send(id, peerB, "y")
				}
				l.run(map[bool]time.Duration{true: 3 * time.Second, false: time.Second}[end == ""])
				if len(l.sockets) != want {
					t.Errorf("%d sockets are open, want %d", len(l.sockets), want)
				}
			})
		}
	}
}

// What shows the server the new path may be lost: it is sent again.
func TestMobilityShowsTheNewPathTwice(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	cfg := authed()
	cfg.Mobility = true
	l.serve(serverAddr, cfg)
	id := l.ready()
	l.do(func(now time.Time) { l.m.Permit(now, id, peerA.Addr()) })
	l.run(time.Second)
	lost := 0
	l.up = func(b []byte) []byte {
		if b[1] == 0x16 {
			if lost++; lost == 1 {
				return nil
			}
		}
		return b
	}
	l.do(l.m.NetworkChanged)
	l.run(5 * time.Second)
	l.fromPeer(peerA, l.relayed(), "in")
	l.run(time.Second)
	if lost != 2 || len(l.data()) != 1 || len(l.toPeers) != 0 {
		t.Errorf("shown %d times, came in: %q, relayed: %v", lost, l.data(), l.toPeers)
	}
}

// While a ticket is presented nobody is asked for another allocation, whatever became of
// which server when the first one was made.
func TestMobilityIsNoRace(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, Servers: []turnclient.Endpoint{{Addr: otherAddr}, {Addr: serverAddr}}})
	cfg := authed()
	cfg.Mobility = true
	l.serve(serverAddr, cfg)
	l.hosts[otherAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte { return one(answerTo(m, 500, nil, nil)) })
	id := l.ready()
	before := len(l.requests(wire.Allocate))
	l.kill(serverAddr)
	l.do(l.m.NetworkChanged)
	l.run(30 * time.Second)
	if n := len(l.requests(wire.Allocate)) - before; n != 0 || l.m.State(id) != turnclient.Disconnecting {
		t.Errorf("%d requests for an allocation, state %v", n, l.m.State(id))
	}
}

// The server answers on the old path only: there the allocation stays.
func TestMobilityWhereTheNewPathIsDead(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	cfg := authed()
	cfg.Mobility = true
	server := l.serve(serverAddr, cfg)
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	l.up = func(b []byte) []byte {
		var m wire.Message
		if m.Decode(b) == nil && m.Method() == wire.Refresh && m.Has(wire.AttrMobilityTicket) {
			return nil
		}
		return b
	}
	l.do(l.m.NetworkChanged)
	l.run(time.Second)
	if !l.m.State(id).Usable() {
		t.Errorf("state %v though the old path answers", l.m.State(id))
	}
	l.run(time.Minute)
	doubts := 0
	for _, s := range l.states() {
		if s == turnclient.Disconnecting {
			doubts++
		}
	}
	if doubts != 1 {
		t.Errorf("disconnecting %d times", doubts)
	}
	relayed := len(l.toPeers)
	l.send(id, peerA, "after")
	l.run(time.Second)
	if len(l.toPeers) != relayed+1 || len(l.all(turnclient.EventMoved)) != 0 || server.Made != 1 || len(l.sockets) != 1 {
		t.Errorf("%d relayed, %d moves, %d made, %d sockets", len(l.toPeers)-relayed, len(l.all(turnclient.EventMoved)), server.Made, len(l.sockets))
	}
}

// The old socket breaks while the ticket is presented, as where its network goes away: the
// allocation that the ticket stands for is given up, and another one made.
func TestMobilityWhereTheOldSocketBreaks(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	cfg := authed()
	cfg.Mobility = true
	l.serve(serverAddr, cfg)
	id := l.ready()
	l.do(l.m.NetworkChanged)
	l.run(l.delay) // the ticket is on its way
	l.notice(machine.Notice{Kind: machine.SocketFailed, Socket: l.sent[0].socket, Err: errors.New("gone")})
	l.run(time.Minute)
	if !l.m.State(id).Usable() || len(l.all(turnclient.EventAllocated)) != 2 || len(l.sockets) != 1 {
		t.Errorf("state %v, %d sockets: %v", l.m.State(id), len(l.sockets), l.failures())
	}
}

// The server has moved the allocation and says so on the old path, by 437, before its
// success arrives on the new one; or the success never arrives.
func TestMobilityWhereTheOldPathIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		oldLost   int // requests on the old path
		newLost   int // answers on the new one
		other     bool
		moved     int
		allocated int
	}{
		"the success is late": {oldLost: 1, newLost: 2, moved: 1, allocated: 1},
		"no success":          {oldLost: 1, newLost: 1000, allocated: 2},
		"no success, and another peer is refused": {newLost: 1000, other: true, allocated: 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, Keepalive: -1})
			cfg := authed()
			cfg.Mobility = true
			l.serve(serverAddr, cfg)
			id := l.ready()
			l.send(id, peerA, "x")
			l.run(time.Second)
			presented := make(map[wire.TransactionID]bool)
			l.up = func(b []byte) []byte {
				var m wire.Message
				if m.Decode(b) != nil || m.Method() != wire.Refresh {
					return b
				}
				if m.Has(wire.AttrMobilityTicket) {
					presented[m.TransactionID()] = true
				} else if c.oldLost--; c.oldLost >= 0 {
					return nil
				}
				return b
			}
			l.down = func(b []byte) []byte {
				var m wire.Message
				if m.Decode(b) == nil && presented[m.TransactionID()] {
					if c.newLost--; c.newLost >= 0 {
						return nil
					}
				}
				return b
			}
			l.do(l.m.NetworkChanged)
			l.run(200 * time.Millisecond)
			if c.other {
				l.send(id, peerB, "y")
			}
			l.run(10 * time.Second)
			if n, m := len(l.all(turnclient.EventMoved)), len(l.all(turnclient.EventAllocated)); n != c.moved || m != c.allocated || !l.m.State(id).Usable() {
				t.Errorf("%d moves, %d allocations, state %v: %v", n, m, l.m.State(id), l.failures())
			}
		})
	}
}

// Sections 3.1.4 and 3.2.2, 405: without a ticket, and, where it comes later, by a new
// allocation.
func TestMobilityForbidden(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		if m.Has(wire.AttrMobilityTicket) {
			return one(answerTo(m, 405, md5Key, nil))
		}
		return one(answerTo(m, 0, md5Key, granted))
	})
	l.ready()

	l = newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	cfg := authed()
	cfg.Mobility = true
	server := l.serve(serverAddr, cfg)
	id := l.ready()
	server.Mobility = false
	l.hosts[serverAddr] = deafTo{l.hosts[serverAddr], l.sockets[l.sent[0].socket]}
	l.do(l.m.NetworkChanged)
	l.run(2 * time.Second)
	if len(l.all(turnclient.EventAllocated)) != 2 || !l.m.State(id).Usable() {
		t.Errorf("state %v: %v", l.m.State(id), l.failures())
	}
}

// A server that does not know of mobility is used without.
func TestMobilityUnknown(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.hosts[serverAddr] = deafTo{l.hosts[serverAddr], l.sockets[l.sent[0].socket]}
	l.do(l.m.NetworkChanged)
	l.run(time.Second)
	if len(l.all(turnclient.EventAllocated)) != 2 || !l.m.State(id).Usable() || len(l.all(turnclient.EventMoved)) != 0 {
		t.Errorf("state %v: %v", l.m.State(id), l.failures())
	}
}

// RFC 8656 section 7.1.
func TestReservation(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Family: turnclient.IPv4})
	token := []byte("8 bytes!")
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		return one(answerTo(m, 0, md5Key, func(b *wire.Builder) {
			granted(b)
			if v, ok := m.Get(wire.AttrEvenPort); ok && v[0] == 0x80 {
				b.AddRaw(wire.AttrReservationToken, token)
			}
		}))
	})
	with := func(o turnclient.Options) (s sent) {
		l.do(func(now time.Time) {
			if _, err := l.m.AllocateWith(now, o); err != nil {
				t.Error(err)
			}
		})
		l.run(time.Second)
		all := l.requests(wire.Allocate)
		return all[len(all)-1]
	}
	if v, _ := with(turnclient.Options{EvenPort: true}).msg().Get(wire.AttrEvenPort); !bytes.Equal(v, []byte{0}) {
		t.Errorf("EVEN-PORT %x", v)
	}
	if v, _ := with(turnclient.Options{Reserve: true}).msg().Get(wire.AttrEvenPort); !bytes.Equal(v, []byte{0x80}) {
		t.Errorf("EVEN-PORT %x", v)
	}
	if got := l.last(turnclient.EventAllocated).Reservation; !bytes.Equal(got, token) {
		t.Errorf("token %q", got)
	}
	s := with(turnclient.Options{Token: token})
	if v, _ := s.msg().Get(wire.AttrReservationToken); !bytes.Equal(v, token) {
		t.Errorf("RESERVATION-TOKEN %q", v)
	}
	if has(s, wire.AttrRequestedAddressFamily) || has(s, wire.AttrAdditionalAddressFamily) || has(s, wire.AttrEvenPort) {
		t.Error("RESERVATION-TOKEN stands beside EVEN-PORT or a family")
	}
	for family, o := range map[turnclient.Family]turnclient.Options{
		turnclient.DualStack: {Reserve: true},
		turnclient.IPv4:      {Token: token, EvenPort: true},
		turnclient.IPv6:      {Token: []byte("short")},
	} {
		l := newLab(t, turnclient.MachineConfig{Family: family})
		var bad *turnclient.ConfigError
		if _, err := l.m.AllocateWith(l.now, o); !errors.As(err, &bad) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
