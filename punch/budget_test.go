package punch

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestBudgetDefaults(t *testing.T) {
	want := Budget{Sockets: 256, Probes: 1600, Entries: 1600, Rate: 400, Cooldown: time.Minute, Least: 0.01}
	if got := (Budget{}).WithDefaults(); got != want || got.WithDefaults() != want {
		t.Errorf("%+v", got)
	}
	if got := Polite.WithDefaults(); got.Rate != 200 || got.Probes != 600 || got.Cooldown != time.Minute {
		t.Errorf("%+v", got)
	}
	off := Budget{Sockets: -7, Probes: -7, Entries: -7, Rate: -7, Table: -7, Cooldown: -7, Least: -7}.WithDefaults()
	if off.most() != 0 || off.tries() != 0 || off.Rate != 1 || off.Cooldown >= 0 || off.Least >= 0 || off.WithDefaults() != off {
		t.Errorf("%+v", off)
	}
	if b := (Budget{Table: 1000}).WithDefaults(); b.tries() != 500 || b.most() != 256 {
		t.Errorf("of a table of 1000: %d and %d", b.tries(), b.most())
	}
	huge := Budget{Sockets: math.MaxInt, Probes: math.MaxInt, Entries: math.MaxInt, Rate: math.MaxInt, Least: math.NaN()}.WithDefaults()
	if huge.tries() != AllPorts || huge.Rate != 10000 || huge.Least != 0.01 {
		t.Errorf("%+v", huge)
	}
}

// TestBudgetWithin: what two budgets allow is the same from either side, and no more than
// either has.
func TestBudgetWithin(t *testing.T) {
	all := []Budget{
		{}, Polite, {Sockets: -1}, {Probes: -1, Entries: -1}, {Rate: -1, Least: -1}, {Table: 1}, {Table: 900, Least: 0.5}, {Sockets: 1000, Probes: 5000, Entries: 5000, Rate: 5000},
	}
	for _, a := range all {
		for _, b := range all {
			got, back, full := a.Within(b), b.Within(a), a.WithDefaults()
			if got != back || got != got.WithDefaults() || got.Within(b) != got || got.Check() != nil {
				t.Errorf("%+v and %+v: %+v, and %+v", a, b, got, back)
			}
			if got.most() > full.most() || got.tries() > full.tries() || got.Rate > full.Rate || got.Least < full.Least {
				t.Errorf("%+v within %+v is more: %+v", a, b, got)
			}
		}
	}
	if got := (Budget{Cooldown: time.Hour}).Within(Budget{}); got.Cooldown != time.Hour {
		t.Errorf("another one's pause: %v", got.Cooldown)
	}
	if got := Polite.Within(Budget{Table: 100}); got.Entries != 50 || got.Sockets != 128 || got.Rate != 200 {
		t.Errorf("%+v", got)
	}
}

func TestBudgetCheck(t *testing.T) {
	for field, b := range map[string]Budget{
		"":               {},
		"Budget.Sockets": {Sockets: 70_000},
		"Budget.Probes":  {Probes: 70_000},
		"Budget.Entries": {Entries: 70_000},
		"Budget.Rate":    {Rate: 20_000},
		"Budget.Table":   {Table: -1},
		"Budget.Least":   {Least: math.NaN()},
	} {
		err := b.Check()
		var ce *ConfigError
		if errors.As(err, &ce) != (field != "") || field != "" && ce.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		if field != "" && !strings.HasPrefix(err.Error(), "punch: Budget.") {
			t.Error(err)
		}
	}
}

func TestPacer(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newPacer(now, Budget{Rate: 100, Probes: 60, Entries: 40, Sockets: 2})
	end := now.Add(time.Second)
	sent := 0
	for ; now.Before(end); now = now.Add(time.Millisecond) {
		for p.Take(now, sent < 30) {
			sent++
		}
	}
	if sent != 60 {
		t.Errorf("%d packets", sent)
	}
	if probes, entries := p.Left(); probes != 0 || entries != 10 {
		t.Errorf("%d and %d left", probes, entries)
	}
	for i, want := range []bool{true, true, false} {
		if p.Open() != want {
			t.Errorf("socket %d of 2", i+1)
		}
	}
	if p.Close(); !p.Open() {
		t.Error("none after one was closed")
	}

	p = newPacer(now, Budget{Rate: 100, Table: 30})
	for sent = 0; p.Take(now, true); sent++ {
	}
	if sent != 15 {
		t.Errorf("%d entries of a table of 30", sent)
	}

	p = newPacer(now, Budget{Rate: 100})
	for sent = 0; p.Take(now, true); sent++ {
	}
	if sent != pacerDepth {
		t.Errorf("a burst of %d", sent)
	}
	if at := p.When(1); at != now.Add(10*time.Millisecond) || p.Take(at.Add(-1), false) || !p.Take(at, false) {
		t.Errorf("the next at %v", at.Sub(now))
	}
	if at := p.When(99); at != now.Add(170*time.Millisecond) {
		t.Errorf("a full burst at %v", at.Sub(now))
	}
}
