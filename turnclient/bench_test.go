package turnclient_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// stub is a socket with a TURN server inside: what costs is the client alone. Requests
// are answered; data is dropped, and injected at will.
type stub struct {
	mu     sync.Mutex
	server *turntest.Server

	in     chan []byte
	closed chan struct{}
	once   sync.Once
}

func newStub() *stub {
	cfg := authed()
	cfg.Relay = relayIP
	return &stub{server: turntest.NewServer(cfg, rand.NewChaCha8([32]byte{})), in: make(chan []byte, 1024), closed: make(chan struct{})}
}

var stubLocal = netip.MustParseAddrPort("10.0.0.1:40000")

func (s *stub) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if len(b) > 0 && b[0] >= 4 || len(b) > 1 && b[0] == 0 && b[1] == 0x16 {
		return len(b), nil // data
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.HandleDatagram(time.Now(), machine.Datagram{Local: serverAddr, Remote: stubLocal, Data: b})
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
		s.server.HandleNotice(time.Now(), machine.Notice{Kind: machine.SocketOpened, Socket: id, Local: netip.AddrPortFrom(relayIP, 50000)})
		drain()
	}
	return len(b), nil
}

func (s *stub) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-s.in:
		return copy(b, m), serverAddr, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *stub) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errors.ErrUnsupported }
func (s *stub) WriteTo([]byte, net.Addr) (int, error)  { return 0, errors.ErrUnsupported }
func (s *stub) LocalAddr() net.Addr                    { return net.UDPAddrFromAddrPort(stubLocal) }
func (s *stub) SetDeadline(time.Time) error            { return nil }
func (s *stub) SetReadDeadline(time.Time) error        { return nil }
func (s *stub) SetWriteDeadline(time.Time) error       { return nil }
func (s *stub) Close() error                           { s.once.Do(func() { close(s.closed) }); return nil }

// relayOver returns an allocation over a stub, with peerA permitted and, if wanted, on
// a channel.
func relayOver(tb testing.TB, channel bool) (*turnclient.Allocation, *stub) {
	tb.Helper()
	s := newStub()
	after := 1
	if !channel {
		after = -1
	}
	client, err := turnclient.Dial(context.Background(), turnclient.Config{
		Servers: []string{"turn:192.0.2.1"}, Credentials: creds, ChannelAfter: after,
		ListenPacket: func(context.Context, string, string) (net.PacketConn, error) { return s, nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
	relay, err := client.Allocate(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	if err := relay.Permit(context.Background(), peerA.Addr()); err != nil {
		tb.Fatal(err)
	}
	if _, err := relay.WriteToUDPAddrPort([]byte("x"), peerA); err != nil {
		tb.Fatal(err)
	}
	for channel {
		if e := <-relay.Events(); e.Kind == turnclient.EventChannel {
			break
		}
	}
	return relay, s
}

func dataTo(channel bool, payload []byte) []byte {
	if channel {
		b, _ := wire.AppendChannelData(nil, wire.MinChannel, payload, false)
		return b
	}
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, wire.TransactionID{})
	b.AddXORAddress(wire.AttrXORPeerAddress, peerA)
	b.AddRaw(wire.AttrData, payload)
	return b.Bytes()
}

var framings = map[string]bool{"channel": true, "indication": false}

func TestNoAllocationsEitherWay(t *testing.T) {
	if raceEnabled {
		t.Skip("buffers are not pooled under the race detector")
	}
	for name, channel := range framings {
		t.Run(name, func(t *testing.T) {
			relay, s := relayOver(t, channel)
			payload, buf := make([]byte, 1200), make([]byte, 1500)
			if n := testing.AllocsPerRun(1000, func() {
				if _, err := relay.WriteToUDPAddrPort(payload, peerA); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations a datagram out", n)
			}
			message := dataTo(channel, payload)
			if n := testing.AllocsPerRun(1000, func() {
				s.in <- message
				if n, from, err := relay.ReadFromUDPAddrPort(buf); n != len(payload) || from != peerA || err != nil {
					t.Fatal(n, from, err)
				}
			}); n != 0 {
				t.Errorf("%v allocations a datagram in", n)
			}
			relay.SetReadDeadline(time.Now().Add(-time.Second))
			if _, _, err := relay.ReadFromUDPAddrPort(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, channel := range framings {
		b.Run(name, func(b *testing.B) {
			relay, _ := relayOver(b, channel)
			payload := make([]byte, 1200)
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := relay.WriteToUDPAddrPort(payload, peerA); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for name, channel := range framings {
		b.Run(name, func(b *testing.B) {
			relay, s := relayOver(b, channel)
			message, buf := dataTo(channel, make([]byte, 1200)), make([]byte, 1500)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				s.in <- message
				if _, _, err := relay.ReadFromUDPAddrPort(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
