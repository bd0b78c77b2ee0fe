package natsbus

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// member is a client that wants to be in a room with another one, whatever
// happens: it signs on again when it is sent away, and joins again when it is told.
type member struct {
	c       *cloud
	id      *ident.Identity
	room    string
	node    *simNode
	stream  machine.StreamID
	machine *rendezvous.ClientMachine
	away    bool // it wants to be in no room any more
	once    bool // it does not sign on again
	paired  ident.PeerID
	times   int // pairings on this connection
	pairs   int // in all
	refused map[rendezvous.Code]int
}

func (c *cloud) addMember(id byte, room string) *member {
	var seed [32]byte
	seed[0] = id
	who, err := ident.NewIdentity(rand.NewChaCha8(seed))
	if err != nil {
		c.t.Fatal(err)
	}
	m := &member{c: c, id: who, room: room, refused: map[rendezvous.Code]int{}}
	c.members = append(c.members, m)
	m.dial()
	return m
}

// dial signs on at some node that is not known to be dead, and has been up: before, New
// has not returned it.
func (m *member) dial() {
	c := m.c
	n := c.nodes[c.rand.IntN(len(c.nodes))]
	if n.dead || !n.began {
		c.after(100*time.Millisecond, m.dial)
		return
	}
	var err error
	m.machine, err = rendezvous.NewClientMachine(rendezvous.ClientConfig{Identity: m.id, PingInterval: 20 * time.Second, Rand: c.rand}, "host")
	if err != nil {
		c.t.Fatal(err)
	}
	n.last++
	m.node, m.stream, m.paired, m.times = n, machine.AcceptedBase+n.last, ident.PeerID{}, 0
	n.clients[m.stream] = m
	m.machine.HandleNotice(c.now, machine.Notice{Kind: machine.Connected})
	n.server.HandleNotice(c.now, machine.Notice{Kind: machine.Accepted, Stream: m.stream, Remote: netip.MustParseAddrPort("192.0.2.1:1")})
	n.pump()
	m.ping(m.stream)
}

// ping keeps the connection from being idle.
func (m *member) ping(stream machine.StreamID) {
	m.c.after(10*time.Second, func() {
		if m.stream == stream && m.machine != nil {
			m.machine.HandleTimeout(m.c.now)
			m.pump()
			m.ping(stream)
		}
	})
}

func (m *member) receive(n *simNode, stream machine.StreamID, data []byte) {
	if m.node == n && m.stream == stream && m.machine != nil {
		m.machine.HandleNotice(m.c.now, machine.Notice{Kind: machine.Received, Data: data})
		m.pump()
	}
}

// lost is the end of a connection.
func (m *member) lost(n *simNode, stream machine.StreamID, why *rendezvous.CloseError) {
	if m.node != n || m.stream != stream || m.machine == nil {
		return
	}
	if why != nil && why.Code != rendezvous.CodeCutOff && !m.once {
		m.c.t.Errorf("member %s was sent away: %v", m.id.ID().Short(), why)
	}
	m.machine, m.paired = nil, ident.PeerID{}
	if !m.once && !m.away {
		m.c.after(m.c.between(50*time.Millisecond, 500*time.Millisecond), m.dial)
	}
}

func (m *member) join() {
	if m.machine != nil && !m.away {
		_ = m.machine.Join(m.room, []byte(m.room)) // fails before the welcome only, which joins
		m.pump()
	}
}

// pump carries out what the client wants.
func (m *member) pump() {
	if m.machine == nil {
		return
	}
	n, stream := m.node, m.stream
	machine.Drain(m.machine, func(t machine.Transmit) {
		m.c.after(0, func() {
			if n.dead || n.clients[stream] == nil {
				return
			}
			kind := machine.Received
			if t.Op == machine.Close {
				kind = machine.Closed
				delete(n.clients, stream)
			}
			n.server.HandleNotice(m.c.now, machine.Notice{Kind: kind, Stream: stream, Data: t.Data})
			n.pump()
		})
	}, m.event)
}

func (m *member) event(e rendezvous.Event) {
	switch e := e.(type) {
	case rendezvous.Welcome:
		m.c.after(0, m.join)
	case rendezvous.Paired:
		m.paired = e.Peer
		m.times++
		m.pairs++
	case rendezvous.PeerLeft:
		if m.paired == e.Peer {
			m.paired = ident.PeerID{}
		}
	case *rendezvous.Error:
		m.refused[e.Code]++
		if e.Room != "" {
			m.paired = ident.PeerID{}
			m.c.after(m.c.between(20*time.Millisecond, 200*time.Millisecond), m.join)
		}
	}
}
