package punch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// laneStream is a TCP connection, or the attempt at one, that was dialled for a lane: to a STUN
// server, which tells its outside port, or to the peer.
type laneStream struct {
	id            machine.StreamID
	lane          *laneRun
	local, remote netip.AddrPort
	asks          bool // a STUN server
	gone          bool

	query wire.TransactionID
	in    []byte
	port  uint16 // what the server sees; 0: not known yet
}

// streamWork is what a lane of TCP does beside laneWork.
type streamWork interface {
	// saw tells that a STUN server has answered.
	saw(now time.Time, s *laneStream)
	// broke tells that a connection has failed.
	broke(now time.Time, s *laneStream)
}

// dial opens a connection from a local port, 0 for any; nil: the budget has no room for it. It
// costs a packet. What the system sends by itself, to repeat a SYN and to acknowledge, is not
// counted: at the most as much again.
func (m *Lanes) dial(now time.Time, r *laneRun, local, remote netip.AddrPort, asks bool) *laneStream {
	last := &m.lastStream
	if asks {
		last = &m.lastQuery
	}
	key := machine.SocketID(local.Port()) // from one port to one remote goes one mapping
	if key == 0 {
		key = machine.SocketID(*last)
	}
	if !m.limits.room(key, remote, r.use()) || !m.limits.pacer.Open() {
		return nil
	}
	ok, fresh := m.limits.take(now, key, remote)
	if !ok {
		m.limits.pacer.Close()
		return nil
	}
	if fresh {
		r.entries++
	}
	r.sent++
	r.sockets++
	s := &laneStream{id: *last, lane: r, local: local, remote: remote, asks: asks}
	*last++
	m.streams[s.id] = s
	m.dialled = append(m.dialled, s)
	m.out.Push(machine.Transmit{Op: machine.Dial, Stream: s.id, Local: local, Remote: remote})
	return s
}

// forget lets go of a connection.
func (m *Lanes) forget(s *laneStream) {
	s.gone = true
	m.limits.pacer.Close()
	delete(m.streams, s.id)
	m.dialled = slices.DeleteFunc(m.dialled, func(o *laneStream) bool { return o == s })
}

// drop ends a connection; nil: there is none.
func (m *Lanes) drop(s *laneStream) {
	if s != nil && !s.gone {
		m.forget(s)
		m.out.Push(machine.Transmit{Op: machine.Reset, Stream: s.id})
	}
}

// hangUp ends the connections of a lane, or of all, for nil.
func (m *Lanes) hangUp(r *laneRun) {
	for _, s := range slices.Clone(m.dialled) {
		if r == nil || s.lane == r {
			m.drop(s)
		}
	}
}

// streamNotice takes in what became of a connection.
func (m *Lanes) streamNotice(now time.Time, n machine.Notice) {
	s := m.streams[n.Stream]
	if s == nil {
		return
	}
	switch {
	case n.Kind == machine.Connected && s.asks:
		m.askStream(now, s)
	case n.Kind == machine.Connected:
		m.connected(now, s, n)
	case n.Kind == machine.Received && s.asks:
		m.readStream(now, s, n.Data)
	case n.Kind == machine.Closed:
		m.forget(s)
		if w, ok := s.lane.work.(streamWork); ok && !s.lane.ended {
			w.broke(now, s)
		}
	}
}

// askStream asks the server at the other end where it sees us.
func (m *Lanes) askStream(now time.Time, s *laneStream) {
	id, err := wire.NewTransactionID(m.secrets)
	if ok, _ := m.limits.take(now, machine.SocketID(s.id), s.remote); err != nil || !ok {
		m.drop(s)
		return
	}
	s.query = id
	s.lane.sent++
	m.builder.Reset(wire.BindingRequest, id)
	m.out.Push(machine.Transmit{Op: machine.Write, Stream: s.id, Data: bytes.Clone(m.builder.Bytes())})
}

// maxStreamAnswer bounds what is taken of a server that was asked one thing.
const maxStreamAnswer = 1500

// readStream takes in the answer, and ends the connection with it.
func (m *Lanes) readStream(now time.Time, s *laneStream, b []byte) {
	s.in = append(s.in, b...)
	if len(s.in) < wire.HeaderSize {
		return
	}
	size := wire.HeaderSize + int(binary.BigEndian.Uint16(s.in[2:]))
	if size <= maxStreamAnswer && len(s.in) < size {
		return
	}
	m.drop(s)
	msg := &m.msg
	if size > maxStreamAnswer || msg.Decode(s.in[:size]) != nil || msg.Type() != wire.BindingSuccess || msg.TransactionID() != s.query {
		return
	}
	mapped, ok := msg.XORMappedAddress()
	if !ok {
		mapped, ok = msg.MappedAddress()
	}
	if !ok || mapped.Port() == 0 {
		return
	}
	s.port = mapped.Port()
	if w, ok := s.lane.work.(streamWork); ok && !s.lane.ended {
		w.saw(now, s)
	}
}

// connected hands over a connection to what should be the peer.
func (m *Lanes) connected(now time.Time, s *laneStream, n machine.Notice) {
	if m.opened == maxOpened {
		m.drop(s)
		return
	}
	m.opened++
	m.forget(s)
	m.events.Push(LaneEvent{Kind: LaneOpened, At: now, Lane: s.lane.Kind, Stream: s.id, Local: n.Local, Remote: s.remote})
	m.gotThrough(now, s.lane)
}
