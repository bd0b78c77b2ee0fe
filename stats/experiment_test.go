package stats

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// What TestUniform and TestIndependent draw by; another value draws other pairs.
var assignSeed = flag.String("assign-seed", "1", "what the names in tests of assignment begin with")

func lanes() Experiment {
	return Experiment{Name: "lanes", Arms: []Arm{{"control", 0}, {"early", 1}, {"late", 2}}, Guards: []Guard{{Name: "relayed"}, {Name: "lived", Good: true}}}
}

func arm(t *testing.T, x Experiment, a, b string) string {
	t.Helper()
	got, err := x.Arm(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Both ends of every version get these, worked out by another program (Python's hashlib).
// A change here moves pairs to other arms in the middle of experiments.
func TestArmGolden(t *testing.T) {
	for _, test := range []struct{ name, salt, a, b, arm, key string }{
		{"lanes", "", "alice", "bob", "late", "3058fb8b16ee6aed63916155c02a8e0f"},
		{"lanes", "", "alice", "carol", "late", "c505c04018431c57d4ac34be98358d20"},
		{"lanes", "", "dave", "erin", "control", "c8e1a95662f0db63c7d6dcb062985b4d"},
		{"lanes", "2026", "alice", "bob", "control", "e2d43b17b4cf0e9df30e125d325d9ca9"},
		{"lanes", "2026", "alice", "carol", "early", "bd7a54810b6460c26d19ece26cdc9214"},
		{"mapping-first", "", "alice", "bob", "late", "a12ad4bcf73e537896c3d1233d76e4ed"},
		{"mapping-first", "", "alice", "carol", "early", "0534c82c041d6362f50fb4d0f6485c55"},
		{"lanes", "", "ab", "c", "early", "75f25c87552d662e72ebc0ea967187e4"},
		{"lanes", "", "a", "bc", "late", "8b4ca5dcd7269528bd984011b8a643fa"},
	} {
		x := lanes()
		x.Name, x.Salt = test.name, test.salt
		if got, back := arm(t, x, test.a, test.b), arm(t, x, test.b, test.a); got != test.arm || back != test.arm {
			t.Errorf("%+v: %q and, by the other end, %q", test, got, back)
		}
		if got, want := x.stickyKey(x.pair(test.b, test.a)), test.name+":"+test.key; got != want {
			t.Errorf("%+v: the store's key is %q, want %q", test, got, want)
		}
	}
}

// Arms get their shares of pairs; one switched off gets none.
func TestUniform(t *testing.T) {
	x := Experiment{Name: "shares", Arms: []Arm{{"a", 0}, {"b", 5}, {"off", -1}, {"c", 14}}}
	counts := make([]uint64, len(x.Arms))
	for i := range 20_000 {
		counts[x.index(arm(t, x, fmt.Sprint(*assignSeed, "-a", i), fmt.Sprint(*assignSeed, "-b", i%7)))]++
	}
	chi2 := 0.0
	for i, want := range []float64{1000, 5000, 0, 14_000} {
		if want > 0 {
			chi2 += (float64(counts[i]) - want) * (float64(counts[i]) - want) / want
		}
	}
	p := math.Exp(-chi2 / 2) // how likely it is of two degrees of freedom
	t.Logf("%v: chi-square %.2f, p = %.3f", counts, chi2, p)
	if p < 0.001 || counts[2] != 0 {
		t.Errorf("%v for weights 1, 5, none and 14: p = %v; -assign-seed %s", counts, p, *assignSeed)
	}
}

// What arm a pair is in says nothing about its arm in another experiment, under another
// salt, or with another peer.
func TestIndependent(t *testing.T) {
	x := Experiment{Name: "one", Arms: []Arm{{"a", 0}, {"b", 0}, {"c", 0}}}
	other, salted := x, x
	other.Name, salted.Salt = "two", "again"
	for name, second := range map[string]func(i int) string{
		"experiments": func(i int) string { return arm(t, other, fmt.Sprint(*assignSeed, "-", i), "b") },
		"salts":       func(i int) string { return arm(t, salted, fmt.Sprint(*assignSeed, "-", i), "b") },
		"peers":       func(i int) string { return arm(t, x, fmt.Sprint(*assignSeed, "-", i), "c") },
	} {
		const n = 18_000
		var table [3][3]float64
		var rows, columns [3]float64
		for i := range n {
			r, c := x.index(arm(t, x, fmt.Sprint(*assignSeed, "-", i), "b")), x.index(second(i))
			table[r][c]++
			rows[r]++
			columns[c]++
		}
		chi2 := 0.0
		for r := range table {
			for c := range table[r] {
				want := rows[r] * columns[c] / n
				chi2 += (table[r][c] - want) * (table[r][c] - want) / want
			}
		}
		p := math.Exp(-chi2/2) * (1 + chi2/2) // how likely it is of four degrees of freedom
		t.Logf("%s: chi-square %.2f, p = %.3f", name, chi2, p)
		if p < 0.001 {
			t.Errorf("arms of different %s hang together: %v, p = %v; -assign-seed %s", name, table, p, *assignSeed)
		}
	}
}

func TestExperimentValidate(t *testing.T) {
	long := strings.Repeat("n", 60)
	for _, test := range []struct {
		field string // "": valid
		spoil func(x *Experiment)
	}{
		{"", func(x *Experiment) {}},
		{"Experiment.Name", func(x *Experiment) { x.Name = "" }},
		{"Experiment.Name", func(x *Experiment) { x.Name = "Lanes" }},
		{"Experiment.Name", func(x *Experiment) { x.Name = strings.Repeat("n", MaxWord+1) }},
		{"Experiment.Arms[1].Name", func(x *Experiment) { x.Name, x.Arms = long, []Arm{{"abc", 0}, {"abcd", 0}} }},
		{"", func(x *Experiment) { x.Name, x.Arms = long, []Arm{{"abc", 0}, {"b", 0}} }},
		{"Experiment.Arms", func(x *Experiment) { x.Arms = x.Arms[:1] }},
		{"Experiment.Arms", func(x *Experiment) { x.Arms = make([]Arm, MaxArms+1) }},
		{"Experiment.Arms", func(x *Experiment) { x.Arms = []Arm{{"a", -1}, {"b", -1}} }},
		{"Experiment.Arms[0].Name", func(x *Experiment) { x.Arms[0].Name = "" }},
		{"Experiment.Arms[1].Name", func(x *Experiment) { x.Arms[1].Name = "a-b" }}, // or groups could be read in two ways
		{"Experiment.Arms[2].Name", func(x *Experiment) { x.Arms[2].Name = "early" }},
		{"Experiment.Arms[1].Weight", func(x *Experiment) { x.Arms[1].Weight = MaxWeight + 1 }},
		{"", func(x *Experiment) { x.Arms[1].Weight = MaxWeight }},
		{"Experiment.Effect", func(x *Experiment) { x.Effect = -0.05 }},
		{"Experiment.Effect", func(x *Experiment) { x.Effect = 5 }},
		{"Experiment.Guards[1].Name", func(x *Experiment) { x.Guards[1].Name = "relayed" }},
		{"Experiment.Guards[0].Name", func(x *Experiment) { x.Guards[0].Name = "p95 latency" }},
		{"Experiment.Guards", func(x *Experiment) { x.Guards = make([]Guard, MaxGuards+1) }},
	} {
		x := lanes()
		test.spoil(&x)
		err := x.Validate()
		var wrong *ConfigError
		if errors.As(err, &wrong) != (test.field != "") || wrong != nil && wrong.Field != test.field {
			t.Errorf("%+v: %v, want %q", x, err, test.field)
		}
		if _, armErr := x.Arm("a", "b"); (armErr == nil) != (err == nil) {
			t.Errorf("%+v: valid: %v; its arm: %v", x, err, armErr)
		}
	}
	x := lanes()
	for _, names := range [][2]string{{"", "b"}, {"a", ""}, {"a", "a"}} {
		var wrong *ConfigError
		if got, err := x.Arm(names[0], names[1]); !errors.As(err, &wrong) {
			t.Errorf("the pair of %q: %q, %v", names, got, err)
		}
	}
}

// Every arm's group can stand in an event, and is read back as that arm and no other's.
func TestGroup(t *testing.T) {
	x, other := lanes(), lanes()
	other.Name = "lane"
	for i, a := range x.Arms {
		if got := x.Groups()[i]; got != x.Group(a.Name) {
			t.Errorf("the group of %s is %q", a.Name, got)
		}
		e := punched()
		e.Group = x.Group(a.Name)
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		if got, ok := x.ArmOf(e.Group); got != a.Name || !ok {
			t.Errorf("%q is read as %q, %v", e.Group, got, ok)
		}
		if got, ok := other.ArmOf(e.Group); ok {
			t.Errorf("%q is read as %q by %s", e.Group, got, other.Name)
		}
	}
	for _, group := range []string{"", "lanes", "lanes-", "lanes-none", "control", Other} {
		if got, ok := x.ArmOf(group); ok {
			t.Errorf("%q is read as %q", group, got)
		}
	}
}

func TestExperimentJSON(t *testing.T) {
	x := lanes()
	x.Salt, x.Effect = "2026", 0.02
	const want = `{"name":"lanes","salt":"2026","arms":[{"name":"control"},{"name":"early","weight":1},{"name":"late","weight":2}],` +
		`"effect":0.02,"guards":[{"name":"relayed"},{"name":"lived","good":true}]}`
	got, err := json.Marshal(x)
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want\n%s", got, err, want)
	}
	var back Experiment
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, x) {
		t.Errorf("read back as %+v, %v", back, err)
	}
}
