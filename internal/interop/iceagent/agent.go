package iceagent

import (
	"context"
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/ice"
)

// Agent is an agent with what it tells, sorted. Whoever restarts it empties the channels.
type Agent struct {
	*ice.Agent
	Candidates chan string   // as text; an empty text tells that there are no more
	Choices    chan ice.Pair // the pairs that were selected
	Restarted  chan ice.Credentials
	Completed  chan struct{} // the state
}

// New makes an endpoint with one agent; both are closed when the test ends. Unless cfg says
// otherwise, it is on 127.0.0.1.
func New(t *testing.T, cfg ice.Config, agent ice.AgentConfig) *Agent {
	t.Helper()
	cfg.Loopback = true
	if cfg.Addrs == nil {
		cfg.Addrs = func() ([]ice.HostAddr, error) {
			return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
		}
	}
	e, err := ice.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// More than any test makes: the events are not held up.
	a := &Agent{
		Candidates: make(chan string, 100), Choices: make(chan ice.Pair, 100),
		Restarted: make(chan ice.Credentials, 100), Completed: make(chan struct{}, 100),
	}
	if a.Agent, err = e.NewAgent(agent); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); a.sort(t) }()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return a
}

func (a *Agent) sort(t *testing.T) {
	for {
		e, err := a.Next(context.Background())
		if err != nil {
			return
		}
		switch e.Kind {
		case ice.EventCandidate:
			a.Candidates <- e.Candidate.String()
		case ice.EventGathered:
			a.Candidates <- ""
		case ice.EventSelected:
			a.Choices <- e.Pair
		case ice.EventRestarted:
			a.Restarted <- e.Credentials
		case ice.EventState:
			t.Logf("ours: %v, then %v %v", e.From, e.State, e.Err)
			if e.State == ice.Completed {
				a.Completed <- struct{}{}
			}
		case ice.EventPassedOver:
			t.Logf("ours: passed over %v: %v", e.Candidate, e.Err)
		}
	}
}

// Tell takes in what another agent tells of its candidates, in the manner of Candidates.
func (a *Agent) Tell(text string) error {
	if text == "" {
		return a.EndOfCandidates()
	}
	c, err := ice.ParseCandidate(text)
	if err != nil {
		return err
	}
	return a.AddRemote(c)
}

// Drain empties a channel.
func Drain[T any](c chan T) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}
