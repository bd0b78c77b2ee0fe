package pionice

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

// loopback makes an agent that gathers UDP candidates on 127.0.0.1 alone.
func loopback(t testing.TB) *pion.Agent {
	t.Helper()
	agent, err := pion.NewAgent(&pion.AgentConfig{
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4},
		CandidateTypes:   []pion.CandidateType{pion.CandidateTypeHost},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		InterfaceFilter:  func(name string) bool { return strings.HasPrefix(name, "lo") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
	})
	return agent
}

// connecting is what is common to pion's agents and observed ones.
type connecting interface {
	GetLocalUserCredentials() (string, string, error)
	AddRemoteCandidate(pion.Candidate) error
	GatherCandidates() error
	Dial(ctx context.Context, ufrag, pwd string) (*pion.Conn, error)
	Accept(ctx context.Context, ufrag, pwd string) (*pion.Conn, error)
}

// trickleTo is a handler that gives the peer each candidate by way of package ice.
func trickleTo(t testing.TB, peer connecting) func(pion.Candidate) {
	return func(p pion.Candidate) {
		if p == nil {
			return
		}
		c, err := FromPion(p)
		if err != nil {
			t.Error(err)
			return
		}
		if c, err = ice.ParseCandidate(c.String()); err != nil {
			t.Error(err)
			return
		}
		if p, err = ToPion(c); err != nil {
			t.Error(err)
			return
		}
		if err := peer.AddRemoteCandidate(p); err != nil {
			t.Error(err)
		}
	}
}

// connect has both gather and a dial b, and returns when both are connected.
func connect(t testing.TB, a, b connecting) (dialled, accepted *pion.Conn) {
	t.Helper()
	for _, agent := range []connecting{a, b} {
		if err := agent.GatherCandidates(); err != nil {
			t.Fatal(err)
		}
	}
	return dial(t, a, b)
}

// dial has a dial b, and returns when both are connected.
func dial(t testing.TB, a, b connecting) (dialled, accepted *pion.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	credentials := func(agent connecting) (ufrag, pwd string) {
		ufrag, pwd, err := agent.GetLocalUserCredentials()
		if err != nil {
			t.Fatal(err)
		}
		return ufrag, pwd
	}
	type result struct {
		conn *pion.Conn
		err  error
	}
	accepting := make(chan result, 1)
	go func() {
		ufrag, pwd := credentials(a)
		conn, err := b.Accept(ctx, ufrag, pwd)
		accepting <- result{conn, err}
	}()
	ufrag, pwd := credentials(b)
	dialled, err := a.Dial(ctx, ufrag, pwd)
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	r := <-accepting
	if r.err != nil {
		t.Fatalf("accepting: %v", r.err)
	}
	return dialled, r.conn
}

// watched is a recorder that a test can wait for.
type watched struct {
	*Recorder
	told chan Event
}

func newWatched() watched {
	told := make(chan Event, 100) // more than any test here causes
	return watched{NewRecorder(RecorderConfig{OnEvent: func(e Event) { told <- e }}), told}
}

// waitFor returns the first event that is so, as soon as there is one.
func (w watched) waitFor(t testing.TB, what string, ok func(Event) bool) Event {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		if i := slices.IndexFunc(w.Events(), ok); i >= 0 {
			return w.Events()[i]
		}
		select {
		case <-w.told:
		case <-limit:
			t.Fatalf("no event tells %s; there are\n%v", what, w.Events())
		}
	}
}

func stateIs(s string) func(Event) bool { return func(e Event) bool { return e.State == s } }

func isKind(k Kind) func(Event) bool { return func(e Event) bool { return e.Kind == k } }

func TestObserveRealAgents(t *testing.T) {
	ra, rb := newWatched(), newWatched()
	plainA, plainB := loopback(t), loopback(t)
	states := make(chan pion.ConnectionState, 16)
	pairs := make(chan [2]pion.Candidate, 16)
	a, err := ra.Observe(plainA, Handlers{
		OnCandidate:                   trickleTo(t, plainB),
		OnConnectionStateChange:       func(s pion.ConnectionState) { states <- s },
		OnSelectedCandidatePairChange: func(l, r pion.Candidate) { pairs <- [2]pion.Candidate{l, r} },
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := rb.Observe(plainB, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	// b's application sets its handler as it would at pion's agent, and then another.
	if err := b.OnCandidate(func(pion.Candidate) { t.Error("a handler that was replaced is called") }); err != nil {
		t.Fatal(err)
	}
	if err := b.OnCandidate(trickleTo(t, plainA)); err != nil {
		t.Fatal(err)
	}
	dialled, accepted := connect(t, a, b)

	go func() { _, _ = dialled.Write([]byte("through")) }()
	buf := make([]byte, 100)
	n, err := accepted.Read(buf)
	if err != nil || string(buf[:n]) != "through" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	for _, r := range []watched{ra, rb} {
		r.waitFor(t, "a connected state", stateIs("connected"))
		r.waitFor(t, "the end of gathering", isKind(GatheringDone))
		pair := r.waitFor(t, "a pair", isKind(PairSelected))
		if pair.Err != nil || !pair.Local.Addr.Addr().IsLoopback() || !pair.Remote.Addr.Addr().IsLoopback() {
			t.Errorf("%v, error %v: want two loopback candidates", pair, pair.Err)
		}
		times := r.Times()
		for _, at := range []time.Time{times.FirstCandidate, times.GatheringDone, times.Checking, times.PairSelected, times.Connected} {
			if at.Before(times.Began) {
				t.Errorf("times %+v: want all of them, after the first", times)
			}
		}
		if times.Connected.Before(times.Checking) {
			t.Errorf("connected at %v, before checking at %v", times.Connected, times.Checking)
		}
	}
	// The application's own handlers had the same.
	if first, second := <-states, <-states; first != pion.ConnectionStateChecking || second != pion.ConnectionStateConnected {
		t.Errorf("the application's handler got %v, %v", first, second)
	}
	pair := <-pairs
	local, err := FromPion(pair[0])
	if recorded := ra.waitFor(t, "a pair", isKind(PairSelected)); err != nil || local.Addr != recorded.Local.Addr {
		t.Errorf("the application's handler got a pair from %v, the recorder one from %v", local.Addr, recorded.Local.Addr)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	ra.waitFor(t, "the end", stateIs("closed"))
}

func TestObserveNeverEvicts(t *testing.T) {
	handlers := map[string]func(*pion.Agent) error{
		"OnCandidate":                   func(a *pion.Agent) error { return a.OnCandidate(func(pion.Candidate) {}) },
		"OnConnectionStateChange":       func(a *pion.Agent) error { return a.OnConnectionStateChange(func(pion.ConnectionState) {}) },
		"OnSelectedCandidatePairChange": func(a *pion.Agent) error { return a.OnSelectedCandidatePairChange(func(_, _ pion.Candidate) {}) },
	}
	given := Handlers{
		OnCandidate:                   func(pion.Candidate) {},
		OnConnectionStateChange:       func(pion.ConnectionState) {},
		OnSelectedCandidatePairChange: func(_, _ pion.Candidate) {},
	}
	for name, set := range handlers {
		agent := loopback(t)
		if err := set(agent); err != nil {
			t.Fatal(err)
		}
		observed, err := NewRecorder(RecorderConfig{}).Observe(agent, Handlers{})
		var taken *HandlerError
		if observed != nil || !errors.As(err, &taken) || taken.Name != name || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is set: %v, %v; want an error that names it", name, observed, err)
		}
		if _, err := NewRecorder(RecorderConfig{}).Observe(agent, given); err != nil {
			t.Errorf("%s is set and given: %v", name, err)
		}
		if _, err := NewRecorder(RecorderConfig{}).Observe(agent, Handlers{}); !errors.As(err, &taken) {
			t.Errorf("a second recorder: %v, want an error that says that it would evict the first", err)
		}
	}
	if a, err := NewRecorder(RecorderConfig{}).Observe(nil, Handlers{}); a != nil || !errors.Is(err, ErrNoAgent) {
		t.Errorf("no agent: %v, %v; want ErrNoAgent", a, err)
	}
}

// A handler of the application's that blocks holds up what comes after it of its kind, and
// neither the recorder nor the connection.
func TestObserveWithHandlersThatBlock(t *testing.T) {
	r := newWatched()
	plainA, plainB := loopback(t), loopback(t)
	release := make(chan struct{})
	var called atomic.Int32
	a, err := r.Observe(plainA, Handlers{
		OnCandidate: trickleTo(t, plainB),
		OnConnectionStateChange: func(pion.ConnectionState) {
			if called.Add(1) == 1 {
				<-release
			}
		},
		OnSelectedCandidatePairChange: func(_, _ pion.Candidate) { <-release },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := plainB.OnCandidate(trickleTo(t, plainA)); err != nil {
		t.Fatal(err)
	}
	connect(t, a, plainB)
	r.waitFor(t, "checking", stateIs("checking"))
	r.waitFor(t, "a pair", isKind(PairSelected))
	r.waitFor(t, "the end of gathering", isKind(GatheringDone))
	if n := called.Load(); n != 1 {
		t.Errorf("%d states were told, want only that whose handler blocks", n)
	}
	close(release)
	r.waitFor(t, "a connected state", stateIs("connected"))
}

// TestObserveWithAHandlerThatPanics runs itself in a process that the panic ends, as it
// does without a recorder.
func TestObserveWithAHandlerThatPanics(t *testing.T) {
	const flag = "BRADAWL_TEST_HANDLER_PANIC"
	if os.Getenv(flag) != "" {
		r := newWatched()
		a, err := r.Observe(loopback(t), Handlers{OnCandidate: func(pion.Candidate) {
			if e := <-r.told; e.Kind != Gathered || r.Count() != 1 { // recorded first, and nothing is locked
				panic("a bug in the recorder")
			}
			panic("a bug in the application")
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.GatherCandidates(); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done()
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^TestObserveWithAHandlerThatPanics$", "-test.v", "-test.timeout=20s")
	child.Env = append(os.Environ(), flag+"=1")
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: a bug in the application") {
		t.Errorf("error %v, output:\n%s\nwant a process that the panic ended", err, out)
	}
}
