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
	for method, left := range map[Method]bool{PCP: m.cfg.NoPCP, NATPMP: m.cfg.NoNATPMP || at.Addr.Is6(), UPnP: m.cfg.NoUPnP || !at.isLocal()} {
		if !left {
			g.speakers = append(g.speakers, newSpeaker(g, method))
		}
	}
	slices.SortFunc(g.speakers, func(a, b *speaker) int { return int(a.method) - int(b.method) })
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

// datagram takes in what came to the router's socket. Answers count only from the
// address asked, and from its port where the protocol has one (RFC 6886 section 3.3,
// RFC 6887 section 8.3).
func (g *gateway) datagram(now time.Time, d machine.Datagram) {
	if len(d.Data) == 0 {
		return
	}
	switch {
	case d.Data[0] == 'H':
		if s := g.speaker(UPnP); s != nil && g.mayBe(d.Remote.Addr()) {
			s.upnp.found(now, d)
		}
	case d.Remote.Addr().WithZone("") != g.Addr.WithZone(""):
	case d.Remote.Port() != g.m.cfg.Port:
	case d.Data[0] == 0:
		if a, ok := parsePMP(d.Data); ok {
			g.pmp(now, a)
		}
	default:
		if a, ok := parsePCP(d.Data); ok {
			g.pcp(now, a)
		}
	}
}

func (g *gateway) speaker(m Method) *speaker {
	for _, s := range g.speakers {
		if s.method == m {
			return s
		}
	}
	return nil
}

// pcp takes in a response of PCP. One that says that version 2 is not understood is
// the answer of a server that speaks nothing else to our request of NAT-PMP (RFC 6887
// section 9).
func (g *gateway) pcp(now time.Time, a pcpAnswer) {
	if a.result == unsuppVersion {
		g.unspoken(now, NATPMP, named(pcpResults[:], unsuppVersion))
		return
	}
	if s := g.speaker(PCP); s != nil {
		s.pcp(now, a)
	}
}

// pmp takes in a response of NAT-PMP; see pcp.
func (g *gateway) pmp(now time.Time, a pmpAnswer) {
	if a.result == unsuppVersion {
		g.unspoken(now, PCP, named(pmpResults[:], unsuppVersion))
		return
	}
	if s := g.speaker(NATPMP); s != nil {
		s.pmp(now, a)
	}
}

// unspoken takes in that the router does not speak a protocol. It counts only where
// that has not answered yet, for anybody could say so.
func (g *gateway) unspoken(now time.Time, m Method, name string) {
	if s := g.speaker(m); s != nil && s.state == asking && len(s.jobs) > 0 {
		s.finish(now, grant{err: &RouterError{Code: unsuppVersion, Name: name}})
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
		if !n.Reason.Hard() || n.Remote.Addr().WithZone("") != g.Addr.WithZone("") || n.Remote.Port() != g.m.cfg.Port {
			return
		}
		// One port serves both protocols. It is a hint alone: what has answered is not given up.
		for _, s := range g.speakers {
			if s.method != UPnP && s.state == asking && len(s.jobs) > 0 {
				s.finish(now, grant{err: n.Err})
			}
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
		if len(s.jobs) == 0 && (s.method != UPnP || g.ticks%6 == 0) {
			s.add(now, &job{kind: jobWatch})
		}
	}
	if busy {
		g.watch(now)
	}
}
