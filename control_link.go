package bradawl

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// link is what the connections to a peer share: the agent with its checks and consent, the
// paths that it found, which of them carries data, and the pings that measure them. It is
// made by its first connection and ends with its last one. What it has to say to the peer
// it seals with the keys of any of them.
type link struct {
	c       *control
	peer    PeerID
	conns   []*connection // the oldest first
	founder *connection   // whose handshake carried the agents' credentials; nil: it is over
	// name is what both know the link by: the indexes of the founder, ours and the peer's.
	name      [2]uint32
	plaintext bool
	invited   bool   // the peer made it
	boot      uint64 // the peer's
	began     time.Time
	stood     bool // data could be sent once
	up        bool // it can be
	over      bool
	agent     ice.AgentID

	profile natprobe.Profile // the peer's
	relays  []netip.AddrPort // the peer's, the last
	hidden  bool             // the peer uses relays alone: whatever it comes by is one

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

	lostAt    time.Time // when all is over, for want of a path
	restartAt time.Time
	restarts  int // in a row
	lane      laneState
	seekAt    time.Time
	recheckAt time.Time
	seeks     int // in a row

	// boarded are the stamps of the peer's last offers to ride, in order; those up to
	// boardedFrom are of no use any more.
	boarded     []uint64
	boardedFrom uint64

	routes
	timer machine.Timer
	story []Step
}

func (c *control) newLink(now time.Time, peer PeerID) *link {
	k := &link{c: c, peer: peer, plaintext: c.cfg.plaintext, began: now, lane: laneState{spend: c.usual}}
	k.timer.Fire = k.due
	c.links = append(c.links, k)
	return k
}

// join adds a connection to the link.
func (k *link) join(of *connection) {
	of.link = k
	k.conns = append(k.conns, of)
}

// quit takes a connection from the link, which ends with the last.
func (k *link) quit(now time.Time, of *connection) {
	k.conns = slices.DeleteFunc(k.conns, func(o *connection) bool { return o == of })
	if k.founder == of {
		k.founder = nil
	}
	if len(k.conns) == 0 {
		k.end(now)
		return
	}
	if k.founder == nil && !k.stood && k.voice() == nil {
		for _, o := range slices.Clone(k.conns) {
			if o.link == k && o.state == dialing { // it has waited for the founder
				o.alone(now, "the dial that was to find paths has ended: this one looks for them")
			}
		}
	}
	for _, p := range k.paths { // answers to pings under its keys do not come any more
		if p.waiting && of.keys != nil {
			p.waiting, p.next = false, now
		}
	}
	k.unsaid(k.tries)
	k.settle(now)
}

func (k *link) end(now time.Time) {
	k.stopLanes(now)
	k.closeHoles(now, true)
	k.over = true
	if k.agent != 0 {
		k.c.ice.CloseAgent(now, k.agent)
		delete(k.c.byAgent, k.agent)
	}
	k.c.timers.Stop(&k.timer)
	k.c.links = slices.DeleteFunc(k.c.links, func(o *link) bool { return o == k })
}

// voice is the connection whose keys seal what the link has to say: the oldest of those
// whose keys the peer is known to have, or else of those that have keys; nil: there is none.
func (k *link) voice() (v *connection) {
	for _, of := range k.conns {
		if of.proven {
			return of
		}
		if v == nil && of.keys != nil {
			v = of
		}
	}
	return v
}

// acquainted reports whether the peer is known to have the keys of a connection.
func (k *link) acquainted() bool {
	v := k.voice()
	return v != nil && v.proven
}

// eldest is the number under which is told what happens to the link.
func (k *link) eldest() uint32 {
	if len(k.conns) == 0 {
		return 0
	}
	return k.conns[0].number
}

// newAgent makes the link's agent.
func (k *connection) newAgent(now time.Time, controlling bool) error {
	var err error
	k.agent, err = k.c.ice.NewAgent(now, ice.AgentConfig{
		Controlling: controlling, Multipath: true, Pace: 5 * time.Millisecond, Policy: k.c.cfg.policy.ice(), Timeout: -1,
	})
	if err != nil {
		return err
	}
	k.c.byAgent[k.agent] = k.link
	k.attempt.begin(now, stats.StageGather)
	// The peer often has its relayed address on the same server. A permission for that
	// is asked for now, so that it stands when the answer comes.
	k.c.notes.Push(note{kind: notePermit})
	k.c.pump(now) // what candidates there are
	return nil
}

func (k *link) remember(now time.Time, profile []byte) {
	var p natprobe.Profile
	if len(profile) > 0 && p.UnmarshalBinary(profile) == nil {
		k.profile = p
		k.c.lookAtTCP()
		k.lanesAnew(now)
	}
}

// introduce tells our agent of the peer's.
func (k *link) introduce(now time.Time, h *hello) {
	k.remember(now, h.Profile)
	_ = k.c.ice.SetRemote(now, k.agent, h.credentials()) // readHello saw to it
	k.meet(now, h.Candidates)
	k.hidden = h.Policy == RelayOnly
	k.lane.refused, k.lane.peerFree, k.lane.wanted = h.NoLanes, h.Free, true
	k.lane.terms = terms{budget: budgetOf(h.Budget), mapped: h.Mapped}
	k.tryLanes(now)
}

// agentEvent takes in what the agent has to say.
func (k *link) agentEvent(now time.Time, e ice.Event) {
	k.record().agentEvent(now, e)
	switch e.Kind {
	case ice.EventCandidate:
		k.note(now, "candidate of ours: "+e.Candidate.String(), nil)
		k.say(partCandidate, update{Candidates: []string{e.Candidate.String()}})
		if k.stood {
			k.c.ice.Renew(now, k.agent)
		}
		if e.Candidate.TCPType == ice.SimultaneousOpen { // a lane may have waited for it
			k.tryLanes(now)
		}
	case ice.EventPassedOver:
		k.note(now, "candidate of the peer passed over: "+e.Candidate.String(), e.Err)
	case ice.EventRestarted:
		k.tellCredentials(e.Credentials)
	case ice.EventChecked:
		if k.founder != nil {
			k.founder.confirmed(now) // our password came with the answer
		}
	case ice.EventValid:
		k.addPath(now, e.Pair)
	case ice.EventInvalid:
		k.dropPath(now, e.Pair, e.Err)
	}
}

// tellCredentials tells the peer that our agent began anew.
func (k *link) tellCredentials(c ice.Credentials) {
	k.generation++
	k.say(partCredentials, update{Generation: k.generation, Ufrag: c.Ufrag, Pwd: c.Pwd})
}

// restart lets the agents begin anew, where nothing else has helped.
func (k *link) restart(now time.Time) {
	k.note(now, "no path for a while: the agents begin anew", nil)
	k.stopLanes(now) // their secret is of the credentials
	if cred, err := k.c.ice.Restart(now, k.agent); err == nil {
		k.tellCredentials(cred)
	}
	k.c.ice.Refresh(now)
	k.restarts++
	k.restartAt = now.Add(min(restartWait<<min(k.restarts, 10), restartMost))
	k.c.pump(now)
	k.wantLanes(now) // what they opened before is gone as well
}

// seek looks for a direct path once more: NATs are rebooted, networks change, and what a
// failed punch has left in NATs is forgotten after half a minute. We begin when the peer
// hears of it, for some NATs hold a packet against its sender that comes before any has
// left for it.
func (k *link) seek(now time.Time) {
	k.c.ice.Refresh(now)
	k.again()
	k.recheckAt = now.Add(k.path.rtt() / 2)
	k.seeks++
	k.wantLanes(now)
	k.seekLater(now)
}

// seekLater sets when that is done, while a relay carries the data.
func (k *link) seekLater(now time.Time) {
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
func (k *link) ready(now time.Time) {
	again := k.stood
	k.up, k.stood = true, true
	k.restartAt, k.lostAt, k.restarts = time.Time{}, time.Time{}, 0
	k.active, k.quiet = now, false // the first pings confirm the keys and measure the path
	k.tellRoutes()                 // who gets a connection can write at once
	if again {
		k.c.tell(now, Event{Kind: EventRecovered, Peer: k.peer, Conn: k.eldest(), Path: k.public(k.path), After: now.Sub(k.began)})
	}
	for _, of := range k.conns {
		of.ready(now)
	}
	k.unsaid(0)
}

// lose tells that no path works any more.
func (k *link) lose(now time.Time, reason string) {
	k.up = false
	k.restartAt, k.lostAt = now.Add(restartWait), now.Add(lostMost)
	k.c.tell(now, Event{Kind: EventLost, Peer: k.peer, Conn: k.eldest(), Reason: reason})
	for _, of := range k.conns {
		if of.state == connected {
			of.setState(now, lost)
		}
	}
	k.c.ice.Refresh(now)
	k.c.ice.Recheck(now, k.agent)
	k.again()
	k.wantLanes(now)
}

// due does what has become due.
func (k *link) due(now time.Time) {
	if isDue(now, k.lostAt) {
		for _, of := range slices.Clone(k.conns) {
			of.end(now, of.failure(now))
		}
		return
	}
	if isDue(now, k.outbox.tellAt) {
		k.outbox.tellAt = time.Time{} // where nobody has keys to seal it with, it waits for who will
		k.unsaid(k.tries)
	}
	k.renew.follow(now)
	k.recheck.follow(now)
	k.budget.follow(now)
	if isDue(now, k.restartAt) {
		k.restart(now)
	}
	if isDue(now, k.seekAt) {
		k.seek(now)
	}
	if isDue(now, k.lane.laneAt) {
		k.lane.laneAt = time.Time{}
		k.tryLanes(now)
	}
	if isDue(now, k.recheckAt) {
		k.recheckAt = time.Time{}
		k.c.ice.Recheck(now, k.agent)
	}
	k.beat(now)
	k.settle(now)
}

// settle sets the time of what is due next.
func (k *link) settle(now time.Time) {
	if k.over {
		return
	}
	next := machine.Earliest(k.lostAt, k.outbox.tellAt, k.renew.at, k.recheck.at, k.budget.at,
		k.restartAt, k.seekAt, k.recheckAt, k.lane.laneAt, k.nextBeat(now))
	if next.IsZero() {
		k.c.timers.Stop(&k.timer)
		return
	}
	k.c.timers.Set(&k.timer, next)
}
