package dashboard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// A place of fewer than five is told to nobody, in no form, but counts.
func TestFewAreNotShown(t *testing.T) {
	now := noon
	d := start(t, Config{Now: func() time.Time { return now }})
	add := func(from, to uint64, nat natprobe.Type, p Place) {
		for i := from; i < to; i++ {
			if err := d.Report(Report{Detector: newID(t, i), NAT: nat, Place: p}); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 5, natprobe.TypeSymmetric, mustPlace(LatLon(48.4, 11.7)))
	add(5, 9, natprobe.TypeFullCone, mustPlace(LatLon(-33.9, 151.2)))
	add(9, 13, natprobe.TypeOpen, mustPlace(Country("LI")))
	add(13, 14, natprobe.TypeUDPBlocked, Place{})
	p := d.paint(now)
	text := string(encode(message{Sections: p}))
	for _, secret := range []string{"-34", "151", `"LI"`, newID(t, 0).String(), "48.4"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is told: %s", secret, text)
		}
	}
	if got, want := fmt.Sprintf("%s", p["places"]), `map[48,12:[[48,12],[0,0,0,0,0,0,5,0]]]`; got != want {
		t.Errorf("places %s, want %s", got, want)
	}
	if got, want := string(p["detectors"]["all"]), "[0,4,0,4,0,0,5,1]"; got != want {
		t.Errorf("all %s, want %s", got, want)
	}
	if got, want := string(p["detectors"]["elsewhere"]), "[0,4,0,4,0,0,0,1]"; got != want {
		t.Errorf("elsewhere %s, want %s", got, want)
	}

	// The fifth makes it visible; when it is silent, it goes again.
	add(14, 15, natprobe.TypeOpen, mustPlace(Country("LI")))
	if p := d.paint(now); p["places"]["LI"] == nil {
		t.Error("five are not shown")
	}
	now = now.Add(50 * time.Second)
	add(9, 13, natprobe.TypeOpen, mustPlace(Country("LI")))
	now = now.Add(11 * time.Second) // Expire is a minute
	p = d.paint(now)
	if p["places"] != nil || string(p["detectors"]["all"]) != "[0,4,0,0,0,0,0,0]" {
		t.Errorf("after a minute: %s, %s", p["places"], p["detectors"]["all"])
	}
}

func TestBoundedFleet(t *testing.T) {
	now := noon
	d := start(t, Config{MaxDetectors: 40, MaxPlaces: 3, Now: func() time.Time { return now }})
	refused := 0
	for i := range uint64(100_000) {
		at := mustPlace(LatLon(float64(i/8%170)-85, float64(i%8/8)))
		if d.Report(Report{Detector: newID(t, i), Place: at}) != nil {
			refused++
		}
	}
	p := d.paint(now)
	var elsewhere tally
	if err := json.Unmarshal(p["detectors"]["elsewhere"], &elsewhere); err != nil {
		t.Fatal(err)
	}
	if refused != 100_000-40 || len(d.fleet.detectors) != 40 || len(p["places"]) != 3 || elsewhere.sum() != 16 {
		t.Errorf("%d refused, %d kept, %d places, %d elsewhere", refused, len(d.fleet.detectors), len(p["places"]), elsewhere.sum())
	}
	if l := d.Ledger(); l.NoRoom != uint64(refused) || l.Accepted != 40 || l.Refused != uint64(refused) {
		t.Errorf("%+v", l)
	}
	// One that is known is heard even so.
	if err := d.Report(Report{Detector: newID(t, 1), NAT: natprobe.TypeOpen}); err != nil {
		t.Error(err)
	}
}

// What clients of many kinds say does not make the picture grow.
func TestManyLabels(t *testing.T) {
	d := start(t, Config{Now: func() time.Time { return noon }})
	for i := range uint64(100_000) {
		e := connected(t, i, noon, stats.PairHost)
		e.Group, e.Lane, e.Reason = "g"+hex16(i), "l"+hex16(i), "r"+hex16(i)
		if i%2 == 1 {
			e.Status, e.Pair = stats.StatusFail, 0
		}
		d.Record(e)
	}
	p := d.paint(noon)
	if n := len(encode(message{Sections: p})); n > 100_000 {
		t.Errorf("the picture has %d bytes", n)
	}
	if len(p["groups"]) > stats.MaxGroups+1 || len(p["reasons"]) > maxReasons+2 || len(p["recent"]) > 2*maxShown {
		t.Errorf("%d groups, %d reasons, %d attempts", len(p["groups"]), len(p["reasons"]), len(p["recent"]))
	}
}

// A clock that is wrong is corrected by what the report says of it.
func TestSkewedClocks(t *testing.T) {
	for _, off := range []time.Duration{0, 30 * time.Second, -time.Hour, 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		d := start(t, Config{Now: func() time.Time { return noon }})
		theirs := noon.Add(off)
		err := d.Report(Report{Detector: newID(t, 1), Time: theirs, Events: []stats.Event{connected(t, 1, theirs.Add(-time.Second), stats.PairHost)}})
		l, all := d.Ledger(), d.set.Recorder.Ledger()
		if skewed := off.Abs() >= skew; err != nil || l.Skewed > 0 != skewed || all.Recorded != 1 || all.Late != 0 {
			t.Errorf("off by %v: %v, %+v, %+v", off, err, l, all)
		}
	}
}

// An event from the future is one of now, and is not the latest attempt for ever.
func TestEventsFromTheFuture(t *testing.T) {
	now := noon
	d := start(t, Config{Now: func() time.Time { return now }})
	d.Record(connected(t, 1, noon.Add(24*time.Hour), stats.PairHost))
	if p := d.paint(now); !strings.Contains(string(p["recent"]["0"]), fmt.Sprintf(`"time":%d,`, noon.UnixMilli())) {
		t.Errorf("it is shown as %s", p["recent"])
	}
	now = now.Add(2 * time.Hour)
	if p := d.paint(now); p["recent"] != nil {
		t.Errorf("two hours later it is shown as %s", p["recent"])
	}
}
