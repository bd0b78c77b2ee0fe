package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/dashboard"
)

func labOf(t *testing.T, seed uint64, stderr io.Writer) *lab {
	t.Helper()
	l, err := newLab(seed, stderr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What the fleet tells was measured: by real sessions in simulated internets.
func TestFleetTellsWhatWasMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := labOf(t, 7, io.Discard)
		portRestricted, fullCone, random := 0, 3, 4
		for round, m := range []meeting{{portRestricted, fullCone, 0}, {fullCone, portRestricted, 1}, {random, random, 0}} {
			if err := l.meet(t.Context(), m, round); err != nil {
				t.Fatal(err)
			}
		}
		for k, want := range map[int]natprobe.Type{
			portRestricted: natprobe.TypePortRestrictedCone, fullCone: natprobe.TypeFullCone, random: natprobe.TypeSymmetric, 9: natprobe.TypeUnknown,
		} {
			if got := l.measured(k); got != want {
				t.Errorf("%s was found to be %v", kinds[k].preset, got)
			}
		}
		if v := l.verdicts(); len(v) != 1 || !strings.Contains(v[0].(stats.Verdict).String(), "polite 1 of 1, default 1 of 2: too few to compare") {
			t.Error(v)
		}
		d, err := dashboard.New(dashboard.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close(context.Background())
		f := newFleet(options{detectors: 500, seed: 7}, l, d)
		outcomes := map[natprobe.Type]map[stats.PairKind]int{}
		for range 200 { // a few minutes
			for _, of := range f.all {
				r := f.report(of, time.Now())
				if err := r.Validate(); err != nil {
					t.Fatal(err)
				}
				for _, e := range r.Events {
					if e.Time.After(time.Now()) || time.Since(e.Time) > time.Minute {
						t.Errorf("an event of %v ago", time.Since(e.Time))
					}
					if e.Stage == stats.StageConnect {
						if outcomes[e.LocalNAT] == nil {
							outcomes[e.LocalNAT] = map[stats.PairKind]int{}
						}
						outcomes[e.LocalNAT][e.Pair]++
					}
				}
			}
			time.Sleep(time.Second)
		}
		if n := outcomes[natprobe.TypeSymmetric]; n[stats.PairRelay] == 0 || len(n) != 1 {
			t.Errorf("two random NATs: %v, want relayed paths alone at first", n)
		}
		if n := outcomes[natprobe.TypePortRestrictedCone]; len(n) == 0 || n[0] > 0 {
			t.Errorf("behind port-restricted cones: %v", n)
		}
		f.turn(time.Now(), len(f.all))
		if l := d.Ledger(); l.Accepted != 500 || l.Refused != 0 || l.BadEvents != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// After life, another detector comes in a silent one's place.
func TestDetectorsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := dashboard.New(dashboard.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close(context.Background())
		f := newFleet(options{detectors: 200, seed: 3}, labOf(t, 3, io.Discard), d)
		before := make(map[stats.ID]bool)
		for _, of := range f.all {
			before[of.id] = true
		}
		time.Sleep(life)
		f.turn(time.Now(), len(f.all))
		stayed := 0
		for _, of := range f.all {
			if before[of.id] {
				stayed++
			}
		}
		if len(before) != 200 || stayed < 40 || stayed > 110 { // 74 on average
			t.Errorf("%d of %d stayed", stayed, len(before))
		}
	})
}

// There is room for those that come, beside those that have just fallen silent.
func TestRoomForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options{detectors: 20_000, seed: 3, interval: time.Minute}
		d, err := dashboard.New(o.config())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close(context.Background())
		f := newFleet(o, labOf(t, 3, io.Discard), d)
		for range 16 { // four minutes
			f.turn(time.Now(), len(f.all))
			time.Sleep(heard)
		}
		if l := d.Ledger(); l.Refused > 0 {
			t.Errorf("%+v", l)
		}
	})
}

// writer is a function as an io.Writer.
type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// A world that cannot be made is told of.
func TestWorldThatFails(t *testing.T) {
	all := kinds
	defer func() { kinds = all }()
	kinds = []kind{{"no-such-preset", 1000}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said []string
	labOf(t, 1, writer(func(p []byte) { said = append(said, string(p)); cancel() })).run(ctx, 1)
	if len(said) != 1 || !strings.Contains(said[0], "no-such-preset") || strings.Count(said[0], "\n") != 1 {
		t.Errorf("it says %q", said)
	}
}

func TestAssumptions(t *testing.T) {
	sum := 0
	for _, k := range kinds {
		if _, err := simnet.PresetByName(k.preset); err != nil {
			t.Error(err)
		}
		sum += k.share
	}
	if sum != 1000 {
		t.Errorf("the shares add up to %d of a thousand", sum)
	}
	for _, c := range cities {
		if _, err := dashboard.Country(c.country); err != nil {
			t.Error(err)
		}
		if _, err := dashboard.LatLon(c.lat, c.lon); err != nil || c.people <= 0 {
			t.Errorf("%+v: %v", c, err)
		}
	}
	l := labOf(t, 1, io.Discard)
	for round := range 4 {
		met := make(map[[2]int]bool)
		for _, m := range l.plan(round) {
			met[[2]int{min(m.local, m.remote), max(m.local, m.remote)}] = true
		}
		if want := len(kinds) * (len(kinds) + 1) / 2; len(met) != want {
			t.Errorf("round %d has %d meetings, want each of %d once", round, len(met), want)
		}
	}
}
