package ice

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// agent is one agent and all that is kept for it.
type agent struct {
	m           *Machine
	id          AgentID
	cfg         AgentConfig
	state       State
	controlling bool
	tieBreaker  uint64
	locals      []*local // that the peer may know; shared with other agents, so never written to

	cur      *generation // the credentials in force, and what is checked under them
	old      *generation // before a restart: nil, or the one whose pair is in use until cur has one
	selected *pair       // that data takes
	held     []Candidate // the peer's, whose credentials have not come
	past     []string    // ufrags of the peer that are not in force any more

	timer    machine.Timer
	waiting  bool      // for a slot
	ordinary time.Time // the last check that was not triggered
}

// NewAgent makes an agent. Its candidates are told by EventCandidate at once, those that
// are known; the error is a *ConfigError, or that of the source of secrets.
func (m *Machine) NewAgent(now time.Time, cfg AgentConfig) (AgentID, error) {
	m.enter()
	cfg, err := cfg.withDefaults()
	if err != nil {
		return 0, err
	}
	m.rescore(now)
	a := &agent{m: m, id: m.nextAgent + 1, cfg: cfg, controlling: cfg.Controlling}
	if err := a.breakTies(); err != nil {
		return 0, err
	}
	if a.cur, err = a.newGeneration(now, cfg.Credentials); err != nil {
		return 0, err
	}
	m.nextAgent++
	m.agents[a.id] = a
	a.timer.Fire = a.due
	a.locals = m.locals[:len(m.locals):len(m.locals)]
	if cfg.Policy == RelayOnly {
		a.locals = slices.DeleteFunc(slices.Clone(a.locals), func(l *local) bool { return l.base.Type != Relay })
	}
	a.announceAll(now)
	return a.id, nil
}

func (a *agent) breakTies() error {
	var b [8]byte
	if _, err := io.ReadFull(a.m.secrets, b[:]); err != nil {
		return fmt.Errorf("ice: no randomness for a tie-breaker: %w", err)
	}
	a.tieBreaker = binary.BigEndian.Uint64(b[:])
	return nil
}

func (a *agent) tell(now time.Time, e Event) {
	e.At, e.Agent, e.State = now, a.id, a.state
	a.m.events.Push(e)
}

// announceAll tells the candidates of a new generation.
func (a *agent) announceAll(now time.Time) {
	for _, l := range a.locals {
		a.announce(now, l)
	}
	if a.m.isGathered() {
		a.gathered(now)
	}
}

// announce tells a candidate, if the peer may know it.
func (a *agent) announce(now time.Time, l *local) {
	c, ok := a.public(l)
	if !ok || !a.cfg.Multipath && (a.cur.localDone || a.cur.nominated != nil) {
		return // after the end of candidates, or a nomination, there are none (RFC 8838 section 13)
	}
	ufrag := a.cur.local.Ufrag
	c.Extensions = []Extension{{"ufrag", ufrag}} // RFC 8838 section 4.1: which generation it belongs to
	a.tell(now, Event{Kind: EventCandidate, Candidate: c, Credentials: Credentials{Ufrag: ufrag}})
}

// public is a candidate as the peer may know it.
func (a *agent) public(l *local) (Candidate, bool) {
	c := l.cand
	if a.cfg.Policy == NoHost && c.Type == Host || l.base.Agent != 0 {
		return c, false
	}
	if a.cfg.Policy != AllCandidates { // where the TURN server sees a host may be its own address
		c.Related = netip.AddrPort{}
	}
	return c, true
}

func (a *agent) addLocal(now time.Time, l *local) {
	if a.cfg.Policy == RelayOnly && l.base.Type != Relay {
		return
	}
	a.locals = append(a.locals[:len(a.locals):len(a.locals)], l)
	a.announce(now, l)
}

func (a *agent) gathered(now time.Time) {
	if g := a.cur; !g.localDone {
		g.localDone = true
		a.tell(now, Event{Kind: EventGathered, Credentials: Credentials{Ufrag: g.local.Ufrag}})
		a.settle(now)
	}
}

func (a *agent) generations() []*generation {
	if a.old != nil {
		return []*generation{a.cur, a.old}
	}
	return []*generation{a.cur}
}

// uses reports whether the agent may send from b.
func (a *agent) uses(b *base) bool {
	return (a.cfg.Policy != RelayOnly || b.Type == Relay) && (b.Agent == 0 || b.Agent == a.id)
}

func (a *agent) addBase(now time.Time, b *base) {
	for _, r := range a.cur.remotes {
		a.cur.pairUp(now, b, r)
	}
	a.settle(now)
}

func (a *agent) removeBase(now time.Time, b *base, why error) {
	for _, g := range a.generations() {
		for _, p := range slices.Clone(g.pairs) {
			if p.base == b {
				p.fail(now, why)
				g.remove(p)
			}
		}
	}
	a.settle(now)
}

// close ends the agent.
func (a *agent) close(now time.Time) {
	for _, g := range a.generations() {
		g.drop(now)
	}
	a.selected = nil
	a.m.timers.Stop(&a.timer)
	a.setState(now, Closed, nil)
	a.tell(now, Event{Kind: EventClosed})
	delete(a.m.agents, a.id)
	for _, b := range slices.Clone(a.m.bases) {
		if b.Agent == a.id {
			a.m.removeBase(now, b, errBaseRemoved)
		}
	}
}

// due does what has become due.
func (a *agent) due(now time.Time) {
	for _, g := range a.generations() {
		g.expire(now)
		g.consent(now)
	}
	a.replaceSilent(now)
	a.settle(now)
}

// settle follows whatever may have changed: it chooses the pair that carries data, tells
// the state, nominates, and sets the time of what is due next.
func (a *agent) settle(now time.Time) {
	if a.state == Closed {
		return
	}
	a.choose(now)
	a.cur.consider(now)
	a.judge(now)
	next, check := a.nextDue(now)
	if check && !next.After(now) {
		a.m.pace.want(now, a) // which comes back here once a check has been sent
		if next, check = a.nextDue(now); check && a.waiting {
			next = a.nextOther(now)
		}
	}
	if next.IsZero() {
		a.m.timers.Stop(&a.timer)
	} else {
		a.m.timers.Set(&a.timer, next)
	}
}

func (a *agent) inQueue() *bool { return &a.waiting }

// slot sends one check.
func (a *agent) slot(now time.Time) bool {
	if a.state == Closed {
		return false
	}
	sent := a.cur.checkNext(now)
	if next, _ := a.nextDue(now); next.IsZero() {
		a.m.timers.Stop(&a.timer)
	} else {
		a.m.timers.Set(&a.timer, next)
	}
	return sent
}

// nextDue is when something is due, and whether that is a check.
func (a *agent) nextDue(now time.Time) (next time.Time, check bool) {
	other := a.nextOther(now)
	at := a.cur.nextCheck(now)
	if at.IsZero() || !other.IsZero() && other.Before(at) {
		return other, false
	}
	return at, true
}

// nextOther is when something other than a check is due.
func (a *agent) nextOther(now time.Time) (next time.Time) {
	for _, g := range a.generations() {
		next = machine.Earliest(next, g.nextExpiry(), g.nextConsent(now))
	}
	if a.old != nil {
		next = machine.Earliest(next, a.old.until)
	}
	return machine.Earliest(next, a.cur.nominateAt, a.cur.failAt(now))
}
