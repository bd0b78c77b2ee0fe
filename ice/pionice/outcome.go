package pionice

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// About is what a recorder cannot know of its agent's session.
type About struct {
	Group     string        // of the experiment that the session is part of; "": of none
	LocalNAT  natprobe.Type // of this side, as natprobe tells it; zero: not known
	RemoteNAT natprobe.Type // of the peer
}

// outcome is what a recorder keeps for Outcome.
type outcome struct {
	candidates     int           // how many were gathered
	local, remote  ice.Candidate // the first pair selected, once paired
	paired         bool
	failed, closed time.Time // zero: not yet
	session        stats.ID
	ids            map[stats.Stage]stats.ID
}

// Outcome returns what became of the agent so far as events for statistics, for a
// stats.Recorder, say: gather, connect, and punch or relay, whichever the selected pair is
// of; stages that have not ended are left out. Times count from when the recorder was made.
// The events keep their IDs, so that one that is recorded after a further call too counts
// once. pion tells no number of checks: an attempt that came to checks has the Tries 1. The
// error is that of the random source, or says what is wrong with about.
func (r *Recorder) Outcome(about About) ([]stats.Event, error) {
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var (
		events []stats.Event
		bad    error
	)
	tell := func(stage stats.Stage, at time.Time, e stats.Event) {
		if bad != nil {
			return
		}
		if e.ID, bad = r.made.id(stage); bad != nil {
			return
		}
		e.Session, e.Stage, e.Time, e.Latency = r.made.session, stage, at, max(0, at.Sub(r.times.Began))
		e.Group, e.LocalNAT, e.RemoteNAT = about.Group, about.LocalNAT, about.RemoteNAT
		if bad = e.Validate(); bad == nil {
			events = append(events, e)
		}
	}
	switch made := &r.made; {
	case !r.times.GatheringDone.IsZero() && made.candidates > 0:
		tell(stats.StageGather, r.times.GatheringDone, stats.Event{Status: stats.StatusSuccess, Tries: made.candidates})
	case !r.times.GatheringDone.IsZero():
		tell(stats.StageGather, r.times.GatheringDone, stats.Event{Status: stats.StatusFail, Reason: "no_address"})
	case !made.closed.IsZero():
		tell(stats.StageGather, made.closed, stats.Event{Status: stats.StatusCancelled, Reason: "closed"})
	}
	switch made := &r.made; {
	case !r.times.Connected.IsZero() && made.paired:
		e := made.path()
		stage := stats.StagePunch
		if e.Pair == stats.PairRelay {
			stage = stats.StageRelay
		}
		tell(stage, r.times.Connected, e)
		tell(stats.StageConnect, r.times.Connected, e)
	case !made.failed.IsZero():
		e := stats.Event{Status: stats.StatusTimeOut, Reason: "no_path"}
		if !r.times.Checking.IsZero() {
			e.Tries = 1
			tell(stats.StagePunch, made.failed, stats.Event{Status: stats.StatusTimeOut, Reason: "unanswered", Tries: 1})
		}
		tell(stats.StageConnect, made.failed, e)
	case !made.closed.IsZero() && r.times.Connected.IsZero():
		tell(stats.StageConnect, made.closed, stats.Event{Status: stats.StatusCancelled, Reason: "closed"})
	}
	return events, bad
}

// id returns the ID of a stage's event, the same each time.
func (o *outcome) id(stage stats.Stage) (stats.ID, error) {
	if o.session.IsZero() {
		session, err := stats.NewID(nil)
		if err != nil {
			return stats.ID{}, err
		}
		o.session, o.ids = session, make(map[stats.Stage]stats.ID)
	}
	if o.ids[stage].IsZero() {
		id, err := stats.NewID(nil)
		if err != nil {
			return stats.ID{}, err
		}
		o.ids[stage] = id
	}
	return o.ids[stage], nil
}

// path is what there is to tell of the selected pair.
func (o *outcome) path() stats.Event {
	e := stats.Event{Status: stats.StatusSuccess, Pair: max(pairKind(o.local.Type), pairKind(o.remote.Type)), Protocol: stats.ProtocolUDP, Tries: 1}
	if o.local.Transport == ice.TCP {
		e.Protocol = stats.ProtocolTCP
	}
	e.IPVersion = ipVersion(o.remote.Addr.Addr())
	return e
}

func ipVersion(a netip.Addr) int {
	switch {
	case !a.IsValid():
		return 0 // an mDNS name
	case a.Unmap().Is4():
		return 4
	}
	return 6
}

func pairKind(t ice.CandidateType) stats.PairKind {
	switch t {
	case ice.Host:
		return stats.PairHost
	case ice.ServerReflexive:
		return stats.PairSrflx
	case ice.Relay:
		return stats.PairRelay
	}
	return stats.PairPrflx
}
