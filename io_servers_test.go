package bradawl

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/feed"
	"github.com/bradawl/bradawl/internal/plog"
)

// TestInsistBeginsAnew: what is tried ever less often is tried at once, and then often again,
// when the network is another.
func TestInsistBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Session{ctx: ctx, cancel: cancel, events: feed.New[Event](eventQueue), log: plog.OrDiscard(nil).NewLogger("test")}
		v := &s.servers
		v.s, v.changed = s, make(chan struct{})
		began := time.Now()
		var tries []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			if v.insist(func(context.Context) error {
				tries = append(tries, time.Since(began)/time.Second)
				return errors.New("in vain")
			}) {
				t.Error("it has not succeeded")
			}
		}()
		<-time.After(100 * time.Second)
		v.change()
		<-time.After(10 * time.Second)
		cancel()
		<-done
		s.wg.Wait()
		if want := []time.Duration{0, 2, 6, 14, 30, 62, 100, 102, 106}; !slices.Equal(tries, want) {
			t.Errorf("tried at %v, want %v (s)", tries, want)
		}
	})
}
