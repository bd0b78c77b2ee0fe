package bradawl

import (
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

const (
	// sleepNoticed is how much more time must have passed by the clock on the wall than by
	// the machine's, until the host is thought to have slept. A clock that is put forward
	// looks the same, and then everything is checked for nothing.
	sleepNoticed = 10 * time.Second
	// sleepWatch is how often that is looked at, while there are connections.
	sleepWatch = 2 * time.Second
)

// waking notices that the host has slept: the clock that timers go by stands still
// meanwhile, and everything seems to be as it was, but NATs, relays and peers have given
// up on us.
type waking struct {
	c         *control
	now, wall time.Time // when it was looked last
	timer     machine.Timer
}

func (w *waking) init(c *control) {
	w.c = c
	w.timer.Fire = w.watch // whoever entered the control has looked
}

func (w *waking) watch(now time.Time) {
	if len(w.c.conns) > 0 && !w.timer.IsSet() {
		w.c.timers.Set(&w.timer, now.Add(sleepWatch))
	}
}

func (w *waking) look(now time.Time) {
	wall := w.c.cfg.wall(now)
	slept := wall.Sub(w.wall) - now.Sub(w.now)
	first := w.now.IsZero()
	w.now, w.wall = now, wall
	if !first && slept > sleepNoticed {
		w.c.disturbed(now, fmt.Sprintf("the host was asleep for %v, or its clock was put forward", slept.Round(time.Second)))
	}
}
