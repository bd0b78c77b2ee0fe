package punch_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// world is two peers behind NATs, a STUN server and a rendezvous, every one of them
// a machine. The access link of each peer is 25 ms long, the servers have none: a
// path round trip is 100 ms, and so is a signalling round trip, from peer to peer by
// way of the rendezvous and back.
type world struct {
	*simnet.World
	t      *testing.T
	stun   netip.AddrPort
	meet   netip.AddrPort
	peers  [2]*peer
	paired time.Time // when the rendezvous handed out the pairing
}

const (
	access = 25 * time.Millisecond
	rtt    = 4 * access
	local  = 40000 // the peers' UDP port, and the TCP port that they first reach the rendezvous from
)

// peer is a program that finds the other one in a room and punches.
type peer struct {
	*world
	site    *simnet.Site
	port    uint16 // of TCP
	id      *ident.Identity
	runner  *simnet.Runner // of what runs on the UDP port
	signal  *simnet.Runner // of the rendezvous client
	client  *rendezvous.ClientMachine
	punch   *punch.UDPMachine
	offered time.Time // when the peer's addresses came
	valid   time.Time // when the first path was usable
	events  []punch.UDPEvent

	// startTCP, if set, takes the place of UDP punching.
	startTCP func(now time.Time, peer []netip.AddrPort, secret []byte)
	talked   *talkative
}

// offer is what a peer tells the other one.
type offer struct{ UDP, TCP []netip.AddrPort }

// newWorld builds a world. loss is that of a path between the peers, each way.
func newWorld(t *testing.T, seed uint64, natA, natB string, loss float64) *world {
	t.Helper()
	w := &world{World: simnet.New(seed), t: t}
	link := simnet.Link{Delay: access, Loss: loss / 2} // two such links make a path
	server := w.AddHost("server", w.Internet(), simnet.Link{})
	w.stun = netip.AddrPortFrom(server.Addr(), 3478)
	w.meet = netip.AddrPortFrom(server.Addr(), 80)

	stun, err := stund.NewMachine([]netip.AddrPort{w.stun}, 0, seed)
	w.check(err)
	_, err = simnet.Run(server, stun, simnet.RunOptions{Sockets: []netip.AddrPort{w.stun}}, nil)
	w.check(err)
	meet, err := rendezvous.NewServerMachine(rendezvous.ServerConfig{Secrets: w.Secrets("rendezvous")})
	w.check(err)
	_, err = simnet.Run(server, meet, simnet.RunOptions{Listen: []netip.AddrPort{w.meet}, Messages: true},
		func(now time.Time, e rendezvous.ServerEvent) {
			if e.Kind == rendezvous.ServerPaired {
				w.paired = now
			}
		})
	w.check(err)
	for i, nat := range []string{natA, natB} {
		name := string('a' + rune(i))
		site, err := w.AddSite(name, nat, link)
		w.check(err)
		id, err := ident.NewIdentity(w.Secrets(name))
		w.check(err)
		w.peers[i] = &peer{world: w, site: site, port: local, id: id}
		w.peers[i].ask()
	}
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

func (p *peer) socket() simnet.RunOptions {
	return simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(p.site.Addr(), local)}}
}

func (p *peer) tcpAddr() netip.AddrPort { return netip.AddrPortFrom(p.site.Addr(), p.port) }

// ask finds out what address the peer's socket has outside.
func (p *peer) ask() {
	m, err := natprobe.NewReflexive([]netip.AddrPort{p.stun}, &natprobe.ReflexiveConfig{Secrets: p.Secrets(p.site.Name() + " stun")})
	p.check(err)
	addrs := []netip.AddrPort{netip.AddrPortFrom(p.site.Addr(), local)}
	p.runner, err = simnet.Run(p.site.Host, m, p.socket(), func(_ time.Time, e natprobe.ReflexiveEvent) {
		if e.Addr.IsValid() && e.Addr != addrs[0] {
			addrs = append(addrs, e.Addr)
		}
		if e.Last {
			p.After(0, func() { p.join(addrs) })
		}
	})
	p.check(err)
	p.runner.Do(func(now time.Time) { m.Start(now, addrs[0]) })
}

// join goes to the room with the addresses, and waits for the other's.
func (p *peer) join(addrs []netip.AddrPort) {
	var err error
	p.client, err = rendezvous.NewClientMachine(rendezvous.ClientConfig{
		Identity: p.id, Rand: rand.New(rand.NewPCG(p.Seed(), 1)),
	}, p.meet.String())
	p.check(err)
	p.signal, err = simnet.Run(p.site.Host, p.client, simnet.RunOptions{Messages: true}, func(now time.Time, e rendezvous.Event) {
		switch e := e.(type) {
		case rendezvous.Welcome:
			o := offer{UDP: addrs, TCP: []netip.AddrPort{p.tcpAddr()}}
			if e.Address != o.TCP[0] {
				o.TCP = append(o.TCP, e.Address)
			}
			data, err := json.Marshal(o)
			p.check(err)
			p.signal.Do(func(time.Time) { p.check(p.client.Join("room", data)) })
		case rendezvous.Paired:
			p.start(now, e)
		case rendezvous.Closed: // a sign-on that loss held up for too long
			if p.offered.IsZero() {
				p.port++ // the old connection may linger
				p.After(100*time.Millisecond, func() { p.join(addrs) })
			}
		}
	})
	p.check(err)
	p.signal.Connect(rendezvous.ClientStream, p.tcpAddr(), p.meet)
}

// start punches, from the same port.
func (p *peer) start(now time.Time, e rendezvous.Paired) {
	var o offer
	p.check(json.Unmarshal(e.Message, &o))
	secret, err := ident.DeriveSecret(p.id, e.Peer, "test")
	p.check(err)
	p.offered = now
	if p.startTCP != nil {
		p.startTCP(now, o.TCP, secret)
		return
	}
	p.punch, err = punch.NewUDPMachine(now, punch.UDPConfig{Peer: o.UDP, Secret: secret}, p.Secrets(p.site.Name()+" punch"))
	p.check(err)
	p.runner.Close()
	p.runner, err = simnet.Run(p.site.Host, p.punch, p.socket(), func(now time.Time, e punch.UDPEvent) {
		p.events = append(p.events, e)
		if e.Kind == punch.UDPValid && p.valid.IsZero() {
			p.valid = now
		}
	})
	p.check(err)
}

// last is the peer's last event of kind k, and whether there was one.
func (p *peer) last(k punch.UDPEventKind) (last punch.UDPEvent, ok bool) {
	for _, e := range p.events {
		if e.Kind == k {
			last, ok = e, true
		}
	}
	return last, ok
}

// settle runs the world until both peers agree, or one failed.
func (w *world) settle(d time.Duration) (direct bool) {
	w.RunUntil(d, func() bool {
		_, a := w.peers[0].last(punch.UDPAgreed)
		_, b := w.peers[1].last(punch.UDPAgreed)
		_, x := w.peers[0].last(punch.UDPFailed)
		_, y := w.peers[1].last(punch.UDPFailed)
		direct = a && b
		return direct || x || y
	})
	return direct
}
