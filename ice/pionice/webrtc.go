package pionice

import (
	"cmp"
	"fmt"

	"github.com/bradawl/bradawl/ice"
)

// OnICECandidate returns a handler for PeerConnection.OnICECandidate of pion/webrtc, which
// records a candidate, or with nil that gathering is done, and then calls next, if it is
// not nil. C is webrtc.ICECandidate, and text returns what that writes of itself:
//
//	pc.OnICECandidate(pionice.OnICECandidate(rec, next, func(c *webrtc.ICECandidate) string {
//		return c.ToJSON().Candidate
//	}))
//
// The types are parameters so that this module does not need pion/webrtc, whichever major
// version it is. What [Recorder.Observe] says of handlers holds here.
func OnICECandidate[C any](r *Recorder, next func(*C), text func(*C) string) func(*C) {
	return func(c *C) {
		if c == nil {
			r.record(Event{Kind: GatheringDone})
		} else {
			local, err := ice.ParseCandidate(text(c))
			r.record(Event{Kind: Gathered, Local: local, Err: err})
		}
		if next != nil {
			next(c)
		}
	}
}

// OnICEConnectionStateChange returns a handler for
// PeerConnection.OnICEConnectionStateChange of pion/webrtc, which records the state and
// then calls next, if it is not nil. S is webrtc.ICEConnectionState, which need not be
// named where next tells it.
func OnICEConnectionStateChange[S fmt.Stringer](r *Recorder, next func(S)) func(S) {
	return func(s S) {
		r.stateNamed(s)
		if next != nil {
			next(s)
		}
	}
}

// OnSelectedCandidatePairChange returns a handler for
// ICETransport.OnSelectedCandidatePairChange of pion/webrtc, which records the pair and
// then calls next, if it is not nil. P is webrtc.ICECandidatePair, and texts returns what
// its two candidates write of themselves. The transport of a data channel is
// PeerConnection.SCTP().Transport().ICETransport().
func OnSelectedCandidatePairChange[P any](r *Recorder, next func(*P), texts func(*P) (local, remote string)) func(*P) {
	return func(p *P) {
		if p != nil {
			l, m := texts(p)
			local, err := ice.ParseCandidate(l)
			remote, err2 := ice.ParseCandidate(m)
			r.record(Event{Kind: PairSelected, Local: local, Remote: remote, Err: cmp.Or(err, err2)})
		}
		if next != nil {
			next(p)
		}
	}
}
