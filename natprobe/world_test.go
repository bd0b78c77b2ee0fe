package natprobe_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// oneWay is the delay between a site and the internet: a round trip to a server takes twice that.
const oneWay = 25 * time.Millisecond

// The servers of a world: one that supports RFC 5780, and two that tell addresses only.
var (
	capable = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("192.0.2.1:3479"),
		netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.1:3479"),
	}
	capable6 = []netip.AddrPort{
		netip.MustParseAddrPort("[2001:db8:ffff::1]:3478"), netip.MustParseAddrPort("[2001:db8:ffff::1]:3479"),
		netip.MustParseAddrPort("[2001:db8:ffff::2]:3478"), netip.MustParseAddrPort("[2001:db8:ffff::2]:3479"),
	}
	plainB = netip.MustParseAddrPort("192.0.2.20:3478")
	plainC = netip.MustParseAddrPort("198.51.100.30:3478")
	all    = []netip.AddrPort{capable[0], plainB, plainC}
)

// world is one client behind a NAT and the servers on the internet.
type world struct {
	*simnet.World
	t      *testing.T
	site   *simnet.Site
	server *server // the capable one
}

func newWorld(t *testing.T, seed uint64, p simnet.Preset, link simnet.Link) *world {
	t.Helper()
	w := &world{World: simnet.New(seed), t: t}
	w.server = w.serve("capable", capable...)
	w.serve("capable by IPv6", capable6...)
	w.serve("plain B", plainB)
	w.serve("plain C", plainC)
	site, err := w.AddSiteOf("client", p, link)
	w.check(err)
	w.site = site
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

// server is a STUN server that can be made to do more than it should.
type server struct {
	*stund.Machine
	seen  []machine.Datagram // the requests, without their data
	extra func(d machine.Datagram) []machine.Transmit
	queue []machine.Transmit
}

func (s *server) HandleDatagram(now time.Time, d machine.Datagram) {
	if s.extra != nil {
		s.queue = append(s.queue, s.extra(d)...)
	}
	s.Machine.HandleDatagram(now, d)
	d.Data = nil
	s.seen = append(s.seen, d)
}

func (s *server) PollTransmit() (machine.Transmit, bool) {
	if len(s.queue) > 0 {
		t := s.queue[0]
		s.queue = s.queue[1:]
		return t, true
	}
	return s.Machine.PollTransmit()
}

// serve runs a STUN server on a host of its own.
func (w *world) serve(name string, at ...netip.AddrPort) *server {
	var ips []netip.Addr
	for _, a := range at {
		if len(ips) == 0 || ips[len(ips)-1] != a.Addr() {
			ips = append(ips, a.Addr())
		}
	}
	m, err := stund.NewMachine(at, 0, w.Seed())
	w.check(err)
	s := &server{Machine: m}
	_, err = simnet.Run(w.AddHost(name, w.Internet(), simnet.Link{MTU: 9000}, ips...), s, simnet.RunOptions{Sockets: at, Listen: at}, nil)
	w.check(err)
	return s
}

// result is what came of one discovery.
type result struct {
	natprobe.Report
	err    error
	took   time.Duration
	stages []natprobe.Stage
}

// discover runs a discovery to its end.
func (w *world) discover(servers []netip.AddrPort, cfg natprobe.DiscoveryConfig) result {
	w.t.Helper()
	r, _, done := w.start(servers, cfg)
	start := w.Now()
	if !w.RunUntil(time.Hour, func() bool { return *done }) {
		w.t.Fatalf("seed %d: the discovery does not end", w.Seed())
	}
	r.took = w.Now().Sub(start)
	return *r
}

func (w *world) start(servers []netip.AddrPort, cfg natprobe.DiscoveryConfig) (*result, *running, *bool) {
	w.t.Helper()
	cfg.Secrets, cfg.Rand = w.Secrets("discovery"), rand.New(rand.NewPCG(w.Seed(), 7))
	m, err := natprobe.NewDiscovery(servers, &cfg)
	w.check(err)
	var r result
	var done bool
	run, err := simnet.Run(w.site.Host, m, simnet.RunOptions{}, func(now time.Time, e natprobe.DiscoveryEvent) {
		r.stages = append(r.stages, e.Stage)
		if e.Stage == natprobe.StageDone {
			r.Report, r.err, done = e.Report, e.Err, true
		}
	})
	w.check(err)
	run.Do(m.Start)
	return &r, &running{m, run}, &done
}

// running is a discovery under way.
type running struct {
	*natprobe.Discovery
	run *simnet.Runner
}

func preset(t *testing.T, name string) simnet.Preset {
	t.Helper()
	p, err := simnet.PresetByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
