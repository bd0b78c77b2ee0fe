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
	conn    *tcpConn       // nil: not even dialled
	notice  machine.Notice // names the stream and its ends
	over    bool           // the machine is about to be told that it is closed
	ended   bool           // the other side has ended it, and the machine is being told
	partial []byte         // of a message
}

func newStreams(messages bool) streams {
	return streams{messages: messages, conns: make(map[machine.StreamID]*stream), accepted: machine.AcceptedBase}
}

func (s *streams) close() {
	for _, l := range s.listeners {
		l.close()
	}
	for _, id := range s.order {
		if st := s.conns[id]; st != nil && st.conn != nil {
			st.conn.abort()
		}
	}
	clear(s.conns)
}

// listen shares its port, as punching machines also dial from it.
func (r *Runner) listen(local netip.AddrPort) error {
	l, err := r.h.tcp.listen(local, true, func(c *tcpConn) {
		id := r.streams.accepted
		r.streams.accepted++
		n := r.adopt(id, c, machine.Notice{Stream: id}).notice
		n.Kind = machine.Accepted
		r.notify(n)
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
		r.write(t.Stream, s, t.Data)
	case t.Op == machine.Close || t.Op == machine.Reset:
		delete(r.streams.conns, t.Stream)
		switch {
		case s.conn == nil:
		case t.Op == machine.Close:
			s.conn.close()
		default:
			s.conn.abort()
		}
	default:
		panic(fmt.Sprintf("simnet: effect %s on host %s is not simulated", t.Op, r.h.name))
	}
}

func (r *Runner) write(id machine.StreamID, s *stream, data []byte) {
	if s.over {
		return
	}
	var frame []byte
	if r.streams.messages {
		frame = binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	}
	frame = append(frame, data...)
	if queued := len(s.conn.out) + len(frame) - tcpBuffer; queued > machine.StreamQueue {
		s.conn.abort()
		r.lose(id, s, &machine.OverflowError{Stream: id, Queued: queued})
		return
	}
	s.conn.write(frame, true)
}

func (r *Runner) dial(t machine.Transmit) {
	n := machine.Notice{Kind: machine.Closed, Stream: t.Stream, Local: t.Local, Remote: t.Remote}
	if s := r.streams.conns[t.Stream]; s != nil && s.ended {
		delete(r.streams.conns, t.Stream)
		s.conn.close()
	} else if s != nil {
		n.Err = fmt.Errorf("simnet: stream number %d of a machine on %s is in use", t.Stream, r.h.name)
		r.h.w.at(r.h.w.now, func() { r.notify(n) })
		return
	}
	c, err := r.h.tcp.dial(t.Local, t.Remote, t.Local.Port() != 0, quietEvents())
	s := r.adopt(t.Stream, c, n)
	if err != nil {
		r.lose(t.Stream, s, err)
	}
}

// lose tells the machine, once it has been drained, that s is closed because of err.
func (r *Runner) lose(id machine.StreamID, s *stream, err error) {
	if s.over {
		return
	}
	s.over = true
	r.h.w.at(r.h.w.now, func() {
		if r.streams.conns[id] != s {
			return
		}
		n := s.notice
		n.Kind, n.Err = machine.Closed, err
		if err != nil {
			delete(r.streams.conns, id)
			r.notify(n)
			return
		}
		s.over, s.ended = false, true
		r.notify(n)
		if r.streams.conns[id] == s {
			delete(r.streams.conns, id)
			s.conn.close()
		}
	})
}

// adopt makes the machine hear of what becomes of c, which is nil where nothing will.
// about names the stream and its ends.
func (r *Runner) adopt(id machine.StreamID, c *tcpConn, about machine.Notice) *stream {
	s := &stream{conn: c, notice: about}
	r.streams.conns[id] = s
	r.streams.order = append(r.streams.order, id)
	if c == nil {
		return s
	}
	s.notice.Local, s.notice.Remote = c.tuple.local, c.tuple.remote
	c.on = tcpEvents{
		connected: func() {
			n := s.notice
			n.Kind = machine.Connected
			r.notify(n)
		},
		received: func(b []byte) { c.consumed(len(b)); r.received(id, s, b) },
		ended: func() {
			if len(s.partial) > 0 {
				r.lose(id, s, io.ErrUnexpectedEOF)
				c.close()
				return
			}
			r.lose(id, s, nil)
		},
		space:  func() {},
		closed: func(err error) { r.lose(id, s, err) },
	}
	return s
}

func (r *Runner) received(id machine.StreamID, s *stream, b []byte) {
	n := s.notice
	n.Kind, n.Data = machine.Received, b
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
