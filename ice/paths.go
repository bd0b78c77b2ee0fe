package ice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// What follows is for those who know the peer by keys of their own and move its data among
// all pairs that work (AgentConfig.Multipath).

// SendOn sends data by one valid pair of the agent. The error is ErrClosed or ErrNoPair.
func (m *Machine) SendOn(_ time.Time, id AgentID, r Route, data []byte) error {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return err
	}
	for _, g := range a.generations() {
		for _, p := range g.pairs {
			if p.valid && p.route() == r {
				m.send(p.path(), data)
				return nil
			}
		}
	}
	return ErrNoPair
}

// PairAt returns the valid pair of an agent that a route belongs to; not valid: there is
// none.
func (m *Machine) PairAt(id AgentID, r Route) Pair {
	a := m.agents[id]
	if a == nil {
		return Pair{}
	}
	for _, g := range a.generations() {
		for _, p := range g.pairs {
			if p.valid && p.route() == r {
				return p.public()
			}
		}
	}
	return Pair{}
}

// RemoteCandidates returns what is known of the peer's addresses. The caller owns the slice.
func (m *Machine) RemoteCandidates(id AgentID) (all []Candidate) {
	if a := m.agents[id]; a != nil {
		for _, r := range a.cur.remotes {
			all = append(all, r.cand)
		}
	}
	return all
}

// Heard says that authentic data of the peer came in on socket from an address that may
// be new, as after its NAT was rebooted. The pair is checked at once; only an answer makes
// it valid (and so a forged source cannot draw data anywhere).
func (m *Machine) Heard(now time.Time, id AgentID, socket machine.SocketID, local, remote netip.AddrPort) {
	m.enter()
	a := m.agents[id]
	b := m.baseAt(socket, local, remote.Addr())
	if a == nil || b == nil || a.cur.remote == (Credentials{}) || !a.uses(b) || unusable(remote, m.cfg.Loopback) != "" {
		return
	}
	g := a.cur
	from := path{base: b, remote: remote}
	r := g.find(UDP, remote)
	if r == nil {
		if r = g.learn(UDP, remote, 1); r == nil {
			return
		}
	}
	p := g.at(from, r)
	if p == nil {
		if p = g.add(now, &pair{g: g, base: b, remote: r}); p == nil {
			return
		}
	}
	if p.state != Succeeded {
		p.trigger(now)
		a.settle(now)
	}
}

// Recheck checks the pairs of the agent that do not work once more, as after a change of
// the network. A pair whose consent was lost stays so until a restart.
func (m *Machine) Recheck(now time.Time, id AgentID) {
	m.enter()
	a := m.agents[id]
	if a == nil {
		return
	}
	g := a.cur
	g.sent, g.failed, g.began = 0, nil, now
	for _, r := range g.remotes {
		g.spread(now, r) // what Tidy has dropped
	}
	for _, p := range g.pairs {
		// Lost consent is final under these credentials (RFC 7675 section 5.1); what is behind
		// a passive TCP base has to come by itself.
		if p.state == PairFailed && !p.base.gone && !p.spent && (p.base.Transport == UDP || p.opens()) {
			p.wait(now)
		}
	}
	a.settle(now)
}

// Renew allows the agent as many checks as at its beginning, as there is cause for when
// either side has new addresses.
func (m *Machine) Renew(now time.Time, id AgentID) {
	m.enter()
	if a := m.agents[id]; a != nil {
		a.cur.sent = 0
		a.settle(now)
	}
}

// Tidy lets go of what an agent has no use for while nothing changes: pairs that have
// failed, and the room that its beginning took.
func (m *Machine) Tidy(id AgentID) {
	a := m.agents[id]
	if a == nil {
		return
	}
	g := a.cur
	g.pairs = slices.Clip(slices.DeleteFunc(g.pairs, func(p *pair) bool { return p.state == PairFailed }))
	g.remotes, g.targets, g.wanted, g.seen = slices.Clip(g.remotes), slices.Clone(g.targets), slices.Clone(g.wanted), replays{}
	for _, p := range g.pairs {
		p.flights = slices.Clone(p.flights)
	}
	a.locals = slices.Clip(a.locals)
}

// Suspect says that a valid pair is thought to be dead. It is checked anew, and not valid
// until that is answered.
func (m *Machine) Suspect(now time.Time, id AgentID, r Route) {
	m.enter()
	a := m.agents[id]
	if a == nil {
		return
	}
	for _, p := range a.cur.pairs {
		if p.valid && p.route() == r && p.stream == nil {
			p.fail(now, ErrSilent)
			p.wait(now)
			break
		}
	}
	a.settle(now)
}

// Withdraw says that the peer is not at an address any more, or not for long. What works is
// used as long as it does.
func (m *Machine) Withdraw(now time.Time, id AgentID, addr netip.AddrPort) {
	m.enter()
	a := m.agents[id]
	if a == nil {
		return
	}
	if r := a.cur.find(UDP, addr); r != nil {
		if a.cur.weigh(); r.works == 0 {
			a.cur.forget(r)
		}
	}
	a.settle(now)
}

// Refresh asks all STUN servers again where they see us, at once.
func (m *Machine) Refresh(now time.Time) {
	m.enter()
	for _, p := range m.probes {
		if p.asking == nil {
			m.timers.Stop(&p.timer)
			m.pace.want(now, p)
		}
	}
}

// spread pairs a candidate of the peer with those bases that it came by no check to: a check
// that got to a relay of ours shows where the peer's NAT has it, and it may be told later.
func (g *generation) spread(now time.Time, r *remote) {
	if r.cand.Transport != UDP {
		return
	}
	for _, b := range g.a.m.bases {
		if g.at(path{base: b}, r) == nil {
			g.pairUp(now, b, r)
		}
	}
}
