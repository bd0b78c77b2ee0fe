package natprobe

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// tcpControl finds out, where no server answers by UDP, whether one does by TCP: that
// UDP is blocked is believed only of a network that works otherwise.
type tcpControl struct {
	streams map[machine.StreamID]*tcpTry
}

// tcpTry is a connection to one server.
type tcpTry struct {
	id    wire.TransactionID
	in    []byte
	ended bool
	host  bool // the host answers, if only by a reset
	stun  bool // the server answers a Binding request
}

const maxTCPTries = 3

// at is when to begin; the zero time: never.
func (c *tcpControl) at(m *Discovery) time.Time {
	if m.heard || c.streams != nil || m.cfg.NoTCP {
		return time.Time{}
	}
	return m.start.Add(tcpAfter)
}

func (c *tcpControl) timeout(now time.Time, m *Discovery) {
	if at := c.at(m); at.IsZero() || now.Before(at) {
		return
	}
	c.streams = make(map[machine.StreamID]*tcpTry)
	for i, s := range m.servers[:min(len(m.servers), maxTCPTries)] {
		id := machine.StreamID(i + 1)
		c.streams[id] = &tcpTry{}
		m.out.Push(machine.Transmit{Op: machine.Dial, Stream: id, Remote: s})
	}
}

func (c *tcpControl) notice(m *Discovery, n machine.Notice) {
	t := c.streams[n.Stream]
	if t == nil || t.ended {
		return
	}
	switch n.Kind {
	case machine.Connected:
		t.host = true
		id, err := wire.NewTransactionID(m.cfg.Secrets)
		if err != nil {
			return
		}
		t.id = id
		m.builder.Reset(wire.BindingRequest, id)
		m.out.Push(machine.Transmit{Op: machine.Write, Stream: n.Stream, Data: append([]byte(nil), m.builder.Bytes()...)})
	case machine.Received:
		t.in = append(t.in, n.Data...)
		if m.message.Decode(t.in) == nil {
			t.stun = m.message.IsResponse() && m.message.TransactionID() == t.id
		}
		if t.stun || len(t.in) > 1500 {
			t.ended = true
			m.out.Push(machine.Transmit{Op: machine.Reset, Stream: n.Stream})
		}
	case machine.Closed:
		t.ended = true
		t.host = t.host || m.cfg.refused(n.Err)
	}
}

// busy tells whether an answer may still come.
func (c *tcpControl) busy() bool {
	for _, t := range c.streams {
		if !t.ended {
			return true
		}
	}
	return false
}

// result is the best that any server did.
func (c *tcpControl) result() (host, stun bool) {
	for _, t := range c.streams {
		host, stun = host || t.host, stun || t.stun
	}
	return host, stun
}

func (c *tcpControl) close(m *Discovery) {
	for id := machine.StreamID(1); id <= maxTCPTries; id++ {
		if t := c.streams[id]; t != nil && !t.ended {
			t.ended = true
			m.out.Push(machine.Transmit{Op: machine.Reset, Stream: id})
		}
	}
}
