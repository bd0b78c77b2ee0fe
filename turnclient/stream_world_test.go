package turnclient_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// echoPeer is a machine that sends back what comes on its streams, and dials one.
type echoPeer struct {
	dial netip.AddrPort // on the first timeout
	say  []byte
	out  machine.Queue[machine.Transmit]
	got  []byte // on the stream that it dialled
	at   time.Time
}

func (p *echoPeer) HandleDatagram(time.Time, machine.Datagram) {}

func (p *echoPeer) HandleTimeout(time.Time) {
	p.at = time.Time{}
	p.out.Push(machine.Transmit{Op: machine.Dial, Stream: 1, Remote: p.dial})
	p.out.Push(machine.Transmit{Op: machine.Write, Stream: 1, Data: p.say})
}

func (p *echoPeer) NextTimeout() time.Time                 { return p.at }
func (p *echoPeer) PollTransmit() (machine.Transmit, bool) { return p.out.Pop() }
func (p *echoPeer) PollEvent() (struct{}, bool)            { return struct{}{}, false }

func (p *echoPeer) HandleNotice(_ time.Time, n machine.Notice) {
	switch {
	case n.Kind == machine.Received && n.Stream == 1:
		p.got = append(p.got, n.Data...)
	case n.Kind == machine.Received:
		p.out.Push(machine.Transmit{Op: machine.Write, Stream: n.Stream, Data: bytes.Clone(n.Data)})
	}
}

// A whole world of machines: the client behind a NAT that lets no UDP out, the server, and
// a peer that is connected to and connects. The same seed gives the same packets.
func TestTCPRelayWorldReplays(t *testing.T) {
	const size = 100_000
	run := func(seed uint64) (hash string, at time.Time) {
		w := simnet.New(seed)
		link := simnet.Link{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.02}
		ip := netip.MustParseAddr("192.0.2.1")
		host := w.AddHost("turn", w.Internet(), link, ip)
		site, err := w.AddSite("client", "udp-blocked", link)
		if err != nil {
			t.Fatal(err)
		}
		peerHost := w.AddHost("peer", w.Internet(), link)
		cfg := authed()
		cfg.Relay, cfg.RelayTCP = ip, simRelays
		server := turntest.NewServer(cfg, w.Secrets("turn"))
		if _, err := simnet.Run(host, server, simnet.RunOptions{Listen: append([]netip.AddrPort{serverAddr}, simRelays...)}, nil); err != nil {
			t.Fatal(err)
		}
		peer := &echoPeer{say: noise(size)}
		peerRun, err := simnet.Run(peerHost, peer, simnet.RunOptions{Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 80)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := turnclient.NewMachine(turnclient.MachineConfig{Servers: overTCP, Credentials: creds}, rand.New(rand.NewPCG(seed, 1)), w.Secrets("client"))
		if err != nil {
			t.Fatal(err)
		}
		var id turnclient.AllocationID
		var dialled turnclient.ConnID
		var back []byte // echoed by the peer
		finished := func() bool { return len(back) == size && len(peer.got) == size }
		r, err := simnet.Run(site.Host, m, simnet.RunOptions{}, func(now time.Time, e turnclient.Event) {
			switch e.Kind {
			case turnclient.EventAllocated:
				peer.dial = e.Relayed[0]
				if dialled, err = m.Connect(now, id, netip.AddrPortFrom(peerHost.Addr(), 80)); err != nil {
					t.Error(err)
				}
				if err := errors.Join(m.Permit(now, id, peerHost.Addr()), m.Listen(now, id)); err != nil {
					t.Error(err)
				}
			case turnclient.EventConnected:
				if !e.Incoming {
					err = m.WriteConn(now, e.Conn, noise(size))
					peerRun.Do(func(now time.Time) { peer.at = now })
				}
				if err != nil {
					t.Error(err)
				}
			case turnclient.EventConnData:
				if e.Conn == dialled {
					back = append(back, e.Data...)
				} else if err := m.WriteConn(now, e.Conn, e.Data); err != nil {
					t.Error(err)
				}
			case turnclient.EventConnEnded:
				if errors.Is(e.Err, turnclient.ErrClosed) {
					return // at the end
				}
				t.Errorf("seed %d: connection %d: %v", seed, e.Conn, e.Err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Do(func(now time.Time) {
			if id, err = m.AllocateTCP(now); err != nil {
				t.Fatal(err)
			}
		})
		if !w.RunUntil(time.Minute, finished) || !bytes.Equal(back, noise(size)) || !bytes.Equal(peer.got, peer.say) {
			t.Fatalf("seed %d: %d bytes came back, and %d to the peer", seed, len(back), len(peer.got))
		}
		if server.ConnectionsMade != 2 {
			t.Errorf("seed %d: %d connections", seed, server.ConnectionsMade)
		}
		at = w.Now()
		r.Do(func(now time.Time) { m.Close(now, id) })
		w.Run(5 * time.Second)
		if n := server.Allocations(w.Now()) + len(server.Peers()); n != 0 {
			t.Errorf("seed %d: %d allocations and connections are left", seed, n)
		}
		return w.TraceHash(), at
	}
	for seed := range uint64(5) {
		hash, at := run(seed)
		if again, at2 := run(seed); again != hash || !at.Equal(at2) {
			t.Errorf("seed %d: %s, then %s", seed, hash, again)
		}
	}
}
