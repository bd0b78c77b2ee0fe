package bradawl

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

// What our NAT does is found out by the shell, first when there are servers to ask, and again
// when the network may be another. What was found out elsewhere is neither planned with nor
// told.

// moving has the shell look at relays and NAT again. A network that comes and goes is not
// followed each time, for each time servers are asked.
type moving struct {
	c     *control
	look  wish
	timer machine.Timer
}

func (e *moving) init(c *control) {
	e.c, e.timer.Fire = c, e.look.follow
}

func (e *moving) want(now time.Time) {
	e.look.want(now, func(time.Time) {
		e.c.notes.Push(note{kind: noteRelays})
		e.c.lookAtNAT()
	})
	if e.look.do != nil {
		e.c.timers.Set(&e.timer, e.look.at)
	}
}

// lookAtNAT has the shell find out anew what our NAT does, and give up what it is about to
// find out.
func (c *control) lookAtNAT() {
	c.doubted, c.tcpAsked = true, false
	c.notes.Push(note{kind: noteNAT})
}

const (
	doubtGap  = time.Minute // between two doubts, doubling while looking finds the same
	doubtMost = time.Hour
)

// doubtNAT has it found out anew, for what is known of it seems to be wrong. Looking may find
// the same every time: a firewall may let this socket through and not those that look.
func (c *control) doubtNAT(now time.Time) {
	if c.doubted || c.doubtAt.After(now) {
		return
	}
	c.doubtGap = min(max(2*c.doubtGap, doubtGap), doubtMost)
	c.doubtAt = now.Add(c.doubtGap)
	c.lookAtNAT()
}

// forgetNAT forgets what our NAT did, for the host is behind another one, and lets peers know.
// That is not put off as asking anew is: what somebody is about to find out would be told.
func (c *control) forgetNAT() {
	c.notes.Push(note{kind: noteLeft})
	c.tcpAsked, c.mute, c.doubtAt, c.doubtGap = false, false, time.Time{}, 0
	if c.profile != (natprobe.Profile{}) {
		c.profile = natprobe.Profile{}
		c.tellProfile()
	}
}

// setProfile takes in what our NAT was found to be.
func (c *control) setProfile(now time.Time, p natprobe.Profile) {
	c.enter(now)
	c.doubted = false
	c.learn(now, p)
	c.lookAtTCP()
	c.pump(now)
}

// learn is for when more or something else is known of our NAT. Lanes that could do nothing may
// do something now.
func (c *control) learn(now time.Time, p natprobe.Profile) {
	if p == c.profile {
		return
	}
	c.profile = p
	c.tellProfile()
	for _, k := range c.links {
		k.lanesAnew(now)
	}
}

const forgiveAfter = time.Minute

// forgive lets attempts begin that waited for the sake of the NAT before. A network that comes
// and goes has them wait on.
func (c *control) forgive(now time.Time) {
	if now.Sub(c.movedAt) >= forgiveAfter {
		c.sprayers.next = time.Time{}
		for _, k := range c.links {
			k.lane.notBefore = time.Time{}
		}
	}
	c.movedAt = now
}

// tellProfile lets peers know what our NAT does, or that this is not known any more.
func (c *control) tellProfile() {
	if c.cfg.policy == RelayOnly { // it names an address of ours
		return
	}
	b, _ := c.profile.MarshalBinary() // does not fail
	for _, k := range c.links {
		k.say(partProfile, update{Profile: b})
	}
}

// profileBytes is what an offer or an answer tells of our NAT.
func (c *control) profileBytes() []byte {
	if c.profile == (natprobe.Profile{}) || c.cfg.policy == RelayOnly {
		return nil
	}
	b, _ := c.profile.MarshalBinary()
	return b
}
