package ice

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/wire"
)

// socketTap is a UDP socket, or a relayed address, with whom the data is for that comes
// from each peer.
type socketTap struct {
	*tap.Socket

	mu    sync.RWMutex
	peers map[netip.AddrPort]*Agent
}

func newSocketTap(pc net.PacketConn) (*socketTap, error) {
	s := &socketTap{peers: make(map[netip.AddrPort]*Agent)}
	var err error
	s.Socket, err = tap.NewSocket(pc, s.take)
	return s, err
}

func (s *socketTap) take(b []byte, m netio.Meta) bool {
	if wire.IsSTUN(b) {
		return false
	}
	s.mu.RLock()
	a := s.peers[m.Remote]
	s.mu.RUnlock()
	if a == nil {
		return false
	}
	a.deliver(m.Remote, b)
	return true
}

// route makes a the one that data of remote is for; nil: nobody is.
func (s *socketTap) route(remote netip.AddrPort, a *Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a == nil {
		delete(s.peers, remote)
	} else {
		s.peers[remote] = a
	}
}

// streamTap is a TCP connection with whom its data is for.
type streamTap struct {
	*tap.Stream
	peer atomic.Pointer[Agent]
}

// tapStream taps a connection, by whose addresses the loop's events name it.
func (e *Endpoint) tapStream(c net.Conn) *tap.Stream {
	s := new(streamTap)
	key := streamKey{netio.AddrPortOf(c.LocalAddr()), netio.AddrPortOf(c.RemoteAddr())}
	s.Stream = tap.NewStream(c, func(frame []byte) bool {
		a := s.peer.Load()
		if a == nil || wire.IsSTUN(frame) {
			return false
		}
		a.deliver(key.remote, frame)
		return true
	}, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.streams[key] == s {
			delete(e.streams, key)
		}
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[key] = s
	return s.Stream
}

// outlet is where an agent's data leaves by, and from.
type outlet struct {
	tap.Outlet
	local netip.AddrPort
}
