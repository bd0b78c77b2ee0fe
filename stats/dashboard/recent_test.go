package dashboard

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// One session's events, in whatever order, are one attempt, with what is known of it.
func TestAttempts(t *testing.T) {
	const n = 7
	relayed := connected(t, n, noon, stats.PairRelay)
	direct := connected(t, n, noon, stats.PairHost)
	failed := relayed
	failed.Status, failed.Pair, failed.Reason = stats.StatusFail, 0, "no_path"
	offline := failed
	offline.Tries, offline.Reason = 0, "peer_offline"
	stage := func(s stats.Stage, status stats.Status, pair stats.PairKind, lane, reason string) stats.Event {
		e := relayed
		e.Stage, e.Status, e.Pair, e.Lane, e.Reason = s, status, pair, lane, reason
		return e
	}
	punched := stage(stats.StagePunch, stats.StatusSuccess, stats.PairPredicted, "predicted", "")
	hopeless := stage(stats.StagePunch, stats.StatusFail, 0, "", "both_symmetric")
	unconfirmed := stage(stats.StagePunch, stats.StatusCancelled, 0, "", "unconfirmed")
	upgraded := stage(stats.StageUpgrade, stats.StatusSuccess, stats.PairBirthday, "birthday", "")
	stayed := stage(stats.StageUpgrade, stats.StatusTimeOut, 0, "", "unanswered")
	for _, c := range []struct {
		name    string
		events  []stats.Event
		outcome string
		lane    string
		reason  string
		pair    string
	}{
		{"direct", []stats.Event{direct}, "direct", "", "", "host"},
		{"direct by a lane", []stats.Event{punched, direct}, "direct", "predicted", "", "host"},
		{"relayed", []stats.Event{relayed}, "relayed", "", "", "relay"},
		{"relayed, and why, after", []stats.Event{relayed, hopeless}, "relayed", "", "both_symmetric", "relay"},
		{"relayed, and why, before", []stats.Event{hopeless, relayed}, "relayed", "", "both_symmetric", "relay"},
		{"relayed, and the first reason stays", []stats.Event{relayed, hopeless, stayed}, "relayed", "", "both_symmetric", "relay"},
		{"upgraded in the end", []stats.Event{relayed, stayed, upgraded}, "direct", "birthday", "", "birthday"},
		{"failed, and why", []stats.Event{hopeless, failed}, "failed", "", "both_symmetric", ""},
		{"nobody there", []stats.Event{unconfirmed, offline}, "unreached", "", "peer_offline", ""},
		{"told twice", []stats.Event{relayed, relayed, hopeless, hopeless}, "relayed", "", "both_symmetric", "relay"},
	} {
		r := newRecent()
		for i := range c.events {
			r.take(&c.events[i])
		}
		var rows []row
		r.each(noon, func(_ string, at row) { rows = append(rows, at) })
		if len(rows) != 1 {
			t.Errorf("%s: %d attempts", c.name, len(rows))
			continue
		}
		if got := rows[0]; got.Outcome != c.outcome || got.Lane != c.lane || got.Reason != c.reason || got.Pair != c.pair {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	for i := range uint64(5000) {
		hint := connected(t, 100_000+i, noon, 0)
		hint.Stage, hint.Status = stats.StagePunch, stats.StatusTimeOut
		r.take(&hint)
		e := connected(t, i, noon.Add(time.Duration(i)*time.Second), stats.PairHost)
		if i%20 == 0 {
			e.Status, e.Pair, e.Reason = stats.StatusFail, 0, "no_answer"
		}
		r.take(&e)
	}
	if len(r.sessions) != maxRecent || len(r.reasons) != maxRecent {
		t.Errorf("%d sessions, %d reasons", len(r.sessions), len(r.reasons))
	}
	show := func(since time.Time) (all, failed int, last string) {
		r.each(since, func(key string, at row) {
			all++
			last = max(last, key)
			if at.Outcome == "failed" {
				failed++
			}
		})
		return all, failed, last
	}
	// Of the latest 24 one has failed; 23 more are of those before.
	if all, failed, last := show(noon); all != maxShown+23 || failed != maxShown || last != "4999" {
		t.Errorf("%d attempts, %d failed, the last is %s", all, failed, last)
	}
	if all, failed, _ := show(noon.Add(4990 * time.Second)); all != 10 || failed != 0 {
		t.Errorf("%d of the last ten seconds, %d failed", all, failed)
	}
}
