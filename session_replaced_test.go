package bradawl_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// jealous is a hub at which who signs on takes the place of who has the same identity, and that
// one is told.
type jealous struct{ *hub }

type jealousSignals struct{ bradawl.Signals }

type replaced struct{ error }

func (replaced) Replaced() bool { return true }

func (j jealous) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	j.mu.Lock()
	old := j.boxes[id.ID()]
	j.mu.Unlock()
	s, err := j.hub.SignOn(ctx, id)
	if old != nil {
		_ = old.Close()
	}
	return jealousSignals{s}, err
}

func (s jealousSignals) Receive(ctx context.Context) (bradawl.PeerID, []byte, error) {
	from, message, err := s.Signals.Receive(ctx)
	if err != nil && ctx.Err() == nil {
		err = replaced{errors.New("somebody took the place")}
	}
	return from, message, err
}

// TestTwoOfOneIdentity: two sessions of one identity say what is wrong, and take each other's
// place ever more seldom, whatever the network does. When one is closed, the other is reached.
func TestTwoOfOneIdentity(t *testing.T) {
	id, err := bradawl.NewIdentity()
	check(t, err)
	simulate(t, "open", "open", func(cfg *bradawl.Config) {
		cfg.Signaler, cfg.Identity, cfg.WatchInterval = jealous{cfg.Signaler.(*hub)}, id, -1
		cfg.STUN, cfg.TURN = nil, nil
	}, func(t *testing.T, w *internet) {
		downs := func() (n int) {
			for _, s := range w.ends {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				for e := range s.Events(ctx) {
					if e.Kind != bradawl.EventSignalDown {
						continue
					}
					n++
					if !errors.Is(e.Err, bradawl.ErrReplaced) || !errors.As(e.Err, new(replaced)) || strings.Count(e.Err.Error(), ";") != 1 || !strings.HasPrefix(e.Reason, "signing on again in ") {
						t.Errorf("down: %v", e)
					}
				}
				cancel()
			}
			return n
		}
		for range 60 {
			pass(time.Minute)
			w.ends[0].NotifyNetworkChange()
		}
		if n := downs(); n < 6 || n > 30 {
			t.Errorf("they took each other's place %d times in an hour", n)
		}
		pass(10 * time.Minute)
		downs()
		pass(5 * time.Hour)
		if n := downs(); n < 28 || n > 62 { // 5 to 10 minutes each
			t.Errorf("they took each other's place %d times in five hours", n)
		}
		one, other := w.ends[0], w.ends[1]
		if one.SignedOn() {
			one, other = other, one
		}
		now, cancel := context.WithCancel(t.Context())
		cancel() // within a second it may have its place again
		if _, err := one.Accept(now); !errors.Is(err, bradawl.ErrReplaced) {
			t.Errorf("accepting in vain: %v", err)
		}
		check(t, other.Close())
		pass(11 * time.Minute)
		if !one.SignedOn() {
			t.Error("the one that is left is not signed on")
		}
	})
}

// TestReplacedAtTheRendezvous: the client of package rendezvous tells in the way that sessions
// understand.
func TestReplacedAtTheRendezvous(t *testing.T) {
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	check(t, err)
	defer server.Close()
	web := httptest.NewServer(server)
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	id, err := bradawl.NewIdentity()
	check(t, err)
	first, err := (&rendezvous.Signaler{URL: web.URL}).SignOn(ctx, id)
	check(t, err)
	defer first.Close()
	second, err := (&rendezvous.Signaler{URL: web.URL}).SignOn(ctx, id)
	check(t, err)
	defer second.Close()
	_, _, err = first.Receive(ctx)
	var told interface{ Replaced() bool }
	if !errors.As(err, &told) || !told.Replaced() {
		t.Errorf("the first was told %v", err)
	}
}
