package punch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// tag names one side of one attempt. It tells the peer's messages from our own
// coming back (a NAT that hairpins, an address that is ours as well as the peer's),
// and settles who nominates.
type tag [8]byte

func (t tag) after(u tag) bool { return bytes.Compare(t[:], u[:]) > 0 }

// The private attribute of probes and answers: version, flags, two bytes reserved, tag.
const (
	stateVersion = 1
	stateSize    = 12

	flagReady = 1 << 0 // the nominated pair works for the sender
)

// seenIDs remembers where the last probes of the peer came from.
type seenIDs struct {
	ring [64]struct {
		id   wire.TransactionID
		from netip.AddrPort
	}
	next int
}

// elsewhere reports whether a probe with this ID came from another address before: then
// this one is a copy that somebody sends in the peer's name.
func (s *seenIDs) elsewhere(id wire.TransactionID, from netip.AddrPort) bool {
	for i := range s.ring {
		if r := &s.ring[i]; r.from.IsValid() && r.id == id {
			return r.from != from
		}
	}
	s.ring[s.next].id, s.ring[s.next].from = id, from
	s.next = (s.next + 1) % len(s.ring)
	return false
}

// probe sends one probe to t, nominating where that is our turn.
func (m *udpMachine) probe(now time.Time, t *target) {
	nominate := m.state == nominating && t == m.chosen
	if nominate && m.asked >= patience && now.Sub(m.heard) >= patienceTime+4*t.path.RTT {
		m.setState(now, agreed, nil)
		return
	}
	id, err := wire.NewTransactionID(m.secrets)
	if err != nil {
		return // without randomness a probe would be forgeable; the schedule tries again
	}
	t.flying[t.probes%len(t.flying)] = flight{id: id, at: now}
	t.probes++
	t.last = now
	t.next = now.Add(schedule[min(t.step, len(schedule)-1)])
	t.step++
	if t.learned && !nominate {
		t.next = time.Time{} // who copies a probe from a false address gets it no more than one back
	}
	m.builder.Reset(wire.BindingRequest, id)
	if nominate {
		m.asked++
		m.builder.AddUseCandidate()
	}
	// Once the peer has been heard, from where it reaches us (RFC 8445 7.3.1.4): a host
	// with several addresses would else be somebody else to its NAT, or relay.
	m.seal(t, t.local)
}

// seal finishes the message under construction and sends it to t, from local if that
// is known.
func (m *udpMachine) seal(t *target, local netip.AddrPort) {
	var state [stateSize]byte
	state[0] = stateVersion
	if m.state == agreed && t == m.chosen {
		state[1] = flagReady
	}
	copy(state[4:], m.tag[:])
	m.builder.AddRaw(wire.AttrPunchState, state[:])
	m.builder.AddIntegrity(m.cfg.Secret)
	m.builder.AddFingerprint()
	m.out.Push(machine.Transmit{Local: local, Remote: t.remote, Data: bytes.Clone(m.builder.Bytes())})
}

// HandleDatagram implements machine.Machine.
func (m *udpMachine) HandleDatagram(now time.Time, d machine.Datagram) {
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
		if m.forged++; m.forged == 1 {
			m.tell(now, udpForged, Path{Remote: d.Remote}, nil)
		}
		return
	}
	// Two authentic tags that are not ours would be two peers with one secret: the
	// first is the one.
	if from == m.tag || from == (tag{}) || m.peer != (tag{}) && m.peer != from {
		return
	}
	ready := state[1]&flagReady != 0
	switch m.msg.Class() {
	case wire.Request:
		m.request(now, d, from, ready)
	case wire.Success:
		m.success(now, d, from, ready)
	}
}

// request answers a probe of the peer and learns from where it came.
func (m *udpMachine) request(now time.Time, d machine.Datagram, from tag, ready bool) {
	id := m.msg.TransactionID()
	if ipcheck.Unusable(d.Remote, true) != "" || m.seen.elsewhere(id, d.Remote) {
		return
	}
	m.peer = from
	t := m.target(d.Remote)
	if t == nil {
		if m.learned == maxLearnedAddrs {
			return
		}
		t = m.add(d.Remote)
		t.learned = true
		m.learned++
		m.tell(now, udpLearned, Path{Remote: t.remote, Learned: true}, nil)
	}
	first := !t.heard
	t.heard, t.local = true, d.Local
	if m.msg.UseCandidate() && m.peer.after(m.tag) && m.state == probing {
		m.wanted = t
	}
	m.listen(now, t, ready)
	m.agreeTo(now, m.wanted)
	m.builder.Reset(wire.BindingSuccess, id)
	m.builder.AddXORAddress(wire.AttrXORMappedAddress, d.Remote)
	m.seal(t, d.Local)
	if m.state == probing && !t.valid {
		m.trigger(now, t, first)
	}
}

// trigger probes back: the peer's probe shows that the way in is open (a triggered
// check, RFC 8445 7.3.1.4). If ours has only just left, one more follows soon.
func (m *udpMachine) trigger(now time.Time, t *target, first bool) {
	if first {
		t.step = 0
	}
	soonest := t.last.Add(schedule[0])
	switch {
	case t.probes == 0 || !soonest.After(now):
		m.probe(now, t)
	case t.next.IsZero() || soonest.Before(t.next):
		t.next = soonest
	}
}

// success takes an answer to one of our probes. One that comes from elsewhere than
// the probe went is dropped (RFC 8445 7.2.5.2.1).
func (m *udpMachine) success(now time.Time, d machine.Datagram, from tag, ready bool) {
	t := m.target(d.Remote)
	if t == nil {
		return
	}
	sent, ok := t.answered(m.msg.TransactionID())
	if !ok {
		return
	}
	m.peer = from
	m.listen(now, t, ready)
	if t.valid {
		return
	}
	mapped, _ := m.msg.XORMappedAddress()
	t.valid = true
	t.path = Path{Local: d.Local, Remote: t.remote, Mapped: mapped, RTT: now.Sub(sent), Learned: t.learned}
	m.tell(now, udpValid, t.path, nil)
	if m.state != probing {
		return
	}
	if m.tag.after(m.peer) {
		m.chosen, m.heard, t.step = t, now, 0
		m.setState(now, nominating, nil)
		m.probe(now, t)
	} else if m.agreeTo(now, m.wanted) {
		m.probe(now, m.chosen) // the peer waits for this news
	}
}

// agreeTo takes the peer's choice, if it works for us.
func (m *udpMachine) agreeTo(now time.Time, t *target) bool {
	if m.state != probing || t == nil || !t.valid {
		return false
	}
	m.chosen = t
	m.setState(now, agreed, nil)
	return true
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

// listen notes that the peer lives on t, and perhaps agrees.
func (m *udpMachine) listen(now time.Time, t *target, ready bool) {
	if m.state != nominating || t != m.chosen {
		return
	}
	m.asked, m.heard = 0, now
	if ready {
		m.setState(now, agreed, nil)
	}
}

// payload takes what is no probe. From an address that has proven itself it is the
// peer's data, which it sends only on the path that it uses: so it agrees.
func (m *udpMachine) payload(now time.Time, d machine.Datagram) {
	t := m.target(d.Remote)
	if t == nil || !t.valid {
		return
	}
	if len(m.early) < maxEarly {
		m.early = append(m.early, bytes.Clone(d.Data))
	}
	if m.state == nominating && t == m.chosen {
		m.setState(now, agreed, nil)
	} else if m.peer.after(m.tag) {
		m.agreeTo(now, t)
	}
}

// HandleNotice implements machine.Noticer: it keeps what ICMP says, for the report.
// An unreachable port now may be open in a moment, so nothing else follows from it.
func (m *udpMachine) HandleNotice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.SocketFailed:
		if m.state < agreed {
			m.setState(now, failed, n.Err)
		}
	case machine.Unreachable:
		if t := m.target(n.Remote); t != nil {
			t.err = n.Err
		}
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
