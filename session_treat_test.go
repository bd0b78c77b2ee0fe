package bradawl_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// TestTreatPeerFails: whatever TreatPeer does, connections come about in time, and what it
// did is told.
func TestTreatPeerFails(t *testing.T) {
	type hook = func(ctx context.Context, peer bradawl.PeerID) (bradawl.Treatment, error)
	harsh := bradawl.Treatment{Group: "lab", Budget: punch.Budget{Probes: -1}}
	for name, c := range map[string]struct {
		hook func(end chan struct{}) hook
		slow bool
		want string
	}{
		"fails": {func(chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) { return harsh, errors.New("no store") }
		}, false, "no store"},
		"panics": {func(chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) { panic("nil map") }
		}, false, "it panicked: nil map"},
		"waits": {func(chan struct{}) hook {
			return func(ctx context.Context, _ bradawl.PeerID) (bradawl.Treatment, error) {
				<-ctx.Done()
				return harsh, ctx.Err()
			}
		}, true, ""},
		"hangs": {func(end chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) { <-end; return harsh, nil }
		}, true, "no answer within 1s"},
		"exits": {func(chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) { runtime.Goexit(); return harsh, nil }
		}, true, "no answer within 1s"},
		"group": {func(chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) {
				return bradawl.Treatment{Group: "Group A"}, nil
			}
		}, false, `Treatment.Group: "Group A" is no word for counting`},
		"budget": {func(chan struct{}) hook {
			return func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) {
				return bradawl.Treatment{Budget: punch.Budget{Rate: 20_000}}, nil
			}
		}, false, "Treatment.Budget.Rate: 20000 a second would be a flood"},
	} {
		t.Run(name, func(t *testing.T) {
			var b book
			var end chan struct{}
			simulate(t, "full-cone", "full-cone", func(cfg *bradawl.Config) {
				if end == nil {
					end = make(chan struct{}) // the bubble's
				}
				cfg.Record, cfg.TreatPeer = b.Record, c.hook(end)
			}, func(t *testing.T, w *internet) {
				began := time.Now()
				a, _ := w.meet(t)
				took, most := time.Since(began), 300*time.Millisecond
				if c.slow {
					most += 2 * time.Second // of both sides
				}
				if took > most {
					t.Errorf("connected after %v, want %v at most", took, most)
				}
				for _, s := range w.ends {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					var told *bradawl.Event
					for e := range s.Events(ctx) {
						if e.Kind == bradawl.EventUntreated {
							told = &e
							break
						}
					}
					cancel()
					if told == nil || told.Err == nil || !strings.Contains(told.Err.Error(), c.want) {
						t.Errorf("told: %+v, want %q", told, c.want)
					}
				}
				if text := a.Explain().String(); !strings.Contains(text, "the peer is treated as others are: ") {
					t.Error(text)
				}
				close(end)
			})
			for _, e := range b.events {
				if e.Group != "" {
					t.Errorf("%+v is of a group", e)
				}
			}
			if len(b.events) < 8 {
				t.Errorf("%d events", len(b.events))
			}
		})
	}
}

// TestTreatPeerIsBusy: many that never answer hold up those behind them no longer than
// themselves.
func TestTreatPeerIsBusy(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	var end chan struct{}
	simulate(t, "full-cone", "full-cone", func(cfg *bradawl.Config) {
		if end == nil {
			end = make(chan struct{}) // the bubble's
		}
		cfg.TreatPeer = func(context.Context, bradawl.PeerID) (bradawl.Treatment, error) {
			mu.Lock()
			asked++
			mu.Unlock()
			<-end
			return bradawl.Treatment{}, nil
		}
	}, func(t *testing.T, w *internet) {
		var dials sync.WaitGroup
		for range 100 { // to nobody, to occupy it
			nobody, err := bradawl.NewIdentity()
			check(t, err)
			dials.Go(func() {
				if _, err := w.ends[0].Dial(t.Context(), nobody.ID()); !errors.Is(err, bradawl.ErrOffline) {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		w.meet(t)
		if took := time.Since(began); took > 2300*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
		dials.Wait()
		close(end)
		pass(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if asked != 64+1 { // by one end, and by the other; those that waited are asked about no more
			t.Errorf("asked %d times at once", asked)
		}
	})
}

// pairs is how many pairs of peers TestExperiment has: what -seeds says, or a few.
func pairs() int {
	n := 24
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "seeds" {
			n = f.Value.(flag.Getter).Get().(int)
		}
	})
	return n
}

// TestExperiment runs an experiment over sessions, from the assignment to the verdict: do
// attempts at random ports help? Each pair of peers has a world of its own.
//
// A verdict needs 100 pairs in each arm: go test . -run TestExperiment -seeds 400 -v
func TestExperiment(t *testing.T) {
	x := stats.Experiment{
		Name: "birthday", Arms: []stats.Arm{{Name: "control"}, {Name: "few"}, {Name: "off"}}, Guards: []stats.Guard{{Name: "failed"}},
	}
	budgets := map[string]punch.Budget{"few": {Probes: 200, Entries: 200}, "off": {Probes: -1}} // control has that of the Config
	hard, err := simnet.PresetByName("symmetric-random")
	check(t, err)
	easy, err := simnet.PresetByName("port-restricted-cone")
	check(t, err)
	var (
		mu        sync.Mutex
		events    []stats.Event
		direct    = make(map[string]int)
		all       = make(map[string]int)
		day       time.Time
		assigned  [2]stats.Assignment
		assigners [2]*stats.Assigner
	)
	for pair := range pairs() {
		end := 0
		var ids [2]*bradawl.Identity
		simulateSeed(t, uint64(pair+1), [2]simnet.Preset{hard, easy}, addDetector(t), func(cfg *bradawl.Config) {
			self, secret := end, sha256.Sum256(fmt.Appendf(nil, "pair %d, end %d", pair, end))
			end++
			id, err := bradawl.IdentityFromBytes(secret[:])
			check(t, err)
			assigners[self], err = stats.NewAssigner(stats.AssignerConfig{Experiment: x, Self: id.ID().String()})
			check(t, err)
			ids[self], cfg.Identity = id, id
			cfg.Networks, cfg.STUN = []string{"udp4"}, []string{detector}
			cfg.TreatPeer = func(ctx context.Context, peer bradawl.PeerID) (bradawl.Treatment, error) {
				got, err := assigners[self].Assign(ctx, peer.String())
				mu.Lock()
				defer mu.Unlock()
				assigned[self] = got
				return bradawl.Treatment{Group: got.Group, Budget: budgets[got.Arm]}, err
			}
			cfg.Record = func(e stats.Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e)
			}
		}, func(t *testing.T, w *internet) {
			pass(10 * time.Second) // the NATs are known
			a, b := w.meet(t)
			pass(12 * time.Second) // of which an attempt takes four
			mu.Lock()
			defer mu.Unlock()
			want, err := x.Arm(ids[0].ID().String(), ids[1].ID().String())
			check(t, err)
			if assigned[0].Arm != want || assigned[1].Arm != want || (assigned[0].Group == "") == (assigned[1].Group == "") {
				t.Errorf("pair %d: %+v, want the arm %s at both, and one that counts", pair, assigned, want)
			}
			for _, c := range []*bradawl.Conn{a, b} {
				sent, e := 0, c.Explain()
				for _, l := range e.Lanes {
					sent += l.Sent
				}
				most := budgets[want].WithDefaults().Probes // -1: none
				if off := strings.Contains(e.Why, "off by Config.TreatPeer"); off != (want == "off") || off != (sent == 0) || sent > max(0, most) {
					t.Errorf("pair %d, arm %s: %d packets of lanes\n%v", pair, want, sent, e)
				}
			}
			all[want]++
			if a.Path().Kind == bradawl.PathDirect {
				direct[want]++
			}
			day = time.Now()
		})
	}

	// What a collector makes of it, which knows the events alone.
	collector, err := stats.NewRecorder(stats.Config{Groups: x.Groups(), Now: func() time.Time { return day }})
	check(t, err)
	for _, e := range events {
		collector.Record(e)
	}
	var results []stats.ArmResult
	for _, o := range collector.Total().Outcomes(stats.ByGroup) {
		arm, ok := x.ArmOf(o.Group)
		if !ok {
			continue // the other ends
		}
		results = append(results, stats.ArmResult{Arm: arm, Rate: o.DirectRate(), Guards: map[string]stats.Rate{"failed": o.FailureRate()}})
		if int(o.Attempts) != all[arm] || int(o.Direct) != direct[arm] || o.Failed != 0 {
			t.Errorf("%s: %d of %d direct, %d failed; the sessions say %d of %d", arm, o.Direct, o.Attempts, o.Failed, direct[arm], all[arm])
		}
	}
	if len(results) != 3 || direct["off"] != 0 || direct["few"] == all["few"] || direct["control"] <= all["control"]/2 {
		t.Errorf("direct: %v of %v", direct, all)
	}
	verdict, err := x.Judge(results)
	check(t, err)
	t.Log(verdict)
	want := stats.DecisionTooFew
	if slices.Min([]int{all["control"], all["few"], all["off"]}) >= stats.MinPerArm {
		want = stats.DecisionStop // of both
	}
	for _, arm := range verdict.Arms {
		if arm.Decision != want || arm.Guards[0].Harmed {
			t.Errorf("%v, want %v", verdict, want)
		}
	}
}
