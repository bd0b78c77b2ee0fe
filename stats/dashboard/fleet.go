package dashboard

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// fleet is the detectors that were heard from of late.
type fleet struct {
	limit  int
	expire time.Duration

	mu        sync.Mutex
	detectors map[stats.ID]detector
	full      uint64 // reports that there was no room for
}

type detector struct {
	heard time.Time
	nat   natprobe.Type
	place Place
}

func newFleet(limit int, expire time.Duration) *fleet {
	return &fleet{limit: limit, expire: expire, detectors: make(map[stats.ID]detector)}
}

// hear notes a report; false if there is no room for another detector.
func (f *fleet) hear(id stats.ID, d detector) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.detectors[id]; !known && len(f.detectors) >= f.limit {
		f.full++
		return false
	}
	f.detectors[id] = d
	return true
}

// census is the detectors, counted.
type census struct {
	classes   tally
	places    []placeCount // with FewDetectors or more, in the order of Place.String
	elsewhere tally        // those of the other places, and of none
	full      uint64
}

type placeCount struct {
	Place
	tally
}

// count forgets detectors that were not heard from, and counts the others, at most so many
// places.
func (f *fleet) count(now time.Time, mostPlaces int) census {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := census{full: f.full}
	at := make(map[Place]*tally)
	for id, d := range f.detectors { // sums do not depend on the order
		if now.Sub(d.heard) > f.expire {
			delete(f.detectors, id)
			continue
		}
		c.classes[d.nat]++
		if d.place.IsZero() {
			c.elsewhere[d.nat]++
			continue
		}
		t := at[d.place]
		if t == nil {
			t = new(tally)
			at[d.place] = t
		}
		t[d.nat]++
	}
	for p, t := range at {
		if t.sum() < FewDetectors {
			c.elsewhere.add(t)
			continue
		}
		c.places = append(c.places, placeCount{p, *t})
	}
	byName := func(a, b placeCount) int { return cmp.Compare(a.String(), b.String()) }
	if len(c.places) > mostPlaces {
		slices.SortFunc(c.places, func(a, b placeCount) int { return cmp.Or(cmp.Compare(b.sum(), a.sum()), byName(a, b)) })
		for _, p := range c.places[mostPlaces:] {
			c.elsewhere.add(&p.tally)
		}
		c.places = c.places[:mostPlaces]
	}
	slices.SortFunc(c.places, byName)
	return c
}
