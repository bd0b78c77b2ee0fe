package bradawl

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
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

	conns   map[uint32]*connection // by number
	next    uint32
	byIndex map[uint32]*connection // by the index that peers put into sealed datagrams
	byAgent map[ice.AgentID]*connection
	peers   map[PeerID]*peerState
	stamp   uint64 // of the last offer
	profile natprobe.Profile

	timers  machine.Timers
	out     machine.Queue[machine.Transmit]
	notes   machine.Queue[note]
	arena   []byte
	plain   []byte // of what is opened
	counts  Counts
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
	ask       bool // whether strangers may connect is asked for
	stamp     uint64
}

// Counts are what a session did not take, and why.
type Counts struct {
	Forged  uint64 // datagrams and messages that did not decrypt
	Replays uint64 // that had been taken before
	Unknown uint64 // sealed datagrams for nobody here
	Stale   uint64 // offers from before the last one of that peer
	Flooded uint64 // offers beyond what is taken at once
}

// noteKind is the sort of a note.
type noteKind uint8

const (
	noteNothing noteKind = iota
	noteEvent            // event is for the user
	noteSignal           // message is for peer, by the signalling
	noteAsk              // may peer connect? answer by decide
	noteReady            // conn can be used: Dial returns, or Accept does
	noteRoute            // conn's data goes by all of route from now on, and may come by known
	noteKeys             // conn's datagrams are sealed and opened by keys from now on
	noteData             // data is for conn's reader
	notePermit           // peers may be behind the relay that we use: let its own IP in
	noteOver             // conn is over: err
)

// note is what the control has to say to its shell.
type note struct {
	kind    noteKind
	conn    uint32
	peer    PeerID
	message []byte
	data    []byte
	event   Event
	route   []ice.Route // the first is the path in use
	known   []ice.Route // all that work
	keys    *seal.Keys
	index   uint32 // the peer's
	ours    uint32
	dialled bool
	err     error
}

// peerState is what is kept of a peer beyond one connection.
type peerState struct {
	stamp uint64 // of its last offer
}

const (
	// maxPeers bounds the peers whose stamps are remembered.
	maxPeers = 4096
	// maxAsked bounds the offers that wait for an answer of the user.
	maxAsked = 64
)

func newControl(cfg controlConfig, random *rand.Rand, secrets io.Reader) (*control, error) {
	m, err := ice.NewMachine(ice.MachineConfig{
		Keepalive: cfg.keepalive, Score: cfg.score, History: cfg.history, Loopback: cfg.loopback,
	}, random, secrets)
	if err != nil {
		return nil, err
	}
	return &control{
		cfg: cfg, ice: m, random: random, secrets: secrets, stamp: cfg.stamp,
		conns: make(map[uint32]*connection), byIndex: make(map[uint32]*connection),
		byAgent: make(map[ice.AgentID]*connection), peers: make(map[PeerID]*peerState),
	}, nil
}

// Format implements fmt.Formatter: nothing of a control is shown.
func (c *control) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "bradawl.control{%d connections}", len(c.conns))
}

func (c *control) enter() { c.arena = c.arena[:0] }

// HandleDatagram takes in what came to a socket.
func (c *control) HandleDatagram(now time.Time, d machine.Datagram) {
	c.enter()
	if wire.Classify(d.Data) == wire.Bradawl {
		from := ice.Route{Socket: d.Socket, Remote: d.Remote}
		c.sealed(now, d, from)
		c.pump(now)
		return
	}
	c.ice.HandleDatagram(now, d)
	c.pump(now)
}

// HandleNotice takes in what became of sockets and streams.
func (c *control) HandleNotice(now time.Time, n machine.Notice) {
	c.enter()
	c.ice.HandleNotice(now, n)
	c.pump(now)
}

// HandleTimeout does what has become due.
func (c *control) HandleTimeout(now time.Time) {
	c.enter()
	if at := c.ice.NextTimeout(); !at.IsZero() && !at.After(now) {
		c.ice.HandleTimeout(now)
		c.pump(now)
	}
	c.timers.Run(now)
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
	return c.ice.PollTransmit()
}

// PollEvent returns the next note.
func (c *control) PollEvent() (note, bool) { return c.notes.Pop() }

// pump takes in what the agents have to say.
func (c *control) pump(now time.Time) {
	for e, ok := c.ice.PollEvent(); ok; e, ok = c.ice.PollEvent() {
		if e.Kind == ice.EventData {
			c.stream(now, e)
			continue
		}
		if k := c.byAgent[e.Agent]; k != nil {
			k.agentEvent(now, e)
		}
	}
}

// stream takes in data that came framed, or in plaintext.
func (c *control) stream(now time.Time, e ice.Event) {
	if wire.Classify(e.Data) == wire.Bradawl {
		c.sealed(now, machine.Datagram{Socket: e.Pair.Route.Socket, Remote: e.Pair.Route.Remote, Data: e.Data}, e.Pair.Route)
		return
	}
	if k := c.byAgent[e.Agent]; k != nil && k.plaintext && k.state >= connected {
		c.notes.Push(note{kind: noteData, conn: k.number, data: e.Data})
	}
}

// sealed takes in a sealed datagram that the shell has not taken.
func (c *control) sealed(now time.Time, d machine.Datagram, from ice.Route) {
	index, ok := seal.Index(d.Data)
	k := c.byIndex[index]
	if !ok || k == nil || k.keys == nil {
		c.counts.Unknown++
		return
	}
	payload, kind, err := k.keys.Open(c.plain[:0], d.Data)
	switch err {
	case nil:
		c.plain = payload
		k.opened(now, kind, payload, d, from)
	case seal.ErrReplay:
		c.counts.Replays++
	default:
		c.counts.Forged++
	}
}

// handed takes in what the shell has opened of what the peer sealed, other than data.
func (c *control) handed(now time.Time, number uint32, kind seal.Kind, payload []byte, d machine.Datagram, from ice.Route) {
	c.enter()
	if k := c.conns[number]; k != nil {
		k.opened(now, kind, payload, d, from)
	}
	c.pump(now)
}

// strange tells that data of the peer came from where none of its paths is.
func (c *control) strange(now time.Time, number uint32, d machine.Datagram, from ice.Route) {
	c.enter()
	if k := c.conns[number]; k != nil {
		k.heardBy(now, d, from)
	}
	c.pump(now)
}

// tell tells the user something.
func (c *control) tell(now time.Time, e Event) {
	e.At = now
	c.notes.Push(note{kind: noteEvent, event: e, conn: e.Conn})
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

// networkChanged tells that the host's addresses have changed; the bases have been changed
// already. Every path is doubted and checked, and every peer told what is new.
func (c *control) networkChanged(now time.Time) {
	c.enter()
	c.tell(now, Event{Kind: EventNetwork})
	c.ice.Refresh(now)
	for _, k := range c.order() {
		k.disturbed(now, "the network changed")
	}
	c.pump(now)
}

var _ interface {
	machine.Machine[note]
	machine.Noticer
} = (*control)(nil)
