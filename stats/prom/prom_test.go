package prom

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// fleet is a recorder under a clock, and a registry that shows it.
type fleet struct {
	*stats.Recorder
	reg *prometheus.Registry
	now time.Time
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{reg: prometheus.NewPedanticRegistry(), now: epoch}
	var err error
	if f.Recorder, err = stats.NewRecorder(stats.Config{Now: func() time.Time { return f.now }}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(f.reg, Config{Recorder: f.Recorder}); err != nil {
		t.Fatal(err)
	}
	return f
}

// record records n events like e.
func (f *fleet) record(n int, e stats.Event) {
	for range n {
		e.ID, _ = stats.NewID(nil)
		e.Session, _ = stats.NewID(nil)
		e.Time = f.now
		f.Record(e)
	}
}

func success(stage stats.Stage, pair stats.PairKind, latency time.Duration) stats.Event {
	return stats.Event{
		Stage: stage, Status: stats.StatusSuccess, Pair: pair, Latency: latency, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 1,
		LocalNAT: natprobe.TypeSymmetric, RemoteNAT: natprobe.TypeFullCone, Group: "b",
	}
}

func failure(stage stats.Stage, reason string) stats.Event {
	return stats.Event{
		Stage: stage, Status: stats.StatusFail, Reason: reason, Tries: 1, LocalNAT: natprobe.TypeSymmetric, RemoteNAT: natprobe.TypeFullCone,
	}
}

func (f *fleet) text(t *testing.T) string {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func some8(f *fleet) {
	f.record(3, success(stats.StageConnect, stats.PairRelay, 80*time.Millisecond))
	f.record(2, success(stats.StageConnect, stats.PairSrflx, 200*time.Millisecond))
	f.record(1, success(stats.StageUpgrade, stats.PairBirthday, 900*time.Millisecond))
	f.record(2, failure(stats.StagePunch, "unanswered"))
	f.record(1, stats.Event{})
}

// What dashboards are made for, line by line.
func TestText(t *testing.T) {
	f := newFleet(t)
	some8(f)
	got := f.text(t)
	for _, want := range []string{
		`bradawl_stages_total{local_nat="symmetric",pair="relay",remote_nat="full_cone",stage="connect",status="success"} 3`,
		`bradawl_stages_total{local_nat="symmetric",pair="",remote_nat="full_cone",stage="punch",status="fail"} 2`,
		`bradawl_ways_total{lane="",reason="unanswered",stage="punch",status="fail"} 2`,
		`bradawl_sessions_total{ab_group="b",local_nat="symmetric",result="direct"} 2`,
		`bradawl_sessions_total{ab_group="b",local_nat="symmetric",result="relayed"} 3`,
		`bradawl_upgrades_total{ab_group="b",local_nat="symmetric"} 1`,
		`bradawl_window_sessions{local_nat="symmetric",result="direct"} 3`,
		`bradawl_window_sessions{local_nat="symmetric",result="relayed"} 2`,
		`bradawl_events_total{result="recorded"} 8`,
		`bradawl_events_total{result="invalid"} 1`,
		`bradawl_events_flagged_total{flag="overflown"} 0`,
		`bradawl_stage_latency_seconds_bucket{pair="relay",stage="connect",le="0.05"} 0`,
		`bradawl_stage_latency_seconds_bucket{pair="relay",stage="connect",le="0.1"} 3`,
		`bradawl_stage_latency_seconds_sum{pair="relay",stage="connect"} 0.24`,
		`bradawl_stage_latency_seconds_count{pair="relay",stage="connect"} 3`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
	f.now = f.now.Add(time.Hour)
	if got := f.text(t); strings.Contains(got, "bradawl_window_sessions{") || !strings.Contains(got, `result="relayed"} 3`) {
		t.Errorf("an hour later:\n%s", got)
	}
}

// The native histogram has the same observations, each in a bucket within 3 % of it.
func TestNative(t *testing.T) {
	f := newFleet(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	var all []float64
	for range 500 {
		d := time.Duration(1e6*math.Exp(rnd.NormFloat64()*2)) * 50
		all = append(all, d.Seconds())
		f.record(1, success(stats.StageConnect, stats.PairSrflx, d))
	}
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "bradawl_stage_latency_seconds" {
			continue
		}
		h := family.Metric[0].Histogram
		if h.GetSampleCount() != 500 || h.GetSchema() != nativeSchema || len(h.Bucket) != len(DefaultBuckets) {
			t.Fatalf("%v", h)
		}
		// Cumulated, the buckets must follow the truth: no observation is further off than
		// the sketch's 1 % and a bucket's width.
		index, n, count := int32(0), 0, int64(0)
		for _, span := range h.PositiveSpan {
			index += span.GetOffset()
			for range span.GetLength() {
				count += h.PositiveDelta[n]
				n++
				upTo := math.Pow(2, float64(index)/(1<<nativeSchema))
				below, above := 0, 0
				for _, v := range all {
					if v <= upTo/1.03 {
						below++
					}
					if v <= upTo*1.03 {
						above++
					}
				}
				total := cumulated(h, n)
				if total < int64(below) || total > int64(above) {
					t.Errorf("up to %v: %d, want %d to %d", upTo, total, below, above)
				}
				index++
			}
		}
	}
}

// cumulated is how many observations the first n native buckets have.
func cumulated(h *dto.Histogram, n int) int64 {
	count, sum := int64(0), int64(0)
	for _, delta := range h.PositiveDelta[:n] {
		count += delta
		sum += count
	}
	return sum
}

// Counters never fall, whatever arrives and however time passes.
func TestMonotone(t *testing.T) {
	f := newFleet(t)
	rnd := rand.New(rand.NewPCG(3, 3))
	before := make(map[string]float64)
	for range 60 {
		for range 50 {
			switch rnd.IntN(4) {
			case 0:
				f.record(1, success(stats.StageConnect, stats.PairKind(1+rnd.IntN(7)), time.Duration(rnd.Int64N(1e9))))
			case 1:
				f.record(1, success(stats.StageUpgrade, stats.PairKind(1+rnd.IntN(6)), time.Duration(rnd.Int64N(1e9))))
			case 2:
				f.record(1, failure(stats.StageConnect, "no_path"))
			case 3:
				f.record(1, failure(stats.Stage(1+rnd.IntN(6)), "unanswered"))
			}
		}
		f.now = f.now.Add(time.Duration(rnd.Int64N(int64(2 * time.Minute))))
		families, err := f.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.Metric {
				var labels strings.Builder
				for _, l := range m.Label {
					labels.WriteString(l.GetName() + "=" + l.GetValue() + ",")
				}
				name := family.GetName() + labels.String()
				value := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				if m.Gauge == nil && value < before[name] {
					t.Fatalf("%s fell from %v to %v", name, before[name], value)
				}
				before[name] = value
			}
		}
	}
}

// The one line of shell that the documentation has.
func TestShell(t *testing.T) {
	if _, err := exec.LookPath("awk"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs awk: apt-get install mawk")
	}
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile(`awk '(.*)'`).FindSubmatch(source)
	if program == nil {
		t.Fatal("doc.go has no such line")
	}
	f := newFleet(t)
	some8(f)
	f.record(5, failure(stats.StageGather, "no_address"))
	cmd := exec.Command("awk", string(program[1]))
	cmd.Stdin = strings.NewReader(f.text(t))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "7\n" {
		t.Errorf("%s, %v, want 7", out, err)
	}
}

// The files beside this one ask for nothing that there is not, under all labels.
func TestFiles(t *testing.T) {
	f := newFleet(t)
	some8(f)
	f.record(1, stats.Event{
		Stage: stats.StagePunch, Status: stats.StatusTimeOut, Reason: "unanswered", LocalNAT: natprobe.TypeSymmetric, Tries: 1,
	})
	known := make(map[string]map[string]bool)
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		labels := map[string]bool{"le": true}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = true
			}
		}
		for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
			known[family.GetName()+suffix] = labels
		}
	}
	grafana, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(grafana, &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("grafana.json: %v", err)
	}
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	exprs := []string{string(alerts)}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	metric := regexp.MustCompile(`\b(bradawl_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)(=|!=|=~|!~)\\?"`)
	for _, expr := range exprs {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			labels, ok := known[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", expr, m[1])
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !labels[l[1]] {
					t.Errorf("%s: %s has no label %s", expr, m[1], l[1])
				}
			}
		}
	}
}

func TestConfig(t *testing.T) {
	r, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for field, cfg := range map[string]Config{
		"Recorder": {},
		"Buckets":  {Recorder: r, Buckets: []float64{2, 1}},
	} {
		var wrong *ConfigError
		if _, err := New(nil, cfg); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%+v: %v, want something of %s", cfg, err, field)
		}
	}
	reg := prometheus.NewRegistry()
	if _, err := New(reg, Config{Recorder: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(reg, Config{Recorder: r}); err == nil {
		t.Error("the same metrics are registered twice")
	}
	if _, err := New(reg, Config{Recorder: r, Labels: prometheus.Labels{"region": "eu"}}); err == nil {
		t.Error("the same names with other labels are registered")
	}
	if _, err := New(reg, Config{Recorder: r, Namespace: "second"}); err != nil {
		t.Error(err)
	}
}

// A scrape of a recorder with some 1,000 cells.
func BenchmarkCollect(b *testing.B) {
	now := epoch
	r, err := stats.NewRecorder(stats.Config{Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		e := success(stats.StageConnect, stats.PairKind(1+rnd.IntN(7)), time.Duration(rnd.ExpFloat64()*2e8))
		e.LocalNAT, e.RemoteNAT = natprobe.Type(rnd.IntN(8)), natprobe.Type(rnd.IntN(8))
		e.ID, _ = stats.NewID(nil)
		e.Session, e.Time = e.ID, now
		r.Record(e)
	}
	reg := prometheus.NewRegistry()
	if _, err := New(reg, Config{Recorder: r}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
