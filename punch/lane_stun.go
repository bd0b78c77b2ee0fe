package punch

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// laneQuery asks a STUN server what port a socket has outside, towards that server. It is
// one transaction, repeated as it is: the mapping was made by the first packet that the
// NAT saw, so a later answer tells the same.
type laneQuery struct {
	entry
	id   wire.TransactionID
	lane *laneRun
	sent int
	at   time.Time // of the first request
	port uint16    // the answer; 0: none yet
	rtt  time.Duration
}

// ask sends the request of q, whose socket and remote are set, for the first time or again.
func (m *Lanes) ask(now time.Time, q *laneQuery) bool {
	if !m.isOpen(q.socket) || !m.limits.room(q.socket, q.remote, q.lane.use()) {
		return false
	}
	if q.sent == 0 {
		var err error
		if q.id, err = wire.NewTransactionID(m.secrets); err != nil {
			return false
		}
		q.at = now
		m.queries = append(m.queries, q)
		if len(m.queries) > maxPairs { // older ones belong to rounds that are over
			m.queries = slices.Delete(m.queries, 0, 1)
		}
	}
	q.sent++
	m.builder.Reset(wire.BindingRequest, q.id)
	return m.transmit(now, q.lane, machine.Transmit{Socket: q.socket, Remote: q.remote, Data: bytes.Clone(m.builder.Bytes())})
}

// stunAnswer takes an answer, from the server that was asked and on the socket that asked.
func (m *Lanes) stunAnswer(now time.Time, d machine.Datagram) {
	if m.msg.Class() != wire.Success || m.msg.Has(wire.AttrFingerprint) && m.msg.CheckFingerprint() != nil {
		return
	}
	id := m.msg.TransactionID()
	i := slices.IndexFunc(m.queries, func(q *laneQuery) bool { return q.id == id && q.entry == entry{d.Socket, d.Remote} })
	if i < 0 {
		return
	}
	var mapped netip.AddrPort
	ok := false
	if mapped, ok = m.msg.XORMappedAddress(); !ok {
		mapped, ok = m.msg.MappedAddress() // all that RFC 3489 servers have
	}
	if !ok || mapped.Port() == 0 {
		return
	}
	q := m.queries[i]
	m.queries = slices.Delete(m.queries, i, i+1)
	q.port, q.rtt = mapped.Port(), now.Sub(q.at)
	if !q.lane.ended {
		q.lane.work.answered(now, q)
	}
}
