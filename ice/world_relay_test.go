package ice_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// relayed is an agent machine and a TURN client's as one machine, as an endpoint and its
// relay are: what the agent sends from socket relaySocket goes by the TURN client.
type relayed struct {
	*ice.Machine
	turn  *turnclient.Machine
	alloc turnclient.AllocationID
	now   time.Time
	out   machine.Queue[machine.Transmit]
}

const (
	relaySocket machine.SocketID = 100
	turnSockets machine.SocketID = 1000 // the TURN client's start here
)

func (r *relayed) HandleDatagram(now time.Time, d machine.Datagram) {
	r.now = now
	if d.Socket >= turnSockets {
		d.Socket -= turnSockets
		r.turn.HandleDatagram(now, d)
		return
	}
	r.Machine.HandleDatagram(now, d)
}

func (r *relayed) HandleNotice(now time.Time, n machine.Notice) {
	r.now = now
	if n.Socket >= turnSockets {
		n.Socket -= turnSockets
		r.turn.HandleNotice(now, n)
		return
	}
	r.Machine.HandleNotice(now, n)
}

func (r *relayed) HandleTimeout(now time.Time) {
	r.now = now
	if at := r.turn.NextTimeout(); !at.IsZero() && !at.After(now) {
		r.turn.HandleTimeout(now)
	}
	if at := r.Machine.NextTimeout(); !at.IsZero() && !at.After(now) {
		r.Machine.HandleTimeout(now)
	}
}

func (r *relayed) NextTimeout() time.Time {
	return machine.Earliest(r.turn.NextTimeout(), r.Machine.NextTimeout())
}

// flush moves what both have to send to out: a machine must be drained before it is
// entered again, and here each enters the other.
func (r *relayed) flush() {
	for t, ok := r.Machine.PollTransmit(); ok; t, ok = r.Machine.PollTransmit() {
		if t.Op != machine.Send || t.Socket != relaySocket {
			t.Data = slices.Clone(t.Data)
			r.out.Push(t)
			continue
		}
		r.flushTURN()
		_ = r.turn.Send(r.now, r.alloc, t.Remote, t.Data) // lost, as datagrams are
	}
	r.flushTURN()
}

func (r *relayed) flushTURN() {
	for t, ok := r.turn.PollTransmit(); ok; t, ok = r.turn.PollTransmit() {
		t.Data = slices.Clone(t.Data)
		t.Socket += turnSockets
		r.out.Push(t)
	}
}

func (r *relayed) PollTransmit() (machine.Transmit, bool) {
	r.flush()
	return r.out.Pop()
}

func (r *relayed) PollEvent() (event ice.Event, more bool) {
	for {
		e, ok := r.turn.PollEvent()
		if !ok {
			return r.Machine.PollEvent()
		}
		defer func() { more = true }() // for there may be something to send
		switch e.Kind {
		case turnclient.EventAllocated:
			_, _ = r.Machine.AddBase(r.now, ice.Base{Type: ice.Relay, Socket: relaySocket, Addr: e.Relayed[0], Mapped: e.Mapped, Server: e.Server.Addr.Addr()})
			r.flush()
			r.Machine.Release(r.now)
		case turnclient.EventData:
			r.Machine.HandleDatagram(r.now, machine.Datagram{Socket: relaySocket, Remote: e.Peer, Data: e.Data})
		}
		r.flush()
	}
}

// deaf is a TURN server that does not hear what drop names.
type deaf struct {
	*turntest.Server
	drop func(b []byte) bool
}

func (d deaf) HandleDatagram(now time.Time, in machine.Datagram) {
	if d.drop == nil || !d.drop(in.Data) {
		d.Server.HandleDatagram(now, in)
	}
}

// addTURN puts a TURN server into the world, which does not hear what drop names, and
// gives the peers a client each. It must come before newPeer.
func (w *world) addTURN(drop func(b []byte) bool) {
	host := w.AddHost("turn", w.Internet(), simnet.Link{})
	at := netip.AddrPortFrom(host.Addr(), 3478)
	s := turntest.NewServer(turntest.Config{Relay: host.Addr()}, w.Secrets("turn"))
	_, err := simnet.Run(host, deaf{s, drop}, simnet.RunOptions{Sockets: []netip.AddrPort{at}}, func(time.Time, struct{}) {})
	w.check(err)
	w.turn = at
}

func (p *peer) withRelay(m *ice.Machine) *relayed {
	r := &relayed{Machine: m}
	var err error
	r.turn, err = turnclient.NewMachine(turnclient.MachineConfig{
		Servers: []turnclient.Endpoint{{Addr: p.w.turn, Name: "turn"}},
	}, rand.New(rand.NewPCG(p.w.Seed(), 8)), p.w.Secrets(p.site.Name()+" turn"))
	p.w.check(err)
	return r
}
