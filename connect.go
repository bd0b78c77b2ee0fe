package bradawl

import (
	"encoding/json"
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

var connTransitions = [...][]connState{
	idle:      {dialing, waiting},
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
	restartWait = 4 * time.Second // without a path, until the agents begin anew
	updateGap   = time.Second     // between repetitions of an update while no path works
	rekeyAfter  = 10 * time.Minute
	rekeyCount  = 1 << 30
)

// connection is one connection to one peer, from its dial to its end.
type connection struct {
	c         *control
	number    uint32
	peer      PeerID
	dialled   bool // by us
	state     connState
	began     time.Time
	readyAt   time.Time
	deadline  time.Time // for the first path
	agent     ice.AgentID
	plaintext bool

	offer      []byte // the noise message: ours, or the peer's
	answer     []byte // ours, as it was sent
	own        *seal.Offer
	received   *seal.Received
	stamp      uint64
	keys       *seal.Keys
	index      uint32 // ours
	theirs     uint32
	profile    natprobe.Profile // the peer's
	theirHello *hello           // until it is answered

	told       []string // candidates that wait for the keys
	generation int      // of our credentials
	theirGen   int
	pending    *update // repeated until a path works
	tries      int
	repeatAt   time.Time
	restartAt  time.Time
	rekeyAt    time.Time
	rekeyed    uint64

	routes
	timer machine.Timer
	story []Step
}

func (k *connection) setState(now time.Time, to connState) {
	if !slices.Contains(connTransitions[k.state], to) {
		k.c.illegal++
		return
	}
	k.state = to
}

func (c *control) newConnection(now time.Time, peer PeerID, dialled bool) *connection {
	c.next++
	k := &connection{c: c, number: c.next, peer: peer, dialled: dialled, began: now, index: c.newIndex(), plaintext: c.cfg.plaintext}
	k.deadline = now.Add(c.cfg.timeout)
	k.timer.Fire = k.due
	c.conns[k.number] = k
	c.byIndex[k.index] = k
	c.tell(now, Event{Kind: EventDialing, Peer: peer, Conn: k.number})
	return k
}

// dial begins a connection. The error is a *PeerError.
func (c *control) dial(now time.Time, peer PeerID) (uint32, error) {
	c.enter()
	defer c.pump(now)
	switch {
	case peer.IsZero():
		return 0, &PeerError{Peer: peer, Err: ErrNobody}
	case peer == c.cfg.identity.ID():
		return 0, &PeerError{Peer: peer, Err: ErrSelf}
	}
	k := c.newConnection(now, peer, true)
	if err := k.newAgent(now, true); err != nil {
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

// hello is what we say of ourselves.
func (k *connection) hello(now time.Time) hello {
	cred := k.c.ice.Credentials(k.agent)
	h := hello{
		Index: k.index, Protocol: k.c.cfg.protocol, Plaintext: k.plaintext,
		Ufrag: cred.Ufrag, Pwd: cred.Pwd, Candidates: k.told, Profile: k.c.profileBytes(),
	}
	k.told = nil
	return h
}

// propose makes and sends an offer.
func (k *connection) propose(now time.Time) {
	c := k.c
	c.stamp = max(uint64(now.UnixNano()), c.stamp+1)
	k.stamp = c.stamp
	h := k.hello(now)
	h.Stamp = k.stamp
	own, message, err := seal.NewOffer(c.cfg.identity, k.peer, encode(h), c.secrets)
	if err != nil {
		k.end(now, err)
		return
	}
	k.own, k.offer, k.tries = own, message, 0
	k.repeat(now)
}

// repeat sends again what the peer has not answered, or has asked for again.
func (k *connection) repeat(now time.Time) {
	c := k.c
	switch {
	case k.state == dialing:
		c.notes.Push(note{kind: noteSignal, peer: k.peer, message: wrap(msgOffer, 0, k.offer)})
		k.repeatAt = now.Add(min(repeatFirst<<min(k.tries, 10), repeatMost))
		k.tries++
	case k.answer != nil:
		c.notes.Push(note{kind: noteSignal, peer: k.peer, message: k.answer})
	}
	if k.pending != nil {
		k.send(now, *k.pending)
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
	var h hello
	if json.Unmarshal(payload, &h) != nil || h.check() != nil {
		k.end(now, &PeerError{Peer: k.peer, Err: errNonsense})
		return
	}
	switch {
	case h.Refused != "" && h.Last >= k.stamp:
		k.c.stamp = max(k.c.stamp, h.Last) // our clock was set back
		k.propose(now)
		return
	case h.Refused != "":
		k.end(now, &PeerError{Peer: k.peer, Err: &RefusedError{h.Refused}})
		return
	}
	k.own = nil
	k.agree(now, keys, &h)
}

// take keeps an offer of the peer.
func (k *connection) take(got *seal.Received, h *hello, message []byte) {
	k.received, k.offer, k.theirs, k.stamp = got, message, h.Index, h.Stamp
	k.remember(h.Profile)
	k.theirHello = h
}

// yield takes a dial of the peer in place of ours, which crossed it.
func (k *connection) yield(now time.Time, got *seal.Received, h *hello, message []byte) {
	k.own = nil
	k.take(got, h, message)
	k.setState(now, waiting)
	k.c.ice.CloseAgent(now, k.agent)
	delete(k.c.byAgent, k.agent)
	k.told = nil
	k.allow(now) // we wanted to talk to it ourselves
}

// allow answers the peer's offer.
func (k *connection) allow(now time.Time) {
	c := k.c
	if err := k.newAgent(now, false); err != nil {
		k.end(now, err)
		return
	}
	// Our holes are opened before the answer leaves.
	h := k.theirHello
	k.theirHello = nil
	k.setState(now, checking)
	k.introduce(now, h)
	message, keys, err := k.received.Answer(encode(k.hello(now)))
	if err != nil {
		k.end(now, err)
		return
	}
	k.received = nil
	k.answer = wrap(msgAnswer, k.theirs, message)
	c.notes.Push(note{kind: noteSignal, peer: k.peer, message: k.answer})
	k.useKeys(now, keys)
	c.pump(now)
	k.settle(now)
}

// agree goes on with keys that both have.
func (k *connection) agree(now time.Time, keys *seal.Keys, h *hello) {
	k.theirs = h.Index
	k.remember(h.Profile)
	k.setState(now, checking)
	k.useKeys(now, keys)
	k.introduce(now, h)
	k.c.pump(now)
	k.settle(now)
}

func (k *connection) remember(profile []byte) {
	var p natprobe.Profile
	if len(profile) > 0 && p.UnmarshalBinary(profile) == nil {
		k.profile = p
	}
}

// introduce tells our agent of the peer's.
func (k *connection) introduce(now time.Time, h *hello) {
	_ = k.c.ice.SetRemote(now, k.agent, h.credentials()) // hello.check saw to it
	for _, cand := range parseCandidates(h.Candidates) {
		_ = k.c.ice.AddRemote(now, k.agent, cand)
	}
}

func (k *connection) useKeys(now time.Time, keys *seal.Keys) {
	k.keys, k.rekeyAt = keys, now.Add(rekeyAfter)
	k.c.notes.Push(note{kind: noteKeys, conn: k.number, peer: k.peer, keys: keys, index: k.theirs, ours: k.index, dialled: k.dialled})
	if len(k.told) > 0 {
		told := k.told
		k.told = nil
		k.update(now, update{Candidates: told})
	}
}

// update tells the peer something: by the path that works, and by the signalling, for
// either may fail.
func (k *connection) update(now time.Time, u update) {
	if k.keys == nil || k.state == over {
		return
	}
	if k.state != connected {
		merged := u
		if p := k.pending; p != nil {
			merged.Candidates = append(slices.Clone(p.Candidates), u.Candidates...)
			if u.Ufrag == "" {
				merged.Generation, merged.Ufrag, merged.Pwd = p.Generation, p.Ufrag, p.Pwd
			}
			if u.Profile == nil {
				merged.Profile = p.Profile
			}
		}
		k.pending = &merged
		k.repeatAt = now.Add(updateGap)
	}
	k.send(now, u)
}

func (k *connection) send(now time.Time, u update) {
	message := encode(u)
	k.c.notes.Push(note{kind: noteSignal, peer: k.peer, message: wrap(msgSealed, k.theirs, k.keys.SealSignal(message))})
	for _, p := range k.inUse() {
		k.sealTo(now, p.route, seal.Control, message)
	}
}

// updated takes in what the peer tells.
func (k *connection) updated(now time.Time, message []byte) {
	var u update
	if json.Unmarshal(message, &u) != nil || k.state < checking {
		return
	}
	if u.Bye {
		k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
		return
	}
	if u.Ufrag != "" && u.Generation > k.theirGen {
		k.theirGen = u.Generation
		_ = k.c.ice.SetRemote(now, k.agent, ice.Credentials{Ufrag: u.Ufrag, Pwd: u.Pwd})
	}
	for _, cand := range parseCandidates(u.Candidates) {
		_ = k.c.ice.AddRemote(now, k.agent, cand)
	}
	k.remember(u.Profile)
	k.c.pump(now)
	k.settle(now)
}

// agentEvent takes in what the agent has to say.
func (k *connection) agentEvent(now time.Time, e ice.Event) {
	switch e.Kind {
	case ice.EventCandidate:
		k.note(now, "candidate of ours: "+e.Candidate.String(), nil)
		if k.keys == nil {
			k.told = append(k.told, e.Candidate.String())
		} else {
			k.update(now, update{Candidates: []string{e.Candidate.String()}})
		}
	case ice.EventPassedOver:
		k.note(now, "candidate of the peer passed over: "+e.Candidate.String(), e.Err)
	case ice.EventRestarted:
		k.tellCredentials(now, e.Credentials)
	case ice.EventValid:
		k.addPath(now, e.Pair)
	case ice.EventInvalid:
		k.dropPath(now, e.Pair, e.Err)
	}
}

// tellCredentials tells the peer that our agent began anew.
func (k *connection) tellCredentials(now time.Time, c ice.Credentials) {
	k.generation++
	k.update(now, update{Generation: k.generation, Ufrag: c.Ufrag, Pwd: c.Pwd})
}

// restart lets the agents begin anew, where nothing else has helped.
func (k *connection) restart(now time.Time) {
	k.note(now, "no path for a while: the agents begin anew", nil)
	c, err := k.c.ice.Restart(now, k.agent)
	if err == nil {
		k.tellCredentials(now, c)
	}
	k.restartAt = now.Add(2 * restartWait)
	k.c.pump(now)
}

// ready tells that data can be sent, for the first time or again.
func (k *connection) ready(now time.Time) {
	was := k.state
	k.setState(now, connected)
	k.pending, k.repeatAt, k.restartAt, k.deadline = nil, time.Time{}, time.Time{}, time.Time{}
	e := Event{Kind: EventConnected, Peer: k.peer, Conn: k.number, Path: k.path.public(), After: now.Sub(k.began)}
	if was == lost {
		e.Kind = EventRecovered
	} else {
		k.readyAt = now
		k.c.notes.Push(note{kind: noteReady, conn: k.number, peer: k.peer})
	}
	k.c.tell(now, e)
}

// close ends the connection from our side.
func (c *control) close(now time.Time, number uint32) {
	c.enter()
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
		c.notes.Push(note{kind: noteSignal, peer: k.peer, message: wrap(msgSealed, k.theirs, k.keys.SealSignal(encode(update{Bye: true})))})
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
	switch {
	case !k.deadline.IsZero() && !k.deadline.After(now):
		k.end(now, k.failure(now))
		return
	case !k.repeatAt.IsZero() && !k.repeatAt.After(now):
		if k.state != dialing {
			k.repeatAt = now.Add(updateGap)
		}
		k.repeat(now)
	}
	if !k.restartAt.IsZero() && !k.restartAt.After(now) {
		k.restart(now)
	}
	if k.keys != nil && (!k.rekeyAt.After(now) || k.keys.Sent()-k.rekeyed > rekeyCount) {
		k.keys.Rekey()
		k.rekeyAt, k.rekeyed = now.Add(rekeyAfter), k.keys.Sent()
	}
	k.beat(now)
	k.settle(now)
}

// settle sets the time of what is due next.
func (k *connection) settle(now time.Time) {
	if k.state == over {
		return
	}
	next := machine.Earliest(k.deadline, k.repeatAt, k.restartAt, k.nextBeat(now))
	if next.IsZero() {
		k.c.timers.Stop(&k.timer)
		return
	}
	k.c.timers.Set(&k.timer, next)
}

// send seals data and sends it by the paths in use: what Conn.Write does past the loop.
func (c *control) send(now time.Time, number uint32, data []byte) error {
	c.enter()
	k := c.conns[number]
	switch {
	case k == nil:
		return ErrClosed
	case k.path == nil:
		return ErrLost
	}
	if !k.plaintext {
		data = k.keys.Seal(nil, seal.Data, k.theirs, data)
	}
	for _, p := range k.inUse() {
		_ = c.ice.SendOn(now, k.agent, p.route, data) // lost, as datagrams are
	}
	k.active = now
	return nil
}
