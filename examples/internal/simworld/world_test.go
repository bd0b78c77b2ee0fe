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
