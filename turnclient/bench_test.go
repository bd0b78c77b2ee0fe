package turnclient_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// relayOver returns an allocation over a stub, with peerA permitted and, if wanted, on
// a channel.
func relayOver(tb testing.TB, channel bool) (*turnclient.Allocation, *turntest.Stub) {
	tb.Helper()
	cfg := authed()
	cfg.Relay = relayIP
	s := turntest.NewStub(cfg)
	after := 1
	if !channel {
		after = -1
	}
	client, err := turnclient.Dial(context.Background(), turnclient.Config{
		Servers: []string{"turn:192.0.2.1?transport=udp"}, Credentials: creds, ChannelAfter: after,
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
		t.Skip("buffers are not pooled under the race detector; run it without -race")
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
				s.Inject(message)
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
				s.Inject(message)
				if _, _, err := relay.ReadFromUDPAddrPort(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
