package stats

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func judge(t *testing.T, x Experiment, results ...ArmResult) Verdict {
	t.Helper()
	v, err := x.Judge(results)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// twoArms is an experiment with two guards.
func twoArms() Experiment {
	return Experiment{Name: "lanes", Arms: []Arm{{"control", 0}, {"late", 0}}, Guards: []Guard{{Name: "relayed"}, {Name: "lived", Good: true}}}
}

func guards(relayed, lived, n uint64) map[string]Rate {
	return map[string]Rate{"relayed": {relayed, n}, "lived": {lived, n}}
}

func TestJudge(t *testing.T) {
	fine := guards(200, 1900, 2000)
	for _, test := range []struct {
		name          string
		control, late ArmResult
		want          string // the text's first line
	}{
		{"nothing yet", ArmResult{}, ArmResult{}, "not enough data: late has 0 sessions of the 100 that are needed"},
		{"one short", ArmResult{Rate: Rate{50, 99}}, ArmResult{Rate: Rate{100, 100}}, "not enough data: control has 99 sessions of the 100 that are needed"},
		{"just enough", ArmResult{Rate: Rate{50, 100}}, ArmResult{Rate: Rate{100, 100}}, "better: late succeeds more often than control"},
		{"alike", ArmResult{Rate: Rate{1400, 2000}}, ArmResult{Rate: Rate{1400, 2000}}, "undecided: no difference is shown so far"},
		{"better", ArmResult{Rate: Rate{1400, 2000}, Guards: fine}, ArmResult{Rate: Rate{1560, 2000}, Guards: fine}, "better: late succeeds more often than control"},
		{"worse", ArmResult{Rate: Rate{1400, 2000}}, ArmResult{Rate: Rate{1240, 2000}}, "stop: late succeeds less often than control"},
		{"better, but relayed", ArmResult{Rate: Rate{1400, 2000}, Guards: fine}, ArmResult{Rate: Rate{1560, 2000}, Guards: guards(400, 1900, 2000)},
			"stop: with late, relayed is 20.0 % instead of 10.0 %"},
		{"better, but both are spoilt", ArmResult{Rate: Rate{1400, 2000}, Guards: fine}, ArmResult{Rate: Rate{1560, 2000}, Guards: guards(400, 1600, 2000)},
			"stop: with late, relayed is 20.0 % instead of 10.0 %, lived is 80.0 % instead of 95.0 %"},
		{"guards improve", ArmResult{Rate: Rate{1400, 2000}, Guards: guards(400, 1600, 2000)}, ArmResult{Rate: Rate{1400, 2000}, Guards: fine}, "undecided: no difference is shown so far"},
		{"guard of one arm alone", ArmResult{Rate: Rate{1400, 2000}}, ArmResult{Rate: Rate{1400, 2000}, Guards: guards(2000, 0, 2000)}, "undecided: no difference is shown so far"},
		{"guard of too few", ArmResult{Rate: Rate{1400, 2000}, Guards: guards(0, 99, 99)}, ArmResult{Rate: Rate{1400, 2000}, Guards: guards(99, 0, 99)}, "undecided: no difference is shown so far"},
		{"sessions are missing", ArmResult{Rate: Rate{1400, 2000}}, ArmResult{Rate: Rate{1400, 1600}},
			"invalid: control has 2000 sessions where 1800 are due, late has 1600 sessions where 1800 are due (p = 6e-09): find out what becomes of the others before comparing any"},
	} {
		test.control.Arm, test.late.Arm = "control", "late"
		v := judge(t, twoArms(), test.late, test.control)
		got, _, _ := strings.Cut(v.String(), "\n")
		if got != "lanes: "+test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if !strings.HasPrefix(test.want, strings.ReplaceAll(v.Decision.String(), "_", " ")) {
			t.Errorf("%s: %s", test.name, v.Decision)
		}
	}
}

// Of several arms the gravest decides, and each has its own verdict.
func TestJudgeArms(t *testing.T) {
	v := judge(t, lanes(),
		ArmResult{Arm: "control", Rate: Rate{700, 1000}},
		ArmResult{Arm: "early", Rate: Rate{800, 1000}},
		ArmResult{Arm: "late", Rate: Rate{1200, 2000}})
	if v.Decision != DecisionStop || v.Arms[0].Decision != DecisionBetter || v.Arms[1].Decision != DecisionStop {
		t.Errorf("%+v", v)
	}
	const want = `lanes: stop: late succeeds less often than control
  early 80.0 % of 1000, control 70.0 % of 1000: +10.0 points (+3.7 to +16.3), p = 4e-05
  late 60.0 % of 2000, control 70.0 % of 1000: -10.0 points (-16.0 to -4.0), p = 9e-06`
	if got := v.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	// Arms without results have none, and are no hindrance to the others' verdicts.
	v = judge(t, Experiment{Name: "x", Arms: []Arm{{"a", 0}, {"b", 0}, {"off", -1}}},
		ArmResult{Arm: "a", Rate: Rate{700, 1000}}, ArmResult{Arm: "b", Rate: Rate{800, 1000}})
	if v.Decision != DecisionBetter || v.Arms[1].Decision != DecisionTooFew {
		t.Errorf("%+v", v)
	}
	// Nor does one that is switched off, and so has none, leave the others undecided for want of
	// its sessions; of two that have sessions, too few are too few.
	x := Experiment{Name: "x", Arms: []Arm{{"a", 0}, {"b", 0}, {"off", -1}}}
	for _, test := range []struct {
		a, b uint64
		want Decision
	}{{1000, 1000, DecisionUndecided}, {130, 99, DecisionTooFew}, {99, 130, DecisionTooFew}} {
		v = judge(t, x, ArmResult{Arm: "a", Rate: Rate{test.a / 2, test.a}}, ArmResult{Arm: "b", Rate: Rate{test.b / 2, test.b}})
		if v.Decision != test.want {
			t.Errorf("%+v: %+v", test, v)
		}
	}
	x.Arms[1].Weight = -1
	if v = judge(t, x, ArmResult{Arm: "a", Rate: Rate{700, 1000}}); v.Decision != DecisionTooFew {
		t.Errorf("all but the control are off: %+v", v)
	}
}

// What programs read, byte for byte.
func TestVerdictJSON(t *testing.T) {
	x := twoArms()
	x.Guards = x.Guards[:1]
	v := judge(t, x, ArmResult{Arm: "control", Rate: Rate{140, 200}, Guards: map[string]Rate{"relayed": {20, 150}}}, ArmResult{Arm: "late", Rate: Rate{60, 80}})
	const want = `{"experiment":"lanes","decision":"invalid","reason":"control has 200 sessions where 140 are due, late has 80 sessions where 140 are due (p = 1e-10): ` +
		`find out what becomes of the others before comparing any","sample_ratio":{"p_value":1.16003e-10,"mismatch":true},` +
		`"control":"control","control_rate":{"successes":140,"n":200},"arms":[{"arm":"late","decision":"not_enough_data",` +
		`"reason":"late has 80 sessions of the 100 that are needed","success":{"arm":{"successes":60,"n":80},"control":{"successes":140,"n":200},` +
		`"difference":0.05,"low":-1,"high":1,"p_value":1}}]}`
	got, err := json.Marshal(v)
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want\n%s", got, err, want)
	}
	v = judge(t, x, ArmResult{Arm: "control", Rate: Rate{0, 100}, Guards: map[string]Rate{"relayed": {0, 100}}},
		ArmResult{Arm: "late", Rate: Rate{0, 100}, Guards: map[string]Rate{"relayed": {100, 100}}})
	got, err = json.Marshal(v)
	if err != nil || !strings.Contains(string(got), `"guards":[{"guard":"relayed","harmed":true,"share":{"arm":{"successes":100,"n":100},`) {
		t.Errorf("%s, %v", got, err)
	}
	if got, want := allWords(t, DecisionUndecided), "invalid stop better not_enough_data undecided"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestJudgeRefuses(t *testing.T) {
	for _, test := range []struct {
		field   string
		results []ArmResult
	}{
		{"results[0].Arm", []ArmResult{{Arm: "lanes-late"}}},
		{"results[1].Arm", []ArmResult{{Arm: "late"}, {Arm: "late"}}},
		{"results[0].Rate", []ArmResult{{Arm: "late", Rate: Rate{2, 1}}}},
		{"results[0].Rate", []ArmResult{{Arm: "late", Rate: Rate{2, maxSessions + 1}}}},
		{"results[0].Guards", []ArmResult{{Arm: "late", Guards: map[string]Rate{"relayed": {2, 1}}}}},
		{"results[0].Guards", []ArmResult{{Arm: "late", Guards: map[string]Rate{"found later": {1, 2}}}}},
	} {
		x := twoArms()
		v, err := x.Judge(test.results)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || wrong.Field != test.field || v.Experiment != "" {
			t.Errorf("%+v: %v, want %q", test.results, err, test.field)
		}
	}
	x := Experiment{Name: "x"}
	if _, err := x.Judge(nil); err == nil {
		t.Error("judged without arms")
	}
}

// With several arms and guards that are all alike, whoever looks after every 20 sessions
// an arm is told of a difference in few experiments, and of a guard that is spoilt.
func TestJudgeFamily(t *testing.T) {
	x := lanes()
	x.Arms[2].Weight = 0
	var (
		r                      = rand.New(rand.NewPCG(*peekSeed, 4))
		success, relay, live   = binomial(20, 0.7), binomial(20, 0.2), binomial(20, 0.95)
		differ, spoilt, broken int
	)
	const runs = 400
	for range runs {
		results := make([]ArmResult, 3)
		for i := range results {
			results[i] = ArmResult{Arm: x.Arms[i].Name, Guards: make(map[string]Rate)}
		}
		var differs, harmed, invalid bool
		for range 150 {
			for i := range results {
				add := func(to Rate, d *draws) Rate { return Rate{to.Successes + d.draw(r), to.N + 20} }
				res := &results[i]
				res.Rate = add(res.Rate, &success)
				res.Guards["relayed"] = add(res.Guards["relayed"], &relay)
				res.Guards["lived"] = add(res.Guards["lived"], &live)
			}
			v := judge(t, x, results...)
			invalid = invalid || v.Decision == DecisionInvalid
			for _, a := range v.Arms {
				differs = differs || a.Success.P < 0.05
				for _, g := range a.Guards {
					harmed = harmed || g.Harmed
				}
			}
		}
		differ, spoilt, broken = differ+count(differs), spoilt+count(harmed), broken+count(invalid)
	}
	t.Logf("of %d experiments: a difference in %d, a guard spoilt in %d", runs, differ, spoilt)
	if differ > runs/20 || spoilt > runs/20 || broken > 0 {
		t.Errorf("of %d experiments without any: a difference in %d, a guard spoilt in %d, a mismatch in %d; -peek-seed %d", runs, differ, spoilt, broken, *peekSeed)
	}
}

func TestProbability(t *testing.T) {
	for p, want := range map[float64]string{1: "= 1.000", 0.0421: "= 0.042", 0.0002: "= 2e-04", 1e-120: "< 1e-99", 0: "< 1e-99"} {
		if got := probability(p); got != want {
			t.Errorf("%g: %q, want %q", p, got, want)
		}
	}
}
