package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// patience is for the library to be read from the disk, which is of half a gigabyte.
const patience = 2 * time.Minute

// run runs statements in a new ClickHouse, one after the other, and returns the rows that
// each answered with, in JSON.
func run(t *testing.T, statements []string) [][]json.RawMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	modules, err := exec.CommandContext(ctx, "npm", "root", "-g").Output()
	if err == nil {
		_, err = os.Stat(strings.TrimSpace(string(modules)) + "/chdb")
	}
	if err != nil {
		const how = "ClickHouse is not installed (%v): npm install -g --ignore-scripts chdb@3.4.0"
		if os.Getenv("CI") == "true" {
			t.Fatalf(how, err)
		}
		t.Skipf(how, err)
	}
	in, err := json.Marshal(statements)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", "testdata/run.js")
	cmd.Env = append(os.Environ(), "NODE_PATH="+strings.TrimSpace(string(modules)), "TZ=UTC")
	cmd.Stdin = bytes.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	var answers []string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(statements) {
		t.Fatalf("%d answers to %d statements, %v: %.2000s", len(answers), len(statements), err, out)
	}
	rows := make([][]json.RawMessage, len(answers))
	for i, a := range answers {
		for line := range strings.Lines(a) {
			rows[i] = append(rows[i], json.RawMessage(line))
		}
	}
	return rows
}

// documented returns the SQL of docs/fleet.md: statements without their semicolons.
func documented(t *testing.T) (statements []string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "```sql\n")
	for _, p := range parts[1:] {
		code, _, _ := strings.Cut(p, "\n```")
		for s := range strings.SplitSeq(code, ";") {
			if s = strings.TrimSpace(s); s != "" {
				statements = append(statements, s)
			}
		}
	}
	return statements
}

// events are of every stage and status, of several NATs, within some minutes.
func events(r *rand.Rand, n int, from time.Time) (all []stats.Event) {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	nats := []natprobe.Type{natprobe.TypeUnknown, natprobe.TypeFullCone, natprobe.TypeSymmetric}
	for i := range n {
		e := stats.Event{
			Time: from.Add(time.Duration(r.IntN(150_000)) * time.Millisecond), Group: pick("", "control", "wide"),
			Stage: stats.StageGather + stats.Stage(i)%stats.StageConnect, Status: stats.StatusSuccess + stats.Status(r.IntN(4)),
			Latency: time.Duration(math.Exp(r.NormFloat64())*1e5) * time.Microsecond, LocalNAT: nats[r.IntN(3)], RemoteNAT: nats[r.IntN(3)],
			Protocol: stats.Protocol(r.IntN(int(stats.ProtocolDTLS) + 1)), IPVersion: []int{0, 4, 6}[r.IntN(3)], Tries: r.IntN(3) * r.IntN(50),
			Lane: pick("", "predicted", "birthday"), Reason: pick("", "peer_offline", "no_answer"),
		}
		for b := range e.ID {
			e.ID[b], e.Session[b] = byte(r.Uint32()), byte(r.Uint32())
		}
		switch e.Stage {
		case stats.StagePunch, stats.StageUpgrade:
			e.Pair = stats.PairHost + stats.PairKind(r.IntN(6))
		case stats.StageRelay:
			e.Pair = stats.PairRelay
		case stats.StageConnect:
			e.Pair = stats.PairHost + stats.PairKind(r.IntN(7))
		}
		all = append(all, e)
	}
	return all
}

// minute is what the view tells apart, but for the minute itself.
type minute struct {
	Stage     stats.Stage    `json:"stage"`
	LocalNAT  natprobe.Type  `json:"local_nat"`
	RemoteNAT natprobe.Type  `json:"remote_nat"`
	Pair      stats.PairKind `json:"pair"`
	Group     string         `json:"ab_group"`
}

type counts struct {
	Good uint64 `json:"good"`
	Bad  uint64 `json:"bad"`
}

// TestFleet: the statements are valid; an event comes back as it went in; the view counts
// what a Recorder counts, however often an event is inserted.
func TestFleet(t *testing.T) {
	const seed, n = 1, 3000
	from := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	all := events(rand.New(rand.NewPCG(seed, 2)), n, from)
	recorder, err := stats.NewRecorder(stats.Config{Lateness: time.Hour, Now: func() time.Time { return from.Add(150 * time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, e := range all {
		recorder.Record(e)
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		fmt.Fprintf(&lines, "%s\n", line)
	}
	statements := documented(t)
	if len(statements) != 3 {
		t.Fatalf("%d statements, want a table, a view and a query: %q", len(statements), statements)
	}
	insert := "INSERT INTO bradawl_events FORMAT JSONEachRow " + lines.String()
	rows := run(t, []string{
		"SET date_time_input_format = 'best_effort', date_time_output_format = 'iso', output_format_json_quote_64bit_integers = 0",
		statements[0], statements[1], insert, insert,
		"SELECT * FROM bradawl_events FINAL",
		`SELECT stage, local_nat, remote_nat, pair, ab_group, uniqExactIfMerge(succeeded) AS good, uniqExactIfMerge(failed) AS bad
		FROM bradawl_minutes GROUP BY stage, local_nat, remote_nat, pair, ab_group`,
		"SELECT count(DISTINCT minute) AS good FROM bradawl_minutes",
		statements[2],
	})
	checkEvents(t, all, rows[5])
	checkCounts(t, recorder.Total(), rows[6])
	if minutes := decode[counts](t, rows[7])[0]; minutes.Good != 3 {
		t.Errorf("%d minutes", minutes.Good)
	}
	checkQuery(t, all, rows[8])
}

func decode[T any](t *testing.T, rows []json.RawMessage) []T {
	t.Helper()
	all := make([]T, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal(r, &all[i]); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
	}
	return all
}

func checkEvents(t *testing.T, all []stats.Event, rows []json.RawMessage) {
	t.Helper()
	back := decode[stats.Event](t, rows)
	if len(back) != len(all) {
		t.Fatalf("%d events of %d", len(back), len(all))
	}
	byID := map[stats.ID]stats.Event{}
	for _, e := range back {
		byID[e.ID] = e
	}
	for _, e := range all {
		if got := byID[e.ID]; got != e {
			t.Fatalf("%+v came back as %+v", e, got)
		}
	}
}

func checkCounts(t *testing.T, s *stats.Snapshot, rows []json.RawMessage) {
	t.Helper()
	want := map[minute]counts{}
	for _, c := range s.Cells {
		m := minute{c.Stage, c.Local, c.Remote, c.Pair, c.Group}
		of := want[m]
		want[m] = counts{of.Good + c.Succeeded, of.Bad + c.Failed + c.TimedOut}
	}
	for _, r := range decode[struct {
		minute
		counts
	}](t, rows) {
		if want[r.minute] != r.counts {
			t.Errorf("%+v: %+v, and a recorder has %+v", r.minute, r.counts, want[r.minute])
		}
		delete(want, r.minute)
	}
	for m := range want {
		t.Errorf("%+v is missing", m)
	}
}

// checkQuery holds the answer to the documented query against the events: counts, and
// quantiles, which are of those that succeeded and within 1 %.
func checkQuery(t *testing.T, all []stats.Event, rows []json.RawMessage) {
	t.Helper()
	if len(rows) != 9 {
		t.Fatalf("%d rows, want one for each pair of three NATs", len(rows))
	}
	for _, r := range decode[struct {
		minute
		counts
		Milliseconds []float64 `json:"milliseconds"`
	}](t, rows) {
		var sorted []float64
		bad := uint64(0)
		for _, e := range all {
			switch {
			case e.Stage != stats.StageConnect || e.LocalNAT != r.LocalNAT || e.RemoteNAT != r.RemoteNAT:
			case e.Status == stats.StatusSuccess:
				sorted = append(sorted, e.Latency.Seconds()*1000)
			case e.Tries > 0 && e.Status != stats.StatusCancelled:
				bad++
			}
		}
		slices.Sort(sorted)
		if r.counts != (counts{uint64(len(sorted)), bad}) || len(r.Milliseconds) != 3 || bad == 0 {
			t.Fatalf("%v, %v: %+v, %v; want %d and %d", r.LocalNAT, r.RemoteNAT, r.counts, r.Milliseconds, len(sorted), bad)
		}
		for i, q := range []float64{0.5, 0.95, 0.99} {
			// Of so few, one rank makes more of a difference than the sketch does.
			rank := q * float64(len(sorted)-1)
			low, high := sorted[max(0, int(rank)-1)]*0.99, sorted[min(len(sorted)-1, int(rank)+2)]*1.01
			if got := r.Milliseconds[i]; got < low || got > high {
				t.Errorf("%v, %v: quantile %v is %v, want %v to %v", r.LocalNAT, r.RemoteNAT, q, got, low, high)
			}
		}
	}
}
