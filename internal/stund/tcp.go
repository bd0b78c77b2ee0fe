package stund

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Bounds of what is kept for clients over TCP.
const (
	maxStreams = 512              // beyond, the one that was silent longest is reset
	maxRequest = 2048             // bytes of one request
	maxIdle    = 30 * time.Second // a silent stream is reset
)

// streams are the clients over TCP. The zero value has none.
type streams struct {
	byID  map[machine.StreamID]*stream
	order []*stream // by when they were last heard of, the longest silent first
	out   machine.Queue[machine.Transmit]
}

type stream struct {
	id    machine.StreamID
	local netip.AddrPort
	from  netip.AddrPort
	in    []byte
	heard time.Time
}

// HandleNotice serves requests over TCP (RFC 8489 section 6.2.2), one after the other on
// each stream. CHANGE-REQUEST, RESPONSE-PORT and PADDING do not go over TCP, where a server
// cannot send from or to elsewhere: they are unknown there (RFC 5780 section 3).
func (m *Machine) HandleNotice(now time.Time, n machine.Notice) {
	ss := &m.streams
	switch s := ss.byID[n.Stream]; {
	case n.Kind == machine.Accepted:
		ss.add(now, n)
	case s == nil:
	case n.Kind == machine.Received:
		ss.touch(now, s)
		s.in = append(s.in, n.Data...)
		m.serve(now, s)
	case n.Kind == machine.Closed:
		ss.remove(s)
	}
}

// serve answers the requests that have come in whole.
func (m *Machine) serve(now time.Time, s *stream) {
	for len(s.in) >= wire.HeaderSize {
		size := wire.HeaderSize + int(binary.BigEndian.Uint16(s.in[2:]))
		if size > maxRequest {
			m.streams.reset(s)
			return
		}
		if len(s.in) < size {
			return
		}
		if !m.answerStream(now, s, s.in[:size]) {
			m.streams.reset(s)
			return
		}
		s.in = append(s.in[:0], s.in[size:]...)
	}
}

// answerStream answers one request; false: the stream does not carry STUN.
func (m *Machine) answerStream(now time.Time, s *stream, data []byte) bool {
	req := &m.request
	if req.Decode(data) != nil || req.Has(wire.AttrFingerprint) && req.CheckFingerprint() != nil {
		return false
	}
	if req.Type() != wire.BindingRequest || !m.limit.allow(now, s.from.Addr()) {
		return true
	}
	m.unknown = req.AppendUnknown(m.unknown[:0], understood[:len(understood)-len(overUDP)])
	at := m.index(s.local)
	switch {
	case len(m.unknown) > 0:
		m.reply.Reset(wire.BindingFailure, req.TransactionID())
		m.reply.AddErrorCode(wire.CodeUnknownAttribute, "Unknown Attribute")
		m.reply.AddUnknownAttributes(m.unknown)
	default:
		m.success(at, at, s.from)
	}
	if req.Has(wire.AttrFingerprint) {
		m.reply.AddFingerprint()
	}
	m.streams.out.Push(machine.Transmit{Op: machine.Write, Stream: s.id, Data: append([]byte(nil), m.reply.Bytes()...)})
	return true
}

// overUDP are the attributes at the end of understood that do not go over TCP.
var overUDP = understood[len(understood)-3:]

// index is which of the server's addresses a stream came to.
func (m *Machine) index(local netip.AddrPort) machine.SocketID {
	for i, a := range m.addrs {
		if a.Port() == local.Port() && (a.Addr() == local.Addr().Unmap() || a.Addr().IsUnspecified()) {
			return machine.SocketID(i)
		}
	}
	return 0
}

func (ss *streams) add(now time.Time, n machine.Notice) {
	if ss.byID == nil {
		ss.byID = make(map[machine.StreamID]*stream)
	}
	if len(ss.order) >= maxStreams {
		ss.reset(ss.order[0])
	}
	s := &stream{id: n.Stream, local: n.Local, from: netip.AddrPortFrom(n.Remote.Addr().Unmap(), n.Remote.Port()), heard: now}
	ss.byID[s.id] = s
	ss.order = append(ss.order, s)
}

// touch makes s the one heard of last.
func (ss *streams) touch(now time.Time, s *stream) {
	s.heard = now
	for i, o := range ss.order {
		if o == s {
			ss.order = append(append(ss.order[:i:i], ss.order[i+1:]...), s)
			return
		}
	}
}

func (ss *streams) remove(s *stream) {
	delete(ss.byID, s.id)
	for i, o := range ss.order {
		if o == s {
			ss.order = append(ss.order[:i], ss.order[i+1:]...)
			return
		}
	}
}

func (ss *streams) reset(s *stream) {
	ss.remove(s)
	ss.out.Push(machine.Transmit{Op: machine.Reset, Stream: s.id})
}

// expire resets streams that were silent for too long.
func (ss *streams) expire(now time.Time) {
	for len(ss.order) > 0 && now.Sub(ss.order[0].heard) >= maxIdle {
		ss.reset(ss.order[0])
	}
}

// next is when the first stream expires.
func (ss *streams) next() time.Time {
	if len(ss.order) == 0 {
		return time.Time{}
	}
	return ss.order[0].heard.Add(maxIdle)
}
