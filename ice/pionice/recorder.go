package pionice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

// Kind is what an [Event] tells.
type Kind uint8

// The kinds of events.
const (
	Gathered      Kind = iota + 1 // a local candidate was found
	GatheringDone                 // there are no more of them
	StateChanged                  // of the connection
	PairSelected                  // or another one in its place
)

var kindNames = [...]string{"unknown", "gathered", "gathering_done", "state", "pair"}

// String returns the kind in a word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Event is one thing that an agent of pion's told.
type Event struct {
	Number  int    // 1 for the first of its recorder
	Session string // RecorderConfig.Session
	Kind    Kind
	// Time is when pion told of it. pion tells of candidates, states and pairs on
	// goroutines of their own, so that events of different kinds may come in another
	// order than they happened in, by as much as one handler takes.
	Time time.Time
	// After is the time since the recorder was made.
	After time.Duration
	// From and State are the states before and after: "new", "checking", "connected",
	// "completed", "disconnected", "failed" or "closed", the words of W3C's
	// RTCIceTransportState. From is empty where no state was told before.
	From, State string
	// Local is the candidate gathered, or the selected pair's; Remote the selected
	// pair's. Both are zero in events of other kinds.
	Local, Remote ice.Candidate
	// Err says why Local or Remote is zero where it should not be.
	Err error
}

// String returns the event in one line.
func (e Event) String() string {
	what := ""
	switch e.Kind {
	case Gathered:
		what = describe(e.Local)
	case StateChanged:
		what = e.State
		if e.From != "" {
			what = e.From + " -> " + e.State
		}
	case PairSelected:
		what = describe(e.Local) + " <-> " + describe(e.Remote)
	}
	if e.Err != nil {
		what = e.Err.Error()
	}
	return strings.TrimRight(fmt.Sprintf("%9.3f ms  %-14s  %s", float64(e.After.Microseconds())/1000, e.Kind, what), " ")
}

// describe returns what tells a candidate from others of its session.
func describe(c ice.Candidate) string {
	if c.Name != "" {
		return fmt.Sprintf("%v %v %s:%d", c.Type, c.Transport, c.Name, c.Addr.Port())
	}
	return fmt.Sprintf("%v %v %v", c.Type, c.Transport, c.Addr)
}

// RecorderConfig says what a [Recorder] keeps. The zero value works.
type RecorderConfig struct {
	// Session is put into each event, to tell recorders apart. Default: empty.
	Session string
	// Events is how many events are kept; for one more, the oldest is forgotten.
	// Default: 256; negative: none.
	Events int
	// OnEvent is called with each event, on the goroutine of pion's that told of it; while
	// it runs, pion tells no more of that kind. It must be safe for concurrent use.
	// Default: none.
	OnEvent func(Event)
}

const defaultEvents = 256

// Recorder turns what an agent tells its handlers into events. Its methods Candidate,
// State and Pair are such handlers, for pion's Agent.OnCandidate,
// OnConnectionStateChange and OnSelectedCandidatePairChange. Since pion keeps one handler
// of each and replaces it by the next, [Recorder.Observe] is how to have the application's
// too. [OnICECandidate], [OnICEConnectionStateChange] and [OnSelectedCandidatePairChange]
// make handlers for pion/webrtc.
//
// One recorder is for one agent. All methods are safe for use by several goroutines, and
// a nil recorder records nothing. A recorder holds no goroutine and needs no Close.
type Recorder struct {
	cfg RecorderConfig

	mu     sync.Mutex
	events []Event // number n is at (n-1) % cfg.Events
	count  int
	state  string
	times  Times
	made   outcome
}

// Times is when an agent first reached what it is asked about most. Zero: not yet.
type Times struct {
	Began          time.Time // the recorder was made
	FirstCandidate time.Time // a local one was gathered
	GatheringDone  time.Time // all were
	Checking       time.Time // the first check could leave
	PairSelected   time.Time // data has a way
	Connected      time.Time // or completed
}

// NewRecorder returns a recorder whose time begins now.
func NewRecorder(cfg RecorderConfig) *Recorder {
	switch {
	case cfg.Events == 0:
		cfg.Events = defaultEvents
	case cfg.Events < 0:
		cfg.Events = 0
	}
	return &Recorder{cfg: cfg, times: Times{Began: time.Now()}}
}

// Candidate is a handler for OnCandidate: it records a local candidate, or with nil that
// gathering is done.
func (r *Recorder) Candidate(c pion.Candidate) {
	if c == nil {
		r.record(Event{Kind: GatheringDone})
		return
	}
	local, err := FromPion(c)
	r.record(Event{Kind: Gathered, Local: local, Err: err})
}

// State is a handler for OnConnectionStateChange.
func (r *Recorder) State(s pion.ConnectionState) { r.stateNamed(s) }

// Pair is a handler for OnSelectedCandidatePairChange.
func (r *Recorder) Pair(local, remote pion.Candidate) {
	l, err := FromPion(local)
	m, err2 := FromPion(remote)
	r.record(Event{Kind: PairSelected, Local: l, Remote: m, Err: cmp.Or(err, err2)})
}

func (r *Recorder) stateNamed(s fmt.Stringer) {
	r.record(Event{Kind: StateChanged, State: strings.ToLower(s.String())})
}

// record completes an event and keeps it.
func (r *Recorder) record(e Event) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.complete(&e)
	if len(r.events) < r.cfg.Events {
		r.events = append(r.events, e)
	} else if r.cfg.Events > 0 {
		r.events[(e.Number-1)%r.cfg.Events] = e
	}
	r.mu.Unlock()
	if r.cfg.OnEvent != nil {
		r.cfg.OnEvent(e)
	}
}

// complete adds to an event what only the recorder knows. The recorder is locked.
func (r *Recorder) complete(e *Event) {
	r.count++
	e.Number = r.count
	e.Session = r.cfg.Session
	e.Time = time.Now()
	e.After = e.Time.Sub(r.times.Began)
	var first *time.Time
	switch e.Kind {
	case Gathered:
		first = &r.times.FirstCandidate
		r.made.candidates++
	case GatheringDone:
		first = &r.times.GatheringDone
	case PairSelected:
		first = &r.times.PairSelected
		if e.Err == nil && !r.made.paired {
			r.made.local, r.made.remote, r.made.paired = e.Local, e.Remote, true
		}
	case StateChanged:
		e.From, r.state = r.state, e.State
		switch e.State {
		case "checking":
			first = &r.times.Checking
		case "connected", "completed":
			first = &r.times.Connected
		case "failed":
			first = &r.made.failed
		case "closed":
			first = &r.made.closed
		}
	}
	if first != nil && first.IsZero() {
		*first = e.Time
	}
}

// Events returns the events that are kept, the oldest first.
func (r *Recorder) Events() []Event {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := 0
	if r.count > len(r.events) && len(r.events) > 0 {
		oldest = r.count % len(r.events)
	}
	return slices.Concat(r.events[oldest:], r.events[:oldest])
}

// Count returns how many events there were, those that are not kept any more included.
func (r *Recorder) Count() int {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Times returns when the agent first reached what.
func (r *Recorder) Times() Times {
	if r == nil {
		return Times{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times
}
