package natprobe

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// phase is what a trial waits for.
type phase uint8

const (
	phaseOpening phase = iota // the socket
	phaseAsking               // the answer that tells the mapping
	phasePausing              // until the second request of a stream, or until it is dead or alive
	phaseTesting              // the answer to the mapping
	phaseOver
)

// mappingTrial is one socket with its mapping.
type mappingTrial struct {
	use    use
	idle   time.Duration // wanted
	id     machine.SocketID
	phase  phase
	mapped uint16
	again  bool // a stream's second request, or the one more packet, was sent
	touch  bool // it is tested a second time

	base   time.Time // when the mapping was last used
	due    time.Time
	tx     wire.TransactionID
	req    []byte
	sent   int
	last   time.Time
	tested time.Time // when the test began

	check   wire.TransactionID // of the control that goes with a test
	checked bool               // it was answered
	alive   bool
	code    int // of an error response
}

// step does what a trial's time has come for; false: it has to wait.
func (m *lifetimeProbe) step(now time.Time, t *mappingTrial) bool {
	switch t.phase {
	case phaseAsking:
		if t != m.asker && m.asker.mapped == 0 {
			t.due = time.Time{} // until the asker knows where it is heard
			return false
		}
		if t.sent >= maxAsks {
			t.phase = phaseOver
			if t == m.asker || t == m.preflight() {
				m.finish(fmt.Sprintf("%v does not answer", m.server))
			}
			return false
		}
		return m.request(now, t, t, t.use == useSolitary || t.use == useResent && t.again)
	case phasePausing:
		if (t.use == useStream || t.use == useResent) && !t.again {
			t.again = true
			t.begin(phaseAsking, now)
			return true
		}
		t.begin(phaseTesting, now)
		t.checked, t.alive = false, false
		return true
	case phaseTesting:
		return m.test(now, t)
	}
	return false
}

// begin starts a phase.
func (t *mappingTrial) begin(p phase, at time.Time) {
	t.phase, t.due, t.sent = p, at, 0
}

// request sends a trial's request, or sends it again, from the socket of from. to names the
// trial whose mapping shall be answered; away has the asker answered instead.
func (m *lifetimeProbe) request(now time.Time, t, from *mappingTrial, away bool) bool {
	if t.sent == 0 {
		wait, ok := m.tokens.take(now)
		if !ok {
			t.due = now.Add(wait)
			return false
		}
		id, err := wire.NewTransactionID(m.cfg.Secrets)
		if err != nil {
			m.finish(err.Error())
			return false
		}
		t.tx = id
		m.byID[id] = t
		m.builder.Reset(wire.BindingRequest, id)
		switch {
		case away:
			m.builder.AddResponsePort(m.asker.mapped)
		case from != t:
			m.builder.AddResponsePort(t.mapped)
		}
		t.req = append([]byte(nil), m.builder.Bytes()...)
	}
	m.send(from, t.req)
	if t.sent++; t.sent == 1 {
		t.tested = now
	}
	t.last = now
	t.due = now.Add(min(m.rtt.rto()<<max(0, t.sent-4), maxRTO))
	return true
}

func (m *lifetimeProbe) send(from *mappingTrial, req []byte) {
	m.packets++
	m.out.Push(machine.Transmit{Op: machine.Send, Socket: from.id, Remote: m.server, Data: req})
}

// test asks for the answer that comes in only if the mapping lives.
func (m *lifetimeProbe) test(now time.Time, t *mappingTrial) bool {
	if t.sent >= minListens && (t.checked || t.sent >= maxListens+maxMore) {
		m.conclude(now, t)
		return false
	}
	if !m.request(now, t, m.asker, false) {
		return false
	}
	t.due = now.Add(m.rtt.gap())
	if t.sent >= minListens-1 {
		// The control: a plain request of the asker's.
		id, err := wire.NewTransactionID(m.cfg.Secrets)
		if err == nil {
			t.check = id
			m.byID[id] = t
			m.builder.Reset(wire.BindingRequest, id)
			m.send(m.asker, append([]byte(nil), m.builder.Bytes()...))
		}
		t.due = now.Add(m.rtt.lapse())
	}
	return true
}

// told takes in where a trial's request was seen to come from.
func (m *lifetimeProbe) told(now time.Time, t *mappingTrial, mapped netip.AddrPort, d machine.Datagram) {
	if away := t.use == useSolitary || t.use == useResent && t.again; away != (d.Socket == m.asker.id) && t != m.asker {
		return
	}
	if t.sent == 1 {
		m.rtt.add(elapsed(t.last, now, d.Stamp))
	}
	if t.again && t.mapped != mapped.Port() {
		t.phase = phaseOver // another mapping than the one before: nothing to be learned
		m.close(t)
		return
	}
	t.mapped = mapped.Port()
	switch {
	case t == m.asker:
		t.phase = phasePausing
		t.due = time.Time{}
		for _, w := range m.all {
			if w.phase == phaseAsking && w.due.IsZero() {
				w.due = now
			}
		}
		return
	case t.use == useResent && t.again:
		t.phase, t.due = phasePausing, t.base.Add(t.idle)
		return
	}
	t.base = now
	if t.use == useSolitary {
		t.base = t.last
	}
	t.phase, t.due = phasePausing, t.base.Add(t.idle)
	switch {
	case t.use == useStream && !t.again:
		t.due = now.Add(streamPause)
	case t.use == useResent:
		t.due = t.base.Add(t.idle / 2)
	}
}
