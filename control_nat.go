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
	c.doubted = true
	c.notes.Push(note{kind: noteNAT, forget: c.profile == (natprobe.Profile{})})
}

// doubtNAT has it found out anew, for what is known of it is wrong.
func (c *control) doubtNAT() {
	if !c.doubted {
		c.lookAtNAT()
	}
}

// forgetNAT forgets what our NAT did, for the host is behind another one, and lets peers know.
func (c *control) forgetNAT() {
	c.tcpAsked, c.mute = false, false
	if c.profile != (natprobe.Profile{}) {
		c.profile = natprobe.Profile{}
		c.tellProfile()
	}
}

// setProfile takes in what our NAT was found to be.
func (c *control) setProfile(now time.Time, p natprobe.Profile) {
	c.enter(now)
	if p.TCP == (natprobe.TCPProfile{}) {
		p.TCP = c.profile.TCP
	}
	c.profile, c.doubted = p, false
	c.lookAtTCP()
	c.tellProfile()
	for _, k := range c.links {
		k.tryLanes(now)
	}
	c.pump(now)
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
