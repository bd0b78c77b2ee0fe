package ice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

// gathering is what finds out where STUN servers see the bases. Nothing waits for it:
// each answer makes a candidate at once.
type gathering struct {
	m       *Machine
	servers []netip.AddrPort
	probes  []*probe
	holds   int           // candidates that the shell is still finding: relays, mapped ports, names
	cap     machine.Timer // GatherTimeout after something began when nothing else was
	over    bool          // that has passed
}

func (g *gathering) init(m *Machine) {
	g.m = m
	g.cap.Fire = func(now time.Time) {
		g.over = true
		m.checkGathered(now)
	}
}

// probe asks one server about one base, again and again.
type probe struct {
	m       *Machine
	base    *base
	server  netip.AddrPort
	asking  *natprobe.Reflexive // nil between two askings
	timer   machine.Timer       // of asking, or until the next
	settled bool                // there was an answer, or none came
	queued  bool
}

// AddServer adds a STUN server, to be asked from every UDP base of its family. Servers
// that are named twice are asked once; the first 16 count.
func (m *Machine) AddServer(now time.Time, server netip.AddrPort) {
	m.enter()
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	const maxServers = 16
	if !server.IsValid() || server.Port() == 0 || slices.Contains(m.servers, server) || len(m.servers) == maxServers {
		return
	}
	m.servers = append(m.servers, server)
	for _, b := range m.bases {
		m.probe(now, b, server)
	}
}

// Servers returns the STUN servers, in the order in which they were added. The caller must
// not change it.
func (m *Machine) Servers() []netip.AddrPort { return m.servers[:len(m.servers):len(m.servers)] }

// Hold says that other candidates are being found, so that peers are not told yet that
// there are no more; each Hold is to be followed by one Release.
func (m *Machine) Hold(now time.Time) {
	m.holds++
	m.begin(now)
}

// Release says that a Hold is over.
func (m *Machine) Release(now time.Time) {
	m.enter()
	m.holds--
	m.checkGathered(now)
}

// begin starts the time that gathering may take.
func (m *Machine) begin(now time.Time) {
	if !m.gathering.cap.IsSet() {
		m.over = false
		m.timers.Set(&m.gathering.cap, now.Add(m.cfg.GatherTimeout))
	}
}

// ask asks all servers about a base.
func (m *Machine) ask(now time.Time, b *base) {
	for _, s := range m.servers {
		m.probe(now, b, s)
	}
}

func (m *Machine) probe(now time.Time, b *base, server netip.AddrPort) {
	if b.Type != Host || b.Agent != 0 || b.Transport != UDP || b.addr.Addr().Is4() != server.Addr().Is4() {
		return
	}
	p := &probe{m: m, base: b, server: server}
	p.timer.Fire = p.due
	m.probes = append(m.probes, p)
	m.begin(now)
	m.pace.want(now, p)
}

// slot begins an asking.
func (p *probe) slot(now time.Time) bool {
	if p.base.gone {
		return false
	}
	r, err := natprobe.NewReflexive([]netip.AddrPort{p.server}, &natprobe.ReflexiveConfig{Secrets: p.m.secrets})
	if err != nil {
		p.outcome(now, natprobe.Mapped{Server: p.server, Err: err})
		return false
	}
	p.asking = r
	r.Start(now, p.base.addr)
	p.pump(now)
	return true
}

func (p *probe) inQueue() *bool { return &p.queued }

func (p *probe) due(now time.Time) {
	if p.asking == nil {
		p.m.pace.want(now, p)
		return
	}
	p.asking.HandleTimeout(now)
	p.pump(now)
}

// pump hands on what the asking has to say.
func (p *probe) pump(now time.Time) {
	r := p.asking
	for t, ok := r.PollTransmit(); ok; t, ok = r.PollTransmit() {
		p.m.send(path{base: p.base, remote: p.server}, t.Data)
	}
	for e, ok := r.PollEvent(); ok; e, ok = r.PollEvent() {
		p.asking = nil
		p.outcome(now, e.Mapped)
	}
	if p.asking != nil {
		p.m.timers.Set(&p.timer, r.NextTimeout())
	}
}

func (p *probe) outcome(now time.Time, got natprobe.Mapped) {
	m := p.m
	first := !p.settled
	p.settled = true
	if got.Err == nil {
		if got.RTT > 0 {
			p.base.trips.Add(got.RTT)
			m.stale = true
		}
		m.reflexive(now, p.base, got.Addr, p.server.Addr())
		m.events.Push(Event{Kind: EventReflexive, At: now, Base: p.base.id, Candidate: Candidate{Addr: got.Addr, Related: p.server}})
	} else if first {
		m.events.Push(Event{Kind: EventServer, At: now, Err: got.Err})
	}
	if m.cfg.Keepalive > 0 {
		m.timers.Set(&p.timer, now.Add(m.cfg.Keepalive))
	} else {
		m.timers.Stop(&p.timer)
	}
	m.checkGathered(now)
}

// gathered takes in an answer of a STUN server.
func (m *Machine) gathered(now time.Time, d machine.Datagram) bool {
	for _, p := range m.probes {
		if p.asking != nil && p.base.socket == d.Socket && p.server == d.Remote {
			p.asking.HandleDatagram(now, d)
			p.pump(now)
			return true
		}
	}
	return false
}

// notice takes in that a server cannot be reached.
func (g *gathering) notice(now time.Time, n machine.Notice) {
	for _, p := range g.probes {
		if p.asking != nil && p.base.socket == n.Socket && p.server == n.Remote {
			p.asking.HandleNotice(now, n)
			p.pump(now)
		}
	}
}

func (g *gathering) forget(b *base) {
	g.probes = slices.DeleteFunc(g.probes, func(p *probe) bool {
		if p.base == b {
			g.m.timers.Stop(&p.timer)
		}
		return p.base == b
	})
}

// isGathered reports whether no more candidates are expected.
func (g *gathering) isGathered() bool {
	return g.over || g.holds == 0 && !slices.ContainsFunc(g.probes, func(p *probe) bool { return !p.settled })
}

// checkGathered tells all agents when no more candidates are expected.
func (m *Machine) checkGathered(now time.Time) {
	if !m.isGathered() {
		return
	}
	m.timers.Stop(&m.gathering.cap)
	for _, a := range m.order() {
		a.gathered(now)
	}
}
