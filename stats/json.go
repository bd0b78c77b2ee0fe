package stats

import (
	"encoding/json"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// tallyJSON is a tally for other programs. Latencies are in milliseconds; null: there is
// none.
type tallyJSON struct {
	Succeeded uint64   `json:"succeeded"`
	Failed    uint64   `json:"failed"`
	TimedOut  uint64   `json:"timed_out"`
	Cancelled uint64   `json:"cancelled,omitzero"`
	Unreached uint64   `json:"unreached,omitzero"`
	Rate      *float64 `json:"rate"`
	Low       *float64 `json:"low"`
	High      *float64 `json:"high"`
	Mean      *float64 `json:"mean_ms"`
	P50       *float64 `json:"p50_ms"` // of all attempts
	P95       *float64 `json:"p95_ms"`
	P99       *float64 `json:"p99_ms"`
}

func (t *Tally) json() tallyJSON {
	j := tallyJSON{
		Succeeded: t.Succeeded, Failed: t.Failed, TimedOut: t.TimedOut, Cancelled: t.Cancelled, Unreached: t.Unreached,
		P50: quantileMillis(t, 0.5), P95: quantileMillis(t, 0.95), P99: quantileMillis(t, 0.99),
	}
	if t.Attempts() > 0 {
		j.Rate, j.Low, j.High = rateNumbers(t.Rate())
	}
	if t.Succeeded > 0 {
		j.Mean = millisOf(t.Mean())
	}
	return j
}

type keyJSON struct {
	Stage     Stage         `json:"stage,omitzero"`
	Local     natprobe.Type `json:"local_nat,omitzero"`
	Remote    natprobe.Type `json:"remote_nat,omitzero"`
	Pair      PairKind      `json:"pair,omitzero"`
	Protocol  Protocol      `json:"protocol,omitzero"`
	IPVersion int           `json:"ip_version,omitzero"`
	Group     string        `json:"ab_group,omitzero"`
}

// MarshalJSON returns the key's fields by the names that they have in an Event, without
// those that are zero, and the tally: succeeded, failed, timed_out, cancelled, unreached,
// the success rate with its interval (rate, low, high, 0 to 1) and mean_ms, of those that
// succeeded, and p50_ms, p95_ms, p99_ms, of all attempts. What there is none of is null.
func (c Cell) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		keyJSON
		tallyJSON
	}{keyJSON(c.Key), c.json()})
}

// MarshalJSON returns the way's stage, lane and reason, and the tally as of a Cell.
func (w WayCell) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Stage  Stage  `json:"stage"`
		Lane   string `json:"lane,omitzero"`
		Reason string `json:"reason,omitzero"`
		tallyJSON
	}{w.Stage, w.Lane, w.Reason, w.json()})
}

// MarshalJSON returns {"from", "to", "cells", "ways"}.
func (s *Snapshot) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		From  time.Time `json:"from"`
		To    time.Time `json:"to"`
		Cells []Cell    `json:"cells"`
		Ways  []WayCell `json:"ways"`
	}{s.From.UTC(), s.To.UTC(), append([]Cell{}, s.Cells...), append([]WayCell{}, s.Ways...)})
}
