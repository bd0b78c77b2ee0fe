package bradawl

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// TestReasons: each has a row in the table, and can be read back.
func TestReasons(t *testing.T) {
	t.Parallel()
	words := map[string]Reason{ReasonNone.String(): ReasonNone}
	for _, r := range Reasons() {
		word := r.String()
		if _, twice := words[word]; twice || word == "" || len(word) > stats.MaxWord || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%d has the word %q", r, word)
		}
		words[word] = r
		if r.Sentence() == "" || (r.Remedy() == "") != (r == ReasonDialing || r == ReasonWaiting) {
			t.Errorf("%v: %q, %q", r, r.Sentence(), r.Remedy())
		}
		var back struct{ Reason Reason }
		text, err := json.Marshal(struct{ Reason Reason }{r})
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back.Reason != r {
			t.Errorf("%s is read as %v: %v", text, back.Reason, err)
		}
	}
	for _, r := range Reasons() {
		base, is := strings.CutPrefix(r.String(), "infeasible_")
		of, known := words[base]
		if is != r.Infeasible() || !known || of.row().obstacle != r.row().obstacle || of.row().on != r.row().on || of.Infeasible() {
			t.Errorf("%v, infeasible: %v, is of %v", r, r.Infeasible(), of)
		}
		if (r.status() == stats.StatusTimeOut) != (r == ReasonUnanswered || r == ReasonNATUnknown || r == ReasonNoSTUN) {
			t.Errorf("%v is recorded as %v", r, r.status())
		}
	}
	r := ReasonNoPairs
	if err := r.UnmarshalText([]byte("rain")); err == nil || r != ReasonNoPairs {
		t.Errorf("%v, %v", err, r)
	}
	if text, err := Reason(200).MarshalText(); err == nil || Reason(200).String() != "Reason(200)" || Reason(200).Sentence() != "" {
		t.Errorf("%q, %v, %v: %s", text, err, Reason(200), Reason(200).Sentence())
	}
	if text, err := LaneState(200).MarshalText(); err == nil {
		t.Errorf("%q", text)
	}
	if first, last, beyond := EventDialing.String(), EventUntreated.String(), (EventUntreated + 1).String(); first != "dialing" || last != "untreated" || beyond != "EventKind(16)" {
		t.Errorf("%q, %q, %q", first, last, beyond)
	}
}

// TestReasonFor: whatever the NATs are, what package punch says of them has a reason, and it
// is infeasible where punch says so.
func TestReasonFor(t *testing.T) {
	t.Parallel()
	profiles := []natprobe.Profile{{}, {Type: natprobe.TypeSymmetric}, {Type: natprobe.TypePortRestrictedCone}, {Type: natprobe.TypeUDPBlocked}}
	for _, name := range simnet.PresetNames() {
		p, err := simnet.PresetByName(name)
		if err != nil {
			t.Fatal(err)
		}
		profiles = append(profiles, profileOf(p))
	}
	open := profileOf(*namedPreset(t, "symmetric-random")) // to UDP, and of known TCP
	open.TCP = natprobe.TCPProfile{Mapping: open.Mapping, Ports: open.Ports}
	blocked := open
	blocked.Type = natprobe.TypeUDPBlocked
	profiles = append(profiles, open, blocked)
	seen := make(map[Reason]int)
	for _, ours := range profiles {
		for _, theirs := range profiles {
			obstacle, on := punch.Between(ours, theirs)
			infeasible := punch.Possible(punch.Plan(ours, theirs, punch.Budget{})) == natprobe.No
			r := reasonFor(obstacle, on, infeasible)
			seen[r]++
			if r.Infeasible() != infeasible || (r == ReasonUnanswered) != (obstacle == punch.ObstacleNone) {
				t.Errorf("%v on %v, infeasible: %v, is %v\n%+v\n%+v", obstacle, on, infeasible, r, ours, theirs)
			}
		}
	}
	for _, r := range []Reason{
		ReasonUnanswered, ReasonNATUnknown, ReasonLocalUDPBlocked, ReasonRemoteUDPBlocked, ReasonBothUDPBlocked, ReasonLocalSymmetric,
		ReasonRemoteSymmetric, ReasonBothSymmetric, ReasonInfeasibleBothSymmetric,
		ReasonInfeasibleLocalUDPBlocked, ReasonInfeasibleRemoteUDPBlocked, ReasonInfeasibleBothUDPBlocked,
	} {
		if seen[r] == 0 {
			t.Errorf("no pair of NATs is kept apart for %v: %v", r, seen)
		}
	}
	if r := reasonFor(punch.ObstacleHairpin, punch.Both, false); r != ReasonNoHairpin {
		t.Errorf("no hairpin is %v", r)
	}
}

// TestLaneReports: what was planned and what became of it can be read back.
func TestLaneReports(t *testing.T) {
	t.Parallel()
	for state := range LaneEnded + 1 {
		want := LaneReport{Lane: punch.Lane{Kind: punch.LaneTCPPredicted, Hard: punch.Ours, Probability: .5, Obstacle: punch.ObstacleFilter}, Attempt: 2, State: state, Sent: 3}
		var got LaneReport
		text, err := json.Marshal(want)
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil || got != want || !strings.Contains(string(text), `"`+state.String()+`"`) {
			t.Errorf("%s is read as %+v: %v", text, got, err)
		}
	}
	state := LaneOpened
	if err := state.UnmarshalText([]byte("begun")); err == nil || state != LaneOpened || (LaneEnded+1).String() != "LaneState(4)" {
		t.Errorf("%v, %v", state, err)
	}
}

// recordedWords are all that sessions record: the lanes, and how stages end.
func recordedWords() (lanes, ends []string) {
	lanes = []string{dialledTCP}
	for _, k := range punch.LaneKinds() {
		lanes = append(lanes, k.String())
	}
	ends = []string{endClosed, endRefused, endError, endUnconfirmed, endNoAddress, endHostOnly}
	for _, e := range endings {
		ends = append(ends, e.word)
	}
	for _, r := range Reasons() {
		if r != ReasonOver && r != ReasonNotSignedOn && r != ReasonDialing && r != ReasonWaiting && r != ReasonRelayOnly { // there is no attempt yet
			ends = append(ends, r.String())
		}
	}
	return lanes, ends
}

// TestWords: package stats, which cannot see where its words come from, has all of them and no
// others; and so has the dashboard's page, which says what they mean.
func TestWords(t *testing.T) {
	t.Parallel()
	lanes, ends := recordedWords()
	within := func(file, begin, end, pattern string) (all []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), begin)
		part, _, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no %q that ends with %q", file, begin, end)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(part, -1) {
			all = append(all, m[1])
		}
		return all
	}
	same := func(where string, got, want []string) {
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s lacks %q", where, w)
			}
		}
		for i, w := range got {
			if !slices.Contains(want, w) || slices.Contains(got[:i], w) {
				t.Errorf("%s has %q, which is recorded by nobody, or twice", where, w)
			}
		}
	}
	const page = "stats/dashboard/page/words.js"
	same("ownWords in stats/words.go", within("stats/words.go", "var ownWords = []string{", "\n}", `"(\w+)"`), slices.Concat(lanes, ends))
	same("reasons in "+page, within(page, "const reasons = {", "\n};", `(?m)^  (\w+): '`), append(ends, stats.Other))
	same("lanes in "+page, within(page, "const lanes = {", "\n};", `(\w+): '`), lanes)
}

// checkWords fails the test where an event has a word that recordedWords does not know.
func checkWords(t testing.TB, e *stats.Event) {
	lanes, ends := recordedWords()
	for word, known := range map[string][]string{e.Lane: lanes, e.Reason: ends} {
		if word != "" && !slices.Contains(known, word) {
			t.Errorf("%q is recorded, and is among none of the words for it", word)
		}
	}
}
