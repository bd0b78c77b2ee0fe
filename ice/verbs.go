package ice

import (
	"fmt"
	"slices"
	"time"
)

func (m *Machine) agent(id AgentID) (*agent, error) {
	if a := m.agents[id]; a != nil {
		return a, nil
	}
	return nil, ErrClosed
}

// Credentials returns the agent's own credentials, which the peer must be told before it
// can check.
func (m *Machine) Credentials(id AgentID) Credentials {
	if a := m.agents[id]; a != nil {
		return a.cur.local
	}
	return Credentials{}
}

// RemoteCredentials returns those of the peer that are in force; the zero value: there are
// none yet.
func (m *Machine) RemoteCredentials(id AgentID) Credentials {
	if a := m.agents[id]; a != nil {
		return a.cur.remote
	}
	return Credentials{}
}

// SetRemote takes in the peer's credentials. When the peer is known by others already, it
// has restarted, and so does the agent: EventRestarted tells the new credentials that the
// peer must be told (RFC 8445 section 9). The same again change nothing, nor do those of
// before.
//
// The error is ErrClosed or a *CredentialsError.
func (m *Machine) SetRemote(now time.Time, id AgentID, c Credentials) error {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	if slices.Contains(a.past, c.Ufrag) {
		return nil // late: they are not in force any more
	}
	switch a.cur.remote {
	case c:
		return nil
	case Credentials{}:
	default:
		if err := a.restart(now); err != nil {
			return err
		}
		a.tell(now, Event{Kind: EventRestarted, Credentials: a.cur.local})
		a.announceAll(now)
	}
	a.cur.setRemote(now, c)
	a.settle(now)
	return nil
}

// AddRemote takes in a candidate of the peer. One that is not of use is told by
// EventPassedOver: nothing that the peer says ends an attempt. The error is ErrClosed.
func (m *Machine) AddRemote(now time.Time, id AgentID, c Candidate) error {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return err
	}
	a.addRemote(now, c)
	a.settle(now)
	return nil
}

// EndOfCandidates takes in that the peer will tell no more candidates (RFC 8838 section
// 13). It is not needed: it lets a failure be told sooner. The error is ErrClosed.
func (m *Machine) EndOfCandidates(now time.Time, id AgentID) error {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return err
	}
	if a.cur.remote != (Credentials{}) || len(a.past) == 0 { // else it is of before the restart
		a.cur.remoteDone = true
	}
	a.settle(now)
	return nil
}

// notFound takes in that a candidate's name could not be looked up.
func (m *Machine) notFound(now time.Time, id AgentID, c Candidate, err error) {
	m.enter()
	if g := m.generation(id); g != nil {
		g.passedOver(now, c, &RemoteError{Addr: c.Addr, Name: c.Name, Reason: "was not found", Err: err})
	}
}

// missing says what an agent that has no path is waiting for.
func (m *Machine) missing(id AgentID) string {
	a := m.agents[id]
	if a == nil {
		return "the agent is closed"
	}
	g := a.cur
	sent := 0
	for _, p := range g.pairs {
		sent += p.sent
	}
	switch {
	case g.remote == (Credentials{}):
		return "the peer's credentials are not known; give them to SetRemote"
	case len(a.locals) == 0 && !g.localDone:
		return "no candidate of ours has been found yet"
	case len(a.locals) == 0:
		return "there is no candidate of ours: no address of this host is of use, and no relay; see Config"
	case len(g.pairs) == 0:
		return unreachable(g.passed, g.why) + "; give what it tells to AddRemote"
	}
	return fmt.Sprintf("%d pairs are there, %d checks were sent", len(g.pairs), sent)
}

// generation is the one in force, or nil.
func (m *Machine) generation(id AgentID) *generation {
	if a := m.agents[id]; a != nil {
		return a.cur
	}
	return nil
}

// Restart begins anew with other credentials, which it returns for the peer (RFC 8445
// section 9). Data keeps its path until another one stands. The error is ErrClosed, or that of
// the source of secrets.
func (m *Machine) Restart(now time.Time, id AgentID) (Credentials, error) {
	m.enter()
	a, err := m.agent(id)
	if err != nil {
		return Credentials{}, err
	}
	if err := a.restart(now); err != nil {
		return Credentials{}, err
	}
	a.announceAll(now)
	a.settle(now)
	return a.cur.local, nil
}

// Send sends data by the pair that carries it. The error is ErrClosed, ErrNoPair or
// ErrTooLong.
func (m *Machine) Send(_ time.Time, id AgentID, data []byte) error {
	m.enter()
	a, err := m.agent(id)
	switch {
	case err != nil:
		return err
	case a.selected == nil:
		return ErrNoPair
	case len(data) > maxData:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(data), maxData)
	}
	m.send(a.selected.path(), data)
	return nil
}

// maxData is the longest datagram that a path takes: that of IPv4.
const maxData = 65507

// CloseAgent ends an agent; EventClosed is its last event. Its bases stay.
func (m *Machine) CloseAgent(now time.Time, id AgentID) {
	m.enter()
	if a := m.agents[id]; a != nil {
		a.close(now)
	}
}

// State returns where an agent stands; Closed for one that is not there.
func (m *Machine) State(id AgentID) State {
	if a := m.agents[id]; a != nil {
		return a.state
	}
	return Closed
}

// Controlling reports whether the agent has the controlling role.
func (m *Machine) Controlling(id AgentID) bool {
	a := m.agents[id]
	return a != nil && a.controlling
}

// Selected returns the pair that carries data; not valid while there is none.
func (m *Machine) Selected(id AgentID) Pair {
	if a := m.agents[id]; a != nil && a.selected != nil {
		return a.selected.public()
	}
	return Pair{}
}

// Pairs returns the pairs of an agent, the best first. The caller owns the slice.
func (m *Machine) Pairs(id AgentID) []Pair {
	a := m.agents[id]
	if a == nil {
		return nil
	}
	all := make([]Pair, 0, len(a.cur.pairs))
	for _, p := range a.cur.pairs {
		all = append(all, p.public())
	}
	return all
}

// Candidates returns what candidates the peer may know so far, with why each has its
// preference.
func (m *Machine) Candidates(id AgentID) []Scored {
	a := m.agents[id]
	if a == nil {
		return nil
	}
	var all []Scored
	for _, l := range a.locals {
		if c, ok := a.public(l); ok {
			all = append(all, Scored{c, l.score})
		}
	}
	return slices.Clip(all)
}

// Scored is a candidate with why it is preferred so.
type Scored struct {
	Candidate Candidate
	Score     Explanation // why its local preference is what it is
}

// Illegal counts transitions that the table of states does not have: it is always 0.
func (m *Machine) Illegal() int { return m.illegal }
