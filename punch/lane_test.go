package punch

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
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
		hard := Ours
		if k == LaneCrossing || k == LaneBlocks {
			hard = Both
		}
		cfg := lanesConfig(Lane{Kind: k, Hard: hard})
		if k == LaneBlocks {
			for _, p := range []*natprobe.Profile{&cfg.Local, &cfg.Remote} {
				p.Ports = natprobe.Ports{Model: natprobe.PortsBlock, Low: 30000, High: 30511, Confidence: .9}
			}
		}
		cfg.Local.TCP.Ports, cfg.Remote.TCP.Ports = cfg.Local.Ports, cfg.Remote.Ports
		cfg.LocalTCP, cfg.FirstStream, cfg.FirstQuery = netip.MustParseAddrPort("192.168.0.2:4000"), 1<<20, 1<<10
		a := newLanesRig(t, cfg)
		if ran := a.count(LaneStarted) == 1 && a.count(LaneEnded) == 0; ran != k.Guesses() {
			t.Errorf("%v: run %v, guesses %v: %+v", k, ran, k.Guesses(), a.events)
		}
		if k.Sprays() && !k.Guesses() {
			t.Errorf("%v sprays without a guess", k)
		}
	}
	if beyond := numLaneKinds; beyond.String() != "LaneKind(10)" || beyond.Guesses() || beyond.Sprays() || beyond.OverTCP() {
		t.Errorf("beyond the last: %v", beyond)
	}
}

// TestLaneNumbers: sessions of other versions know the kinds by these numbers. A new kind gets
// the next one; none is ever changed.
func TestLaneNumbers(t *testing.T) {
	numbers := []LaneKind{
		LaneNone, LanePlain, LaneOnePacket, LaneMapped, LanePredicted, LaneCrossing, LaneBirthday, LaneBlocks, LaneTCP, LaneTCPPredicted,
	}
	for number, k := range numbers {
		if int(k) != number {
			t.Errorf("%v is %d, but goes over the wire as %d", k, k, number)
		}
	}
	if len(numbers) != int(numLaneKinds) {
		t.Errorf("%d kinds, %d numbers: append the new ones here", numLaneKinds, len(numbers))
	}
	a := newLanesRig(t, lanesConfig(Lane{Kind: LaneBirthday, Hard: Ours}))
	a.tell(a.now)
	a.drain()
	if told := a.events[len(a.events)-1]; told.Kind != LaneTell || told.Message[tellHead] != 6 {
		t.Errorf("%v is told by %+v", LaneBirthday, told)
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
