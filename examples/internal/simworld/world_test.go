package simworld

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestSignOnInterrupted: who is interrupted is told so, and not that the rendezvous was out
// of reach.
func TestSignOnInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := Open(t.Context(), Config{Seed: 1, NATs: [2]string{"full-cone", ""}, Link: simnet.Link{Delay: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := w.SignOn(ctx); !errors.Is(err, why) {
			t.Errorf("%v, want %v", err, why)
		}
	})
}

// TestMeet: the two can be dialled at once, and who is interrupted gets no world that would
// have to be closed.
func TestMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Seed: 1, NATs: [2]string{"full-cone", "open"}, Link: simnet.Link{Delay: time.Second}}
		w, err := Meet(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if !w.Ends[0].SignedOn() || !w.Ends[1].SignedOn() {
			t.Error("they cannot be dialled")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if none, err := Meet(ctx, cfg); none != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", none, err)
		}
	})
}
