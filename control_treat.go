package bradawl

import (
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/punch"
)

// How a connection is treated is asked for once, before anything of it leaves: of a dial at
// once, of what a peer has begun when it may connect. Whatever becomes of the question, the
// connection goes on.
//
// A peer may begin very many that share paths. They come of one of them after the other, so
// that what a peer does takes no answers from others.

// treatWithin is how long a connection waits for Config.TreatPeer.
const treatWithin = time.Second

// maxAskedOfPeer is how many questions about one peer are put at a time, of maxAsked: those to
// TreatPeer here, those to AllowPeer by the shell.
const maxAskedOfPeer = 8

// treatment is a Treatment in the control's terms.
type treatment struct {
	group  string
	budget punch.Budget
	off    bool // no lanes
}

func newTreatment(group string, budget punch.Budget, off bool) *treatment {
	if off {
		budget = punch.Budget{} // for what explanations say could be
	}
	return &treatment{group, budget, off}
}

// group is the group of what is recorded.
func (k *connection) group() string {
	if k.treatment == nil {
		return ""
	}
	return k.treatment.group
}

// admit goes on with a dial, or with what a peer has begun and may: at once if it is known
// how it is treated, else when that is.
func (k *connection) admit(now time.Time) {
	switch {
	case k.treatment != nil:
		k.proceed(now)
	case !k.c.cfg.treat:
		k.treatment = k.c.usual
		k.proceed(now)
	case !k.untold:
		k.untold, k.repeatAt = true, now.Add(treatWithin)
		k.c.askTreatment(k.peer)
	}
	k.settle(now)
}

// askTreatment has it asked how a peer is treated, when this call is done: not of connections
// that it ends.
func (c *control) askTreatment(peer PeerID) {
	if !slices.Contains(c.untreated, peer) {
		c.untreated = append(c.untreated, peer)
	}
}

// putQuestions asks about as many of a peer's connections as may be at once, the oldest first.
func (c *control) putQuestions(now time.Time, peer PeerID) {
	for {
		asked, next := 0, (*connection)(nil)
		for _, k := range c.conns {
			switch {
			case k.peer != peer || !k.untold || isDue(now, k.repeatAt):
			case k.asked:
				asked++
			case next == nil || k.number < next.number:
				next = k
			}
		}
		if next == nil || asked >= maxAskedOfPeer {
			return
		}
		next.asked = true
		c.notes.Push(note{kind: noteTreat, conn: next.number, peer: peer})
	}
}

// treat answers noteTreat; err says why there is no answer.
func (c *control) treat(now time.Time, number uint32, t Treatment, err error) {
	c.enter(now)
	if k := c.conns[number]; k != nil && k.asked {
		k.treat(now, t, err)
		k.settle(now)
	}
	c.pump(now)
}

func (k *connection) treat(now time.Time, t Treatment, err error) {
	usual := k.c.usual
	k.untold, k.asked, k.repeatAt, k.treatment = false, false, time.Time{}, usual
	switch {
	case err != nil:
		k.note(now, "Config.TreatPeer had no answer: the peer is treated as others are", err)
		k.c.tell(now, Event{Kind: EventUntreated, Peer: k.peer, Conn: k.number, Err: err})
	case t.Budget != (punch.Budget{}):
		k.treatment = newTreatment(t.Group, t.Budget, t.Budget.Probes < 0)
	case t.Group != "":
		k.treatment = &treatment{t.Group, usual.budget, usual.off}
	}
	if err == nil {
		k.note(now, fmt.Sprintf("treated as Config.TreatPeer says: group %q", t.Group), nil)
	}
	k.proceed(now)
	k.c.askTreatment(k.peer)
}

// proceed is for when it is known how the peer is treated.
func (k *connection) proceed(now time.Time) {
	if !k.rides {
		k.lane.spend = k.treatment
		k.c.lookAtTCP()
	}
	switch {
	case k.state == waiting:
		k.allow(now)
	case k.state != dialing:
	case k.rides && k.up:
		k.propose(now)
	case !k.rides:
		if err := k.newAgent(now, true); err != nil {
			k.end(now, err)
			return
		}
		k.propose(now)
	}
}
