package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// budgets are what the arms may spend.
var budgets = map[string]punch.Budget{
	"default": {}, // the zero value leaves the session its own
	"polite":  punch.Polite,
	"few":     {Probes: 200, Entries: 200},
	"off":     {Probes: -1},
}

// access is between each peer and the internet, one way.
const access = 20 * time.Millisecond

// world makes a world for a pair, has one end dial the other, and returns what both record.
func (t *trial) world(ctx context.Context, pair int) (events []stats.Event, err error) {
	var (
		mu    sync.Mutex
		unfit error // to take part
	)
	seed := t.seed(pair, "world")
	w, err := simworld.Open(ctx, simworld.Config{
		Seed: binary.BigEndian.Uint64(seed[:]), NATs: t.o.nats, Link: simnet.Link{Delay: access},
		Session: func(end int, cfg *bradawl.Config) {
			cfg.Timeout = t.o.window
			cfg.Record = func(e stats.Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e)
			}
			unfit = errors.Join(unfit, t.takePart(pair, end, cfg))
		},
	})
	if err != nil {
		return nil, err
	}
	if err = errors.Join(unfit, w.Settle(ctx)); err == nil {
		err = t.connect(ctx, w, pair%2) // each side dials every other time
	}
	w.Close() // after which nothing is recorded
	if err == nil && ctx.Err() == nil && !slices.ContainsFunc(events, func(e stats.Event) bool { return e.Group != "" }) {
		err = errors.New("neither end has counted it")
	}
	return events, err
}

// takePart has a session take part in the experiment.
func (t *trial) takePart(pair, end int, cfg *bradawl.Config) error {
	secret := t.seed(pair, simworld.Peers[end])
	id, err := bradawl.IdentityFromBytes(secret[:])
	if err != nil {
		return err
	}
	assigner, err := stats.NewAssigner(stats.AssignerConfig{Experiment: t.o.experiment, Self: id.ID().String()})
	if err != nil {
		return err
	}
	cfg.Identity = id
	cfg.TreatPeer = func(ctx context.Context, peer bradawl.PeerID) (bradawl.Treatment, error) {
		a, err := assigner.Assign(ctx, peer.String())
		return bradawl.Treatment{Group: a.Group, Budget: budgets[a.Arm]}, errors.Join(err, a.Err)
	}
	return nil
}

// seed is luck for one use in one pair.
func (t *trial) seed(pair int, use string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d, pair %d, %s", t.o.seed, pair, use))
}

// connect has one end dial the other, and waits until both send directly, or the window ends.
func (t *trial) connect(ctx context.Context, w *simworld.World, from int) error {
	ctx, cancel := context.WithTimeout(ctx, t.o.window+w.RoundTrip())
	defer cancel()
	conn, err := w.Ends[from].Dial(ctx, w.Ends[1-from].ID())
	if _, tried := errors.AsType[*bradawl.PathsError](err); tried {
		return nil // which is an outcome
	}
	if err != nil {
		return err
	}
	there, err := w.Ends[1-from].Accept(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // as that it got no word
	}
	if err != nil {
		return err
	}
	for _, c := range []*bradawl.Conn{conn, there} {
		for p := range c.Paths(ctx) {
			if p.Kind == bradawl.PathDirect {
				break
			}
		}
	}
	return nil
}
