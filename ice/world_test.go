package ice_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
)

// world is two agents behind NATs and a STUN server, every one of them a machine. An
// access link is 25 ms long, the server has none: a path round trip is 100 ms, and so is
// one of the signalling, which is only a delay.
type world struct {
	*simnet.World
	t      *testing.T
	stun   netip.AddrPort
	turn   netip.AddrPort // not valid: there is no TURN server
	tcp    []ice.TCPType  // bases of each peer, in place of UDP; nil: UDP
	known  map[netip.Addr]ice.InterfaceInfo
	mcfg   ice.MachineConfig
	peers  [2]*peer
	signal time.Duration // one way
	start  time.Time     // when the controlling side's offer left
}

const (
	access = 25 * time.Millisecond
	rtt    = 4 * access
	port   = 40000
)

// peer is one side.
type peer struct {
	w      *world
	other  *peer
	site   *simnet.Site
	m      *ice.Machine
	relay  *relayed // nil: none
	cutter *cutter  // of a world over TCP
	runner *simnet.Runner
	id     ice.AgentID
	cfg    ice.AgentConfig
	known  bool // the other side knows our credentials
	queue  []ice.Candidate
	ended  bool

	events   []ice.Event
	got      []string
	atUsable time.Time // when data could first be sent
	atDone   time.Time // when a pair was nominated
}

// newWorld builds a world; the peers gather at once and do not know of each other yet.
// loss is that of a path between the peers, each way. with is called before the peers are
// made.
func newWorld(t *testing.T, seed uint64, natA, natB string, loss float64, with ...func(*world)) *world {
	t.Helper()
	w := &world{World: simnet.New(seed), t: t, signal: rtt / 2}
	server := w.AddHost("server", w.Internet(), simnet.Link{})
	w.stun = netip.AddrPortFrom(server.Addr(), 3478)
	stun, err := stund.NewMachine([]netip.AddrPort{w.stun}, 0, seed)
	w.check(err)
	_, err = simnet.Run(server, stun, simnet.RunOptions{Sockets: []netip.AddrPort{w.stun}}, nil)
	w.check(err)
	for _, fn := range with {
		fn(w)
	}
	link := simnet.Link{Delay: access, Loss: loss / 2}
	for i, nat := range []string{natA, natB} {
		site, err := w.AddSite(string('a'+rune(i)), nat, link)
		w.check(err)
		w.peers[i] = w.newPeer(site)
	}
	w.peers[0].other, w.peers[1].other = w.peers[1], w.peers[0]
	w.peers[0].cfg.Controlling = true
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

func (w *world) newPeer(site *simnet.Site) *peer {
	w.t.Helper()
	p := &peer{w: w, site: site}
	var err error
	p.m, err = ice.NewMachine(w.mcfg, w.Rand(site.Name()+" ice"), w.Secrets(site.Name()+" ice"))
	w.check(err)
	var m machine.Machine[ice.Event] = p.m
	if w.turn.IsValid() {
		p.relay = p.withRelay(p.m)
		m = p.relay
	}
	if w.tcp != nil {
		p.cutter = &cutter{Machine: p.m}
		m = p.cutter
	}
	at := netip.AddrPortFrom(netip.Addr{}, port)
	p.runner, err = simnet.Run(site.Host, m, simnet.RunOptions{Sockets: []netip.AddrPort{at}, Listen: w.listen(site.Host)}, p.event)
	w.check(err)
	p.do(func(now time.Time) {
		if p.relay != nil {
			p.relay.now = now
			p.m.Hold(now)
			p.relay.alloc = p.relay.turn.Allocate(now)
		}
		p.m.AddServer(now, w.stun)
		for _, a := range site.Addrs() {
			if w.tcp != nil {
				p.addTCP(now, a)
				continue
			}
			_, err := p.m.AddBase(now, ice.Base{Socket: 0, Shared: true, Addr: netip.AddrPortFrom(a, port), Interface: w.known[a]})
			w.check(err)
		}
	})
	w.t.Cleanup(func() {
		if n := p.m.Illegal(); n != 0 {
			w.t.Errorf("%d transitions that the table does not have (seed %d)", n, w.Seed())
		}
	})
	return p
}

func (p *peer) do(fn func(now time.Time)) { p.runner.Do(fn) }

// event takes in an event of the machine.
func (p *peer) event(now time.Time, e ice.Event) {
	if e.Agent != p.id && p.id != 0 {
		return
	}
	p.events = append(p.events, e)
	switch e.Kind {
	case ice.EventCandidate:
		p.trickle(e.Candidate)
	case ice.EventGathered:
		p.ended = true
		if p.known {
			p.w.After(p.w.signal, p.tellEnd)
		}
	case ice.EventSelected:
		if p.atUsable.IsZero() && e.Pair.IsValid() {
			p.atUsable = now
		}
	case ice.EventState:
		if e.State == ice.Completed && p.atDone.IsZero() {
			p.atDone = now
		}
	case ice.EventData:
		p.got = append(p.got, string(e.Data))
	case ice.EventRestarted:
		p.ended = false
		p.tellCredentials(e.Credentials)
	}
}

// trickle tells a candidate, once the other side knows us.
func (p *peer) trickle(c ice.Candidate) {
	if !p.known {
		p.queue = append(p.queue, c)
		return
	}
	p.w.After(p.w.signal, func() {
		p.other.do(func(now time.Time) { p.w.check(p.other.m.AddRemote(now, p.other.id, c)) })
	})
}

func (p *peer) tellEnd() {
	p.other.do(func(now time.Time) { p.w.check(p.other.m.EndOfCandidates(now, p.other.id)) })
}

// begin makes the peer's agent.
func (p *peer) begin() {
	p.do(func(now time.Time) {
		var err error
		p.id, err = p.m.NewAgent(now, p.cfg)
		p.w.check(err)
	})
}

// tellCredentials sends the credentials, with the candidates found so far.
func (p *peer) tellCredentials(c ice.Credentials) {
	p.known = true
	queue, ended := p.queue, p.ended
	p.queue = nil
	p.w.After(p.w.signal, func() {
		o := p.other
		o.do(func(now time.Time) {
			p.w.check(o.m.SetRemote(now, o.id, c))
			for _, c := range queue {
				p.w.check(o.m.AddRemote(now, o.id, c))
			}
			if ended {
				p.w.check(o.m.EndOfCandidates(now, o.id))
			}
		})
		if !o.known {
			o.tellCredentials(o.m.Credentials(o.id))
		}
	})
}

// offer begins: the controlling side offers, the other answers. Both have gathered for a
// second before, as a Session's endpoint has.
func (w *world) offer() {
	w.Run(time.Second)
	for _, p := range w.peers {
		p.begin()
	}
	w.start = w.Now()
	a := w.peers[0]
	a.tellCredentials(a.m.Credentials(a.id))
}

// connect runs until both sides have completed.
func (w *world) connect(d time.Duration) bool {
	return w.RunUntil(d, func() bool {
		return w.peers[0].m.State(w.peers[0].id) == ice.Completed && w.peers[1].m.State(w.peers[1].id) == ice.Completed
	})
}

func (p *peer) send(data string) {
	p.do(func(now time.Time) { p.w.check(p.m.Send(now, p.id, []byte(data))) })
}
