package stats_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Does it help to ask the router for a port before anything else? Pairs of peers are
// assigned at both ends, what they record is collected, and the collector judges.
func ExampleExperiment() {
	x := stats.Experiment{
		Name:   "mapping",
		Arms:   []stats.Arm{{Name: "control"}, {Name: "first"}},
		Guards: []stats.Guard{{Name: "failed"}},
	}
	day := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return day }
	collector, err := stats.NewRecorder(stats.Config{Groups: x.Groups(), Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}

	// A population in which it does help: 75 % of the pairs get a direct path instead of 65 %.
	direct := map[string]float64{"control": 0.65, "first": 0.75}
	ids := rand.NewChaCha8([32]byte{9})
	chance := rand.New(ids)
	for i := range 4000 {
		ends := [2]string{fmt.Sprint("caller", i), fmt.Sprint("callee", i)}
		pair := stats.PairRelay
		outcome := chance.Float64()
		session, _ := stats.NewID(ids)
		for self := range ends {
			assigner, err := stats.NewAssigner(stats.AssignerConfig{Experiment: x, Self: ends[self], Now: now})
			if err != nil {
				fmt.Println(err)
				return
			}
			assigned, err := assigner.Assign(context.Background(), ends[1-self])
			if err != nil {
				fmt.Println(err)
				return
			}
			// Here a program connects, in the way that assigned.Arm says.
			if outcome < direct[assigned.Arm] {
				pair = stats.PairMapped
			}
			id, _ := stats.NewID(ids)
			collector.Record(stats.Event{
				ID: id, Session: session, Time: day, Group: assigned.Group, // "" at the end that does not count
				Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 200 * time.Millisecond,
				Pair: pair, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 10,
			})
		}
	}

	var results []stats.ArmResult
	for _, o := range collector.Total().Outcomes(stats.ByGroup) {
		if arm, ok := x.ArmOf(o.Group); ok {
			results = append(results, stats.ArmResult{
				Arm: arm, Rate: o.DirectRate(), Guards: map[string]stats.Rate{"failed": o.FailureRate()},
			})
		}
	}
	verdict, err := x.Judge(results)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(verdict)
	// Output:
	// mapping: better: first succeeds more often than control
	//   first 74.0 % of 1917, control 66.1 % of 2083: +7.9 points (+3.5 to +12.3), p = 3e-06
}
