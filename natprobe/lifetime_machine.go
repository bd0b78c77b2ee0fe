package natprobe

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// streamPause is the time between the two requests that make a mapping a stream: Linux
// wants traffic more than two seconds after the first.
const streamPause = 2500 * time.Millisecond

// lifetimeEvent is what a lifetimeProbe tells: how far it is.
type lifetimeEvent struct {
	Lifetime Lifetime // what is known so far
	Last     bool     // no more comes
}

// lifetimeProbe is the machine that measures how long mappings live, against a server that
// supports RESPONSE-PORT (RFC 5780 section 4.6). It opens many sockets, lets each be idle
// for another time, and then has the server answer to its mapping a request that another
// socket sent. Use newLifetimeProbe, then Start.
//
// Like every machine it is not safe for concurrent use.
type lifetimeProbe struct {
	cfg    DiscoveryConfig
	server netip.AddrPort
	limit  time.Duration

	asker  *mappingTrial // the socket that requests are sent from
	all    []*mappingTrial
	bySock map[machine.SocketID]*mappingTrial
	byID   map[wire.TransactionID]*mappingTrial
	trials []trial
	inward []*mappingTrial // those that are tested a second time

	tokens  bucket
	rtt     estimator
	packets int
	ended   bool
	result  Lifetime

	out     machine.Queue[machine.Transmit]
	events  machine.Queue[lifetimeEvent]
	message wire.Message
	builder wire.Builder
}

// newLifetimeProbe returns a machine that measures lifetimes up to limit, 10 s to 1 hour.
// The error is a *ConfigError.
func newLifetimeProbe(server netip.AddrPort, limit time.Duration, cfg *DiscoveryConfig) (*lifetimeProbe, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	servers, err := checkServers([]netip.AddrPort{server})
	if err != nil {
		return nil, err
	}
	if limit < 10*time.Second || limit > time.Hour {
		return nil, &ConfigError{"limit", fmt.Sprintf("%v is out of range; use 10 s to 1 hour", limit)}
	}
	return &lifetimeProbe{
		cfg: c, server: servers[0], limit: limit,
		bySock: make(map[machine.SocketID]*mappingTrial), byID: make(map[wire.TransactionID]*mappingTrial),
	}, nil
}

// Start opens the first two sockets: it is looked first whether the server can do it.
func (m *lifetimeProbe) Start(now time.Time) {
	if m.tokens.at.IsZero() {
		m.tokens = newBucket(!m.cfg.Fast, now)
	}
	m.asker = m.add(useAnswered, 0)
	m.add(useAnswered, 0)
}

func (m *lifetimeProbe) add(u use, idle time.Duration) *mappingTrial {
	t := &mappingTrial{use: u, idle: idle, id: machine.SocketID(len(m.all) + 1)}
	m.all = append(m.all, t)
	m.bySock[t.id] = t
	m.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: t.id, Local: netip.AddrPortFrom(m.cfg.bind(m.server.Addr()), 0)})
	return t
}

// preflight is the trial that shows whether the server supports RESPONSE-PORT.
func (m *lifetimeProbe) preflight() *mappingTrial { return m.all[1] }

// HandleNotice learns of sockets.
func (m *lifetimeProbe) HandleNotice(now time.Time, n machine.Notice) {
	t := m.bySock[n.Socket]
	if t == nil || m.ended {
		return
	}
	switch n.Kind {
	case machine.SocketOpened:
		t.phase, t.due = phaseAsking, now
	case machine.SocketFailed:
		if t.phase = phaseOver; t == m.asker || t == m.preflight() {
			m.finish(fmt.Sprintf("no socket: %v", n.Err))
			return
		}
	}
	m.advance(now)
}

// HandleTimeout sends what is due.
func (m *lifetimeProbe) HandleTimeout(now time.Time) {
	m.advance(now)
}

// NextTimeout is when something is due.
func (m *lifetimeProbe) NextTimeout() (next time.Time) {
	if m.ended {
		return next
	}
	for _, t := range m.all {
		if t.phase != phaseOpening && t.phase != phaseOver {
			next = machine.Earliest(next, t.due)
		}
	}
	return next
}

// advance works on every trial whose time has come.
func (m *lifetimeProbe) advance(now time.Time) {
	if m.ended {
		return
	}
	open := 0
	for _, t := range m.all {
		for !m.ended && t.phase != phaseOpening && t.phase != phaseOver && !t.due.IsZero() && !t.due.After(now) {
			if !m.step(now, t) {
				break
			}
		}
		if t != m.asker && t.phase != phaseOver {
			open++
		}
	}
	if m.ended || open > 0 {
		return
	}
	if m.preflight().phase == phaseOver && len(m.all) == 2 {
		for u := range uses {
			for _, idle := range grid(u, m.limit) {
				m.add(u, idle)
			}
		}
		return
	}
	m.finish("")
}

// HandleDatagram takes in an answer. What is not one is dropped and changes nothing.
func (m *lifetimeProbe) HandleDatagram(now time.Time, d machine.Datagram) {
	msg := &m.message
	if m.ended || d.Remote != m.server || msg.Decode(d.Data) != nil || !msg.IsResponse() || msg.Method() != wire.Binding {
		return
	}
	t := m.byID[msg.TransactionID()]
	if t == nil {
		return
	}
	if msg.Class() == wire.Failure {
		if code, _, ok := msg.ErrorCode(); ok && msg.TransactionID() == t.tx && t.phase != phaseOver {
			t.code = code
			if t == m.asker || t == m.preflight() {
				m.finish(fmt.Sprintf("%v does not support RESPONSE-PORT: it answers with code %d", m.server, code))
				return
			}
			t.phase = phaseOver
			m.advance(now)
		}
		return
	}
	mapped, ok := msg.XORMappedAddress()
	if !ok {
		mapped, ok = msg.MappedAddress()
	}
	switch {
	case !ok || mapped.Port() == 0:
	case msg.TransactionID() == t.check && d.Socket == m.asker.id:
		t.checked = true
	case msg.TransactionID() != t.tx:
	case t.phase == phaseTesting && d.Socket == t.id:
		t.alive = true
		m.conclude(now, t)
	case t.phase == phaseAsking:
		m.told(now, t, mapped, d)
	}
	m.advance(now)
}

// conclude takes in whether a trial's mapping lived, and what follows for the others.
func (m *lifetimeProbe) conclude(now time.Time, t *mappingTrial) {
	if !t.alive && !t.checked {
		t.phase = phaseOver // the server is not heard: nothing to be learned
		m.close(t)
		return
	}
	switch {
	case t == m.preflight():
		t.phase = phaseOver
		if m.close(t); !t.alive {
			m.finish(fmt.Sprintf("%v does not answer to the port that RESPONSE-PORT names", m.server))
		}
		return
	case t.touch:
		t.phase = phaseOver
		m.close(t)
		if t.alive {
			m.result.RefreshIn = Yes
		} else if m.result.RefreshIn == VerdictUnknown {
			m.result.RefreshIn = No
		}
		return
	}
	m.trials = append(m.trials, trial{t.use, t.tested.Sub(t.base), t.alive})
	t.phase = phaseOver
	if !t.alive || t.use != useAnswered {
		m.close(t)
	} else {
		t.again = true // it may serve once more: see refreshIn
		t.last = now
	}
	if m.settled(t.use) {
		m.dismiss(t.use)
	}
	m.refreshIn(now)
	if m.settled(useAnswered) && resent(m.trials, lifespanOf(m.trials, useAnswered)) != VerdictUnknown {
		m.dismiss(useResent)
	}
	m.result = m.read()
	m.events.Push(lifetimeEvent{Lifetime: m.result})
}

// settled tells whether the bracket of a use will not change any more.
func (m *lifetimeProbe) settled(u use) bool {
	if decided(m.trials, u) {
		return true
	}
	for _, t := range m.all[2:] {
		if t.use == u && t.phase != phaseOver && !t.touch {
			return false
		}
	}
	return true
}

// dismiss ends the trials of a use that cannot tell anything new.
func (m *lifetimeProbe) dismiss(u use) {
	for _, t := range m.all[2:] {
		switch {
		case t.phase == phaseOver:
		case t.use == u && !t.touch,
			t.use == useResent && u == useAnswered && t.idle*10 > lifespanOf(m.trials, useAnswered).Estimate()*16:
			t.phase = phaseOver
			m.close(t)
		}
	}
}

// refreshIn tests mappings a second time that were found alive once: by then they live
// only if the packet that came in the first time has prolonged their life.
func (m *lifetimeProbe) refreshIn(now time.Time) {
	if len(m.inward) > 0 || !m.settled(useAnswered) {
		return
	}
	life := lifespanOf(m.trials, useAnswered).Estimate()
	for _, t := range m.all[2:] {
		if t.use != useAnswered || !t.alive || t.phase != phaseOver {
			continue
		}
		from, to := t.base.Add(life*23/20), t.last.Add(life*17/20)
		if at := laterOf(from, now); at.Before(to) && len(m.inward) < 3 {
			t.touch = true
			t.begin(phasePausing, at)
			m.inward = append(m.inward, t)
		} else {
			m.close(t)
		}
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *lifetimeProbe) read() Lifetime {
	answered := lifespanOf(m.trials, useAnswered)
	return Lifetime{
		Solitary: lifespanOf(m.trials, useSolitary), Answered: answered, Stream: lifespanOf(m.trials, useStream),
		RefreshOut: resent(m.trials, answered), RefreshIn: m.result.RefreshIn, Reason: m.result.Reason,
	}
}

func (m *lifetimeProbe) close(t *mappingTrial) {
	m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: t.id})
	delete(m.bySock, t.id)
}

// Stop ends the measurement with what is known by now.
func (m *lifetimeProbe) Stop(now time.Time) {
	m.finish("it was ended early")
}

func (m *lifetimeProbe) finish(reason string) {
	if m.ended {
		return
	}
	m.ended = true
	for _, t := range m.all {
		if m.bySock[t.id] != nil {
			m.close(t)
		}
	}
	m.result.Reason = reason
	m.result = m.read()
	m.events.Push(lifetimeEvent{Lifetime: m.result, Last: true})
}

// PollTransmit returns the next effect.
func (m *lifetimeProbe) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent returns the next event.
func (m *lifetimeProbe) PollEvent() (lifetimeEvent, bool) { return m.events.Pop() }
