package peerbench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const payloadSize = 1200

var (
	peer      = netip.MustParseAddrPort("198.51.100.7:7000")
	turnCreds = turnclient.Credentials{Username: "user", Password: "password"}
	turnCfg   = turntest.Config{
		Relay: netip.MustParseAddr("192.0.2.1"), Realm: "example.org",
		Users: map[string]string{turnCreds.Username: turnCreds.Password},
	}
)

// party is a client with a relayed address over a stubbed socket, and peer on a channel:
// what is measured is the client alone.
type party struct {
	name  string
	stub  *turntest.Stub
	write func(payload []byte) error
	read  func(buf []byte) (int, error)
}

// overPacketConn is a party whose relay is used as any net.PacketConn is.
func overPacketConn(name string, stub *turntest.Stub, relay net.PacketConn) party {
	to := net.UDPAddrFromAddrPort(peer)
	return party{name, stub, func(b []byte) error {
		_, err := relay.WriteTo(b, to)
		return err
	}, func(b []byte) (int, error) {
		n, _, err := relay.ReadFrom(b)
		return n, err
	}}
}

// parties are our client, by the methods that take a netip.AddrPort; the same one, by
// those of a net.PacketConn; and pion/turn's, which has no others.
func parties(tb testing.TB) (ours, oursNetAddr, pions party) {
	tb.Helper()
	stub := turntest.NewStub(turnCfg)
	client, err := turnclient.Dial(tb.Context(), turnclient.Config{
		Servers: []string{"turn:" + turntest.StubServer.String() + "?transport=udp"}, Credentials: turnCreds, ChannelAfter: 1,
		ListenPacket: func(context.Context, string, string) (net.PacketConn, error) { return stub, nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
	relay, err := client.Allocate(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if err := relay.Permit(tb.Context(), peer.Addr()); err != nil {
		tb.Fatal(err)
	}
	ours = party{"ours", stub, func(b []byte) error {
		_, err := relay.WriteToUDPAddrPort(b, peer)
		return err
	}, func(b []byte) (int, error) {
		n, _, err := relay.ReadFromUDPAddrPort(b)
		return n, err
	}}
	ours.awaitChannel(tb)
	return ours, overPacketConn("ours-netaddr", stub, relay), pionParty(tb)
}

func pionParty(tb testing.TB) party {
	tb.Helper()
	stub := turntest.NewStub(turnCfg)
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: turntest.StubServer.String(), Conn: stub,
		Username: turnCreds.Username, Password: turnCreds.Password,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		tb.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := relay.Close(); err != nil {
			tb.Error(err)
		}
		client.Close()
		stub.Close()
	})
	p := overPacketConn("pion", stub, relay)
	p.awaitChannel(tb)
	return p
}

// awaitChannel writes until it is done by ChannelData.
func (p party) awaitChannel(tb testing.TB) {
	tb.Helper()
	for late := time.Now().Add(10 * time.Second); !p.stub.Channels(); runtime.Gosched() {
		if err := p.write([]byte("x")); err != nil {
			tb.Fatal(err)
		}
		if time.Now().After(late) {
			tb.Fatalf("%s bound no channel", p.name)
		}
	}
}

// channelData is what the server sends for a datagram of peer. Both clients give their
// first channel the first number.
func channelData(tb testing.TB) []byte {
	tb.Helper()
	b, err := wire.AppendChannelData(nil, wire.MinChannel, make([]byte, payloadSize), false)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// roundIn brings n datagrams in and reads them.
func (p party) roundIn(tb testing.TB, n int, message, buf []byte) {
	for range n {
		p.stub.Inject(message)
	}
	for range n {
		if got, err := p.read(buf); err != nil || got != payloadSize {
			tb.Fatal(p.name, got, err)
		}
	}
}

func (p party) roundOut(tb testing.TB, n int, payload []byte) {
	for range n {
		if err := p.write(payload); err != nil {
			tb.Fatal(p.name, err)
		}
	}
}

// Our client allocates nothing for a datagram, either way. What pion's does is logged.
func TestTURNAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("buffers are not pooled under the race detector; run it without -race")
	}
	ours, oursNetAddr, pions := parties(t)
	message, payload, buf := channelData(t), make([]byte, payloadSize), make([]byte, 2*payloadSize)
	for _, p := range []party{ours, oursNetAddr, pions} {
		out := testing.AllocsPerRun(1000, func() { p.roundOut(t, 1, payload) })
		in := testing.AllocsPerRun(1000, func() { p.roundIn(t, 1, message, buf) })
		t.Logf("%s: %v allocations a datagram out, %v in", p.name, out, in)
		if p.name == "ours" && (out != 0 || in != 0) {
			t.Error("want none")
		}
	}
}

// handOver is no client: a goroutine that reads the stub and hands over what comes. Its
// time is what the harness takes by itself.
func handOver(tb testing.TB) party {
	stub := turntest.NewStub(turnCfg)
	message := channelData(tb)
	read := make(chan int, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2*payloadSize)
		for {
			n, _, err := stub.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			read <- n - wire.ChannelDataHeaderSize
		}
	})
	tb.Cleanup(func() {
		stub.Close()
		wg.Wait()
	})
	return party{"harness", stub, func([]byte) error {
		_, err := stub.WriteToUDPAddrPort(message, turntest.StubServer)
		return err
	}, func([]byte) (int, error) { return <-read, nil }}
}

// compare measures rounds of n datagrams of each party in turn, so that what else the
// machine does falls upon all of them alike. It reports what a datagram takes with each
// in the median round, and the ratio of ours to pion's, both as it is and without the
// harness.
func compare(b *testing.B, n int, round func(party)) {
	ours, oursNetAddr, pions := parties(b)
	all := []party{ours, oursNetAddr, pions, handOver(b)}
	spent := make([][]time.Duration, len(all))
	for b.Loop() {
		for i, p := range all {
			began := time.Now()
			round(p)
			spent[i] = append(spent[i], time.Since(began))
		}
	}
	b.ReportMetric(0, "ns/op") // that of all together says nothing
	each := make([]float64, len(all))
	for i, p := range all {
		slices.Sort(spent[i])
		each[i] = float64(spent[i][len(spent[i])/2].Nanoseconds()) / float64(n)
		b.ReportMetric(each[i], p.name+"-ns/packet")
	}
	b.ReportMetric(each[0]/each[2], "ours/pion")
	b.ReportMetric((each[0]-each[3])/(each[2]-each[3]), "ours/pion-without-harness")
}

func BenchmarkTURNWrite(b *testing.B) {
	const n = 256
	payload := make([]byte, payloadSize)
	compare(b, n, func(p party) { p.roundOut(b, n, payload) })
}

// BenchmarkTURNRead reads bursts, and single datagrams, each of which wakes the client's
// goroutine and the reader's.
func BenchmarkTURNRead(b *testing.B) {
	message, buf := channelData(b), make([]byte, 2*payloadSize)
	for _, n := range []int{64, 1} {
		b.Run(fmt.Sprint("burst-of-", n), func(b *testing.B) {
			compare(b, n, func(p party) { p.roundIn(b, n, message, buf) })
		})
	}
}
