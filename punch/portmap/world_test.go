package portmap

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// world is a host behind a port-restricted NAT with a gateway, and a stranger on the
// internet who tries the mappings.
type world struct {
	t        *testing.T
	w        *simnet.World
	site     *simnet.Site
	gw       *simnet.Gateway
	m        *Machine
	run      *simnet.Runner
	events   []Event
	stranger *simnet.Host
}

const simSeed = 1

func newWorld(t *testing.T, g simnet.GatewayConfig, cfg Config) *world {
	t.Helper()
	return newWorldOf(t, "port-restricted-cone", g, cfg)
}

func newWorldOf(t *testing.T, preset string, g simnet.GatewayConfig, cfg Config) *world {
	t.Helper()
	w := &world{t: t, w: simnet.New(simSeed)}
	var err error
	if w.site, err = w.w.AddSite("home", preset, simnet.Link{Delay: 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if w.gw, err = w.site.NATs[0].Gateway(g, w.site.Firewall6); err != nil {
		t.Fatal(err)
	}
	w.stranger = w.w.AddHost("stranger", w.w.Internet(), simnet.Link{Delay: 10 * time.Millisecond})
	w.start(cfg, []Gateway{{Addr: w.gw.Addr(), Local: w.site.Addr()}})
	return w
}

func (w *world) start(cfg Config, at []Gateway) {
	w.t.Helper()
	var err error
	if w.m, err = NewMachine(cfg, w.w.Rand("portmap"), w.w.Secrets("portmap")); err != nil {
		w.t.Fatal(err)
	}
	m := w.m
	w.t.Cleanup(func() {
		if m.illegal != 0 {
			w.t.Errorf("%d steps of state that there are not", m.illegal)
		}
	})
	w.run, err = simnet.Run(w.site.Host, machine.Machine[Event](w.m), simnet.RunOptions{}, func(_ time.Time, e Event) { w.events = append(w.events, e) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.run.Do(func(now time.Time) { w.m.SetGateways(now, at) })
}

// request asks for a mapping.
func (w *world) request(p Protocol, internal netip.AddrPort, suggested uint16) MappingID {
	w.t.Helper()
	var id MappingID
	var err error
	w.run.Do(func(now time.Time) { id, err = w.m.Map(now, Request{p, internal, suggested}) })
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func any4(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }

// await runs the world until the mapping has a state.
func (w *world) await(id MappingID, s State, within time.Duration) Event {
	w.t.Helper()
	var got Event
	if !w.w.RunUntil(within, func() bool {
		for len(w.events) > 0 {
			e := w.events[0]
			w.events = w.events[1:]
			if e.Mapping == id && e.Kind == EventState && e.State == s {
				got = e
				return true
			}
		}
		return false
	}) {
		w.t.Fatalf("mapping %d was not %v within %v (seed %d); words: %v", id, s, within, w.w.Seed(), w.m.Words())
	}
	return got
}

// mapped asks for a UDP mapping of port 5000 and returns it.
func (w *world) mapped() (MappingID, Info) {
	w.t.Helper()
	id := w.request(UDP, any4(5000), 0)
	return id, w.await(id, Mapped, 30*time.Second).Info
}

// reaches reports whether a stranger's datagram to an outside address arrives at a
// port of the host.
func (w *world) reaches(outside netip.AddrPort, port uint16) bool {
	w.t.Helper()
	in, out := &ear{}, &ear{}
	listen, err := simnet.Run(w.site.Host, machine.Machine[struct{}](in), simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(w.localFor(outside), port)}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer listen.Close()
	speak, err := simnet.Run(w.stranger, machine.Machine[struct{}](out), simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(w.strangerFor(outside), 0)}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer speak.Close()
	speak.Do(func(time.Time) {
		out.out.Push(machine.Transmit{Op: machine.Send, Remote: outside, Data: []byte("knock")})
	})
	return w.w.RunUntil(time.Second, func() bool { return in.heard > 0 })
}

func (w *world) localFor(a netip.AddrPort) netip.Addr    { return family(w.site.Addrs(), a.Addr()) }
func (w *world) strangerFor(a netip.AddrPort) netip.Addr { return family(w.stranger.Addrs(), a.Addr()) }

func family(all []netip.Addr, like netip.Addr) netip.Addr {
	for _, a := range all {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	panic(fmt.Sprint("no address like ", like))
}

// ear is a machine that counts datagrams.
type ear struct {
	out   machine.Queue[machine.Transmit]
	heard int
}

func (e *ear) HandleDatagram(time.Time, machine.Datagram) { e.heard++ }
func (e *ear) HandleTimeout(time.Time)                    {}
func (e *ear) NextTimeout() time.Time                     { return time.Time{} }
func (e *ear) PollTransmit() (machine.Transmit, bool)     { return e.out.Pop() }
func (e *ear) PollEvent() (struct{}, bool)                { return struct{}{}, false }
