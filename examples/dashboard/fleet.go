package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/dashboard"
)

// note says on the page what it shows.
func (o options) note() string {
	return fmt.Sprintf("Simulated: %d detectors in cities, behind kinds of NATs in assumed shares. What their NATs are and what became of attempts "+
		"was measured by real sessions in simulated internets, which go on; detectors draw from those. The experiment's verdict is of the measured ones alone, each once.", o.detectors)
}

const (
	step    = 250 * time.Millisecond // how often some of the fleet report
	heard   = 15 * time.Second       // how often each detector does
	dials   = 100 * time.Second      // how often each detector tries to connect
	life    = 30 * time.Minute       // how long a detector stays, on average
	country = 4                      // one in so many tells its country alone
)

// fleet is the detectors.
type fleet struct {
	r    *rand.Rand
	lab  *lab
	d    *dashboard.Dashboard
	all  []*detector
	next int // whose turn it is
}

// detector is one, with its own luck.
type detector struct {
	id    stats.ID
	kind  int
	place dashboard.Place
	gone  time.Time
	dial  time.Time
}

func newFleet(o options, l *lab, d *dashboard.Dashboard) *fleet {
	f := &fleet{r: rand.New(rand.NewPCG(o.seed, 2)), lab: l, d: d}
	now := time.Now()
	for range o.detectors {
		f.all = append(f.all, f.newDetector(now))
	}
	return f
}

// newDetector is one somewhere, that has just been started.
func (f *fleet) newDetector(now time.Time) *detector {
	return &detector{
		id: f.newID(), kind: f.kind(), place: f.place(), gone: now.Add(f.wait(life)), dial: now.Add(time.Duration(f.r.Int64N(int64(dials)))),
	}
}

// wait is how long something takes that may happen at any time.
func (f *fleet) wait(mean time.Duration) time.Duration {
	return time.Duration(f.r.ExpFloat64() * float64(mean))
}

func (f *fleet) newID() stats.ID {
	id := stats.ID{15: 1} // no ID is zero
	for i := range id[:15] {
		id[i] = byte(f.r.Uint32())
	}
	return id
}

func (f *fleet) kind() int {
	n := f.r.IntN(1000)
	for k := range kinds {
		if n -= kinds[k].share; n < 0 {
			return k
		}
	}
	return 0
}

// place is near a city, by how many people live there.
func (f *fleet) place() dashboard.Place {
	n := f.r.IntN(people)
	for _, c := range cities {
		if n -= c.people; n >= 0 {
			continue
		}
		var p dashboard.Place
		var err error
		if f.r.IntN(country) == 0 {
			p, err = dashboard.Country(c.country)
		} else {
			const spread = 0.3 // degrees
			p, err = dashboard.LatLon(c.lat+spread*f.r.NormFloat64(), math.Mod(c.lon+spread*f.r.NormFloat64()+540, 360)-180)
		}
		if err == nil {
			return p
		}
		break
	}
	return dashboard.Place{}
}

// run has the detectors report, in turn, until ctx ends.
func (f *fleet) run(ctx context.Context) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	f.turn(time.Now(), len(f.all))
	some := max(1, int(math.Ceil(float64(len(f.all))*float64(step)/float64(heard))))
	for {
		select {
		case now := <-tick.C:
			f.turn(now, some)
		case <-ctx.Done():
			return
		}
	}
}

// turn has the next n detectors report.
func (f *fleet) turn(now time.Time, n int) {
	for range n {
		i := f.next
		f.next = (f.next + 1) % len(f.all)
		if now.After(f.all[i].gone) {
			f.all[i] = f.newDetector(now) // the old one falls silent
		}
		_ = f.d.Report(f.report(f.all[i], now)) // it is counted there if it is refused
	}
}

// report is what a detector has to tell.
func (f *fleet) report(d *detector, now time.Time) dashboard.Report {
	r := dashboard.Report{Detector: d.id, Time: now, NAT: f.lab.measured(d.kind), Place: d.place}
	if now.Before(d.dial) {
		return r
	}
	d.dial = now.Add(f.wait(dials))
	drawn := f.lab.draw(f.r, d.kind, f.kind())
	session := f.newID()
	ended := time.Time{}
	for _, e := range drawn {
		if e.Time.After(ended) {
			ended = e.Time
		}
	}
	for _, e := range drawn {
		e.ID, e.Session = f.newID(), session
		e.Time = now.Add(e.Time.Sub(ended)) // the last stage has just ended
		r.Events = append(r.Events, e)
	}
	return r
}
