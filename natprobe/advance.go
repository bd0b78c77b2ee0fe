package natprobe

import (
	"net/netip"
	"time"
)

// advance takes every step that can be taken now, and ends the stage when nothing of it
// is left.
func (m *Discovery) advance(now time.Time) {
	if m.stage == StageStart {
		for _, s := range m.socks {
			if !s.open {
				return
			}
		}
		m.stage = StageBehavior
		m.start = now
		if m.tokens.at.IsZero() {
			m.tokens = newBucket(!m.cfg.Fast, now)
		}
	}
	for m.stage != StageDone {
		m.changeServer()
		waiting := m.takeSteps(now)
		m.sendHops()
		switch {
		case now.Sub(m.start) >= m.cfg.Timeout,
			!m.heard && now.Sub(m.start) >= m.patience():
			m.finish(now, nil)
		case waiting || m.busy() || !m.heard && m.tcp.busy():
			return
		default:
			m.nextStage(now)
		}
	}
}

// takeSteps begins the steps whose gates are open, in the plan's order. It reports
// whether some must wait for their time.
func (m *Discovery) takeSteps(now time.Time) (waiting bool) {
	m.wake = time.Time{}
	later := func(at time.Time) {
		if m.wake.IsZero() || at.Before(m.wake) {
			m.wake = at
		}
	}
	for i, s := range m.plan {
		if m.taken[i] != nil {
			continue
		}
		dest, open, at := m.gate(now, s)
		if !at.IsZero() {
			later(at)
			waiting = waiting || s.when == whenPorts
		}
		if !open {
			continue
		}
		sock := m.socks[s.on]
		if sock == nil || !sock.open {
			waiting = true // for the socket
			continue
		}
		wait, ok := m.tokens.take(now)
		if !ok {
			later(now.Add(wait))
			return true
		}
		m.begin(now, i, sock, dest)
		if s.when == whenPorts {
			m.nextSample = now.Add(m.cfg.sampleGap())
		}
	}
	return waiting
}

// gate tells whether a step can be taken now and where it sends to, or when to ask again.
func (m *Discovery) gate(now time.Time, s step) (dest netip.AddrPort, open bool, at time.Time) {
	dest = m.target(s)
	switch s.when {
	case atStart:
		open = true
	case withOther:
		open = m.other.IsValid()
	case withPartner:
		open = m.outside(pairEven).IsValid() && m.outside(pairOdd).IsValid() && m.translated() != No
	case whenSame, whenDifferent:
		a, b := m.find(askMapping, mapper), m.find(askMappingOther, mapper)
		open = a != nil && b != nil && a.answered && b.answered && (a.mapped == b.mapped) == (s.when == whenSame) &&
			(s.when == whenSame || m.outside(s.on).IsValid())
	case whenOpen:
		p := m.find(askFilterAll, filterAll)
		open = p != nil && p.answered
	case whenFiltered:
		p := m.find(askFilterAll, filterAll)
		open = m.stage == StagePorts && !m.cfg.NoPorts && p != nil && p.silent() && m.preserves()
	case whenFragments:
		open = m.stage == StagePorts && m.answeredBy(m.primary())
	case whenSmall:
		p := m.find(askSmall, mapper)
		open = p != nil && p.answered
	case whenSpare:
		return m.spareGate(now, s)
	case whenPorts:
		open = m.stage == StagePorts
		if open && now.Before(m.nextSample) {
			return dest, false, m.nextSample
		}
	}
	return dest, open, time.Time{}
}

// spareGate lets the other servers be asked where the first cannot tell the mapping alone.
func (m *Discovery) spareGate(now time.Time, s step) (dest netip.AddrPort, open bool, at time.Time) {
	dest = m.servers[s.arg]
	if m.otherFault != "" || m.refused() {
		return dest, true, at
	}
	if m.other.IsValid() {
		b := m.find(askMappingOther, mapper)
		return dest, b != nil && b.silent(), at
	}
	if patience := m.start.Add(spareAfter); now.Before(patience) {
		return dest, false, patience
	}
	return dest, true, at
}

// refused tells that the first server answers nothing but errors.
func (m *Discovery) refused() bool {
	p := m.find(askMapping, mapper)
	return p != nil && p.code != 0
}

func (m *Discovery) target(s step) netip.AddrPort {
	switch s.to {
	case toOtherIP:
		return netip.AddrPortFrom(m.other.Addr(), m.primary().Port())
	case toOther:
		return m.other
	case toServer:
		return m.servers[s.arg]
	case toPartner:
		return m.outside(s.on ^ pairEven ^ pairOdd)
	}
	return m.primary()
}

// find finds the lane's probe for a question.
func (m *Discovery) find(q question, on role) *probe {
	for i, s := range m.plan {
		if s.question == q && s.on == on && m.taken[i] != nil {
			return m.taken[i]
		}
	}
	return nil
}

// outside is where the socket of a role was first seen to come from.
func (m *Discovery) outside(r role) netip.AddrPort {
	for _, p := range m.probes {
		if p.sock == m.socks[r] && p.answered && p.plain() {
			return p.mapped
		}
	}
	return netip.AddrPort{}
}

// translated tells whether there is a NAT: whether any socket is seen to come from
// another address than its own.
func (m *Discovery) translated() Verdict {
	v := VerdictUnknown
	for _, p := range m.probes {
		if p.answered && p.plain() && p.sock.local.Addr().IsValid() && !p.sock.local.Addr().IsUnspecified() {
			if p.mapped != p.sock.local {
				return Yes
			}
			v = No
		}
	}
	return v
}

// preserves tells whether the mapping is endpoint-independent so far and the ports are
// the local ones: then the two may be so only as long as nobody else has the port.
func (m *Discovery) preserves() bool {
	a, b := m.find(askMapping, mapper), m.find(askMappingOther, mapper)
	if a == nil || b == nil || !a.answered || a.mapped != b.mapped || m.translated() != Yes {
		return false
	}
	p := m.socks[filterAll]
	return m.outside(filterAll).Port() == p.local.Port()
}

// busy tells whether an answer is still waited for.
func (m *Discovery) busy() bool {
	for _, p := range m.probes {
		if !p.done && (p.question != askMappingServer || !m.mapped()) {
			return true
		}
	}
	return false
}

// mapped tells whether the first server alone has told the mapping.
func (m *Discovery) mapped() bool {
	p := m.find(askMappingOther, mapper)
	return p != nil && p.answered
}

// changeServer begins a new lane, where another server is found to be better than the
// first: that one names no other address, or is silent.
func (m *Discovery) changeServer() {
	if m.other.IsValid() {
		return
	}
	for _, p := range m.probes {
		if p.question != askMappingServer || !p.answered || !p.otherAddr.IsValid() {
			continue
		}
		if m.otherFault == "" && !m.refused() && m.answeredBy(m.primary()) {
			continue
		}
		old, taken := m.plan, m.taken
		m.lane++
		m.first = p.arg
		m.other, m.otherFault = p.otherAddr, ""
		m.setPlan()
		p.question, p.to = askMapping, toPrimary
		m.carry(step{question: askMapping, on: mapper}, p)
		for i, q := range taken {
			switch {
			case q == nil || q == p || q.question == askMappingServer:
			case (q.on == pairEven || q.on == pairOdd) && m.outside(pairEven).IsValid() && m.outside(pairOdd).IsValid():
				m.carry(old[i], q)
			case !q.done:
				q.done, q.moot = true, true
			}
		}
		for r := filterAll; r <= filterOne; r++ {
			m.openSocket(r)
		}
		if !m.outside(pairEven).IsValid() || !m.outside(pairOdd).IsValid() {
			m.openSocket(pairEven)
			m.openSocket(pairOdd)
		}
		return
	}
}

// carry makes p, which an earlier lane began, the lane's own.
func (m *Discovery) carry(like step, p *probe) {
	for i, s := range m.plan {
		if s.question == like.question && s.on == like.on {
			p.lane = m.lane
			m.taken[i] = p
			return
		}
	}
}

func (m *Discovery) answeredBy(server netip.AddrPort) bool {
	for _, p := range m.probes {
		if p.answered && p.plain() && p.dest == server {
			return true
		}
	}
	return false
}

// nextStage ends a stage of which nothing is left.
func (m *Discovery) nextStage(now time.Time) {
	switch m.stage {
	case StageBehavior:
		m.known = now
		if !m.heard {
			m.finish(now, nil)
			return
		}
		m.stage = StagePorts
		report := m.report(now)
		m.events.Push(DiscoveryEvent{Stage: m.stage, Report: report})
		if m.cfg.NoPorts || report.Ports.settled() || !m.answeredBy(m.primary()) {
			m.dropSamples()
			return
		}
		for r := sampler; r < sampler+maxSamples; r++ {
			m.openSocket(r)
		}
	case StagePorts:
		m.finish(now, nil)
	}
}

// dropSamples takes the samples off the plan.
func (m *Discovery) dropSamples() {
	keep := m.plan[:0:0]
	for _, s := range m.plan {
		if s.when != whenPorts {
			keep = append(keep, s)
		}
	}
	m.plan, m.taken = keep, m.taken[:len(keep)]
}
