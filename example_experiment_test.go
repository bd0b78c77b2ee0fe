package bradawl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// Would a smaller budget do? Every peer is given this experiment, and each two work out by
// themselves which budget is theirs.
var frugal = stats.Experiment{
	Name:   "budget",
	Salt:   "2026-11",
	Arms:   []stats.Arm{{Name: "default"}, {Name: "polite"}}, // the first one is the control
	Guards: []stats.Guard{{Name: "failed"}},
}

var frugalBudgets = map[string]punch.Budget{"polite": punch.Polite} // default: Config.Budget

// takePart has the sessions of a Config take part.
func takePart(cfg *bradawl.Config, id *bradawl.Identity) error {
	assigner, err := stats.NewAssigner(stats.AssignerConfig{Experiment: frugal, Self: id.ID().String()})
	if err != nil {
		return err
	}
	cfg.Identity = id
	cfg.TreatPeer = func(ctx context.Context, peer bradawl.PeerID) (bradawl.Treatment, error) {
		a, err := assigner.Assign(ctx, peer.String())
		return bradawl.Treatment{Group: a.Group, Budget: frugalBudgets[a.Arm]}, errors.Join(err, a.Err)
	}
	return nil
}

// An experiment over sessions: both ends of a pair are in the same arm, and one of them
// counts. What they record is judged as in the example of stats.Experiment.
func Example_experiment() {
	var ends [2]bradawl.Config
	for i := range ends {
		id, err := bradawl.IdentityFromBytes(bytes.Repeat([]byte{byte(i + 1)}, 32)) // in earnest: LoadOrCreateIdentity
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := takePart(&ends[i], id); err != nil {
			fmt.Println(err)
			return
		}
	}
	for i, end := range ends { // as their sessions do when one dials the other
		t, err := end.TreatPeer(context.Background(), ends[1-i].Identity.ID())
		fmt.Printf("group %q, at most %d probes, %v\n", t.Group, t.Budget.WithDefaults().Probes, err)
	}
	// Output:
	// group "budget-polite", at most 600 probes, <nil>
	// group "", at most 600 probes, <nil>
}
