package interop_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl/turnclient"
)

// Datagrams relayed on loopback: of so many bytes, so many under way at a time.
const (
	relayPayload = 1200
	relayWindow  = 32
	relayRound   = 512
)

// BenchmarkCoturn sends through coturn, by our client and by pion/turn's, both on a
// channel, and through a process that only forwards, in turn. It reports the throughput
// of each in the median round and the ratio to the forwarder's.
func BenchmarkCoturn(b *testing.B) {
	need(b, "turnserver", "coturn", true)
	for _, c := range []struct {
		name string
		in   bool // from the peer to the client
	}{{"out", false}, {"in", true}} {
		b.Run(c.name, func(b *testing.B) {
			server := newTurnserver(b)
			ways := []*way{throughForwarder(b), oursThrough(b, server), pionsThrough(b, server)}
			payload := make([]byte, relayPayload)
			for _, w := range ways {
				if c.in {
					w.client, w.peer = w.peer, w.client
				}
				w.listen()
			}
			for b.Loop() {
				for _, w := range ways {
					w.round(b, payload)
				}
			}
			b.ReportMetric(0, "ns/op") // that of all together says nothing
			lost := 0
			for _, w := range ways {
				b.ReportMetric(8*relayPayload*relayRound/w.median().Seconds()/1e6, w.name+"-Mbit/s")
				if w != ways[0] {
					b.ReportMetric(float64(ways[0].median())/float64(w.median()), w.name+"/forwarder")
				}
				lost += w.lost
			}
			b.ReportMetric(float64(lost), "lost")
		})
	}
}

// way is one through something in the middle, from client to peer.
type way struct {
	name         string
	client, peer end
	room         chan struct{} // a token for each datagram that may be sent
	lost         int
	spent        []time.Duration // on each round
}

func (w *way) median() time.Duration {
	slices.Sort(w.spent)
	return w.spent[len(w.spent)/2]
}

// end is one end of a way.
type end struct {
	send    func(b []byte) error
	receive func(b []byte) error
}

// udpEnd is a socket that has its other end at to.
func udpEnd(pc *net.UDPConn, to netip.AddrPort) end {
	return end{func(b []byte) error {
		_, err := pc.WriteToUDPAddrPort(b, to)
		return err
	}, func(b []byte) error {
		_, _, err := pc.ReadFromUDPAddrPort(b)
		return err
	}}
}

// listen has the peer take in what comes, until its socket is closed.
func (w *way) listen() {
	w.room = make(chan struct{}, relayWindow)
	for range relayWindow {
		w.room <- struct{}{}
	}
	go func() {
		buf := make([]byte, 2000)
		for w.peer.receive(buf) == nil {
			select {
			case w.room <- struct{}{}:
			default: // it was taken for lost
			}
		}
	}()
}

// arrive waits until there is room for another datagram.
func (w *way) arrive() {
	select {
	case <-w.room:
		return
	default:
	}
	select {
	case <-w.room:
	case <-time.After(200 * time.Millisecond):
		w.lost++
	}
}

// round sends a round of datagrams and waits for the last to arrive.
func (w *way) round(b *testing.B, payload []byte) {
	began := time.Now()
	for range relayRound {
		w.arrive()
		if err := w.client.send(payload); err != nil {
			b.Fatalf("%s: %v", w.name, err)
		}
	}
	for range relayWindow {
		w.arrive()
	}
	w.spent = append(w.spent, time.Since(began))
	for len(w.room) < relayWindow {
		w.room <- struct{}{}
	}
}

func loopbackUDP(tb testing.TB) (*net.UDPConn, netip.AddrPort) {
	tb.Helper()
	pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { pc.Close() })
	return pc, pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func oursThrough(b *testing.B, server *turnserver) *way {
	pc, at := loopbackUDP(b)
	_, relay := allocate(b, server.config("udp"))
	if _, err := relay.WriteToUDPAddrPort([]byte("x"), at); err != nil {
		b.Fatal(err)
	}
	awaitEvent(b, relay, turnclient.EventChannel)
	awaitDatagram(b, pc)
	return &way{name: "ours", client: end{func(p []byte) error {
		_, err := relay.WriteToUDPAddrPort(p, at)
		return err
	}, func(p []byte) error {
		_, _, err := relay.ReadFromUDPAddrPort(p)
		return err
	}}, peer: udpEnd(pc, relay.RelayedAddr())}
}

func pionsThrough(b *testing.B, server *turnserver) *way {
	pc, at := loopbackUDP(b)
	base, _ := loopbackUDP(b)
	var in, out atomic.Int64
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: fmt.Sprint("127.0.0.1:", server.port), Conn: frames{base, &in, &out},
		Username: turnUser.Username, Password: turnUser.Password,
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		b.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		relay.Close()
		client.Close()
	})
	to := net.UDPAddrFromAddrPort(at)
	for out.Load() == 0 { // there is no other sign of a channel
		if _, err := relay.WriteTo([]byte("x"), to); err != nil {
			b.Fatal(err)
		}
		awaitDatagram(b, pc)
	}
	return &way{name: "pion", client: end{func(p []byte) error {
		_, err := relay.WriteTo(p, to)
		return err
	}, func(p []byte) error {
		_, _, err := relay.ReadFrom(p)
		return err
	}}, peer: udpEnd(pc, relay.LocalAddr().(*net.UDPAddr).AddrPort())}
}

func awaitDatagram(b *testing.B, pc *net.UDPConn) {
	b.Helper()
	pc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, _, err := pc.ReadFromUDPAddrPort(make([]byte, 2000)); err != nil {
		b.Fatal(err)
	}
	pc.SetReadDeadline(time.Time{})
}

// throughForwarder starts this program once more, as a forwarder: a process of its own,
// as coturn is.
func throughForwarder(b *testing.B) *way {
	client, clientAt := loopbackUDP(b)
	peer, peerAt := loopbackUDP(b)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%v %v", forwardBetween, clientAt, peerAt))
	stdin, err := cmd.StdinPipe() // its end ends the process
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	var front, back string
	if _, err := fmt.Fscan(stdout, &front, &back); err != nil {
		b.Fatal(err)
	}
	return &way{
		name: "forwarder", client: udpEnd(client, netip.MustParseAddrPort(front)), peer: udpEnd(peer, netip.MustParseAddrPort(back)),
	}
}

// forwardBetween holds the two addresses between which the program is to forward.
const forwardBetween = "INTEROP_FORWARD"

func TestMain(m *testing.M) {
	var client, peer string
	if n, _ := fmt.Sscan(os.Getenv(forwardBetween), &client, &peer); n == 2 {
		if err := forward(netip.MustParseAddrPort(client), netip.MustParseAddrPort(peer)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// forward sends what comes from one address on to the other, until standard input ends.
func forward(client, peer netip.AddrPort) error {
	var sockets [2]*net.UDPConn
	for i := range sockets {
		pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			return err
		}
		defer pc.Close()
		sockets[i] = pc
	}
	pipe := func(from, to *net.UDPConn, at netip.AddrPort) {
		buf := make([]byte, 2000)
		for {
			n, _, err := from.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			to.WriteToUDPAddrPort(buf[:n], at)
		}
	}
	go pipe(sockets[0], sockets[1], peer)
	go pipe(sockets[1], sockets[0], client)
	fmt.Println(sockets[0].LocalAddr(), sockets[1].LocalAddr())
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
