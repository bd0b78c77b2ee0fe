package bradawl

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/natprobe"
)

// connState is where a connection stands.
type connState uint8

const (
	idle      connState = iota
	dialing             // our offer is out
	waiting             // the user is asked about the peer's offer
	checking            // both have the keys; no path works yet
	connected           // one does
	lost                // none does any more
	over
)

var connStates = [...]string{"idle", "dialing", "waiting", "checking", "connected", "lost", "over"}

var connTransitions = [...][]connState{
	idle:      {dialing, waiting, over},
	dialing:   {checking, waiting, over}, // waiting: a dial of the peer's crossed ours
	waiting:   {checking, over},
	checking:  {connected, over},
	connected: {lost, over},
	lost:      {connected, over},
	over:      nil,
}

// Times of a connection.
const (
	repeatFirst = time.Second // until an offer is sent again, doubling
	repeatMost  = 8 * time.Second
	restartWait = 4 * time.Second // without a path, until the agents begin anew; doubling
	restartMost = time.Minute
	lostMost    = 30 * time.Minute // without a path, until the connection is over
	seekWait    = 45 * time.Second // on a relay, until a direct path is looked for again, doubling
	seekSoon    = 5 * time.Second  // the same, where there was a direct path before
	seekMost    = 5 * time.Minute
	rekeyAfter  = 10 * time.Minute
	rekeyCount  = 1 << 30
	byeWait     = 500 * time.Millisecond // for what is under way when the peer closes
)

// connection is one connection to one peer, from its dial to its end.
type connection struct {
	c          *control
	number     uint32
	peer       PeerID
	dialled    bool // our user wants it
	theirOffer bool // the peer's offer is answered
	state      connState
	plaintext  bool
	began      time.Time
	readyAt    time.Time
	agent      ice.AgentID

	offer      []byte // the noise message, ours or the peer's; until the peer has the keys
	answer     []byte // ours, as it was sent; as long
	own        *seal.Offer
	received   *seal.Received
	theirHello *hello // until it is answered
	stamp      uint64
	stale      bool // the peer has called our stamp stale
	boot       uint64
	keys       *seal.Keys
	proven     bool   // the peer has the keys
	index      uint32 // ours
	theirs     uint32
	profile    natprobe.Profile // the peer's
	relays     []netip.AddrPort // the peer's, the last

	outbox
	helloVersion uint64 // of what our offer or answer has of it
	theirVersion uint64
	generation   int // of our credentials
	theirGen     int
	agains       int // see update.Again
	theirAgain   int
	renew        wish // of credentials
	recheck      wish
	budget       wish // for checks

	deadline  time.Time // for the first path, or for another one
	byeAt     time.Time // to end after the peer has said so by the signalling
	repeatAt  time.Time
	offers    int // sent
	restartAt time.Time
	restarts  int // in a row
	seekAt    time.Time
	recheckAt time.Time
	seeks     int // in a row
	rekeyAt   time.Time
	rekeyed   uint64 // the last ping under the key before
	rekeyedAt uint64 // what had been sent then

	routes
	timer   machine.Timer
	story   []Step
	attempt *attempt // nil: it is not recorded
}

func (k *connection) setState(now time.Time, to connState) {
	if !slices.Contains(connTransitions[k.state], to) {
		k.c.illegal++
		return
	}
	k.state = to
	k.attempt.changed(now, to)
}

func (c *control) newConnection(now time.Time, peer PeerID, dialled bool) *connection {
	c.next++
	k := &connection{c: c, number: c.next, peer: peer, dialled: dialled, began: now, index: c.newIndex(), plaintext: c.cfg.plaintext}
	k.deadline = now.Add(c.cfg.timeout)
	k.timer.Fire = k.due
	c.conns[k.number] = k
	c.byIndex[k.index] = k
	c.waking.watch(now)
	c.tell(now, Event{Kind: EventDialing, Peer: peer, Conn: k.number})
	return k
}

// dial begins a connection, or joins one that the peer is about to make: two dials that
// cross become one. The error is a *PeerError.
func (c *control) dial(now time.Time, peer PeerID) (uint32, error) {
	c.enter(now)
	defer c.pump(now)
	switch {
	case peer.IsZero():
		return 0, &PeerError{Peer: peer, Err: ErrNobody}
	case peer == c.cfg.identity.ID():
		return 0, &PeerError{Peer: peer, Err: ErrSelf}
	}
	for _, k := range c.order() {
		if k.peer == peer && !k.dialled && (k.state == waiting || k.state == checking) {
			k.dialled = true
			if k.state == waiting {
				k.allow(now) // we want to talk to it ourselves
			}
			return k.number, nil
		}
	}
	k := c.newConnection(now, peer, true)
	if err := k.newAgent(now, true); err != nil {
		k.end(now, err)
		return 0, err
	}
	k.setState(now, dialing)
	k.propose(now)
	k.settle(now)
	return k.number, nil
}

// newAgent makes the connection's agent.
func (k *connection) newAgent(now time.Time, controlling bool) error {
	var err error
	k.agent, err = k.c.ice.NewAgent(now, ice.AgentConfig{
		Controlling: controlling, Multipath: true, Pace: 5 * time.Millisecond, Policy: k.c.cfg.policy.ice(), Timeout: -1,
	})
	if err != nil {
		return err
	}
	k.c.byAgent[k.agent] = k
	// The peer often has its relayed address on the same server. A permission for that
	// is asked for now, so that it stands when the answer comes.
	k.c.notes.Push(note{kind: notePermit})
	k.c.pump(now) // what candidates there are
	return nil
}

// hello is what we say of ourselves. What is in it need not be told again once the peer has
// it.
func (k *connection) hello(now time.Time) *hello {
	c := k.c
	cred := c.ice.Credentials(k.agent)
	return &hello{
		Stamp: c.nextStamp(k.peer, c.cfg.wall(now)), Boot: c.boot,
		Index: k.index, Protocol: c.cfg.protocol, Plaintext: k.plaintext, Policy: c.cfg.policy,
		Ufrag: cred.Ufrag, Pwd: cred.Pwd, Candidates: k.outbox.candidates(), Profile: c.profileBytes(),
	}
}

// propose makes and sends an offer.
func (k *connection) propose(now time.Time) {
	h := k.hello(now)
	own, message, err := seal.NewOffer(k.c.cfg.identity, k.peer, encode(h), k.c.secrets)
	if err != nil {
		k.end(now, err)
		return
	}
	k.stamp, k.helloVersion = h.Stamp, k.version
	k.own, k.offer, k.offers = own, message, 0
	k.repeat(now)
}

// repeat sends again what the peer has not answered, or has asked for again.
func (k *connection) repeat(now time.Time) {
	c := k.c
	switch {
	case k.state == dialing:
		c.notes.Push(note{kind: noteSignal, peer: k.peer, message: wrap(msgOffer, 0, k.offer)})
		k.repeatAt = now.Add(min(repeatFirst<<min(k.offers, 10), repeatMost))
		k.offers++
		k.attempt.sent()
	case k.answer != nil:
		c.notes.Push(note{kind: noteSignal, peer: k.peer, message: k.answer})
		k.attempt.sent()
	}
	k.settle(now)
}

// answered takes in the answer to our offer.
func (k *connection) answered(now time.Time, message []byte) {
	if k.state != dialing {
		return
	}
	payload, keys, err := k.own.Finish(message)
	if err != nil {
		k.c.counts.Forged++
		k.c.refused(now, k.peer, "an answer does not decrypt", err)
		return
	}
	h, err := readHello(payload)
	if err != nil {
		k.end(now, &PeerError{Peer: k.peer, Err: err})
		return
	}
	k.c.heard(k.peer, h.Stamp)
	k.c.rebooted(now, k.peer, h.Boot)
	switch {
	case h.Refused != "" && h.Last >= k.stamp && !k.stale:
		k.stale = true
		k.c.outdated(k.peer, h.Last)
		k.propose(now)
		return
	case h.Refused != "":
		k.end(now, &PeerError{Peer: k.peer, Err: &RefusedError{h.Refused}})
		return
	}
	// Both have the keys.
	k.own = nil
	k.theirs, k.boot = h.Index, h.Boot
	k.setState(now, checking)
	k.useKeys(now, keys)
	k.confirmed(now)
	k.introduce(now, h)
	k.c.pump(now)
	k.settle(now)
}

// take keeps an offer of the peer.
func (k *connection) take(got *seal.Received, h *hello, message []byte) {
	k.received, k.offer, k.theirs, k.boot, k.stamp = got, bytes.Clone(message), h.Index, h.Boot, h.Stamp
	k.theirHello, k.theirOffer = h, true
}

// yield takes a dial of the peer in place of ours, which crossed it.
func (k *connection) yield(now time.Time, got *seal.Received, h *hello, message []byte) {
	k.own = nil
	k.take(got, h, message)
	k.setState(now, waiting)
	k.c.ice.CloseAgent(now, k.agent)
	delete(k.c.byAgent, k.agent)
	k.outbox = outbox{queued: k.outbox.queued}
	k.note(now, "the peer dialled at the same time: one connection comes of it", nil)
	k.allow(now) // we want to talk to it ourselves
}

// allow answers the peer's offer.
func (k *connection) allow(now time.Time) {
	c := k.c
	if err := k.newAgent(now, false); err != nil {
		k.end(now, err)
		return
	}
	h := k.theirHello
	k.theirHello = nil
	k.setState(now, checking)
	k.introduce(now, h) // our holes are opened before the answer leaves
	k.helloVersion = k.version
	message, keys, err := k.received.Answer(encode(k.hello(now)))
	if err != nil {
		k.end(now, err)
		return
	}
	k.received = nil
	k.answer = wrap(msgAnswer, k.theirs, message)
	c.notes.Push(note{kind: noteSignal, peer: k.peer, message: k.answer})
	k.attempt.sent()
	k.useKeys(now, keys)
	c.pump(now)
	k.settle(now)
}

// confirmed notes that the peer has the keys. Before, nothing but checks is sent: the offer
// may be a recorded one, or the answer be slower than the checks.
func (k *connection) confirmed(now time.Time) {
	if k.proven || k.keys == nil {
		return
	}
	k.proven, k.offer, k.answer = true, nil, nil
	k.attempt.confirmed(now)
	k.steer(now)
}

// introduce tells our agent of the peer's.
func (k *connection) introduce(now time.Time, h *hello) {
	k.remember(h.Profile)
	_ = k.c.ice.SetRemote(now, k.agent, h.credentials()) // readHello saw to it
	k.meet(now, h.Candidates)
}

func (k *connection) useKeys(now time.Time, keys *seal.Keys) {
	k.keys, k.rekeyAt, k.repeatAt = keys, now.Add(rekeyAfter), time.Time{}
	k.c.notes.Push(note{kind: noteKeys, conn: k.number, peer: k.peer, keys: keys, index: k.theirs, ours: k.index, dialled: k.dialled})
	k.outbox.told(k.helloVersion)
	k.unsaid(0)
}

// agentEvent takes in what the agent has to say.
func (k *connection) agentEvent(now time.Time, e ice.Event) {
	k.attempt.agentEvent(now, e)
	switch e.Kind {
	case ice.EventCandidate:
		k.note(now, "candidate of ours: "+e.Candidate.String(), nil)
		k.say(partCandidate, update{Candidates: []string{e.Candidate.String()}})
		if k.state >= connected {
			k.c.ice.Renew(now, k.agent)
		}
	case ice.EventPassedOver:
		k.note(now, "candidate of the peer passed over: "+e.Candidate.String(), e.Err)
	case ice.EventRestarted:
		k.tellCredentials(e.Credentials)
	case ice.EventChecked:
		k.confirmed(now) // our password came with the answer
	case ice.EventValid:
		k.addPath(now, e.Pair)
	case ice.EventInvalid:
		k.dropPath(now, e.Pair, e.Err)
	}
}

// tellCredentials tells the peer that our agent began anew.
func (k *connection) tellCredentials(c ice.Credentials) {
	k.generation++
	k.say(partCredentials, update{Generation: k.generation, Ufrag: c.Ufrag, Pwd: c.Pwd})
}

// restart lets the agents begin anew, where nothing else has helped.
func (k *connection) restart(now time.Time) {
	k.note(now, "no path for a while: the agents begin anew", nil)
	if cred, err := k.c.ice.Restart(now, k.agent); err == nil {
		k.tellCredentials(cred)
	}
	k.c.ice.Refresh(now)
	k.restarts++
	k.restartAt = now.Add(min(restartWait<<min(k.restarts, 10), restartMost))
	k.c.pump(now)
}

// seek looks for a direct path once more: NATs are rebooted, networks change, and what a
// failed punch has left in NATs is forgotten after half a minute. We begin when the peer
// hears of it, for some NATs hold a packet against its sender that comes before any has
// left for it.
func (k *connection) seek(now time.Time) {
	k.c.ice.Refresh(now)
	k.again()
	k.recheckAt = now.Add(k.path.rtt() / 2)
	k.seeks++
	k.seekLater(now)
}

// seekLater sets when that is done, while a relay carries the data.
func (k *connection) seekLater(now time.Time) {
	switch {
	case k.path == nil || !k.path.relayed || k.c.cfg.policy == RelayOnly:
		k.seekAt, k.seeks = time.Time{}, 0
	case k.wasGood:
		k.seekAt = now.Add(min(seekSoon<<min(k.seeks, 10), seekMost))
	default:
		k.seekAt = now.Add(min(seekWait<<min(k.seeks, 10), seekMost))
	}
}

// ready tells that data can be sent, for the first time or again.
func (k *connection) ready(now time.Time) {
	was := k.state
	k.setState(now, connected)
	k.restartAt, k.deadline, k.restarts = time.Time{}, time.Time{}, 0
	k.active, k.quiet = now, false // the first pings confirm the keys and measure the path
	e := Event{Kind: EventConnected, Peer: k.peer, Conn: k.number, Path: k.public(k.path), After: now.Sub(k.began)}
	if was == lost {
		e.Kind = EventRecovered
	} else {
		k.readyAt = now
		k.tellRoutes() // who gets the connection can write at once
		k.c.notes.Push(note{kind: noteReady, conn: k.number, peer: k.peer, dialled: k.dialled})
	}
	k.c.tell(now, e)
	k.unsaid(0)
}

// close ends the connection from our side.
func (c *control) close(now time.Time, number uint32) {
	c.enter(now)
	defer c.pump(now)
	k := c.conns[number]
	if k == nil {
		return
	}
	if k.keys != nil {
		for range 2 { // one of them may be lost; the signalling tells as well
			for _, p := range k.inUse() {
				k.sealTo(now, p.route, seal.Close, nil)
			}
		}
		k.sendSignal(update{Bye: true})
	}
	k.end(now, nil)
}

// end ends the connection. err is nil if we closed it.
func (k *connection) end(now time.Time, err error) {
	if k.state == over {
		return
	}
	c := k.c
	k.setState(now, over)
	k.attempt.end(now, err)
	if k.agent != 0 {
		c.ice.CloseAgent(now, k.agent)
		delete(c.byAgent, k.agent)
	}
	c.timers.Stop(&k.timer)
	delete(c.byIndex, k.index)
	delete(c.conns, k.number)
	c.tell(now, Event{Kind: EventClosed, Peer: k.peer, Conn: k.number, Err: err})
	c.notes.Push(note{kind: noteOver, conn: k.number, peer: k.peer, err: err, dialled: k.dialled})
}

// due does what has become due.
func (k *connection) due(now time.Time) {
	isDue := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	if isDue(k.byeAt) {
		k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
		return
	}
	if isDue(k.deadline) {
		k.end(now, k.failure(now))
		return
	}
	if isDue(k.repeatAt) {
		k.repeatAt = time.Time{}
		k.repeat(now)
	}
	if isDue(k.outbox.tellAt) {
		k.unsaid(k.tries)
	}
	k.renew.follow(now)
	k.recheck.follow(now)
	k.budget.follow(now)
	if isDue(k.restartAt) {
		k.restart(now)
	}
	if isDue(k.seekAt) {
		k.seek(now)
	}
	if isDue(k.recheckAt) {
		k.recheckAt = time.Time{}
		k.c.ice.Recheck(now, k.agent)
	}
	k.beat(now)
	k.settle(now)
}

// settle sets the time of what is due next.
func (k *connection) settle(now time.Time) {
	if k.state == over {
		return
	}
	next := machine.Earliest(k.deadline, k.byeAt, k.repeatAt, k.outbox.tellAt, k.renew.at, k.recheck.at, k.budget.at,
		k.restartAt, k.seekAt, k.recheckAt, k.nextBeat(now))
	if next.IsZero() {
		k.c.timers.Stop(&k.timer)
		return
	}
	k.c.timers.Set(&k.timer, next)
}
