package portmap

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
)

// gateway is one router, asked from one address.
type gateway struct {
	m *Machine
	Gateway
	socket   machine.SocketID
	bound    bool
	broken   bool // the socket
	reopen   machine.Timer
	started  bool
	asked    time.Time // when it was found out last what it speaks
	again    bool      // who did not answer is to be asked anew
	speakers []*speaker
	order    []*speaker // those that answered, in the order in which they did
	watcher  machine.Timer
	ticks    int
}

func newGateway(m *Machine, at Gateway) *gateway {
	g := &gateway{m: m, Gateway: at, socket: m.sockets}
	m.sockets++
	for _, d := range []struct {
		method Method
		off    bool
		speak  func(*speaker) dialect
	}{
		{PCP, m.cfg.NoPCP, newPCP},
		{NATPMP, m.cfg.NoNATPMP || at.Addr.Is6(), newPMP},
		{UPnP, m.cfg.NoUPnP || !at.isLocal(), newUPnP},
	} {
		if !d.off {
			g.speakers = append(g.speakers, newSpeaker(g, d.method, d.speak))
		}
	}
	g.watcher.Fire = g.tick
	g.reopen.Fire = func(time.Time) { g.open() }
	g.open()
	return g
}

// isLocal reports whether the router is on the host's own network, as those that speak
// UPnP are: a provider's is not searched for one.
func (g Gateway) isLocal() bool {
	if !ipcheck.Public(g.Addr) {
		return true
	}
	p, err := g.Local.Prefix(64)
	return g.Addr.Is6() && err == nil && p.Contains(g.Addr)
}

// mayBe reports whether the router may speak UPnP by an address: by the one that we know,
// or, as routers of IPv6 do whose route leads to a link-local address, by another of
// this host's own network.
func (g Gateway) mayBe(a netip.Addr) bool {
	if a.WithZone("") == g.Addr.WithZone("") {
		return true
	}
	p, err := g.Local.Prefix(64)
	return a.Is6() && err == nil && p.Contains(a) && a != g.Local
}

func (g *gateway) open() {
	g.m.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: g.socket, Local: netip.AddrPortFrom(g.Local, 0)})
}

// stale is how old it may be that a router did not answer: somebody may have switched a
// protocol on meanwhile.
const stale = 30 * time.Second

// discover finds out which protocols the router speaks, unless that is known.
func (g *gateway) discover(now time.Time) {
	if g.broken || g.started && !g.again && now.Sub(g.asked) < stale {
		return
	}
	g.started, g.again, g.asked = true, false, now
	for _, s := range g.speakers {
		if s.state != speaks && len(s.jobs) == 0 {
			s.err = ErrNoAnswer
			s.state = asking
			s.add(now, &job{kind: jobProbe})
		}
	}
}

// asking reports whether some protocol may still answer.
func (g *gateway) asking() bool {
	return slices.ContainsFunc(g.speakers, func(s *speaker) bool { return s.state == asking })
}

// leave forgets the router.
func (g *gateway) leave(now time.Time) {
	m := g.m
	m.gateways = slices.DeleteFunc(m.gateways, func(other *gateway) bool { return other == g })
	m.timers.Stop(&g.watcher)
	m.timers.Stop(&g.reopen)
	for _, s := range g.speakers {
		s.stop()
	}
	m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: g.socket})
	for _, mp := range slices.Clone(m.mappings) {
		switch {
		case mp.by == nil || mp.by.g != g:
			mp.refusals = slices.DeleteFunc(mp.refusals, func(r refusal) bool { return r.by.g == g })
		case mp.state == Closed:
			mp.gone()
		default:
			mp.lose(now, errLeft)
		}
	}
}

var errLeft = bad("this host's router is another one now")

func (g *gateway) datagram(now time.Time, d machine.Datagram) {
	for _, s := range g.speakers {
		s.dialect.hear(now, d)
	}
}

func (g *gateway) notice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.SocketOpened:
		g.bound, g.broken = true, false
		for _, s := range g.speakers {
			s.next(now)
		}
	case machine.SocketFailed:
		g.bound, g.broken = false, true
		g.m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: g.socket})
		g.m.timers.Set(&g.reopen, now.Add(30*time.Second))
		for _, s := range g.speakers {
			s.fail(now, n.Err)
		}
	case machine.Unreachable:
		for _, s := range g.speakers {
			s.dialect.unreachable(now, n)
		}
	}
}

// watch has the router looked after while it has mappings.
func (g *gateway) watch(now time.Time) {
	if g.m.cfg.Watch > 0 && !g.watcher.IsSet() {
		g.m.timers.Set(&g.watcher, now.Add(g.m.cfg.Watch))
	}
}

func (g *gateway) tick(now time.Time) {
	g.ticks++
	busy := false
	for _, s := range g.speakers {
		if !s.holds() {
			continue
		}
		busy = true
		if len(s.jobs) == 0 && g.ticks%s.dialect.habits().rests == 0 {
			s.add(now, &job{kind: jobWatch})
		}
	}
	if busy {
		g.watch(now)
	}
}
