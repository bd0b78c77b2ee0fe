package simnet

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"github.com/bradawl/bradawl/internal/machine"
)

// streams are the TCP connections of one runner.
type streams struct {
	messages  bool
	conns     map[machine.StreamID]*stream
	order     []machine.StreamID // as they came, so that closing them has an order
	accepted  machine.StreamID
	listeners []*tcpListener
}

type stream struct {
	conn    *tcpConn
	partial []byte // of a message
}

func newStreams(messages bool) streams {
	return streams{messages: messages, conns: make(map[machine.StreamID]*stream), accepted: machine.AcceptedBase}
}

func (s *streams) close() {
	for _, l := range s.listeners {
		l.close()
	}
	for _, id := range s.order {
		if st := s.conns[id]; st != nil {
			st.conn.abort()
		}
	}
	clear(s.conns)
}

func (r *Runner) listen(local netip.AddrPort) error {
	l, err := r.h.tcp.listen(local, false, func(c *tcpConn) {
		id := r.streams.accepted
		r.streams.accepted++
		r.adopt(id, c)
		r.notify(machine.Notice{Kind: machine.Accepted, Stream: id, Local: c.tuple.local, Remote: c.tuple.remote})
	})
	if err == nil {
		r.streams.listeners = append(r.streams.listeners, l)
	}
	return err
}

// stream carries out an effect on a stream. What cannot be done to a stream that is
// gone already is not done; the machine has been, or is being, told.
func (r *Runner) stream(t machine.Transmit) {
	s := r.streams.conns[t.Stream]
	switch {
	case t.Op == machine.Dial:
		r.dial(t)
	case s == nil:
	case t.Op == machine.Write:
		var frame []byte
		if r.streams.messages {
			frame = binary.BigEndian.AppendUint32(nil, uint32(len(t.Data)))
		}
		s.conn.write(append(frame, t.Data...), true)
	case t.Op == machine.Close:
		delete(r.streams.conns, t.Stream)
		s.conn.close()
	case t.Op == machine.Reset:
		delete(r.streams.conns, t.Stream)
		s.conn.abort()
	default:
		panic(fmt.Sprintf("simnet: effect %s on host %s is not simulated", t.Op, r.h.name))
	}
}

func (r *Runner) dial(t machine.Transmit) {
	c, err := r.h.tcp.dial(t.Local, t.Remote, t.Local.Port() != 0, quietEvents())
	if err != nil {
		r.tell(machine.Notice{Kind: machine.Closed, Stream: t.Stream, Local: t.Local, Remote: t.Remote, Err: err})
		return
	}
	r.adopt(t.Stream, c)
}

// adopt makes the machine hear of what becomes of c.
func (r *Runner) adopt(id machine.StreamID, c *tcpConn) {
	s := &stream{conn: c}
	r.streams.conns[id] = s
	r.streams.order = append(r.streams.order, id)
	n := machine.Notice{Stream: id, Local: c.tuple.local, Remote: c.tuple.remote}
	lost := func(err error) {
		if r.streams.conns[id] == s {
			delete(r.streams.conns, id)
			n.Kind, n.Err = machine.Closed, err
			r.tell(n)
		}
	}
	c.on = tcpEvents{
		connected: func() { n.Kind = machine.Connected; r.notify(n) },
		received:  func(b []byte) { c.consumed(len(b)); r.received(id, s, b) },
		ended: func() {
			var err error
			if len(s.partial) > 0 {
				err = io.ErrUnexpectedEOF
			}
			lost(err)
			c.close()
		},
		space:  func() {},
		closed: lost,
	}
}

func (r *Runner) received(id machine.StreamID, s *stream, b []byte) {
	n := machine.Notice{Kind: machine.Received, Stream: id, Local: s.conn.tuple.local, Remote: s.conn.tuple.remote, Data: b}
	if !r.streams.messages {
		r.notify(n)
		return
	}
	s.partial = append(s.partial, b...)
	for len(s.partial) >= 4 && r.streams.conns[id] == s {
		size := int(binary.BigEndian.Uint32(s.partial))
		if len(s.partial) < 4+size {
			return
		}
		n.Data = s.partial[4 : 4+size]
		s.partial = s.partial[4+size:]
		r.notify(n)
	}
}
