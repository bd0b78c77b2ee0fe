package bradawl

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch"
)

// Where NATs give ports that the agents cannot know, lanes are run beside their checks:
// ports are foretold, or so many are tried that some must meet. Both sides begin an attempt
// together, for each must have agreed to it. What it opens becomes a pair of the agents like
// any other.

const (
	// firstLane is the number of the first socket that a lane opens.
	firstLane machine.SocketID = 1 << 26
	// laneSockets is how many numbers an attempt has for its own.
	laneSockets = 1 << 12
	// cheapFirst is how long the agents have where they will do, before lanes are run.
	cheapFirst = time.Second
	// joinWithin is how late one that the peer has proposed is joined.
	joinWithin = 5 * time.Second
	// attemptGap is the least time between two attempts of a link; it doubles with each.
	attemptGap = 5 * time.Second
	// maxHoles is how many sockets of lanes a link keeps.
	maxHoles = 4
)

// laneState is what a link does about hard NATs.
type laneState struct {
	run      *punch.Lanes // nil: nothing is under way
	id       uint64
	target   netip.Addr // of the one under way, or of the next
	sprays   bool       // it has the one lane that may be run behind our NAT at a time
	spend    *treatment // what we may
	refused  bool       // the peer does not take part
	wanted   bool       // by either side
	idle     bool       // there was no lane that could do anything, by what was known then
	peerFree bool       // its handshake said that it could begin at once
	plan     []punch.Lane
	reports  []LaneReport
	tries    int
	said     int       // the last attempt that we have proposed or agreed to
	theirs   int       // the same of the peer
	begun    int       // the last that was begun
	theirsAt time.Time // when it did
	message  []byte    // the peer's, of its last attempt
	laneAt   time.Time // when it is looked at again
	// notBefore keeps a peer from having us begin again and again.
	notBefore time.Time
	terms     terms
	timer     machine.Timer
	holes     []hole
	opened    map[ice.Route]punch.LaneKind // by lanes
}

// remembered notes how a lane did between the two networks. What the agents do by
// themselves is the plain one.
func (k *link) remembered(now time.Time, kind punch.LaneKind, ok bool) {
	if c := k.c; c.cfg.memory != nil {
		c.cfg.memory.Remember(k.networks(), max(kind, punch.LanePlain).String(), ok, now)
	}
}

// isDirect reports whether a direct path works.
func (k *link) isDirect() bool {
	return slices.ContainsFunc(k.paths, func(p *path) bool { return !p.relayed && !p.doubt })
}

// isDirectTo reports whether a direct path to an address works.
func (k *link) isDirectTo(ip netip.Addr) bool {
	return slices.ContainsFunc(k.paths, func(p *path) bool { return !p.relayed && !p.doubt && p.route.Remote.Addr() == ip })
}

func (k *link) startLanes(now time.Time) {
	a, c := &k.lane, k.c
	ends, _ := k.laneEnds()
	a.wanted, a.laneAt = false, time.Time{}
	k.closeHoles(now, false) // of attempts before
	maps.DeleteFunc(a.opened, func(r ice.Route, _ punch.LaneKind) bool {
		return !slices.ContainsFunc(k.paths, func(p *path) bool { return laneKey(p.route) == r })
	})
	c.sprayers.last++
	run, err := punch.NewLanes(now, punch.LanesConfig{
		Lanes: a.plan, Local: c.profile, Remote: k.profile, Peer: ends.peer, Servers: c.ice.Servers(),
		Secret: k.laneSecret(), Dialler: !k.invited,
		Socket: ends.socket, LocalIP: ends.local.Addr(), FirstSocket: firstLane + (c.sprayers.last%(1<<12))*laneSockets,
		LocalTCP: ends.local, FirstStream: firstLaneStream + machine.StreamID(c.sprayers.last%(1<<12))*laneSockets,
		FirstQuery: firstLaneQuery + machine.StreamID(c.sprayers.last%(1<<12))*laneSockets,
		FewHops:    a.tries%2 == 1, // what failed would fail again
		Budget:     k.allowed(),
	}, c.random, c.secrets)
	if err != nil {
		k.note(now, "no attempt at the NATs' ports", err)
		return
	}
	a.run, a.id = run, run.ID()
	a.tries++
	a.begun = a.said
	a.timer.Fire = func(now time.Time) {
		if a.run != nil {
			a.run.HandleTimeout(now)
		}
	}
	if a.sprays {
		c.sprayers.now = k
	} else {
		c.sprayers.guess(now, k.peer)
	}
	c.sprayers.byID[a.id] = k
	k.note(now, "an attempt at the NATs' ports begins", nil)
	if a.theirs == a.said && a.message != nil {
		run.HandleMessage(now, a.message)
	}
	k.driveLanes(now)
}

// laneSecret is known to both sides alone, for both passwords are, and is of this attempt: what
// was recorded or is late of another one is worth nothing.
func (k *link) laneSecret() []byte {
	ours, theirs := k.c.ice.Credentials(k.agent), k.c.ice.RemoteCredentials(k.agent)
	first, second := ours.Ufrag+":"+ours.Pwd, theirs.Ufrag+":"+theirs.Pwd
	if k.invited {
		first, second = second, first
	}
	h := hmac.New(sha256.New, []byte("bradawl lanes"))
	h.Write([]byte(first + "\n" + second))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(k.lane.said)))
	return h.Sum(nil)
}

// lanesTold takes in that the peer proposes an attempt, agrees to one, or has something to
// say about one.
func (k *link) lanesTold(now time.Time, u *update) {
	a := &k.lane
	if u.Lanes < a.theirs || u.Lanes == 0 {
		return
	}
	if u.Lanes > a.theirs {
		a.message, a.theirsAt = nil, now
	}
	if a.theirs = u.Lanes; u.Lane != nil {
		a.message = u.Lane
	}
	switch {
	case a.theirs < a.said:
	case a.run != nil && a.theirs > a.said:
		a.wanted = true // when ours is over
	case a.run != nil:
		if u.Lane != nil {
			a.run.HandleMessage(now, u.Lane)
			k.driveLanes(now)
		}
	case a.theirs > a.said && !k.readyForLanes(now):
		a.wanted = true // we propose one when we are
	case a.theirs > a.said:
		a.said = a.theirs
		k.say(partLanes, update{Lanes: a.said})
		k.startLanes(now)
	case a.begun < a.said && k.readyForLanes(now): // it agrees
		k.startLanes(now)
	}
}

// driveLanes follows what an attempt wants.
func (k *link) driveLanes(now time.Time) {
	a, c := &k.lane, k.c
	for more := a.run != nil; more; {
		more = false
		for t, ok := a.run.PollTransmit(); ok; t, ok = a.run.PollTransmit() {
			c.transmit(t)
			more = true
		}
		for {
			e, ok := a.run.PollEvent()
			if !ok {
				break
			}
			more = true
			k.laneEvent(now, e)
			if a.run == nil {
				return
			}
		}
	}
	if a.run == nil {
		return
	}
	if next := a.run.NextTimeout(); next.IsZero() {
		c.timers.Stop(&a.timer)
	} else {
		c.timers.Set(&a.timer, next)
	}
}

func (k *link) laneEvent(now time.Time, e punch.LaneEvent) {
	a := &k.lane
	switch e.Kind {
	case punch.LaneStarted:
		a.reports = append(a.reports[max(0, len(a.reports)-maxLaneReports+1):], LaneReport{Lane: a.planned(e.Lane), Attempt: a.tries, State: LaneRunning, Outcome: "running"})
		k.note(now, "lane "+e.Lane.String()+" begins", nil)
	case punch.LaneTell:
		k.say(partLanes, update{Lanes: a.said, Lane: e.Message})
	case punch.LaneOpened:
		k.laneOpened(now, e)
	case punch.LaneEnded:
		if r := a.report(e.Lane); r != nil {
			r.Sent, r.Opened = e.Sent, e.Sockets
			if r.State == LaneRunning {
				r.State, r.Outcome = LaneEnded, e.Reason
				if a.run != nil && !k.isDirect() { // it was not called off
					k.remembered(now, e.Lane, false)
				}
			}
		}
		k.note(now, "lane "+e.Lane.String()+" ends: "+e.Reason, nil)
	case punch.LanesDone:
		k.stopLanes(now)
	}
}

// planned is the lane of the plan that is of a kind.
func (a *laneState) planned(kind punch.LaneKind) punch.Lane {
	for _, l := range a.plan {
		if l.Kind == kind && l.Ruled == "" {
			return l
		}
	}
	return punch.Lane{Kind: kind}
}

// maxLaneReports bounds what is remembered of lanes.
const maxLaneReports = 32

// stopLanes ends an attempt. Sockets that the agent uses are kept.
func (k *link) stopLanes(now time.Time) {
	a, c := &k.lane, k.c
	run := a.run
	if run == nil {
		return
	}
	var keep []machine.SocketID
	for _, h := range a.holes {
		if h.stream == 0 {
			keep = append(keep, h.socket)
		}
	}
	run.Close(now, keep...)
	a.run = nil
	a.wanted = a.wanted || !k.over && !k.isDirect()
	for t, ok := run.PollTransmit(); ok; t, ok = run.PollTransmit() {
		if t.Op != machine.Send {
			c.transmit(t)
		}
	}
	for e, ok := run.PollEvent(); ok; e, ok = run.PollEvent() {
		if e.Kind == punch.LaneEnded {
			k.laneEvent(now, e)
		}
	}
	k.unproven()
	c.timers.Stop(&a.timer)
	delete(c.sprayers.byID, a.id)
	pause := a.cooldown(a.spend.budget.WithDefaults())
	a.notBefore = now.Add(max(pause, min(attemptGap<<min(a.tries, 10), seekMost)))
	if a.sprays {
		c.sprayers.now, c.sprayers.next = nil, now.Add(pause)
	} else if k.isDirectTo(a.target) {
		c.sprayers.guessed(k.peer)
	}
	c.sprayers.rest(now, a.target, pause)
	for _, other := range slices.Clone(c.links) {
		other.tryLanes(now)
	}
	k.settle(now)
}
