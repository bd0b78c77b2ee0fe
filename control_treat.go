package bradawl

import (
	"fmt"
	"time"

	"github.com/bradawl/bradawl/punch"
)

// How a connection is treated is asked for once, before anything of it leaves: of a dial at
// once, of what a peer has begun when it may connect. Whatever becomes of the question, the
// connection goes on.

// treatWithin is how long a connection waits for Config.TreatPeer.
const treatWithin = time.Second

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
		k.c.notes.Push(note{kind: noteTreat, conn: k.number, peer: k.peer})
	}
	k.settle(now)
}

// treat answers noteTreat; err says why there is no answer.
func (c *control) treat(now time.Time, number uint32, t Treatment, err error) {
	c.enter(now)
	if k := c.conns[number]; k != nil && k.untold {
		k.treat(now, t, err)
		k.settle(now)
	}
	c.pump(now)
}

func (k *connection) treat(now time.Time, t Treatment, err error) {
	usual := k.c.usual
	k.untold, k.repeatAt, k.treatment = false, time.Time{}, usual
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
