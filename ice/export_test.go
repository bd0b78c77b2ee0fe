package ice

import "time"

// Unpaced lifts the 5 ms between transactions, for loads that no real process has.
func (e *Endpoint) Unpaced() {
	_ = e.loop.Do(func(time.Time) { e.m.pace.every = 0 })
}

// Size counts what is kept for agents.
func (m *Machine) Size() int {
	n := len(m.agents) + len(m.byUfrag) + len(m.checks) + len(m.byAddr) + len(m.streams)
	for _, a := range m.agents {
		n += len(a.held) + len(a.past)
		for _, g := range a.generations() {
			n += len(g.pairs) + len(g.remotes) + len(g.early) + len(g.wanted) + len(g.targets) + len(g.seen.ring)
		}
	}
	return n
}
