package pionice

import (
	"reflect"
	"sync/atomic"

	pion "github.com/pion/ice/v2"
)

// Handlers are an application's own, each for the setter of pion's agent of the same name:
// OnCandidate, OnConnectionStateChange, OnSelectedCandidatePairChange. nil: none.
type Handlers struct {
	OnCandidate                   func(pion.Candidate)
	OnConnectionStateChange       func(pion.ConnectionState)
	OnSelectedCandidatePairChange func(local, remote pion.Candidate)
}

// Agent is an agent of pion's with a recorder at it. Use it in the agent's place: its
// setters replace the application's handlers as pion's do, and keep the recorder. All
// other methods are pion's. (Those of the embedded Agent itself still evict the recorder.)
type Agent struct {
	*pion.Agent
	candidate atomic.Pointer[func(pion.Candidate)]
	state     atomic.Pointer[func(pion.ConnectionState)]
	pair      atomic.Pointer[func(local, remote pion.Candidate)]
}

// Observe has the recorder record what the agent tells, and the application's handlers
// called after it, with the same arguments, on pion's goroutine: each event is recorded
// first, however long a handler takes. A handler that blocks keeps pion from telling more
// of that kind, which then is recorded when pion tells it; other kinds, and the agent
// itself, go on. A panic in a handler is not caught, as pion does not; nothing of the
// recorder's is locked then.
//
// pion has no way to read a handler that is set already. So call Observe right after
// pion's NewAgent, or hand the handlers over in app: where one is set and app has none in
// its place, the error is a *[HandlerError], and the agent is left as it was. It is
// [ErrNoAgent] for a nil agent. Events that pion told before are not recorded.
func (r *Recorder) Observe(agent *pion.Agent, app Handlers) (*Agent, error) {
	if agent == nil {
		return nil, ErrNoAgent
	}
	for _, h := range []struct {
		field, name string
		given       bool
	}{
		{"onCandidateHdlr", "OnCandidate", app.OnCandidate != nil},
		{"onConnectionStateChangeHdlr", "OnConnectionStateChange", app.OnConnectionStateChange != nil},
		{"onSelectedCandidatePairChangeHdlr", "OnSelectedCandidatePairChange", app.OnSelectedCandidatePairChange != nil},
	} {
		if !h.given && isSet(agent, h.field) {
			return nil, &HandlerError{Name: h.name}
		}
	}
	a := &Agent{Agent: agent}
	// The setters of pion return no errors, and those here none of their own.
	_ = a.OnCandidate(app.OnCandidate)
	_ = a.OnConnectionStateChange(app.OnConnectionStateChange)
	_ = a.OnSelectedCandidatePairChange(app.OnSelectedCandidatePairChange)
	_ = agent.OnCandidate(func(c pion.Candidate) {
		r.Candidate(c)
		if next := a.candidate.Load(); next != nil {
			(*next)(c)
		}
	})
	_ = agent.OnConnectionStateChange(func(s pion.ConnectionState) {
		r.State(s)
		if next := a.state.Load(); next != nil {
			(*next)(s)
		}
	})
	_ = agent.OnSelectedCandidatePairChange(func(local, remote pion.Candidate) {
		r.Pair(local, remote)
		if next := a.pair.Load(); next != nil {
			(*next)(local, remote)
		}
	})
	return a, nil
}

// isSet reports whether a field of pion's agent, which holds a handler, holds one. If
// another version of pion has no such field, nothing is known and it reports false.
func isSet(agent *pion.Agent, field string) bool {
	handler := reflect.ValueOf(agent).Elem().FieldByName(field)
	return handler.IsValid() && !handler.IsZero()
}

// OnCandidate replaces the application's handler of local candidates; nil: none. It
// returns nil.
func (a *Agent) OnCandidate(f func(pion.Candidate)) error {
	set(&a.candidate, f, f != nil)
	return nil
}

// OnConnectionStateChange replaces the application's handler of states; nil: none. It
// returns nil.
func (a *Agent) OnConnectionStateChange(f func(pion.ConnectionState)) error {
	set(&a.state, f, f != nil)
	return nil
}

// OnSelectedCandidatePairChange replaces the application's handler of selected pairs; nil:
// none. It returns nil.
func (a *Agent) OnSelectedCandidatePairChange(f func(local, remote pion.Candidate)) error {
	set(&a.pair, f, f != nil)
	return nil
}

func set[F any](handler *atomic.Pointer[F], f F, some bool) {
	if some {
		handler.Store(&f)
	} else {
		handler.Store(nil)
	}
}
