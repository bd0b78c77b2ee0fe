package prom

import (
	"math"
	"strconv"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Config is what a Collector shows, and how.
type Config struct {
	// Recorder is where the figures come from. Needed.
	Recorder *stats.Recorder
	// Namespace begins the metrics' names. "": bradawl; alerts.yml and grafana.json are made
	// for that.
	Namespace string
	// Buckets are the bounds of the classic histograms, in seconds, rising. nil:
	// DefaultBuckets. The native ones need none.
	Buckets []float64
	// Labels are added to all metrics, for a program with several recorders.
	Labels prometheus.Labels
}

// DefaultBuckets are the classic histograms' bounds, in seconds: from a local network to the
// patience of an attempt.
var DefaultBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30}

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "prom: " + e.Field + ": " + e.Reason }

// Collector is a prometheus.Collector over a recorder. It costs nothing between scrapes, and
// is safe for several goroutines.
type Collector struct {
	cfg                                       Config
	stages, ways, latency, sessions, upgrades *prometheus.Desc
	window, events, flagged                   *prometheus.Desc
}

// New returns a Collector and registers it at reg; nil: it is not registered. The error is a
// *ConfigError or that of reg.
func New(reg prometheus.Registerer, cfg Config) (*Collector, error) {
	if cfg.Recorder == nil {
		return nil, &ConfigError{"Recorder", "is missing; give the one that the sessions' Config.Record is of"}
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "bradawl"
	}
	if cfg.Buckets == nil {
		cfg.Buckets = DefaultBuckets
	}
	for i, b := range cfg.Buckets {
		if !(b > 0) || math.IsInf(b, 1) || i > 0 && b <= cfg.Buckets[i-1] {
			return nil, &ConfigError{"Buckets", strconv.FormatFloat(b, 'g', -1, 64) + " is out of order; give seconds over 0, rising, without infinity"}
		}
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(cfg.Namespace, "", name), help, labels, cfg.Labels)
	}
	c := &Collector{
		cfg:      cfg,
		stages:   desc("stages_total", "How stages of sessions ended.", "stage", "status", "local_nat", "remote_nat", "pair"),
		ways:     desc("ways_total", "By which lane stages of sessions ended, and why.", "stage", "status", "lane", "reason"),
		latency:  desc("stage_latency_seconds", "How long stages took that succeeded.", "stage", "pair"),
		sessions: desc("sessions_total", "What the first path of a session was.", "local_nat", "ab_group", "result"),
		upgrades: desc("upgrades_total", "Sessions that were relayed first and became direct.", "local_nat", "ab_group"),
		window:   desc("window_sessions", "What became of the sessions of the last window.", "local_nat", "result"),
		events:   desc("events_total", "What became of the events given to the recorder.", "result"),
		flagged:  desc("events_flagged_total", "Recorded events with something odd about them.", "flag"),
	}
	if reg != nil {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.stages, c.ways, c.latency, c.sessions, c.upgrades, c.window, c.events, c.flagged} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	total := c.cfg.Recorder.Total()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, cell := range total.By(stats.ByStage, stats.ByLocal, stats.ByRemote, stats.ByPair) {
		for _, s := range statuses(cell.Count) {
			count(c.stages, s.n, cell.Stage.String(), s.status, cell.Local.String(), cell.Remote.String(), cell.Pair.String())
		}
	}
	for i := range total.Ways {
		way := &total.Ways[i]
		for _, s := range statuses(way.Count) {
			count(c.ways, s.n, way.Stage.String(), s.status, way.Lane, way.Reason)
		}
	}
	for _, cell := range total.By(stats.ByStage, stats.ByPair) {
		if cell.Succeeded > 0 {
			to <- newHistogram(c.latency, &cell.Tally, c.cfg.Buckets, cell.Stage.String(), cell.Pair.String())
		}
	}
	for _, o := range total.Outcomes(stats.ByLocal, stats.ByGroup) {
		nat := o.Local.String()
		for _, r := range results(o, true) {
			count(c.sessions, r.n, nat, o.Group, r.status)
		}
		if o.Upgraded > 0 {
			count(c.upgrades, o.Upgraded, nat, o.Group)
		}
	}
	for _, o := range c.cfg.Recorder.Snapshot().Outcomes(stats.ByLocal) {
		for _, r := range results(o, false) {
			to <- prometheus.MustNewConstMetric(c.window, prometheus.GaugeValue, float64(r.n), o.Local.String(), r.status)
		}
	}
	l := c.cfg.Recorder.Ledger()
	for _, e := range []counted{{"recorded", l.Recorded}, {"duplicate", l.Duplicates}, {"late", l.Late}, {"invalid", l.Invalid}} {
		count(c.events, e.n, e.status)
	}
	for _, e := range []counted{{"clamped", l.Clamped}, {"unchecked", l.Unchecked}, {"overflown", l.Overflown}} {
		count(c.flagged, e.n, e.status)
	}
}

// counted is a number and the label that it is counted under.
type counted struct {
	status string
	n      uint64
}

// statuses returns what is not zero of a count; attempts that came to no check are failures.
func statuses(c stats.Count) []counted {
	return some(counted{"success", c.Succeeded}, counted{"fail", c.Failed + c.Unreached}, counted{"time_out", c.TimedOut}, counted{"cancelled", c.Cancelled})
}

// results returns what is not zero of the outcomes: by the first path, which never changes,
// so that it can be a counter, or by the last.
func results(o stats.Outcome, first bool) []counted {
	if first {
		o.Direct, o.Relayed = o.Direct-o.Upgraded, o.Relayed+o.Upgraded
	}
	return some(counted{"direct", o.Direct}, counted{"relayed", o.Relayed}, counted{"failed", o.Failed},
		counted{"unreached", o.Unreached}, counted{"cancelled", o.Cancelled})
}

func some(all ...counted) []counted {
	var got []counted
	for _, c := range all {
		if c.n > 0 {
			got = append(got, c)
		}
	}
	return got
}

// histogram is a classic and a native histogram in one.
type histogram struct {
	classic, native prometheus.Metric
}

// nativeSchema has 32 buckets for each power of two, about as many as the sketch has.
const nativeSchema = 5

func newHistogram(d *prometheus.Desc, t *stats.Tally, bounds []float64, labels ...string) histogram {
	classic := make(map[float64]uint64, len(bounds))
	native := make(map[int]int64)
	for upTo, n := range t.Latency.Bins {
		// What a bin has lies within 1 % of this.
		middle := upTo.Seconds() * 0.99
		for _, b := range bounds {
			if middle <= b {
				classic[b] += n
			}
		}
		native[int(math.Ceil(math.Log2(middle)*(1<<nativeSchema)))] += int64(n)
	}
	for _, b := range bounds {
		classic[b] += 0
	}
	return histogram{
		prometheus.MustNewConstHistogram(d, t.Latency.Count(), t.Total(), classic, labels...),
		prometheus.MustNewConstNativeHistogram(d, t.Latency.Count(), t.Total(), native, nil, 0, nativeSchema, 1e-9, time.Time{}, labels...),
	}
}

// Desc implements prometheus.Metric.
func (h histogram) Desc() *prometheus.Desc { return h.classic.Desc() }

// Write implements prometheus.Metric.
func (h histogram) Write(out *dto.Metric) error {
	if err := h.native.Write(out); err != nil {
		return err
	}
	var classic dto.Metric
	if err := h.classic.Write(&classic); err != nil {
		return err
	}
	out.Histogram.Bucket = classic.Histogram.Bucket
	return nil
}
