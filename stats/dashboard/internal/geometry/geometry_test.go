package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two countries that share a border: Germany to the left, Poland to the right.
const atlas = `{"transform":{"scale":[1,1],"translate":[0,0]},
"arcs":[[[10,0],[0,10]],[[10,10],[-10,0],[0,-10],[10,0]],[[10,0],[6,0],[0,10],[-6,0]],[[1,30],[1,0],[-1,1],[0,-1]]],
"objects":{"countries":{"geometries":[
{"type":"Polygon","id":"276","arcs":[[0,1]],"properties":{"name":"Germany"}},
{"type":"MultiPolygon","id":"616","arcs":[[[2,-1]]],"properties":{"name":"Poland"}},
{"type":"Polygon","id":"276","arcs":[[3]],"properties":{"name":"An island of Germany's"}},
{"type":null,"properties":{"name":"Nowhere"}}]}}}`

func TestGeometry(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"countries-110m.json", "countries-10m.json"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(atlas), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(to, "page"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(from, to); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"page/world.js": {"public domain", "[100,0,0,100],\n];\nexport const coast = 3;", "export const rings = [\n[3,0],\n[1,-4],\n[2],\n];"},
		"countries.go":  {`"DE": {5, 5},`, `"PL": {5, 13},`, `"XK": {43, 21},`},
	} {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(got), want) {
				t.Errorf("%s: there is no %q in\n%s", name, want, got)
			}
		}
	}
	if err := run(t.TempDir(), to); err == nil {
		t.Error("made of nothing")
	}
}

func TestBadTopologies(t *testing.T) {
	for _, text := range []string{"", "{}", `{"objects":{"countries":{"geometries":[{"type":"Polygon","arcs":[[0]]}]}}}`, strings.Replace(atlas, "[[0,1]]", "7", 1)} {
		if _, err := decode([]byte(text)); err == nil {
			t.Errorf("%q is a topology", text)
		}
	}
}

// A ring that crosses the antimeridian is in one piece.
func TestRingAcross(t *testing.T) {
	top := &topology{lines: [][]point{{{170, 0}, {180, 0}}, {{-180, 0}, {-170, 0}, {-170, 10}, {170, 10}, {170, 0}}}}
	ring := top.ring([]int{0, 1})
	if p := middle(ring); p[0] < 170 || p[0] > 190 || area(ring) == 0 {
		t.Errorf("the middle is %v of %v", p, ring)
	}
}

func TestAlpha2(t *testing.T) {
	for number, want := range map[string]string{"004": "AF", "276": "DE", "894": "ZM", "": "", "000": "", "76": "", "DE ": ""} {
		if got := alpha2(number); got != want {
			t.Errorf("%q is %q, want %q", number, got, want)
		}
	}
}
