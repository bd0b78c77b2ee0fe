package punch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

var (
	lanePeer   = netip.MustParseAddrPort("203.0.113.9:41000")
	laneServer = netip.MustParseAddrPort("192.0.2.1:3478")
)

// lanesRig is a machine without a network: what it sends is kept, sockets open at once.
type lanesRig struct {
	*Lanes
	t      testing.TB
	now    time.Time
	sent   []machine.Transmit
	events []LaneEvent
	open   map[machine.SocketID]bool
	most   int
	refuse bool // sockets

	streams map[machine.StreamID]machine.Transmit // that were dialled and not reset
	dials   []machine.Transmit
	written []machine.Transmit
}

func lanesConfig(kinds ...Lane) LanesConfig {
	return LanesConfig{
		Lanes: kinds, Peer: []netip.AddrPort{lanePeer}, Servers: []netip.AddrPort{laneServer}, Secret: secret, FirstSocket: 10,
		Local:  natprobe.Profile{Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: 2, Confidence: .9}},
		Remote: natprobe.Profile{Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1, Confidence: .9}},
	}
}

func newLanesRig(t testing.TB, cfg LanesConfig) *lanesRig {
	t.Helper()
	m, err := NewLanes(epoch, cfg, rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	r := &lanesRig{Lanes: m, t: t, now: epoch, open: make(map[machine.SocketID]bool), streams: make(map[machine.StreamID]machine.Transmit)}
	r.drain()
	return r
}

// drain takes what the machine says, and does it.
func (r *lanesRig) drain() {
	var notices []machine.Notice
	machine.Drain(machine.Machine[LaneEvent](r.Lanes), func(t machine.Transmit) {
		switch t.Op {
		case machine.Send:
			if t.Socket != r.cfg.Socket && !r.open[t.Socket] {
				r.t.Fatalf("sends from socket %d, which is not open", t.Socket)
			}
			t.Data = bytes.Clone(t.Data)
			r.sent = append(r.sent, t)
		case machine.OpenSocket:
			n := machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket, Local: netip.AddrPortFrom(t.Local.Addr(), uint16(20000+t.Socket%20000))}
			if r.refuse {
				n.Kind, n.Err = machine.SocketFailed, errors.New("too many open files")
			}
			r.open[t.Socket] = true
			r.most = max(r.most, len(r.open))
			notices = append(notices, n)
		case machine.CloseSocket:
			delete(r.open, t.Socket)
		case machine.Dial:
			if _, has := r.streams[t.Stream]; has {
				r.t.Fatalf("connection %d is dialled twice", t.Stream)
			}
			r.streams[t.Stream] = t
			r.dials = append(r.dials, t)
		case machine.Write:
			if _, has := r.streams[t.Stream]; !has {
				r.t.Fatalf("writes to connection %d, which is not there", t.Stream)
			}
			r.written = append(r.written, t)
		case machine.Reset:
			delete(r.streams, t.Stream)
		}
	}, func(e LaneEvent) { r.events = append(r.events, e) })
	for _, n := range notices {
		if r.open[n.Socket] {
			r.HandleNotice(r.now, n)
			r.drain()
		}
	}
}

// run lets d pass.
func (r *lanesRig) run(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for range 100_000 {
		next := r.NextTimeout()
		if next.IsZero() || next.After(end) {
			r.now = end
			return
		}
		r.now = latest(r.now, next)
		r.HandleTimeout(r.now)
		r.drain()
	}
	r.t.Fatal("does not come to rest")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (r *lanesRig) take(t machine.Transmit, from netip.AddrPort) {
	r.HandleDatagram(r.now, machine.Datagram{Socket: t.Socket, Remote: from, Data: t.Data})
	r.drain()
}

func (r *lanesRig) count(k LaneEventKind) (n int) {
	for _, e := range r.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// mirror is the other side's configuration.
func mirror(cfg LanesConfig) LanesConfig {
	cfg.Dialler = !cfg.Dialler
	cfg.Lanes = slices.Clone(cfg.Lanes)
	for i, l := range cfg.Lanes {
		if l.Hard == Ours {
			cfg.Lanes[i].Hard = Theirs
		} else if l.Hard == Theirs {
			cfg.Lanes[i].Hard = Ours
		}
	}
	cfg.Local, cfg.Remote = cfg.Remote, cfg.Local
	return cfg
}

func TestLaneIDIsOfTheProbesAndOfNothingElse(t *testing.T) {
	a := newLanesRig(t, lanesConfig(Lane{Kind: LaneBirthday, Hard: Theirs}))
	a.run(10 * time.Millisecond)
	if len(a.sent) == 0 {
		t.Fatal("nothing sent")
	}
	id, ok := LaneID(a.sent[0].Data)
	if !ok || id != a.ID() || id == 0 {
		t.Errorf("ID %x, %v, want %x", id, ok, a.ID())
	}
	other := lanesConfig()
	other.Secret = []byte("a secret of other peers")
	if newLanesRig(t, other).ID() == a.ID() {
		t.Error("two connections have one ID")
	}
	u := newMachine(t, 1, UDPConfig{Peer: []netip.AddrPort{addrB}})
	u.HandleTimeout(epoch)
	for _, b := range [][]byte{nil, {1}, sent(u)[0].Data, a.sent[0].Data[:30]} {
		if _, ok := LaneID(b); ok {
			t.Errorf("%x is taken for a lane's probe", b)
		}
	}
	if IsProbe(a.sent[0].Data) {
		t.Error("a lane's probe is taken for one of UDP")
	}
}

func TestLanesAnswerOnlyThePeerAndOnlyOnce(t *testing.T) {
	cfg := lanesConfig(Lane{Kind: LaneBirthday, Hard: Ours})
	a, b := newLanesRig(t, cfg), newLanesRig(t, mirror(cfg))
	a.run(20 * time.Millisecond)
	b.run(20 * time.Millisecond)
	probe := b.sent[0]
	probe.Socket = a.sent[0].Socket
	had := len(a.sent)

	a.take(machine.Transmit{Socket: probe.Socket, Data: a.sent[0].Data}, lanePeer) // our own, reflected
	bad := bytes.Clone(probe.Data)
	bad[9] ^= 1
	a.take(machine.Transmit{Socket: probe.Socket, Data: bad}, lanePeer)             // not authentic
	a.take(machine.Transmit{Socket: 9999, Data: probe.Data}, lanePeer)              // on no socket of ours
	a.take(probe, netip.MustParseAddrPort("127.0.0.1:5000"))                        // from nowhere
	a.take(machine.Transmit{Socket: probe.Socket, Data: []byte("hello")}, lanePeer) // no STUN
	if len(a.sent) != had {
		t.Fatalf("%d datagrams in answer to what is not the peer's", len(a.sent)-had)
	}
	a.take(probe, lanePeer)
	if len(a.sent) != had+2 {
		t.Fatalf("%d datagrams for a probe, want an answer and a probe", len(a.sent)-had)
	}
	a.take(probe, lanePeer)
	a.take(probe, netip.MustParseAddrPort("203.0.113.10:5000"))
	if len(a.sent) != had+2 {
		t.Error("a copy was answered")
	}
	var m wire.Message
	if err := m.Decode(a.sent[had].Data); err != nil || m.Class() != wire.Success || m.CheckIntegrity(secret) != nil {
		t.Errorf("the answer is %v, %v", m.Type(), err)
	}
	if a.count(LaneOpened) != 0 {
		t.Error("a path without an answer")
	}

	// The answer to our probe opens the path, if it comes from where the probe went.
	b.take(machine.Transmit{Socket: 0, Data: a.sent[had+1].Data}, lanePeer)
	answer := machine.Transmit{Socket: probe.Socket, Data: b.sent[len(b.sent)-2].Data}
	a.take(answer, netip.AddrPortFrom(lanePeer.Addr(), 5))
	if a.count(LaneOpened) != 0 {
		t.Error("an answer from elsewhere opened a path")
	}
	a.run(30 * time.Millisecond)
	a.take(answer, lanePeer)
	a.take(answer, lanePeer)
	if a.count(LaneOpened) != 1 {
		t.Fatalf("%d paths", a.count(LaneOpened))
	}
	i := slices.IndexFunc(a.events, func(e LaneEvent) bool { return e.Kind == LaneOpened })
	if e := a.events[i]; e.Lane != LaneBirthday || e.Socket != probe.Socket || e.Remote != lanePeer || e.RTT != 30*time.Millisecond {
		t.Errorf("%+v", e)
	}
	a.run(time.Minute)
	if a.count(LanesDone) != 1 || len(a.open) != 1 || !a.open[probe.Socket] {
		t.Errorf("done %d times, open %v", a.count(LanesDone), a.open)
	}
}

func TestLanesTakeNoAnswerButFromTheServerAsked(t *testing.T) {
	a := newLanesRig(t, lanesConfig(Lane{Kind: LanePredicted, Hard: Ours}))
	a.run(10 * time.Millisecond)
	var b wire.Builder
	for _, x := range a.sent {
		if x.Remote != laneServer {
			continue
		}
		var m wire.Message
		if err := m.Decode(x.Data); err != nil {
			t.Fatal(err)
		}
		b.Reset(wire.BindingSuccess, m.TransactionID())
		b.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("203.0.113.1:2000"))
		answer := machine.Transmit{Socket: x.Socket, Data: bytes.Clone(b.Bytes())}
		a.take(answer, lanePeer)
		a.take(machine.Transmit{Socket: x.Socket + 1, Data: answer.Data}, laneServer)
		a.take(machine.Transmit{Socket: a.cfg.Socket, Data: answer.Data}, laneServer)
	}
	if a.count(LaneTell) != 0 {
		t.Error("somebody else's answer was believed")
	}
	a.run(time.Minute)
	if a.count(LanesDone) != 1 {
		t.Error("without answers the lane does not end")
	}
}

// aims checks that all that was sent went where it may go, within the budget.
func (r *lanesRig) aims() {
	r.t.Helper()
	made := make(map[entry]bool)
	for _, x := range r.sent {
		made[entry{x.Socket, x.Remote}] = true
		if x.Remote != laneServer && (x.Remote.Addr() != lanePeer.Addr() || x.Remote.Port() < leastPort) {
			r.t.Fatalf("sent to %v", x.Remote)
		}
	}
	for _, d := range r.dials {
		from := machine.SocketID(d.Local.Port())
		if from == 0 {
			from = machine.SocketID(d.Stream)
		}
		made[entry{from, d.Remote}] = true
		if d.Remote != laneServer && (d.Remote.Addr() != lanePeer.Addr() || d.Remote.Port() < leastPort) {
			r.t.Fatalf("dialled %v", d.Remote)
		}
	}
	sent := len(r.sent) + len(r.dials) + len(r.written)
	if l := &r.limits; sent > l.Probes || len(made) > l.entries() || r.most > max(l.Sockets, 0) || len(made) != len(l.made) || sent != l.sent {
		r.t.Fatalf("%d packets, %d entries, %d sockets; the limits are %d, %d, %d", sent, len(made), r.most, l.Probes, l.entries(), l.Sockets)
	}
}

func laneMessage(number uint32, entries ...[6]uint16) []byte {
	b := []byte{tellVersion, laneDialler, 0, 0}
	b = binary.BigEndian.AppendUint32(b, number)
	b = binary.BigEndian.AppendUint64(b, laneID(secret))
	for _, e := range entries {
		for _, v := range e {
			b = binary.BigEndian.AppendUint16(b, v)
		}
	}
	return b
}

// Whatever the peer says, we aim at its own addresses, within our own budget.
func TestLanesOfAHostilePeer(t *testing.T) {
	for _, lane := range []Lane{
		{Kind: LanePredicted, Hard: Theirs}, {Kind: LanePredicted, Hard: Ours}, {Kind: LaneCrossing, Hard: Both},
		{Kind: LaneBirthday, Hard: Theirs}, {Kind: LaneBlocks, Hard: Both},
	} {
		a := newLanesRig(t, lanesConfig(lane))
		rng := rand.New(rand.NewPCG(3, 4))
		for i := range uint32(5000) {
			v := func() uint16 { return []uint16{0, 1, 22, 1023, 1024, 40000, 65535, uint16(rng.Uint32())}[rng.IntN(8)] }
			e := [6]uint16{uint16(lane.Kind) << 8, v(), v(), v(), v(), v()}
			a.HandleMessage(a.now, laneMessage(i+1, e))
			a.drain()
			a.run(2 * time.Millisecond)
		}
		a.run(time.Minute)
		a.aims()
		if a.count(LanesDone) != 1 {
			t.Errorf("%v goes on and on", lane.Kind)
		}
		if n := a.count(LaneTell); n > 200 {
			t.Errorf("%v told %d messages", lane.Kind, n)
		}
	}
}

func TestLanesPassOverMessages(t *testing.T) {
	a := newLanesRig(t, lanesConfig(Lane{Kind: LanePredicted, Hard: Theirs}))
	good := laneMessage(5, [6]uint16{uint16(LanePredicted) << 8, 1, 40000, 40002, 1, 0})
	own := slices.Clone(good)
	own[1] = 0
	later := slices.Clone(good)
	later[0] = 9
	before := slices.Clone(good)
	before[8] ^= 1
	for _, b := range [][]byte{nil, {1}, own, later, before, make([]byte, 1000), append(slices.Clone(good), make([]byte, maxLaneMessage)...)} {
		a.HandleMessage(a.now, b)
		a.drain()
	}
	if len(a.sent) != 0 {
		t.Fatal("took what is no message of the peer")
	}
	a.HandleMessage(a.now, good)
	a.drain()
	if len(a.sent) == 0 || a.sent[0].Remote != netip.AddrPortFrom(lanePeer.Addr(), 40001) {
		t.Fatalf("sent %v, want the port in between first", a.sent)
	}
	had := len(a.sent)
	a.HandleMessage(a.now, good)                                                                         // again
	a.HandleMessage(a.now, laneMessage(4, [6]uint16{uint16(LanePredicted) << 8, 2, 50000, 50002, 1, 0})) // older
	a.drain()
	if len(a.sent) != had {
		t.Error("took a message that came late")
	}
}

func TestLanesWithNowhereToGo(t *testing.T) {
	for _, peer := range []string{"10.0.0.1:5000", "127.0.0.1:5000", "100.64.0.1:5000", "224.0.0.1:5000", "0.0.0.0:5000", "203.0.113.9:80", "[fe80::1]:5000"} {
		for _, hard := range []Side{Ours, Theirs} {
			cfg := lanesConfig(Lane{Kind: LaneBirthday, Hard: hard})
			cfg.Peer = []netip.AddrPort{netip.MustParseAddrPort(peer)}
			a := newLanesRig(t, cfg)
			a.run(time.Minute)
			if len(a.sent) > 0 || a.count(LanesDone) != 1 || a.count(LaneEnded) != 1 {
				t.Errorf("%s: %d packets, events %v", peer, len(a.sent), a.events)
			}
		}
	}
	a := newLanesRig(t, lanesConfig(Lane{Kind: LaneBirthday, Hard: Ours, Ruled: "it is"}, Lane{Kind: LanePlain}, Lane{Kind: LaneTCP}))
	if a.run(time.Minute); len(a.sent) > 0 || a.count(LaneStarted) != 0 || a.count(LanesDone) != 1 {
		t.Errorf("lanes that are not run: events %v", a.events)
	}
}

func TestLanesWithoutSockets(t *testing.T) {
	for _, l := range []Lane{{Kind: LaneBirthday, Hard: Ours}, {Kind: LanePredicted, Hard: Ours}, {Kind: LaneCrossing, Hard: Both}, {Kind: LaneBlocks, Hard: Both}} {
		m, err := NewLanes(epoch, lanesConfig(l), rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		a := &lanesRig{Lanes: m, t: t, now: epoch, open: make(map[machine.SocketID]bool), refuse: true}
		a.drain()
		a.run(time.Minute)
		if len(a.sent) > 0 || a.count(LanesDone) != 1 || len(a.open) > 0 {
			t.Errorf("%v: %d packets, %d sockets, done %d times", l.Kind, len(a.sent), len(a.open), a.count(LanesDone))
		}
	}
	a := newLanesRig(t, lanesConfig(Lane{Kind: LaneBirthday, Hard: Theirs}))
	a.HandleNotice(a.now, machine.Notice{Kind: machine.SocketFailed, Socket: a.cfg.Socket})
	if a.drain(); a.count(LanesDone) != 1 {
		t.Error("goes on without the socket that the peer knows")
	}
}

func TestLanesConfigErrors(t *testing.T) {
	for _, c := range []struct {
		change func(*LanesConfig)
		field  string
	}{{func(c *LanesConfig) { c.Secret = c.Secret[:15] }, "Secret"}} {
		cfg := lanesConfig()
		c.change(&cfg)
		_, err := NewLanes(epoch, cfg, rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{}))
		var ce *ConfigError
		if !errors.As(err, &ce) || ce.Field != c.field {
			t.Errorf("%v, want one about %s", err, c.field)
		}
	}
	if _, err := NewLanes(epoch, lanesConfig(), nil, nil); err == nil {
		t.Error("works without randomness")
	}
}

func TestBracketed(t *testing.T) {
	for _, c := range []struct {
		before, after uint16
		delta         int
		want          []uint16
	}{
		{40000, 40002, 1, []uint16{40001}},
		{40000, 39998, -1, []uint16{39999}},
		{40000, 40006, 3, []uint16{40003}},
		{40000, 40004, 1, []uint16{40002, 40003, 40001}},
		{65535, 1025, 1, []uint16{1024}},
		{40000, 40000, 0, []uint16{40000}},
		{40000, 0, 2, []uint16{40002, 40004, 40006, 40008, 40010, 40012}},
		{0, 40000, 2, []uint16{39998, 39996, 39994, 39992, 39990, 39988}},
		{0, 0, 1, nil},
	} {
		got := bracketed(tellEntry{first: c.before, second: c.after, delta: c.delta})
		if !slices.Equal(got, c.want) {
			t.Errorf("between %d and %d by %d: %v, want %v", c.before, c.after, c.delta, got, c.want)
		}
	}
}
