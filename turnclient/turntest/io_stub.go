package turntest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// Where a Stub and the server behind it are.
var (
	StubLocal  = netip.MustParseAddrPort("10.0.0.1:40000")
	StubServer = netip.MustParseAddrPort("192.0.2.1:3478")
)

// Stub is a UDP socket with a Server right behind it: what a benchmark measures over it
// is the client alone. Requests are answered, data is dropped, and what Inject is given
// is read. It has both shapes of a *net.UDPConn's methods, which may be called from any
// goroutine.
type Stub struct {
	mu     sync.Mutex
	server *Server // guarded by mu

	in       chan []byte
	closed   chan struct{}
	once     sync.Once
	remote   net.Addr
	channels atomic.Bool // ChannelData has come
}

// NewStub returns a Stub. cfg.Relay must be set.
func NewStub(cfg Config) *Stub {
	return &Stub{
		server: NewServer(cfg, rand.NewChaCha8([32]byte{})), remote: net.UDPAddrFromAddrPort(StubServer),
		in: make(chan []byte, 1024), closed: make(chan struct{}),
	}
}

// Inject makes the stub read b, which must not be changed before it has been read. It
// waits while 1,024 others have not been.
func (s *Stub) Inject(b []byte) { s.in <- b }

// Channels reports whether the client has sent ChannelData.
func (s *Stub) Channels() bool { return s.channels.Load() }

// WriteToUDPAddrPort takes in what the client sends.
func (s *Stub) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	switch {
	case len(b) > 0 && b[0] >= 4:
		if !s.channels.Load() {
			s.channels.Store(true)
		}
		return len(b), nil
	case len(b) > 1 && b[0] == 0 && b[1] == 0x16: // Send
		return len(b), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.HandleDatagram(time.Now(), machine.Datagram{Local: StubServer, Remote: StubLocal, Data: b})
	var opened []machine.SocketID
	transmit := func(t machine.Transmit) {
		switch t.Op {
		case machine.OpenSocket:
			opened = append(opened, t.Socket)
		case machine.Send:
			s.in <- t.Data
		}
	}
	drain := func() { machine.Drain(s.server, transmit, func(struct{}) {}) }
	drain()
	for _, id := range opened {
		local := netip.AddrPortFrom(s.server.Relay, 50000)
		s.server.HandleNotice(time.Now(), machine.Notice{Kind: machine.SocketOpened, Socket: id, Local: local})
		drain()
	}
	return len(b), nil
}

// WriteTo is WriteToUDPAddrPort; all goes to the server.
func (s *Stub) WriteTo(b []byte, _ net.Addr) (int, error) {
	return s.WriteToUDPAddrPort(b, StubServer)
}

// ReadFromUDPAddrPort reads an answer of the server, or what was injected. The error is
// net.ErrClosed.
func (s *Stub) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-s.in:
		return copy(b, m), StubServer, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// ReadFrom is ReadFromUDPAddrPort. It allocates nothing.
func (s *Stub) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := s.ReadFromUDPAddrPort(b)
	return n, s.remote, err
}

// LocalAddr returns StubLocal.
func (s *Stub) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(StubLocal) }

// SetDeadline does nothing: no write waits, and whoever reads ends by Close.
func (s *Stub) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *Stub) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *Stub) SetWriteDeadline(time.Time) error { return nil }

// Close ends reads.
func (s *Stub) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
