package punch

import (
	"encoding"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Each kind has its row in the table, is planned, and is run if it has ports to guess: what a
// new one lacks is found here.
func TestLaneKinds(t *testing.T) {
	words := map[string]bool{LaneNone.String(): true}
	for _, k := range LaneKinds() {
		word := k.String()
		if word == "" || words[word] || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%d has the word %q", k, word)
		}
		words[word] = true
		for _, blocked := range []string{"cone", "blocked"} {
			if l := laneOf(Plan(profileOf(blocked), profileOf("cone"), Budget{}), k); l.Kind != k {
				t.Errorf("%v is not planned", k)
			}
		}
		a := newLanesRig(t, lanesConfig(Lane{Kind: k, Hard: Ours}))
		if ran := a.count(LaneStarted) == 1; ran != k.Guesses() {
			t.Errorf("%v: run %v, guesses %v", k, ran, k.Guesses())
		}
		if k.Sprays() && !k.Guesses() {
			t.Errorf("%v sprays without a guess", k)
		}
	}
	if beyond := numLaneKinds; beyond.String() != "LaneKind(10)" || beyond.Guesses() || beyond.Sprays() || beyond.OverTCP() {
		t.Errorf("beyond the last: %v", beyond)
	}
}

// The words of plans can be read back, and no others.
func TestLaneWords(t *testing.T) {
	for _, pair := range [][2]string{{"cone", "random"}, {"blocked", "sequential"}, {"random", "random"}} {
		want := Plan(profileOf(pair[0]), profileOf(pair[1]), Budget{})
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got []Lane
		if err := json.Unmarshal(text, &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %s is read as %+v: %v", pair, text, got, err)
		}
	}
	for o := ObstacleNone; o <= ObstacleNeedless; o++ {
		var got Obstacle
		if err := got.UnmarshalText([]byte(o.String())); err != nil || got != o || o.String() == "" {
			t.Errorf("%q is read as %v: %v", o, got, err)
		}
	}
	kind, side, obstacle := LaneBirthday, Both, ObstacleFilter
	for _, bad := range []string{"", "tcp", "Birthday", strings.Repeat("x", 1000)} {
		for _, err := range []error{kind.UnmarshalText([]byte(bad)), side.UnmarshalText([]byte(bad)), obstacle.UnmarshalText([]byte(bad))} {
			if err == nil || len(err.Error()) > 400 {
				t.Errorf("%.10q: %v", bad, err)
			}
		}
	}
	if err := kind.UnmarshalText([]byte("tcp")); err == nil || !strings.Contains(err.Error(), `"tcp_simultaneous_open"`) {
		t.Errorf("the words are not named: %v", err)
	}
	for _, beyond := range []encoding.TextMarshaler{numLaneKinds, Both + 1, ObstacleNeedless + 1} {
		if text, err := beyond.MarshalText(); err == nil {
			t.Errorf("%v is written as %q", beyond, text)
		}
	}
	if kind != LaneBirthday || side != Both || obstacle != ObstacleFilter {
		t.Errorf("%v, %v and %v after an error", kind, side, obstacle)
	}
}
