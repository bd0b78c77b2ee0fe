package turnclient

import (
	"errors"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// standby is a new allocation, made in recovery, that waits for a last word of the old
// one: the old one may still stand, and peers know its address.
type standby struct {
	link  *link
	adopt func(now time.Time)
}

// Grace that the old allocation has, when another one has been made: so many sends of a
// Refresh, a round trip of the new path apart.
const (
	graceSends = 2
	mostGrace  = graceSends * beatEvery
)

// mayStill reports whether the old allocation may be had yet. Where the network has
// changed it is the new path that is wanted.
func (a *allocation) mayStill() bool {
	return a.state == Disconnecting && a.link != nil && !a.link.gone && !errors.Is(a.loss.Err, errNetworkChanged)
}

// standBy holds back what was won on l, and asks the old path once more.
func (a *allocation) standBy(now time.Time, l *link, msg *wire.Message, adopt func(now time.Time, msg *wire.Message)) {
	raw := slices.Clone(msg.Raw())
	a.standby = &standby{l, func(now time.Time) {
		var kept wire.Message
		if kept.Decode(raw) == nil { // it was decoded before
			adopt(now, &kept)
		}
	}}
	l.onDown = func(time.Time, error) { a.standby = nil }
	a.m.timers.Stop(&a.retry)
	if a.asking != nil {
		a.asking.end()
		a.asking = nil
	}
	a.ask(now, graceSends, min(l.rtt.timeout(beatEvery), mostGrace/graceSends))
}

// stepIn gives up the old allocation for the one that waits, if there is one.
func (a *allocation) stepIn(now time.Time) bool {
	s := a.standby
	if s == nil {
		return false
	}
	a.standby = nil
	s.adopt(now)
	return true
}

// standDown deletes the one that waits, if there is one: the old one is back.
func (a *allocation) standDown(now time.Time) {
	if s := a.standby; s != nil {
		a.standby = nil
		a.leave(now, s.link, nil)
	}
}
