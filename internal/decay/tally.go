package decay

import (
	"math"
	"time"
)

const hours = int64(Window / time.Hour)

// Tally counts successes and failures of the last 24 hours in 104 bytes, by the hour of
// the clock. The zero value is empty. It is for one goroutine at a time.
type Tally struct {
	latest int64            // the last hour in which something happened, since the epoch
	counts [hours][2]uint16 // failures and successes; an hour's index is the hour modulo 24
}

func hourOf(t time.Time) int64 {
	seconds := t.Unix()
	hour := seconds / 3600
	if seconds%3600 < 0 {
		hour--
	}
	return hour
}

func (t *Tally) at(hour int64) *[2]uint16 {
	return &t.counts[(hour%hours+hours)%hours]
}

// Add counts an outcome. Outcomes come in about the order in which they happened: one that
// is a Window older than the latest says that the clock was set back, and the tally
// starts afresh.
func (t *Tally) Add(ok bool, at time.Time) {
	hour := hourOf(at)
	if hour >= t.latest+hours || hour <= t.latest-hours {
		*t = Tally{latest: hour}
	}
	for ; t.latest < hour; t.latest++ {
		*t.at(t.latest + 1) = [2]uint16{}
	}
	count := &t.at(hour)[0]
	if ok {
		count = &t.at(hour)[1]
	}
	if *count < math.MaxUint16 {
		*count++
	}
}

// Sum returns the weights of the successes and of the failures at a time, an outcome's
// age being the full hours of the clock since. Quality makes one number of them.
func (t *Tally) Sum(now time.Time) (succeeded, failed float64) {
	hour := max(hourOf(now), t.latest) // a clock set back makes nothing younger than new
	first := hour - hours + 1
	for n, i := t.latest-first+1, (first%hours+hours)%hours; n > 0; n-- {
		succeeded = succeeded*PerHour + float64(t.counts[i][1])
		failed = failed*PerHour + float64(t.counts[i][0])
		if i++; i == hours {
			i = 0
		}
	}
	age := Weight(time.Duration(min(hour-t.latest, hours)) * time.Hour)
	return succeeded * age, failed * age
}
