package punch

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// tag names one side of one attempt. It tells the peer's messages from our own
// coming back (a NAT that hairpins, an address that is ours as well as the peer's),
// and settles who nominates.
type tag [8]byte

func (t tag) after(u tag) bool { return bytes.Compare(t[:], u[:]) > 0 }

// punchState is the private attribute of probes and answers: version, flags, two
// bytes reserved, tag.
const (
	stateVersion = 1
	stateSize    = 12

	flagReady = 1 << 0 // the nominated pair works for the sender
)

// probe sends one probe to t, nominating where that is our turn.
func (m *UDPMachine) probe(now time.Time, t *target) {
	id, err := wire.NewTransactionID(m.random)
	if err != nil {
		return // without randomness a probe would be forgeable; the schedule tries again
	}
	t.flying[t.probes%len(t.flying)] = flight{id: id, at: now}
	t.probes++
	t.last = now
	t.next = now.Add(schedule[min(t.step, len(schedule)-1)])
	t.step++
	nominate := m.state == nominating && t == m.chosen
	if nominate {
		if m.asked++; m.asked > patience {
			m.agree(now)
			return
		}
	}
	m.builder.Reset(wire.BindingRequest, id)
	if nominate {
		m.builder.AddUseCandidate()
	}
	m.seal(t)
}

// seal finishes the message under construction and sends it to t.
func (m *UDPMachine) seal(t *target) {
	var state [stateSize]byte
	state[0] = stateVersion
	if m.state == agreed && t == m.chosen {
		state[1] = flagReady
	}
	copy(state[4:], m.tag[:])
	m.builder.AddRaw(wire.AttrPunchState, state[:])
	m.builder.AddIntegrity(m.cfg.Secret)
	m.builder.AddFingerprint()
	m.out = append(m.out, machine.Transmit{Remote: t.remote, Data: bytes.Clone(m.builder.Bytes())})
}

// HandleDatagram implements machine.Machine.
func (m *UDPMachine) HandleDatagram(now time.Time, d machine.Datagram) {
	if m.state == failed {
		return
	}
	if !wire.IsSTUN(d.Data) {
		m.payload(now, d)
		return
	}
	if m.msg.Decode(d.Data) != nil || m.msg.Method() != wire.Binding {
		return
	}
	state, ok := m.msg.Get(wire.AttrPunchState)
	if !ok || len(state) != stateSize || state[0] != stateVersion {
		return
	}
	from := tag(state[4:])
	if m.msg.CheckIntegrity(m.cfg.Secret) != nil {
		m.forged++
		return
	}
	// Two authentic tags that are not ours would be two peers with one secret: the
	// first is the one.
	if from == m.tag || from == (tag{}) || m.peer != (tag{}) && m.peer != from {
		return
	}
	m.peer = from
	ready := state[1]&flagReady != 0
	switch m.msg.Class() {
	case wire.Request:
		m.request(now, d, ready)
	case wire.Success:
		m.success(now, d, ready)
	}
}

// request answers a probe of the peer and learns from where it came.
func (m *UDPMachine) request(now time.Time, d machine.Datagram, ready bool) {
	t := m.target(d.Remote)
	if t == nil {
		if m.learned == MaxLearnedAddrs || unusable(d.Remote, true) != "" {
			return
		}
		t = m.add(now, d.Remote, true)
		m.events = append(m.events, UDPEvent{Kind: UDPLearned, At: now, Path: Path{Remote: t.remote, Learned: true}})
	}
	id := m.msg.TransactionID()
	first := !t.heard
	t.heard = true
	nominated := m.msg.UseCandidate() && m.peer.after(m.tag)
	if nominated && m.state == probing {
		m.wanted = t
	}
	m.heard(now, t, ready)
	if m.state == probing && t == m.wanted && t.valid {
		m.chosen = t
		m.agree(now)
	}
	m.builder.Reset(wire.BindingSuccess, id)
	m.builder.AddXORAddress(wire.AttrXORMappedAddress, d.Remote)
	m.seal(t)
	// The probe shows that the way in is open: ours, unless one is just under way,
	// goes now (a triggered check, RFC 8445 7.3.1.4).
	if m.state == probing && !t.valid {
		if first {
			t.step = 0
		}
		if soonest := t.last.Add(schedule[0]); t.probes == 0 || !soonest.After(now) {
			m.probe(now, t)
		} else if soonest.Before(t.next) {
			t.next = soonest
		}
	}
}

// success takes an answer to one of our probes. One that comes from elsewhere than
// the probe went is dropped (RFC 8445 7.2.5.2.1).
func (m *UDPMachine) success(now time.Time, d machine.Datagram, ready bool) {
	t := m.target(d.Remote)
	if t == nil {
		return
	}
	sent, ok := t.answered(m.msg.TransactionID())
	if !ok {
		return
	}
	m.heard(now, t, ready)
	if t.valid {
		return
	}
	mapped, _ := m.msg.XORMappedAddress()
	t.valid = true
	t.path = Path{Local: d.Local, Remote: t.remote, Mapped: mapped, RTT: now.Sub(sent), Learned: t.learned}
	m.events = append(m.events, UDPEvent{Kind: UDPValid, At: now, Path: t.path})
	if m.state != probing {
		return
	}
	switch {
	case m.tag.after(m.peer):
		m.chosen, m.state = t, nominating
		t.step = 0
		m.probe(now, t)
	case t == m.wanted:
		m.chosen = t
		m.agree(now)
		m.probe(now, t) // tells the peer, which waits for it
	}
}

// answered finds and forgets the probe that id answers.
func (t *target) answered(id wire.TransactionID) (sent time.Time, ok bool) {
	for i, f := range t.flying {
		if !f.at.IsZero() && f.id == id {
			t.flying[i] = flight{}
			return f.at, true
		}
	}
	return sent, false
}

// heard notes that the peer lives on t, and perhaps agrees.
func (m *UDPMachine) heard(now time.Time, t *target, ready bool) {
	if m.state != nominating || t != m.chosen {
		return
	}
	m.asked = 0
	if ready {
		m.agree(now)
	}
}

func (m *UDPMachine) agree(now time.Time) {
	m.state = agreed
	m.events = append(m.events, UDPEvent{Kind: UDPAgreed, At: now, Path: m.chosen.path})
}

// payload takes what is no probe. From an address that has proven itself it is the
// peer's data, which it sends only once it has a path: so it agrees.
func (m *UDPMachine) payload(now time.Time, d machine.Datagram) {
	t := m.target(d.Remote)
	if t == nil || !t.valid {
		return
	}
	if len(m.early) < maxEarly {
		m.early = append(m.early, bytes.Clone(d.Data))
	}
	if m.state == nominating && t == m.chosen {
		m.agree(now)
	}
}

// Early returns the datagrams of the peer that came by way of paths found, the first
// 16 of them, in order; the caller owns them.
func (m *UDPMachine) Early() [][]byte { return m.early }

// HandleNotice implements machine.Noticer: it keeps what ICMP says, for the report.
// An unreachable port now may be open in a moment, so nothing else follows from it.
func (m *UDPMachine) HandleNotice(now time.Time, n machine.Notice) {
	if n.Kind == machine.SocketFailed && m.state < agreed {
		m.fail(now, n.Err)
	}
	if n.Kind != machine.Unreachable {
		return
	}
	if t := m.target(n.Remote); t != nil {
		t.err = n.Err
	}
}

// IsProbe reports whether a datagram is a probe or an answer of an attempt that is
// over, which whoever reads the socket next can drop: the peer may not have heard
// yet that both agree.
func IsProbe(b []byte) bool {
	if !wire.IsSTUN(b) {
		return false
	}
	var m wire.Message
	if m.Decode(b) != nil {
		return false
	}
	v, ok := m.Get(wire.AttrPunchState)
	return ok && len(v) == stateSize && v[0] == stateVersion && binary.BigEndian.Uint16(v[2:]) == 0
}
