package simnet

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// GatewayConfig says what port mapping protocols a NAT offers to those inside, and how
// well it behaves. The zero value offers none.
type GatewayConfig struct {
	PCP, NATPMP, UPnP bool // default: none of them

	// IGD is the version of the UPnP device, 1 (default) or 2. With a firewall for IPv6
	// it is 2 that has pinholes.
	IGD int
	// MulticastOnly leaves SSDP searches unanswered that were sent to the gateway alone.
	MulticastOnly bool
	// PermanentOnly refuses UPnP leases but 0 (error 725).
	PermanentOnly bool
	// MaxLifetime is the longest lifetime granted; default 2 h.
	MaxLifetime time.Duration
	// Raw, where it is not 0, is the lifetime that PCP and NAT-PMP tell, in seconds,
	// whatever was granted.
	Raw uint32
	// Zero tells a lifetime of 0 in successes.
	Zero bool
	// Outside is the outside address that is told instead of the true one.
	Outside netip.Addr

	// PCPResult, PMPResult and UPnPError refuse every request for a mapping; 0: none.
	PCPResult uint8
	PMPResult uint16
	UPnPError int
	// SOAPErrors refuse the UPnP actions named.
	SOAPErrors map[string]int

	// Datagrams changes an answer of PCP, NAT-PMP or SSDP before it is sent: into none,
	// others or many. Nil: as it is.
	Datagrams func(answer []byte) [][]byte
	// HTTP answers a request in the UPnP server's place, byte for byte; nil, or an empty
	// answer: the server does. With an answer that ends in "…" the connection stays open.
	HTTP func(request []byte) []byte
	// Location is told by SSDP instead of the true one.
	Location string
}

// UPnPPort is where the HTTP server of a simulated gateway listens.
const UPnPPort = 5000

// Gateway is what answers port mapping requests for a NAT, at the NAT's inside address.
type Gateway struct {
	cfg     GatewayConfig
	nat     *NAT
	wall    *NAT // the firewall of IPv6, nil: none
	host    *Host
	runner  *Runner
	booted  time.Time
	inner   netip.Addr
	out     machine.Queue[machine.Transmit]
	request map[machine.StreamID][]byte
	owners  map[static][]byte // PCP's nonces
	pinhole map[string]static // UPnP's pinholes
	last    int               // number of the last pinhole

	// Asked counts the requests that came, by protocol: "pcp", "nat-pmp", "ssdp", "http"
	// and the names of SOAP actions.
	Asked map[string]int
}

// static names a mapping on request.
type static struct {
	proto  Proto
	inside netip.AddrPort
}

// Gateway puts a gateway that speaks port mapping protocols on the inside of the NAT,
// at the address that hosts inside have as their router's. Call it once for a NAT, or
// a firewall of IPv6, whose address is the first of its prefix; wall, which may be
// nil, is the firewall that the UPnP service opens pinholes in.
func (n *NAT) Gateway(c GatewayConfig, wall *NAT) (*Gateway, error) {
	g := &Gateway{
		cfg: c, nat: n, wall: wall, booted: n.w.now, inner: n.inside.pools[0].gateway(),
		request: make(map[machine.StreamID][]byte), owners: make(map[static][]byte), pinhole: make(map[string]static), Asked: make(map[string]int),
	}
	for _, own := range n.inside.pools { // a network may have prefixes of both families
		if n.table.Firewall && n.inside.router(own.gateway()) == n {
			g.inner = own.gateway()
		}
	}
	g.host = n.w.AddHost(n.name+"'s services", n.inside, Link{}, g.inner)
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	any4or6 := netip.IPv4Unspecified()
	group := netip.MustParseAddr("239.255.255.250")
	if g.inner.Is6() {
		any4or6, group = netip.IPv6Unspecified(), netip.MustParseAddr("ff02::c")
	}
	g.host.ifaces[0].join(group)
	var err error
	g.runner, err = Run(g.host, machine.Machine[struct{}](g), RunOptions{
		Sockets: []netip.AddrPort{netip.AddrPortFrom(g.inner, 5351), netip.AddrPortFrom(any4or6, 1900)},
		Listen:  []netip.AddrPort{netip.AddrPortFrom(g.inner, UPnPPort)},
	}, nil)
	return g, err
}

// Addr is the gateway's address for those inside.
func (g *Gateway) Addr() netip.Addr { return g.inner }

// Set changes how the gateway behaves from now on.
func (g *Gateway) Set(change func(*GatewayConfig)) {
	g.nat.w.mu.Lock()
	defer g.nat.w.mu.Unlock()
	change(&g.cfg)
}

// Count is how often something of Asked was.
func (g *Gateway) Count(what string) int {
	g.nat.w.mu.Lock()
	defer g.nat.w.mu.Unlock()
	return g.Asked[what]
}

// Restart makes the NAT forget everything, mappings on request too, and its epoch begin
// anew; for the outage nothing is forwarded.
func (g *Gateway) Restart(outage time.Duration) {
	g.nat.Reboot(outage)
	g.nat.w.mu.Lock()
	defer g.nat.w.mu.Unlock()
	g.booted = g.nat.w.now
	clear(g.owners)
	clear(g.pinhole)
	if g.wall != nil {
		g.wall.table.clear()
	}
}

// Statics is how many mappings on request the NAT holds now.
func (n *NAT) Statics() int {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.table.statics.live(n.w.now)
}

// epoch is how many seconds the gateway has run.
func (g *Gateway) epoch(now time.Time) uint32 { return uint32(now.Sub(g.booted) / time.Second) }

func (g *Gateway) outside(inside netip.Addr) netip.Addr {
	if g.cfg.Outside.IsValid() {
		return g.cfg.Outside
	}
	if a, ok := g.nat.table.pool(inside); ok {
		return a
	}
	return netip.IPv4Unspecified()
}

// life is the lifetime granted where one was asked for.
func (g *Gateway) life(asked uint32) time.Duration {
	most := g.cfg.MaxLifetime
	if most == 0 {
		most = 2 * time.Hour
	}
	return min(time.Duration(asked)*time.Second, most)
}

// told is what is said of it.
func (g *Gateway) told(life time.Duration) uint32 {
	switch {
	case g.cfg.Zero:
		return 0
	case g.cfg.Raw != 0:
		return g.cfg.Raw
	}
	return uint32(life / time.Second)
}

// HandleDatagram answers PCP, NAT-PMP and SSDP.
func (g *Gateway) HandleDatagram(now time.Time, d machine.Datagram) {
	if now.Before(g.nat.back) {
		return
	}
	var answer []byte
	if d.Socket == 1 {
		answer = g.search(d)
	} else {
		answer = g.ask(now, d)
	}
	if answer == nil {
		return
	}
	answers := [][]byte{answer}
	if g.cfg.Datagrams != nil {
		answers = g.cfg.Datagrams(answer)
	}
	for _, a := range answers {
		g.out.Push(machine.Transmit{Op: machine.Send, Socket: d.Socket, Remote: d.Remote, Data: a})
	}
}

// HandleTimeout does nothing: mappings end by themselves.
func (g *Gateway) HandleTimeout(time.Time) {}

// NextTimeout is never.
func (g *Gateway) NextTimeout() time.Time { return time.Time{} }

// PollTransmit returns the next answer.
func (g *Gateway) PollTransmit() (machine.Transmit, bool) { return g.out.Pop() }

// PollEvent returns nothing.
func (g *Gateway) PollEvent() (struct{}, bool) { return struct{}{}, false }
