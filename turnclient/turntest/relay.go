package turntest

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// message takes in what a client sent.
func (s *Server) message(now time.Time, from client, b []byte) {
	if len(b) > 0 && b[0] >= 4 {
		s.ChannelData++
		number, data, err := wire.DecodeChannelData(b)
		if a := s.sender(now, from); err == nil && a != nil {
			if c := a.numbers[number]; c != nil && c.until.After(now) {
				s.toPeer(now, a, c.peer, data, false)
			}
		}
		return
	}
	m := &s.msg
	if m.Decode(b) != nil {
		return
	}
	switch {
	case m.Class() == wire.Request:
		s.Requests[m.Method()]++
		s.request(now, from, m)
	case m.Class() == wire.Indication && m.Method() == wire.Binding:
		s.Indications++
	case m.Class() == wire.Indication && m.Method() == wire.Send:
		s.Sends++
		peer, ok := m.XORPeerAddress()
		data, has := m.Get(wire.AttrData)
		if a := s.sender(now, from); a != nil && ok && has && !(s.NoDontFragment && m.Has(wire.AttrDontFragment)) {
			s.toPeer(now, a, peer, data, m.Has(wire.AttrDontFragment))
		}
	}
}

// find returns the allocation of a 5-tuple that has not expired, or nil.
func (s *Server) find(now time.Time, c client) *allocation {
	a := s.allocs[c]
	if a != nil && !a.expires.After(now) {
		s.drop(a)
		return nil
	}
	return a
}

// sender is find for data. It is taken from where an allocation was before it moved until
// some comes from where it is now (RFC 8016 section 3.2.2).
func (s *Server) sender(now time.Time, c client) *allocation {
	if a := s.former[c]; a != nil && a.expires.After(now) {
		return a
	}
	a := s.find(now, c)
	if a != nil {
		s.settle(a)
	}
	return a
}

// settle ends the use of where an allocation was before it moved.
func (s *Server) settle(a *allocation) {
	if a.former != nil {
		delete(s.former, *a.former)
		a.former = nil
	}
}

// receiver is where data for the client goes.
func (a *allocation) receiver() client {
	if a.former != nil {
		return *a.former
	}
	return a.client
}

func (s *Server) toPeer(now time.Time, a *allocation, peer netip.AddrPort, data []byte, df bool) {
	if !a.permits[peer.Addr()].After(now) {
		return
	}
	for _, r := range a.relays {
		if r.addr.Addr().Is4() == peer.Addr().Is4() {
			s.out.Push(machine.Transmit{Op: machine.Send, Socket: r.socket, Remote: peer, Data: append([]byte(nil), data...), DontFragment: df})
		}
	}
}

func (s *Server) fromPeer(now time.Time, r *relay, peer netip.AddrPort, data []byte) {
	a := s.find(now, r.a.client)
	if a == nil || !a.permits[peer.Addr()].After(now) {
		return
	}
	if c := a.peers[peer]; c != nil && c.until.After(now) {
		b, err := wire.AppendChannelData(nil, c.number, data, a.receiver().isStream())
		if err == nil {
			s.send(a.receiver(), b)
		}
		return
	}
	s.b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, s.id())
	s.b.AddXORAddress(wire.AttrXORPeerAddress, peer)
	s.b.AddRaw(wire.AttrData, data)
	s.send(a.receiver(), s.b.Bytes())
}
