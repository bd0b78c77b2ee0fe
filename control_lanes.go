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

// hole is a socket that a lane has opened and that a path uses, or may use soon; or a
// connection of TCP.
type hole struct {
	socket machine.SocketID
	stream machine.StreamID
	base   ice.BaseID
}

// tryLanes begins an attempt, or proposes one to the peer, if there is cause for one.
// What keeps it from it brings us back here when it is gone.
//
// Both sides must run it at the same time, and each has one NAT for all of its peers. So an
// attempt that tries many ports is proposed, by its number, and begins when the peer says the
// same number; but for the first one, if the peer's handshake has said that its NAT is free.
func (k *link) tryLanes(now time.Time) {
	a := &k.lane
	if !a.wanted || !k.readyForLanes(now) {
		return
	}
	a.wanted = false
	first := a.said == 0 && a.theirs == 0 && a.peerFree
	late := a.theirs > a.said && now.Sub(a.theirsAt) < joinWithin // it may be running the one that it has proposed
	if a.said = max(a.said, a.theirs); !late {
		a.said++
	}
	k.say(partLanes, update{Lanes: a.said})
	if first || late || !a.sprays {
		k.startLanes(now)
	}
}

// wantLanes has an attempt begin as soon as one may.
func (k *link) wantLanes(now time.Time) {
	k.lane.wanted = true
	k.tryLanes(now)
}

// lanesAnew is for when something else is known of either NAT.
func (k *link) lanesAnew(now time.Time) {
	if a := &k.lane; a.idle {
		a.idle, a.wanted = false, !k.over && !k.isDirect()
	}
	k.tryLanes(now)
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

// outsideOfPeer are the addresses that the peer has named as those of its NAT, or as its own
// where it has none, all of one IPv4 address: one that it was heard from, by a relay, or else
// the first. It may have named somebody else's; that one gets no more than one attempt at a
// time, whoever names it (sprayers).
func (k *link) outsideOfPeer(t ice.Transport) (all []netip.AddrPort) {
	heard := make(map[netip.Addr]bool)
	for _, p := range k.c.ice.Pairs(k.agent) {
		if (p.Requests > 0 || p.Answered > 0) && p.Remote.Type != ice.Relay && !slices.Contains(k.relays, p.Remote.Addr) {
			heard[p.Remote.Addr.Addr()] = true
		}
	}
	var ip netip.Addr
	for _, r := range k.c.ice.RemoteCandidates(k.agent) {
		public := r.Type == ice.ServerReflexive || r.Type == ice.Host && !r.Addr.Addr().IsPrivate()
		switch at := r.Addr.Addr(); {
		case !public || r.Transport != t || t == ice.TCP && r.TCPType != ice.SimultaneousOpen || !at.Is4() || slices.Contains(all, r.Addr):
		case !ip.IsValid() || heard[at] && !heard[ip]:
			ip, all = at, []netip.AddrPort{r.Addr}
		case at == ip:
			all = append(all, r.Addr)
		}
	}
	return all
}

// stable is the base whose outside address peers know.
func (m *mappings) stable() (ice.Base, bool) {
	for _, o := range m.sorted() {
		if o.spec.Type == ice.Host && o.spec.Transport == ice.UDP && o.spec.Addr.Addr().Is4() && o.addr.IsValid() {
			return o.spec, true
		}
	}
	return ice.Base{}, false
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

// laneOpened has the agent check what a lane has opened.
func (k *link) laneOpened(now time.Time, e punch.LaneEvent) {
	a, c := &k.lane, k.c
	if r := a.report(e.Lane); r != nil {
		r.State, r.Outcome = LaneOpened, "opened"
	}
	if a.opened == nil {
		a.opened = make(map[ice.Route]punch.LaneKind)
	}
	at := e.Local
	if e.Stream != 0 && !k.adopt(now, e) {
		return
	}
	if e.Socket >= firstLane {
		i := slices.IndexFunc(a.holes, func(h hole) bool { return h.socket == e.Socket })
		if i < 0 {
			if len(a.holes) == maxHoles {
				return
			}
			base, ok := c.mappings.stable()
			if !ok {
				return
			}
			at = netip.AddrPortFrom(base.Addr.Addr(), at.Port())
			id, err := c.ice.AddBase(now, ice.Base{Socket: e.Socket, Addr: at, Agent: k.agent, Interface: base.Interface})
			if err != nil {
				k.note(now, "a hole is of no use", err)
				return
			}
			a.holes = append(a.holes, hole{socket: e.Socket, base: id})
		}
	}
	if len(a.opened) < maxLaneReports {
		a.opened[ice.Route{Socket: e.Socket, Remote: e.Remote, Stream: e.Stream}] = e.Lane
	}
	k.note(now, "lane "+e.Lane.String()+" opened the way to "+e.Remote.String(), nil)
	if e.Stream == 0 {
		c.ice.Heard(now, k.agent, e.Socket, at, e.Remote)
	}
	c.pump(now)
}

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

// cooldown is how long the budget wants us to wait after the last attempt: what was left of
// it need not be waited for.
func (a *laneState) cooldown(b punch.Budget) time.Duration {
	spent := 0.0
	for _, r := range a.reports {
		if r.Attempt == a.tries {
			spent += float64(r.Sent) / float64(max(b.Probes, 1))
		}
	}
	return time.Duration(min(spent, 1) * float64(b.Cooldown))
}

// closeHoles ends the use of sockets that no path goes by any more; all, of all of them.
func (k *link) closeHoles(now time.Time, all bool) {
	a, c := &k.lane, k.c
	a.holes = slices.DeleteFunc(a.holes, func(h hole) bool {
		if !all && (a.run != nil || slices.ContainsFunc(k.paths, h.uses)) {
			return false
		}
		c.ice.RemoveBase(now, h.base)
		if h.stream != 0 {
			return true
		}
		c.transmit(machine.Transmit{Op: machine.CloseSocket, Socket: h.socket})
		return true
	})
}

// laneOf is the lane that a path came of.
func (k *link) laneOf(p *path) punch.LaneKind {
	return k.lane.opened[laneKey(p.route)]
}
