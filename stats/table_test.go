package stats

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// sessions records so many of them with one outcome.
func sessions(r *Recorder, c *clock, n int, e Event) {
	for range n {
		e.ID, _ = NewID(nil)
		e.Session, _ = NewID(nil)
		e.Time = c.t
		if e.Tries == 0 && e.Reason != "peer_offline" {
			e.Tries = 1
		}
		r.Record(e)
	}
}

// connected is a stage connect that succeeded.
func connected(local natprobe.Type, pair PairKind, latency time.Duration) Event {
	return Event{
		Stage: StageConnect, Status: StatusSuccess, Latency: latency, LocalNAT: local, RemoteNAT: natprobe.TypeFullCone,
		Pair: pair, Protocol: ProtocolUDP, IPVersion: 4,
	}
}

func tableOfSome(t *testing.T) *Table {
	r, c := testRecorder(t, Config{})
	sessions(r, c, 30, connected(natprobe.TypeFullCone, PairSrflx, 80*time.Millisecond))
	sessions(r, c, 10, connected(natprobe.TypeFullCone, PairRelay, 120*time.Millisecond))
	sessions(r, c, 8, connected(natprobe.TypeSymmetric, PairRelay, 1500*time.Millisecond))
	upgraded := connected(natprobe.TypeSymmetric, PairBirthday, 800*time.Millisecond)
	upgraded.Stage = StageUpgrade
	sessions(r, c, 3, upgraded)
	lost := Event{Stage: StageConnect, Status: StatusTimeOut, Latency: 10 * time.Second, LocalNAT: natprobe.TypeSymmetric, Reason: "no_path"}
	sessions(r, c, 2, lost)
	lost.Status, lost.Reason = StatusFail, "peer_offline"
	sessions(r, c, 5, lost)
	lost.Status, lost.Reason = StatusCancelled, "closed"
	sessions(r, c, 4, lost)
	return r.Snapshot().Table()
}

func TestTable(t *testing.T) {
	table := tableOfSome(t)
	text := `NAT type  | attempts | P2P successes | relay fallback rate | mean latency
full-cone | 40       | 30            | 25.0 %              | 90 ms
symmetric | 10       | 3             | 50.0 % *            | 1.50 s
all       | 50       | 33            | 30.0 %              | 325 ms
* fewer than 30 attempts
`
	if got := table.Text(); got != text {
		t.Errorf("text:\n%s\nwant\n%s", got, text)
	}
	markdown := `| NAT type | attempts | P2P successes | relay fallback rate | mean latency |
|---|--:|--:|--:|--:|
| full-cone | 40 | 30 | 25.0 % | 90 ms |
| symmetric | 10 | 3 | 50.0 % * | 1.50 s |
| all | 50 | 33 | 30.0 % | 325 ms |

\* fewer than 30 attempts
`
	if got := table.Markdown(); got != markdown {
		t.Errorf("markdown:\n%s\nwant\n%s", got, markdown)
	}
	lines := strings.Split(table.CSV(), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[2], "symmetric,10,3,5,2,0.3,0.1077") || !strings.Contains(lines[1], ",90,79.") {
		t.Errorf("CSV:\n%s", strings.Join(lines, "\n"))
	}
	var got struct {
		From, To time.Time
		Rows     []map[string]any
		Total    map[string]any
	}
	if err := json.Unmarshal([]byte(asJSON(t, table)), &got); err != nil {
		t.Fatal(err)
	}
	if got.To.Sub(got.From) != 5*time.Minute || len(got.Rows) != 2 || got.Rows[1]["p95_ms"] != nil || got.Rows[1]["unreached"] != 5.0 ||
		got.Rows[1]["cancelled"] != 4.0 || got.Total["p2p_successes"] != 33.0 {
		t.Errorf("JSON: %+v", got)
	}
}

// Before anything happened there is a table too, without a figure that is not there.
func TestTableEmpty(t *testing.T) {
	r, _ := testRecorder(t, Config{})
	table := r.Snapshot().Table()
	if got := table.Text(); !strings.Contains(got, "all      | 0        | 0             | -                   | -\n") {
		t.Error(got)
	}
	if got := asJSON(t, table); !strings.Contains(got, `"rows":[]`) || !strings.Contains(got, `"direct_rate":null`) {
		t.Error(got)
	}
	if got := asJSON(t, r.Snapshot()); !strings.Contains(got, `"cells":[],"ways":[]`) {
		t.Error(got)
	}
}

func TestOutcomes(t *testing.T) {
	r, c := testRecorder(t, Config{})
	e := connected(natprobe.TypeSymmetric, PairRelay, time.Second)
	e.Group = "b"
	sessions(r, c, 2, e)
	e.Stage, e.Pair = StageUpgrade, PairPredicted
	sessions(r, c, 3, e) // one began before the window
	e.Group = "gone"
	sessions(r, c, 1, e) // all of these did
	e.Stage, e.Group = StagePunch, "a"
	sessions(r, c, 7, e) // no outcome
	got := r.Snapshot().Outcomes(ByLocal, ByGroup, ByPair)
	if len(got) != 1 || got[0].Direct != 2 || got[0].Relayed != 0 || got[0].Upgraded != 2 || got[0].Group != "b" || got[0].Pair != 0 {
		t.Errorf("%+v", got)
	}
	if rate := got[0].DirectRate(); rate != (Rate{2, 2}) {
		t.Errorf("%+v", rate)
	}
}

// Quantiles are over all attempts: who was never connected took longer than all others.
func TestTallyQuantile(t *testing.T) {
	r, c := testRecorder(t, Config{})
	sessions(r, c, 6, connected(0, PairHost, 10*time.Millisecond))
	sessions(r, c, 4, Event{Stage: StageConnect, Status: StatusTimeOut, Latency: 10 * time.Second})
	all := r.Snapshot().By()[0]
	if got := all.Quantile(0.5); got < 9900*time.Microsecond || got > 10100*time.Microsecond {
		t.Errorf("p50 %v", got)
	}
	if got := all.Quantile(0.95); got != Never {
		t.Errorf("p95 %v, want never", got)
	}
	if got := new(Tally).Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	if got := all.Total(); got != 0.06 {
		t.Errorf("%v s in all", got)
	}
}
