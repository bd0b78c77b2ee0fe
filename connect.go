package bradawl

import (
	"bytes"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
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

var connTransitions = machine.Steps[connState]{
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
	staleMost   = 8                      // times that an offer is made anew for others have overtaken it
	byeWait     = 500 * time.Millisecond // for what is under way when the peer closes
)

// connection is one connection to one peer, from its dial to its end: a handshake and its
// keys. How it gets to the peer is its link's.
type connection struct {
	*link
	number     uint32
	dialled    bool  // our user wants it
	theirOffer bool  // the peer's offer is answered
	rides      bool  // on a link that stood before
	byPath     bool  // the peer's offer came by it
	untold     bool  // how the peer is treated is to be asked for, and waited for until repeatAt
	asked      bool  // it is being asked for
	stale      uint8 // how often the peer has called our stamp stale
	state      connState
	began      time.Time
	readyAt    time.Time

	offer      []byte // the noise message, ours or the peer's; until the peer has the keys
	answer     []byte // ours, as it was sent; as long
	own        *seal.Offer
	received   *seal.Received
	theirHello *hello // until it is answered
	stamp      uint64
	keys       *seal.Keys
	proven     bool   // the peer has the keys
	index      uint32 // ours
	theirs     uint32

	deadline time.Time // for the first path
	byeAt    time.Time // to end after the peer has said so by the signalling
	repeatAt time.Time
	offers   int // sent
	traffic
	timer   machine.Timer
	attempt *attempt // nil: it is not recorded

	treatment *treatment // nil: it is not known yet
}

func (k *connection) setState(now time.Time, to connState) {
	if connTransitions.Step(&k.state, to, &k.c.illegal) {
		k.attempt.changed(now, to)
	}
}

// newConnection makes a connection, on a link that stands or on one of its own.
func (c *control) newConnection(now time.Time, peer PeerID, dialled bool, on *link) *connection {
	c.next++
	k := &connection{number: c.next, dialled: dialled, rides: on != nil, began: now, index: c.newIndex()}
	if on == nil {
		on = c.newLink(now, peer)
		on.founder = k
	}
	on.join(k)
	k.deadline = now.Add(c.cfg.timeout)
	k.timer.Fire = k.due
	c.conns[k.number] = k
	c.byIndex[k.index] = k
	c.waking.watch(now)
	c.tell(now, Event{Kind: EventDialing, Peer: peer, Conn: k.number})
	return k
}

// dial begins a connection, or joins one that the peer is about to make: two dials that
// cross become one. Where there is a link to the peer, or our user dials it, each dial makes a
// connection on that. The error is a *PeerError.
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
		if k.peer == peer && !k.dialled && !k.rides && (k.state == waiting || k.state == checking) {
			k.dialled = true
			if k.state == waiting {
				k.admit(now) // we want to talk to it ourselves
			}
			return k.number, nil
		}
	}
	k := c.newConnection(now, peer, true, c.standing(peer))
	k.setState(now, dialing)
	k.admit(now)
	return k.number, nil
}

// hello is what we say of ourselves. What is in it need not be told again once the peer has
// it.
func (k *connection) hello(now time.Time) *hello {
	c := k.c
	h := &hello{
		Stamp: c.nextStamp(k.peer, c.cfg.wall(now)), Boot: c.boot,
		Index: k.index, Protocol: c.cfg.protocol, Plaintext: k.plaintext, Policy: c.cfg.policy,
	}
	if k.rides {
		h.Link = k.name
		return h
	}
	cred := c.ice.Credentials(k.agent)
	h.Ufrag, h.Pwd, h.Candidates, h.Profile = cred.Ufrag, cred.Pwd, k.outbox.candidates(), c.profileBytes()
	h.NoLanes, h.Free, h.Mapped, h.Budget = k.lane.spend.off, c.isFree(now), c.isMapped(), budgetTerms(k.lane.spend.budget)
	k.helloVersion = k.version
	return h
}

// propose makes and sends an offer, unless that has to wait.
func (k *connection) propose(now time.Time) {
	if k.treatment == nil {
		return
	}
	h := k.hello(now)
	own, message, err := seal.NewOffer(k.c.cfg.identity, k.peer, encode(h), k.c.secrets)
	if err != nil {
		k.end(now, err)
		return
	}
	k.stamp = h.Stamp
	k.own, k.offer, k.offers = own, message, 0
	k.repeat(now)
}

// repeat sends again what the peer has not answered, or has asked for again.
func (k *connection) repeat(now time.Time) {
	switch {
	case k.state == dialing && k.own == nil: // the link is not there yet
	case k.state == dialing && k.rides:
		k.hail(now)
	case k.state == dialing:
		k.signal(wrap(msgOffer, 0, k.offer))
		k.repeatAt = now.Add(min(repeatFirst<<min(k.offers, 10), repeatMost))
		k.offers++
		k.attempt.sent()
	case k.answer != nil && !(k.byPath && k.carry(now, k.answer)):
		k.signal(k.answer)
		k.attempt.sent()
	}
	k.settle(now)
}

// signal has a message taken to the peer by the signalling.
func (k *link) signal(message []byte) {
	k.c.notes.Push(note{kind: noteSignal, peer: k.peer, message: message})
}

// answered takes in the answer to our offer.
func (k *connection) answered(now time.Time, message []byte) {
	if k.state != dialing || k.own == nil {
		return
	}
	payload, keys, err := k.own.Finish(message)
	if err != nil {
		k.c.counts.Forged++
		k.c.refused(now, k.peer, "an answer does not decrypt", err)
		return
	}
	h, err := readHello(payload)
	if err == nil && h.Refused == "" && h.Link != k.mirrored() {
		err = errNonsense // it is not of the link that we have asked for
	}
	if err != nil {
		k.end(now, &PeerError{Peer: k.peer, Err: err})
		return
	}
	k.c.heard(k.peer, h.Stamp)
	own := k.own
	if h.Unlinked && k.rides {
		k.alone(now, whyAlone)
	}
	k.c.rebooted(now, k.peer, h.Boot, false)
	switch {
	case k.own != own: // it goes on alone
		return
	case h.Refused != "" && h.Last >= k.stamp && (k.stale == 0 || k.rides && k.stale < staleMost):
		k.stale++
		k.c.outdated(k.peer, h.Last)
		k.propose(now)
		return
	case h.Refused != "":
		k.end(now, &PeerError{Peer: k.peer, Err: &RefusedError{h.Refused}})
		return
	}
	// Both have the keys.
	k.own = nil
	k.theirs = h.Index
	if !k.rides {
		k.boot, k.boardedFrom = h.Boot, h.Stamp
	}
	k.setState(now, checking)
	k.useKeys(now, keys)
	k.confirmed(now)
	if k.rides {
		k.prove(now)
	} else {
		k.introduce(now, h)
	}
	k.c.pump(now)
	k.settle(now)
}

// take keeps an offer of the peer.
func (k *connection) take(got *seal.Received, h *hello, message []byte) {
	k.received, k.offer, k.theirs, k.stamp = got, bytes.Clone(message), h.Index, h.Stamp
	k.theirHello, k.theirOffer = h, true
	if !k.rides {
		k.invited, k.boot, k.boardedFrom = true, h.Boot, h.Stamp
	}
}

// yield takes a dial of the peer in place of ours, which crossed it.
func (k *connection) yield(now time.Time, got *seal.Received, h *hello, message []byte) {
	k.own = nil
	k.take(got, h, message)
	k.setState(now, waiting)
	if k.agent != 0 {
		k.c.ice.CloseAgent(now, k.agent)
		delete(k.c.byAgent, k.agent)
	}
	k.outbox = outbox{queued: k.outbox.queued}
	k.note(now, "the peer dialled at the same time: one connection comes of it", nil)
	k.admit(now) // we want to talk to it ourselves
}

// allow answers the peer's offer.
func (k *connection) allow(now time.Time) {
	h := k.theirHello
	k.theirHello = nil
	if k.rides {
		k.setState(now, checking)
	} else {
		if err := k.newAgent(now, false); err != nil {
			k.end(now, err)
			return
		}
		k.setState(now, checking)
		k.introduce(now, h) // our holes are opened before the answer leaves
	}
	message, keys, err := k.received.Answer(encode(k.hello(now)))
	if err != nil {
		k.end(now, err)
		return
	}
	k.received = nil
	k.answer = wrap(msgAnswer, k.theirs, message)
	k.repeat(now)
	k.useKeys(now, keys)
	k.c.pump(now)
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
	k.tryLanes(now)
	if k.up {
		k.ready(now)
		return
	}
	k.steer(now)
}

func (k *connection) useKeys(now time.Time, keys *seal.Keys) {
	k.keys, k.rekeyAt, k.repeatAt = keys, now.Add(rekeyAfter), time.Time{}
	k.c.notes.Push(note{kind: noteKeys, conn: k.number, peer: k.peer, keys: keys, index: k.theirs, ours: k.index, dialled: k.dialled})
	if !k.rides {
		k.name = [2]uint32{k.index, k.theirs}
		k.outbox.told(k.helloVersion)
	}
	k.unsaid(0)
}

// close ends the connection from our side.
func (c *control) close(now time.Time, number uint32) {
	c.enter(now)
	defer c.pump(now)
	if k := c.conns[number]; k != nil {
		k.close(now)
	}
}

// abandon ends a dial that nobody waits for any longer, and says how far it came.
func (c *control) abandon(now time.Time, number uint32, cause error) error {
	c.enter(now)
	defer c.pump(now)
	k := c.conns[number]
	if k == nil {
		return cause
	}
	err := k.failure(now)
	err.Err = cause
	k.close(now)
	return err
}

// closeAll ends all connections from our side.
func (c *control) closeAll(now time.Time) {
	c.enter(now)
	for _, k := range c.order() {
		k.close(now)
	}
	c.pump(now)
}

func (k *connection) close(now time.Time) {
	if k.keys != nil {
		for range 2 { // one of them may be lost; the signalling tells as well
			for _, p := range k.inUse() {
				k.sealTo(now, p.route, seal.Close, nil)
			}
		}
		if len(k.keyed()) == 1 { // there is no other to tell by
			k.sendSignal(update{Bye: true, Closed: k.departed()})
		}
	}
	k.depart()
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
	k.quit(now, k)
	c.timers.Stop(&k.timer)
	delete(c.byIndex, k.index)
	c.hasEnded(k.index)
	delete(c.conns, k.number)
	if k.asked {
		c.askTreatment(k.peer)
	}
	c.tell(now, Event{Kind: EventClosed, Peer: k.peer, Conn: k.number, Err: err})
	c.notes.Push(note{kind: noteOver, conn: k.number, peer: k.peer, err: err, dialled: k.dialled})
}

func isDue(now, at time.Time) bool { return !at.IsZero() && !at.After(now) }

// due does what has become due.
func (k *connection) due(now time.Time) {
	if isDue(now, k.byeAt) {
		k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
		return
	}
	if isDue(now, k.deadline) {
		k.depart()
		k.end(now, k.failure(now))
		return
	}
	if isDue(now, k.repeatAt) {
		k.repeatAt = time.Time{}
		if k.untold {
			err := errTreatLate
			if !k.asked {
				err = errTreatBusy
			}
			k.treat(now, Treatment{}, err)
		} else {
			k.repeat(now)
		}
	}
	if isDue(now, k.proveAt) {
		k.prove(now)
	}
	k.settle(now)
}

// settle sets the time of what is due next.
func (k *connection) settle(now time.Time) {
	if k.state == over {
		return
	}
	next := machine.Earliest(k.deadline, k.byeAt, k.repeatAt, k.proveAt)
	if next.IsZero() {
		k.c.timers.Stop(&k.timer)
		return
	}
	k.c.timers.Set(&k.timer, next)
}
