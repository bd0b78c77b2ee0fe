package stats

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// Table tells what became of the sessions of each NAT type, one row for each local one and
// one for all, for people and for other programs.
type Table struct {
	From, To time.Time // when it was
	Rows     []Row     // by NAT type, in the order of natprobe's constants
	Total    Row       // of all types
}

// Row is a line of a Table.
type Row struct {
	NAT natprobe.Type // of Total: TypeUnknown, which says nothing
	Outcome
}

// Table returns the snapshot's table.
func (s *Snapshot) Table() *Table {
	t := &Table{From: s.From, To: s.To}
	for _, o := range s.Outcomes(ByLocal) {
		t.Rows = append(t.Rows, Row{o.Local, o})
	}
	if all := s.Outcomes(); len(all) > 0 {
		t.Total.Outcome = all[0]
	}
	return t
}

var tableHead = []string{"NAT type", "attempts", "P2P successes", "relay fallback rate", "mean latency"}

// cells returns a row's texts as people read them. What rests on few attempts is marked.
func (r *Row) cells(name string) []string {
	relay, mean := "-", "-"
	if rate := r.RelayRate(); rate.N > 0 {
		relay = fmt.Sprintf("%.1f %%", 100*rate.Share())
		if rate.Few() {
			relay += " *"
		}
	}
	if r.Connect.Succeeded > 0 {
		mean = latencyText(r.Connect.Mean())
	}
	return []string{name, strconv.FormatUint(r.Attempts, 10), strconv.FormatUint(r.Direct, 10), relay, mean}
}

// latencyText has three digits and a unit.
func latencyText(d time.Duration) string {
	switch ms := float64(d) / 1e6; {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.2f s", ms/1000)
	}
}

func natName(t natprobe.Type) string { return strings.ReplaceAll(t.String(), "_", "-") }

// lines returns all rows' texts, head first.
func (t *Table) lines() [][]string {
	lines := [][]string{tableHead}
	for i := range t.Rows {
		lines = append(lines, t.Rows[i].cells(natName(t.Rows[i].NAT)))
	}
	return append(lines, t.Total.cells("all"))
}

// few explains the mark, if a row has it.
func (t *Table) few() string {
	for _, line := range t.lines()[1:] {
		if strings.HasSuffix(line[3], "*") {
			return fmt.Sprintf("* fewer than %d attempts", FewBelow)
		}
	}
	return ""
}

// Text returns the table with its columns in line, for a terminal.
func (t *Table) Text() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 1, ' ', 0)
	for _, line := range t.lines() {
		fmt.Fprintln(w, strings.Join(line, "\t| "))
	}
	w.Flush()
	if few := t.few(); few != "" {
		fmt.Fprintln(&out, few)
	}
	return out.String()
}

// Markdown returns the table in GitHub's form.
func (t *Table) Markdown() string {
	var out strings.Builder
	for i, line := range t.lines() {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			out.WriteString("|---|--:|--:|--:|--:|\n")
		}
	}
	if few := t.few(); few != "" {
		fmt.Fprintf(&out, "\n\\%s\n", few)
	}
	return out.String()
}

// CSV returns the table in numbers, one record for each row (RFC 4180): names of columns
// first, shares from 0 to 1, latencies in milliseconds; where there is nothing to tell, an
// empty field.
func (t *Table) CSV() string {
	var out strings.Builder
	w := csv.NewWriter(&out)
	w.Write([]string{ // neither write can fail
		"nat_type", "attempts", "p2p_successes", "relayed", "failed", "direct_rate", "direct_low", "direct_high",
		"relay_fallback_rate", "relay_fallback_low", "relay_fallback_high", "mean_latency_ms", "p50_ms", "p95_ms",
	})
	for _, r := range t.records() {
		field := func(p *float64) string {
			if p == nil {
				return ""
			}
			return strconv.FormatFloat(*p, 'f', -1, 64)
		}
		count := func(n uint64) string { return strconv.FormatUint(n, 10) }
		w.Write([]string{
			r.NAT, count(r.Attempts), count(r.Direct), count(r.Relayed), count(r.Failed), field(r.DirectRate), field(r.DirectLow), field(r.DirectHigh),
			field(r.RelayRate), field(r.RelayLow), field(r.RelayHigh), field(r.Mean), field(r.P50), field(r.P95),
		})
	}
	w.Flush()
	return out.String()
}

// tableRecord is a row in numbers. nil: there is nothing to tell.
type tableRecord struct {
	NAT        string   `json:"nat_type"`
	Attempts   uint64   `json:"attempts"`
	Direct     uint64   `json:"p2p_successes"`
	Relayed    uint64   `json:"relayed"`
	Failed     uint64   `json:"failed"`
	Unreached  uint64   `json:"unreached"`
	Cancelled  uint64   `json:"cancelled"`
	DirectRate *float64 `json:"direct_rate"`
	DirectLow  *float64 `json:"direct_low"`
	DirectHigh *float64 `json:"direct_high"`
	RelayRate  *float64 `json:"relay_fallback_rate"`
	RelayLow   *float64 `json:"relay_fallback_low"`
	RelayHigh  *float64 `json:"relay_fallback_high"`
	Mean       *float64 `json:"mean_latency_ms"`
	P50        *float64 `json:"p50_ms"` // of all attempts: null where more than half of them failed
	P95        *float64 `json:"p95_ms"`
}

func (t *Table) records() []tableRecord {
	var all []tableRecord
	for i := range t.Rows {
		all = append(all, t.Rows[i].record(t.Rows[i].NAT.String()))
	}
	return append(all, t.Total.record("all"))
}

func (r *Row) record(name string) tableRecord {
	rec := tableRecord{
		NAT: name, Attempts: r.Attempts, Direct: r.Direct, Relayed: r.Relayed, Failed: r.Failed, Unreached: r.Unreached, Cancelled: r.Cancelled,
		P50: quantileMillis(&r.Connect, 0.5), P95: quantileMillis(&r.Connect, 0.95),
	}
	if r.Attempts > 0 {
		rec.DirectRate, rec.DirectLow, rec.DirectHigh = rateNumbers(r.DirectRate())
		rec.RelayRate, rec.RelayLow, rec.RelayHigh = rateNumbers(r.RelayRate())
	}
	if r.Connect.Succeeded > 0 {
		rec.Mean = millisOf(r.Connect.Mean())
	}
	return rec
}

func rateNumbers(r Rate) (share, low, high *float64) {
	s, i := r.Share(), r.Interval()
	return &s, &i.Low, &i.High
}

// millisOf returns a latency in milliseconds; nil of Never.
func millisOf(d time.Duration) *float64 {
	if d == Never {
		return nil
	}
	ms := float64(d.Round(time.Microsecond).Microseconds()) / 1000
	return &ms
}

// quantileMillis returns a quantile over all attempts; nil of none, and where it is Never.
func quantileMillis(t *Tally, q float64) *float64 {
	if t.Attempts() == 0 {
		return nil
	}
	return millisOf(t.Quantile(q))
}

// MarshalJSON returns the table in numbers: {"from", "to", "rows", "total"}, with the same
// fields as CSV and the sessions that were no attempts; null where there is nothing to tell.
func (t *Table) MarshalJSON() ([]byte, error) {
	all := t.records()
	return json.Marshal(struct {
		From  time.Time     `json:"from"`
		To    time.Time     `json:"to"`
		Rows  []tableRecord `json:"rows"`
		Total tableRecord   `json:"total"`
	}{t.From.UTC(), t.To.UTC(), append([]tableRecord{}, all[:len(all)-1]...), all[len(all)-1]})
}
