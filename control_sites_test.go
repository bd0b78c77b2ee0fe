package bradawl

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch/portmap"
)

// What sites of a world may have beside their NATs: a router that maps ports, a NAT that both
// are behind, TCP.

// routers has the sites' own NATs map ports by the protocols of a and b.
func routers(a, b simnet.GatewayConfig) func(*worldOptions) {
	return func(o *worldOptions) { o.routers = [2]simnet.GatewayConfig{a, b} }
}

// behindOne puts both sites behind a NAT that they share, beside their own. The paths between
// them are as long as any.
func behindOne(shared *simnet.Preset) func(*worldOptions) {
	return func(o *worldOptions) { o.shared = shared }
}

// withTCP lets the sessions have TCP paths.
func withTCP(o *worldOptions) { o.tcp = true }

// addSites puts the sites where they are to be, and their routers.
func (w *world) addSites(presets [2]*simnet.Preset) (sites [2]*simnet.Site) {
	w.t.Helper()
	network := w.Internet()
	if w.option.shared != nil {
		outer, err := w.AddSiteOf("shared", *w.option.shared, simnet.Link{})
		w.check(err)
		network = outer.LAN()
	}
	for i, preset := range presets {
		var err error
		sites[i], err = network.AddSiteOf(string('a'+rune(i)), *preset, w.option.access)
		w.check(err)
	}
	return sites
}

// addRouter has the site's own NAT speak what it is to speak.
func (p *simPeer) addRouter(speaks simnet.GatewayConfig) {
	if !speaks.PCP && !speaks.NATPMP && !speaks.UPnP {
		return
	}
	var err error
	p.router, err = p.site.NATs[0].Gateway(speaks, nil)
	p.w.check(err)
	p.mapPort("first")
}

// mapPort asks the router for a port, as a session's shell does.
func (p *simPeer) mapPort(life string) {
	w, c := p.w, p.control
	m, err := portmap.NewMachine(portmap.Config{}, w.Rand(p.name+life+" portmap"), w.Secrets(p.name+life+" portmap"))
	w.check(err)
	bases := make(map[portmap.MappingID]ice.BaseID)
	run, err := simnet.Run(p.site.Host, machine.Machine[portmap.Event](m), simnet.RunOptions{}, func(_ time.Time, e portmap.Event) {
		var outside netip.AddrPort
		if e.State == portmap.Mapped && e.Info.Public {
			outside = e.Info.External
		}
		if e.Kind == portmap.EventState && p.control == c {
			w.After(0, func() { p.do(func(now time.Time) { p.control.routed(now, bases[e.Mapping], outside) }) })
		}
	})
	w.check(err)
	run.Do(func(now time.Time) {
		m.SetGateways(now, []portmap.Gateway{{Addr: p.router.Addr(), Local: p.site.Addr()}})
		for _, want := range []struct {
			protocol portmap.Protocol
			base     ice.BaseID
		}{{portmap.UDP, p.bases[p.site.Addr()]}, {portmap.TCP, p.passive}} {
			if want.base != 0 {
				id, err := m.Map(now, portmap.Request{Protocol: want.protocol, Internal: netip.AddrPortFrom(p.site.Addr(), simPort)})
				w.check(err)
				bases[id] = want.base
			}
		}
	})
}

// openTCP gives the session TCP addresses, and finds out where the NAT puts them.
func (p *simPeer) openTCP(now time.Time) {
	w, at := p.w, netip.AddrPortFrom(p.site.Addr(), simPort)
	var open ice.BaseID
	for _, b := range []ice.Base{
		{Transport: ice.TCP, TCPType: ice.Passive, Addr: at},
		{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(at.Addr(), 0)},
		{Transport: ice.TCP, TCPType: ice.SimultaneousOpen, Addr: at},
	} {
		var err error
		open, err = p.addBase(now, b)
		w.check(err)
		if b.TCPType == ice.Passive {
			p.passive = open
		}
	}
	c := p.control
	eye := &tcpEye{local: at, server: netip.AddrPortFrom(stunAddrs[0], 3478), next: w.Now()}
	_, err := simnet.Run(p.site.Host, machine.Machine[netip.AddrPort](eye), simnet.RunOptions{}, func(_ time.Time, mapped netip.AddrPort) {
		if p.control == c {
			w.After(0, func() { p.do(func(now time.Time) { p.ice.AddMapped(now, open, mapped) }) })
		}
	})
	w.check(err)
}

// findTCP has natprobe find out what the NAT does with TCP, as a session's shell does.
func (p *simPeer) findTCP() {
	w, c, life := p.w, p.control, fmt.Sprint(p.name, p.w.Elapsed())
	p.eyed++
	w.After(0, func() {
		m, err := natprobe.NewTCPProbe([]netip.AddrPort{netip.AddrPortFrom(stunAddrs[0], 3478)}, &natprobe.DiscoveryConfig{
			Secrets: w.Secrets(life + " tcp"), Rand: w.Rand(life + " tcp"),
		})
		w.check(err)
		run, err := simnet.Run(p.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.TCPEvent) {
			if p.control == c {
				w.After(0, func() { p.do(func(now time.Time) { p.setTCP(now, e.Report.Profile()) }) })
			}
		})
		w.check(err)
		run.Do(m.Start)
	})
}

// tcpEye keeps a connection to a STUN server, from the port that is listened at, and tells
// where the server sees it.
type tcpEye struct {
	local, server netip.AddrPort
	next          time.Time
	stream        machine.StreamID
	in            []byte
	out           machine.Queue[machine.Transmit]
	events        machine.Queue[netip.AddrPort]
}

func (e *tcpEye) HandleDatagram(time.Time, machine.Datagram) {}

func (e *tcpEye) NextTimeout() time.Time                 { return e.next }
func (e *tcpEye) PollTransmit() (machine.Transmit, bool) { return e.out.Pop() }
func (e *tcpEye) PollEvent() (netip.AddrPort, bool)      { return e.events.Pop() }
func (e *tcpEye) id() (id wire.TransactionID)            { id[0] = byte(e.stream); return id }
func (e *tcpEye) push(op machine.Op, t machine.Transmit) {
	t.Op, t.Stream = op, e.stream
	e.out.Push(t)
}

func (e *tcpEye) HandleTimeout(now time.Time) {
	if e.next.After(now) {
		return
	}
	e.stream, e.in, e.next = e.stream+1, nil, time.Time{}
	e.push(machine.Dial, machine.Transmit{Local: e.local, Remote: e.server})
}

func (e *tcpEye) HandleNotice(now time.Time, n machine.Notice) {
	switch {
	case n.Stream != e.stream:
	case n.Kind == machine.Connected:
		var b wire.Builder
		b.Reset(wire.BindingRequest, e.id())
		e.push(machine.Write, machine.Transmit{Data: b.Bytes()})
	case n.Kind == machine.Received:
		var m wire.Message
		e.in = append(e.in, n.Data...)
		if m.Decode(e.in) != nil || m.TransactionID() != e.id() {
			return
		}
		if mapped, ok := m.XORMappedAddress(); ok {
			e.events.Push(mapped)
		}
	case n.Kind == machine.Closed:
		e.next = now.Add(time.Second)
	}
}
