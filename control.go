package bradawl

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// control is the whole control of a session as a machine (machine.Machine[note] and
// machine.Noticer): who is dialled, by which paths data goes, and why. The ICE agents are
// a machine within it. It knows no sockets, no signalling and no clock; what it wants of
// them it says by notes.
//
// Like every machine it is not safe for concurrent use.
type control struct {
	cfg     controlConfig
	ice     *ice.Machine
	random  *rand.Rand
	secrets io.Reader
	boot    uint64 // tells this run of the program from others under the same identity

	conns   map[uint32]*connection // by number
	next    uint32
	byIndex map[uint32]*connection // by the index that peers put into sealed datagrams
	links   []*link                // the oldest first
	byAgent map[ice.AgentID]*link
	talking []*link // that have something to tell their peer
	strangers
	unsigned  error // why the signalling reaches nobody; nil: it does
	turn      turnServers
	profile   natprobe.Profile
	mute      bool          // no STUN server answered those who asked for the profile
	tcpAsked  bool          // the shell is to find out what the NAT does with TCP
	doubted   bool          // it is finding out anew what the NAT does
	doubtAt   time.Time     // not before
	doubtGap  time.Duration // the last one
	movedAt   time.Time     // to another network
	moving    moving
	sprayers  sprayers
	waking    waking
	mappings  mappings
	records   records
	usual     *treatment // of peers that nothing else is said of
	untreated []PeerID   // of whom more may be asked now

	timers  machine.Timers
	out     machine.Queue[machine.Transmit]
	closing machine.Queue[machine.Transmit] // sockets, when all that leaves by them has left
	notes   machine.Queue[note]
	plain   []byte // of what is opened
	counts  SessionStats
	illegal int // transitions that the table does not have: always 0
}

// controlConfig is what of Config the control needs.
type controlConfig struct {
	identity  *Identity
	protocol  string
	policy    Policy
	plaintext bool
	timeout   time.Duration
	loopback  bool
	score     ice.ScoreConfig
	history   ice.History
	keepalive time.Duration
	budget    punch.Budget
	noLanes   bool
	memory    punch.Memory // nil: nothing is remembered of lanes
	ask       bool         // whether strangers may connect is asked for
	treat     bool         // how peers are treated is
	stamp     uint64       // of the last offer under this identity
	ids       io.Reader    // of what is recorded; nil: nothing is
	// wall is what the clock on the wall shows at a time of the machine's, which stands still
	// while the host sleeps. Default: what that time says it is.
	wall func(now time.Time) time.Time
}

// SessionStats are what a session did not take, or could not hand on, and why.
type SessionStats struct {
	Forged  uint64 // datagrams and messages that did not decrypt
	Replays uint64 // that had been taken before
	Unknown uint64 // sealed datagrams for nobody here
	Stale   uint64 // offers from before the last one of that peer
	Flooded uint64 // offers beyond what is taken at once
	// Unrecorded are the events that Config.Record did not get, because it was too slow for
	// them, or because the clock on the wall shows no time that an event can have.
	Unrecorded uint64
}

// noteKind is the sort of a note.
type noteKind uint8

const (
	noteNothing noteKind = iota
	noteEvent            // event is for the user
	noteSignal           // message is for peer, by the signalling
	noteAsk              // may peer connect? answer by decide
	noteTreat            // how is peer treated? answer by treat
	noteReady            // conn can be used: Dial returns, or Accept does, unless dialled
	noteRoute            // the data of conns goes by all of route from now on, none: nowhere; it may come by known
	noteKeys             // conn's sealed datagrams are opened by keys from now on
	noteData             // data is for conn's reader
	notePermit           // peers may be behind the relay that we use: let its own IP in
	noteQuiet            // nothing was sent by conn for a while: tell the next write by wrote
	noteRelays           // the network may be another: what relays it has given are to be checked
	noteNAT              // what the NAT does is to be found out anew: answer by setProfile
	noteLeft             // the host has left its network: what is being found out of it, or was, is of no use
	noteOver             // conn is over: err
	noteRecord           // record is for the statistics
	noteTCP              // what the NAT does with TCP has come to matter: answer by setTCP
	noteBroken           // socket, which is one of the shell's, receives nothing any more
)

// note is what the control has to say to its shell.
type note struct {
	kind    noteKind
	conn    uint32
	conns   []uint32
	peer    PeerID
	message []byte
	data    []byte
	event   Event
	route   []ice.Route // the first is the path in use
	known   []ice.Route // all that work
	keys    *seal.Keys
	index   uint32 // the peer's
	ours    uint32
	dialled bool // by our side
	err     error
	record  *stats.Event
	socket  machine.SocketID
}

func newControl(cfg controlConfig, random *rand.Rand, secrets io.Reader) (*control, error) {
	m, err := ice.NewMachine(ice.MachineConfig{
		Keepalive: cfg.keepalive, Score: cfg.score, History: cfg.history, Loopback: cfg.loopback,
	}, random, secrets)
	if err != nil {
		return nil, err
	}
	if cfg.wall == nil {
		cfg.wall = func(now time.Time) time.Time { return now.Round(0) }
	}
	c := &control{
		cfg: cfg, ice: m, random: random, secrets: secrets, boot: random.Uint64() | 1,
		conns: make(map[uint32]*connection), byIndex: make(map[uint32]*connection), byAgent: make(map[ice.AgentID]*link),
	}
	c.strangers.init(cfg.stamp)
	c.waking.init(c)
	c.moving.init(c)
	c.mappings.init(c)
	c.sprayers.byID, c.sprayers.targets = make(map[uint64]*link), make(map[netip.Addr]time.Time)
	c.sprayers.ofPeer = make(map[PeerID]*allowance)
	c.records.init(cfg.ids)
	c.usual = newTreatment("", cfg.budget, cfg.noLanes)
	return c, nil
}

// Format implements fmt.Formatter: nothing of a control is shown.
func (c *control) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "bradawl.control{%d connections}", len(c.conns))
}

// enter begins every call.
func (c *control) enter(now time.Time) { c.waking.look(now) }

// HandleDatagram takes in what came to a socket.
func (c *control) HandleDatagram(now time.Time, d machine.Datagram) {
	c.enter(now)
	from := ice.Route{Socket: d.Socket, Remote: d.Remote}
	if d.Local.IsValid() && !d.Local.Addr().IsUnspecified() {
		from.Local = d.Local
	}
	if !c.sealed(now, d, from) && !c.laneDatagram(now, d) {
		c.ice.HandleDatagram(now, d)
	}
	c.pump(now)
}

// HandleNotice takes in what became of sockets and streams.
func (c *control) HandleNotice(now time.Time, n machine.Notice) {
	c.enter(now)
	c.mappings.notice(now, n)
	c.laneNotice(now, n)
	c.ice.HandleNotice(now, n)
	c.pump(now)
}

// HandleTimeout does what has become due.
func (c *control) HandleTimeout(now time.Time) {
	c.enter(now)
	if at := c.ice.NextTimeout(); !at.IsZero() && !at.After(now) {
		c.ice.HandleTimeout(now)
		c.pump(now)
	}
	c.timers.Run(now)
	for _, k := range c.running() {
		k.driveLanes(now)
	}
	c.pump(now)
}

// NextTimeout is when something becomes due.
func (c *control) NextTimeout() time.Time {
	return machine.Earliest(c.timers.Next(), c.ice.NextTimeout())
}

// PollTransmit returns the next effect.
func (c *control) PollTransmit() (machine.Transmit, bool) {
	if t, ok := c.out.Pop(); ok {
		return t, ok
	}
	if t, ok := c.ice.PollTransmit(); ok {
		return t, ok
	}
	return c.closing.Pop()
}

// transmit queues an effect. Sockets are closed last: a farewell may be about to leave by one.
func (c *control) transmit(t machine.Transmit) {
	if t.Op == machine.CloseSocket {
		c.closing.Push(t)
	} else {
		c.out.Push(t)
	}
}

// PollEvent returns the next note.
func (c *control) PollEvent() (note, bool) { return c.notes.Pop() }

// pump takes in what the agents have to say, and then tells peers what is new. Every call
// that enters the control ends with it.
func (c *control) pump(now time.Time) {
	for e, ok := c.ice.PollEvent(); ok; e, ok = c.ice.PollEvent() {
		switch k := c.byAgent[e.Agent]; {
		case e.Kind == ice.EventData:
			c.plainData(now, e)
		case e.Kind == ice.EventReflexive:
			c.mappings.seen(now, e)
		case e.Kind == ice.EventBaseGone:
			c.mappings.gone(now, e.Base)
		case k != nil:
			k.agentEvent(now, e)
		}
	}
	for _, peer := range c.untreated {
		c.putQuestions(now, peer)
	}
	c.untreated = c.untreated[:0]
	for _, k := range c.talking {
		k.tell(now)
	}
	c.talking = c.talking[:0]
}

// plainData takes in what the agents take for data: in plaintext, whatever it looks like,
// and what is sealed and came framed.
func (c *control) plainData(now time.Time, e ice.Event) {
	r := e.Pair.Route
	if r.Stream != 0 && c.sealed(now, machine.Datagram{Socket: r.Socket, Remote: r.Remote, Data: e.Data}, r) {
		return
	}
	if k := c.byAgent[e.Agent]; k != nil && k.plaintext && k.stood {
		k.conns[0].heardData(now, e.Data) // it has no other
	}
}

// sealed takes in a sealed datagram, and reports whether it is one. Where there is
// plaintext, what looks like one may be the data of another protocol.
func (c *control) sealed(now time.Time, d machine.Datagram, from ice.Route) bool {
	if wire.Classify(d.Data) != wire.Bradawl {
		return false
	}
	index, ok := seal.Index(d.Data)
	k := c.byIndex[index]
	if !ok || k == nil || k.keys == nil {
		c.counts.Unknown++
		return !c.cfg.plaintext
	}
	payload, kind, err := k.keys.Open(c.plain[:0], d.Data)
	switch err {
	case nil:
		c.plain = payload
		k.opened(now, kind, payload, d, from)
		return true
	case seal.ErrReplay:
		c.counts.Replays++
		return true
	}
	c.counts.Forged++
	return !c.cfg.plaintext
}

// handed takes in what the shell has opened of what the peer sealed, other than data.
func (c *control) handed(now time.Time, number uint32, kind seal.Kind, payload []byte, d machine.Datagram, from ice.Route) {
	c.enter(now)
	if k := c.conns[number]; k != nil {
		k.opened(now, kind, payload, d, from)
	}
	c.pump(now)
}

// heardFrom tells that the shell has opened data of the peer: the first, and what comes from
// where none of its paths is.
func (c *control) heardFrom(now time.Time, number uint32, d machine.Datagram, from ice.Route) {
	c.enter(now)
	if k := c.conns[number]; k != nil {
		k.heardFrom(now, d, from)
		k.link.settle(now)
	}
	c.pump(now)
}

// tell tells the user something.
func (c *control) tell(now time.Time, e Event) {
	e.At = now
	c.notes.Push(note{kind: noteEvent, event: e, conn: e.Conn})
	c.recordTold(now, e)
}

// newIndex draws an index that no connection has.
func (c *control) newIndex() uint32 {
	for {
		i := c.random.Uint32() & (1<<24 - 1)
		if _, taken := c.byIndex[i]; !taken && i != 0 {
			return i
		}
	}
}

// order returns the connections as they were made.
func (c *control) order() []*connection {
	all := make([]*connection, 0, len(c.conns))
	for _, k := range c.conns {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *connection) int { return int(a.number) - int(b.number) })
	return all
}

// networkChanged tells that the host's routes may have changed and, if moved, that its
// addresses have; the bases have been changed already. Every path is doubted and checked, and
// every peer told what is new.
func (c *control) networkChanged(now time.Time, moved bool) {
	c.enter(now)
	if moved {
		c.forgetNAT()
	}
	c.disturbed(now, "the network changed")
	if moved {
		c.forgive(now)
	}
	c.pump(now)
}

// disturbed has everything checked that may have changed.
func (c *control) disturbed(now time.Time, why string) {
	c.tell(now, Event{Kind: EventNetwork, Reason: why})
	c.moving.want(now)
	c.mappings.disturbed()
	c.ice.Refresh(now)
	for _, k := range slices.Clone(c.links) {
		k.disturbed(now, why)
	}
}

var _ interface {
	machine.Machine[note]
	machine.Noticer
} = (*control)(nil)
