package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// picture is all that viewers are told, by section and key: values are JSON. What differs
// between two pictures is found without knowing what it means.
type picture map[string]map[string]json.RawMessage

// frame is a picture with its number.
type frame struct {
	seq  uint64
	time time.Time
	pic  picture
}

// message is a frame, or what makes the next frame of the one before it.
type message struct {
	Type     string    `json:"type"` // "snapshot" or "delta"
	Seq      uint64    `json:"seq"`  // one more with each
	Time     time.Time `json:"time"` // by our clock
	Sections picture   `json:"sections"`
}

// put sets a value. What JSON has no word for is left out.
func (p picture) put(section, key string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		return
	}
	if p[section] == nil {
		p[section] = make(map[string]json.RawMessage)
	}
	p[section][key] = data
}

var null = json.RawMessage("null")

// since returns what makes p of an older picture: changed values, and null for those that are
// gone.
func (p picture) since(old picture) picture {
	diff := make(picture)
	note := func(section, key string, value json.RawMessage) {
		if diff[section] == nil {
			diff[section] = make(map[string]json.RawMessage)
		}
		diff[section][key] = value
	}
	for section, values := range p {
		for key, value := range values {
			if was, there := old[section][key]; !there || string(was) != string(value) {
				note(section, key, value)
			}
		}
	}
	for section, values := range old {
		for key := range values {
			if _, there := p[section][key]; !there {
				note(section, key, null)
			}
		}
	}
	return diff
}

// rate is a share with its interval, for the page.
type rate struct {
	K    uint64  `json:"k"`
	N    uint64  `json:"n"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

func rateOf(r stats.Rate) rate {
	i := r.Interval()
	digits := func(x float64) float64 { return math.Round(x*1e4) / 1e4 }
	return rate{r.Successes, r.N, digits(i.Low), digits(i.High)}
}

// outcome is what became of attempts, for the page.
type outcome struct {
	Attempts  uint64   `json:"n"`
	Direct    rate     `json:"direct"`
	Relayed   rate     `json:"relayed"`
	Failed    rate     `json:"failed"`
	Upgraded  uint64   `json:"upgraded"`
	Unreached uint64   `json:"unreached"`
	Cancelled uint64   `json:"cancelled"`
	Mean      *float64 `json:"mean_ms"` // of those that succeeded
	P50       *float64 `json:"p50_ms"`  // of all: null where more than half failed
	P95       *float64 `json:"p95_ms"`
}

func outcomeOf(o *stats.Outcome) outcome {
	quantile := func(q float64) *float64 {
		d := o.Connect.Quantile(q)
		if o.Attempts == 0 || d == stats.Never {
			return nil
		}
		ms := milliseconds(d)
		return &ms
	}
	got := outcome{
		Attempts: o.Attempts, Direct: rateOf(o.DirectRate()), Relayed: rateOf(o.RelayRate()), Failed: rateOf(o.FailureRate()),
		Upgraded: o.Upgraded, Unreached: o.Unreached, Cancelled: o.Cancelled, P50: quantile(0.5), P95: quantile(0.95),
	}
	if o.Connect.Succeeded > 0 {
		ms := milliseconds(o.Connect.Mean())
		got.Mean = &ms
	}
	return got
}

// paint makes the picture of this moment.
func (d *Dashboard) paint(now time.Time) picture {
	p := make(picture)
	d.paintMeta(p)
	d.paintFleet(p, now)
	s := d.set.Recorder.Snapshot()
	p.put("meta", "window", [2]int64{s.From.UnixMilli(), s.To.UnixMilli()})
	paintOutcomes(p, s)
	paintWays(p, s)
	d.timeline.look(now)
	d.timeline.each(func(key string, counts [3]uint64) { p.put("timeline", key, counts) })
	d.recent.each(now.Add(-timelineSpan), func(key string, row row) { p.put("recent", key, row) })
	d.paintVerdicts(p)
	p.put("ledger", "events", d.set.Recorder.Ledger())
	p.put("ledger", "reports", d.Ledger())
	return p
}

func (d *Dashboard) paintMeta(p picture) {
	p.put("meta", "version", 1)
	p.put("meta", "note", d.set.Note)
	p.put("meta", "started", d.started.UnixMilli())
	p.put("meta", "interval_ms", d.set.Interval.Milliseconds())
	p.put("meta", "expire_ms", d.set.Expire.Milliseconds())
	p.put("meta", "pane_ms", d.timeline.width.Milliseconds())
	p.put("meta", "few_detectors", FewDetectors)
	p.put("meta", "few_attempts", stats.FewBelow)
	p.put("meta", "classes", classes)
}

// paintFleet tells of detectors. Places have latitude, longitude and the counts by class.
func (d *Dashboard) paintFleet(p picture, now time.Time) {
	c := d.fleet.count(now, d.set.MaxPlaces)
	p.put("detectors", "all", c.classes)
	p.put("detectors", "elsewhere", c.elsewhere)
	for _, place := range c.places {
		lat, lon := place.at()
		p.put("places", place.String(), [2]any{[2]int{lat, lon}, place.tally})
	}
}

func paintOutcomes(p picture, s *stats.Snapshot) {
	all := s.Outcomes()
	if len(all) == 0 {
		all = make([]stats.Outcome, 1)
	}
	p.put("outcomes", "all", outcomeOf(&all[0]))
	for _, o := range s.Outcomes(stats.ByLocal) {
		p.put("outcomes", Class(o.Local), outcomeOf(&o))
	}
	for _, o := range s.Outcomes(stats.ByLocal, stats.ByRemote) {
		p.put("matrix", Class(o.Local)+"/"+Class(o.Remote), outcomeOf(&o))
	}
	groups := s.Outcomes(stats.ByGroup)
	for _, o := range groups {
		if o.Group != "" {
			p.put("groups", o.Group, outcomeOf(&o))
		}
	}
}

// maxReasons is how many reasons are told at most; the recorder knows hundreds of words.
const maxReasons = 64

// paintWays tells why there was no direct path, and why none at all.
func paintWays(p picture, s *stats.Snapshot) {
	counts := make(map[string]uint64)
	for _, w := range s.Ways {
		var kind string
		switch w.Stage {
		case stats.StagePunch:
			kind = "undirect/"
		case stats.StageConnect:
			kind = "failed/"
		default:
			continue
		}
		if n := w.Failed + w.TimedOut + w.Unreached; n > 0 && w.Reason != "" {
			key := kind + w.Reason
			if _, known := counts[key]; !known && len(counts) >= maxReasons {
				key = kind + stats.Other
			}
			counts[key] += n
		}
	}
	for key, n := range counts {
		p.put("reasons", key, n)
	}
}

// paintVerdicts tells of experiments, as far as it is JSON objects of a decent size.
func (d *Dashboard) paintVerdicts(p picture) {
	if d.set.Verdicts == nil {
		return
	}
	for i, v := range d.set.Verdicts() {
		if i >= MaxVerdicts || v == nil {
			break
		}
		data, err := json.Marshal(v)
		if err == nil && len(data) <= MaxVerdict && strings.HasPrefix(string(data), "{") {
			p.put("verdicts", fmt.Sprint(i), json.RawMessage(data))
		}
	}
}
