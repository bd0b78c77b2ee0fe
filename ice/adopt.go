package ice

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// Adopt has an agent check the peer on a TCP connection that others have opened, and that has
// just come up between local and remote: as Heard does for UDP, it makes a pair, which an answer
// makes valid. Nothing must have been sent on the connection. The machine closes it; if there is
// an error, the caller does.
//
// The pair's base is that of simultaneous open at local. If there is none, one is made for the
// agent alone, and returned for RemoveBase; 0: none was made.
func (m *Machine) Adopt(now time.Time, id AgentID, stream machine.StreamID, local, remote netip.AddrPort) (made BaseID, err error) {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return 0, err
	}
	local = netip.AddrPortFrom(local.Addr().Unmap().WithZone(""), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().Unmap().WithZone(""), remote.Port())
	g := a.cur
	switch why := unusable(remote, m.cfg.Loopback); {
	case why != "":
		return 0, &ConfigError{"remote", fmt.Sprintf("%v %s", remote, why)}
	case m.streams[stream] != nil:
		return 0, &ConfigError{"stream", fmt.Sprintf("%d is a connection of this machine already", stream)}
	case g.remote == (Credentials{}):
		return 0, &ConfigError{"agent", fmt.Sprintf("%d does not know its peer's credentials yet; call SetRemote first", id)}
	}
	b := m.opensAt(a, local)
	if b == nil {
		spec := Base{Transport: TCP, TCPType: SimultaneousOpen, Addr: local, Agent: id}
		for _, o := range m.bases {
			if o.addr.Addr() == local.Addr() {
				spec.Interface = o.Interface
			}
		}
		if made, err = m.AddBase(now, spec); err != nil {
			return 0, err
		}
		b = m.base(made)
	}
	if !g.adopt(now, b, stream, local, remote) {
		if made != 0 {
			m.RemoveBase(now, made)
		}
		return 0, ErrNoPair
	}
	a.settle(now)
	return made, nil
}

// opensAt returns the base of simultaneous open at an address that an agent may use, or nil.
func (m *Machine) opensAt(a *agent, at netip.AddrPort) *base {
	for _, b := range m.bases {
		if b.TCPType == SimultaneousOpen && b.addr == at && a.uses(b) {
			return b
		}
	}
	return nil
}

// adopt makes a pair of a connection, and reports whether there was room for it.
func (g *generation) adopt(now time.Time, b *base, id machine.StreamID, local, at netip.AddrPort) bool {
	r := g.findTyped(TCP, SimultaneousOpen, at)
	fresh := r == nil
	if fresh {
		if r = g.learn(TCP, at, 1); r == nil {
			return false
		}
	}
	p := g.at(path{base: b, remote: at}, r)
	if p != nil && p.stream != nil && p.stream.up {
		return false // it has another, which stands
	}
	if p == nil {
		if p = g.add(now, &pair{g: g, base: b, remote: r}); p == nil {
			if fresh {
				g.forget(r)
			}
			return false
		}
	}
	p.hangUp() // it did not stand yet
	s := &stream{m: g.a.m, id: id, base: b, local: local, remote: at, pair: p, up: true}
	g.a.m.streams[id] = s
	p.stream = s
	p.trigger(now)
	return true
}
