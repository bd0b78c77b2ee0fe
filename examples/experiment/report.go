package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// progress is how far it is, in words.
func (t *trial) progress() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("%d of at most %d pairs; %s %d of %d", t.done, t.o.pairs, t.verdict.Control, t.verdict.Rate.Successes, t.verdict.Rate.N)
	for _, arm := range t.verdict.Arms {
		text += fmt.Sprintf(", %s %d of %d", arm.Arm, arm.Success.Arm.Successes, arm.Success.Arm.N)
	}
	return text + " direct"
}

// text is what came of it, for people.
func (t *trial) text() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "arm\tpairs\tdirect\tof all\t95 %\trelayed\tno path\tfirst path")
	for _, o := range t.outcomes() {
		arm, _ := t.o.experiment.ArmOf(o.Group)
		rate := o.DirectRate()
		interval := rate.Interval()
		fmt.Fprintf(table, "%s\t%d\t%d\t%.1f %%\t%.1f to %.1f %%\t%d\t%d\t%s\n", arm, o.Attempts, o.Direct, 100*rate.Share(),
			100*interval.Low, 100*interval.High, o.Relayed, o.Failed, o.Connect.Quantile(0.5).Round(time.Millisecond))
	}
	_ = table.Flush() // into memory
	fmt.Fprintf(&b, "\n%s\n%s\n", t.ratio(), t.verdict)
	return b.String()
}

// ratio is whether the arms have as many pairs as they ought to.
func (t *trial) ratio() string {
	if t.verdict.Ratio.Mismatch { // the verdict has the figures
		return "sizes of the arms: something takes pairs out of an arm"
	}
	return "sizes of the arms: as chance has it"
}

// record is what came of it in JSON.
type record struct {
	Experiment stats.Experiment `json:"experiment"`
	NATs       [2]string        `json:"nats"`
	WindowMS   int64            `json:"window_ms"`
	Seed       uint64           `json:"seed"`
	Pairs      int              `json:"pairs"`
	Groups     []group          `json:"groups"`
	Verdict    stats.Verdict    `json:"verdict"`
}

type group struct {
	Arm      string `json:"arm"`
	Group    string `json:"group"`
	Attempts uint64 `json:"attempts"`
	Direct   uint64 `json:"direct"`
	Relayed  uint64 `json:"relayed"`
	Failed   uint64 `json:"failed"`
	MedianMS int64  `json:"median_ms"`
}

// asJSON is what came of it, for programs.
func (t *trial) asJSON() string {
	r := record{
		Experiment: t.o.experiment, NATs: t.o.nats, WindowMS: t.o.window.Milliseconds(), Seed: t.o.seed, Pairs: t.done,
		Groups: []group{}, Verdict: t.verdict,
	}
	for _, o := range t.outcomes() {
		arm, _ := t.o.experiment.ArmOf(o.Group)
		r.Groups = append(r.Groups, group{arm, o.Group, o.Attempts, o.Direct, o.Relayed, o.Failed, o.Connect.Quantile(0.5).Milliseconds()})
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil { // numbers and texts always have a form
		return err.Error()
	}
	return string(text) + "\n"
}
