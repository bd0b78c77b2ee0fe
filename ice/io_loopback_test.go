package ice_test

import (
	"context"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// exchange signals between two agents until the test ends.
func exchange(t *testing.T, from, to *ice.Agent) {
	t.Helper()
	if err := to.SetRemote(from.LocalCredentials()); err != nil {
		t.Error(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			e, err := from.Next(context.Background())
			if err != nil {
				return
			}
			switch e.Kind {
			case ice.EventCandidate:
				_ = to.AddRemote(e.Candidate)
			case ice.EventGathered:
				_ = to.EndOfCandidates()
			}
		}
	}()
	t.Cleanup(func() { <-done })
}

func loopbackPair(t testing.TB, cfg ice.Config) (a, b *ice.Agent) {
	t.Helper()
	cfg = loopbackOnly(cfg)
	var agents [2]*ice.Agent
	for i := range agents {
		e, err := ice.Listen(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		if agents[i], err = e.NewAgent(ice.AgentConfig{Controlling: i == 0}); err != nil {
			t.Fatal(err)
		}
	}
	return agents[0], agents[1]
}

func TestConnOnLoopback(t *testing.T) {
	for _, networks := range [][]string{{"udp4"}, {"tcp4"}} {
		t.Run(networks[0], func(t *testing.T) {
			a, b := loopbackPair(t, ice.Config{Networks: networks})
			exchange(t, a, b)
			exchange(t, b, a)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			ca, err := a.Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			cb, err := b.Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { a.Close(); b.Close() })
			buf := make([]byte, 100)
			for _, c := range []struct{ from, to *ice.Conn }{{ca, cb}, {cb, ca}} {
				if _, err := c.from.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if err := c.to.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
					t.Fatal(err)
				}
				n, err := c.to.Read(buf)
				if err != nil || string(buf[:n]) != "hello" {
					t.Fatalf("%q, %v", buf[:n], err)
				}
			}
		})
	}
}
