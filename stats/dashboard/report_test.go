package dashboard

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestPlaces(t *testing.T) {
	for _, c := range []struct{ text, want, at string }{
		{`{"country":"DE"}`, `{"country":"DE"}`, "DE"},
		{`{"lat":48.1372,"lon":11.5755}`, `{"lat":48,"lon":12}`, "48,12"},
		{`{"lat":-0.4,"lon":-0.4}`, `{"lat":0,"lon":0}`, "0,0"},
		{`{"lat":90,"lon":179.6}`, `{"lat":90,"lon":-180}`, "90,-180"},
		{`{"lat":-90,"lon":-180}`, `{"lat":-90,"lon":-180}`, "-90,-180"},
		{`null`, `null`, ""}, {`{}`, `null`, ""},
	} {
		var p Place
		if err := json.Unmarshal([]byte(c.text), &p); err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		back, err := json.Marshal(p)
		if err != nil || string(back) != c.want || p.String() != c.at {
			t.Errorf("%s: %s %q %v, want %s %q", c.text, back, p, err, c.want, c.at)
		}
	}
	for _, text := range []string{
		`{"country":"de"}`, `{"country":"ZZ"}`, `{"country":""}`, `{"country":"<script>"}`, `{"lat":1}`, `{"lon":1}`, `{"lat":90.001,"lon":0}`,
		`{"lat":0,"lon":-181}`, `{"lat":1e999,"lon":0}`, `{"lat":"NaN","lon":0}`, `{"country":"DE","lat":1,"lon":1}`, `7`, `"DE"`, `[1,2]`,
	} {
		var p Place
		if err := json.Unmarshal([]byte(text), &p); err == nil {
			t.Errorf("%s is taken as %v", text, p)
		}
	}
	for _, bad := range [][2]float64{{math.NaN(), 0}, {0, math.NaN()}, {math.Inf(1), 0}, {0, math.Inf(-1)}} {
		if p, err := LatLon(bad[0], bad[1]); err == nil {
			t.Errorf("%v is taken as %v", bad, p)
		}
	}
	if len(countries) != 250 {
		t.Errorf("%d countries, want the 249 of ISO 3166-1, and XK", len(countries))
	}
	for code, at := range countries {
		if _, err := LatLon(float64(at[0]), float64(at[1])); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestReportRoundTrip(t *testing.T) {
	want := Report{
		Detector: newID(t, 1), Time: noon, NAT: natprobe.TypePortRestrictedCone, Place: mustPlace(Country("NZ")),
		Events: []stats.Event{connected(t, 2, noon, stats.PairSrflx), connected(t, 3, noon, stats.PairRelay)},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil || string(again) != string(text) || got.NAT != want.NAT || got.Place != want.Place || len(got.Events) != 2 {
		t.Errorf("%s became %s (%v)", text, again, err)
	}
	if !strings.Contains(string(text), `"nat":"port-restricted"`) {
		t.Errorf("the class is not in %s", text)
	}
}

func TestClasses(t *testing.T) {
	for kind := natprobe.TypeUnknown; kind <= natprobe.TypeUDPBlocked; kind++ {
		if back, ok := ParseClass(Class(kind)); !ok || back != kind || Class(kind) == "" {
			t.Errorf("%v is %q, which is %v", kind, Class(kind), back)
		}
	}
	if Class(200) != "unknown" {
		t.Errorf("no type at all is %q", Class(200))
	}
	if _, ok := ParseClass("<script>"); ok {
		t.Error("<script> is a class")
	}
}

func TestBadReports(t *testing.T) {
	const id = `"detector":"00000000000000000000000000000001"`
	for text, field := range map[string]string{
		`{}`: "detector", `{"detector":"1"}`: "", `{"detector":"00000000000000000000000000000000"}`: "",
		`null`: "", `[]`: "", `{` + id + `,"nat":"<script>alert(1)</script>"}`: "nat", `{` + id + `,"nat":"full_cone"}`: "nat",
		`{` + id + `,"time":"0001-01-01T00:00:01Z"}`: "time", `{` + id + `,"time":"yesterday"}`: "",
		`{` + id + `,"place":{"lat":NaN,"lon":0}}`: "", `{` + id + `,"place":{"country":"XX"}}`: "place",
		`{` + id + `,"events":[` + strings.Repeat("0,", MaxEvents) + `0]}`: "events", `{` + id + `,"events":7}`: "",
	} {
		_, _, err := decodeReport([]byte(text))
		wrong, ok := errors.AsType[*ReportError](err)
		if !ok || wrong.Field != field {
			t.Errorf("%s: %v, want a ReportError of %q", cut(text), err, field)
		}
	}
}

// A bad event does not spoil the others.
func TestBadEventsAlone(t *testing.T) {
	good, _ := json.Marshal(connected(t, 1, noon, stats.PairHost))
	script := strings.Replace(string(good), `"protocol"`, `"lane":"<script>","protocol"`, 1)
	r, bad, err := decodeReport([]byte(`{"detector":"00000000000000000000000000000001","events":[7,null,` + script + `,` + string(good) + `]}`))
	if err != nil || len(r.Events) != 1 || bad.n != 3 || bad.first == nil {
		t.Errorf("%d events, %d bad (%v), %v", len(r.Events), bad.n, bad.first, err)
	}
	var whole Report
	if err := json.Unmarshal([]byte(`{"detector":"00000000000000000000000000000001","events":[7]}`), &whole); err == nil {
		t.Error("a report with a bad event is valid")
	}
}

func FuzzReport(f *testing.F) {
	event, err := json.Marshal(connected(f, 1, noon, stats.PairHost))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(reportText))
	f.Add([]byte(`[` + reportText + `,{"detector":"00000000000000000000000000000002","place":{"lat":1.5,"lon":-7},"time":"2026-01-02T03:04:05Z"}]`))
	f.Add([]byte(`{"detector":"00000000000000000000000000000001","place":{"country":"FR"},"events":[` + string(event) + `]}`))
	f.Add([]byte(`{"place":{"lat":1e400}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := split(data)
		if err != nil {
			return
		}
		for _, raw := range list {
			r, bad, err := decodeReport(raw)
			if err != nil {
				continue
			}
			if bad.n < 0 || bad.n > MaxEvents || bad.n > 0 && bad.first == nil {
				t.Fatalf("%d bad events: %v", bad.n, bad.first)
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatalf("%s is taken, and cannot be written: %v", raw, err)
			}
			var again Report
			if err := json.Unmarshal(text, &again); err != nil || again.Place != r.Place || again.NAT != r.NAT || again.Detector != r.Detector {
				t.Fatalf("%s became %s: %v", raw, text, err)
			}
		}
	})
}
