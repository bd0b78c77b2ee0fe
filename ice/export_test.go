package ice

import "time"

// Unpaced lifts the 5 ms between transactions, for loads that no real process has.
func (e *Endpoint) Unpaced() {
	_ = e.loop.Do(func(time.Time) { e.m.pace.every = 0 })
}
