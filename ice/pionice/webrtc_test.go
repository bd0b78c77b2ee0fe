package pionice

import (
	"testing"
)

// webCandidate and webState have the shape of webrtc.ICECandidate and
// webrtc.ICEConnectionState; examples/pionwebrtc has the real ones.
type webCandidate struct{ text string }

type webPair struct{ Local, Remote *webCandidate }

type webState string

func (s webState) String() string { return string(s) }

func webText(c *webCandidate) string { return c.text }

func webTexts(p *webPair) (local, remote string) { return p.Local.text, p.Remote.text }

func TestWebRTCHandlers(t *testing.T) {
	r := NewRecorder(RecorderConfig{})
	var got []any
	candidate := OnICECandidate(r, func(c *webCandidate) { got = append(got, c) }, webText)
	state := OnICEConnectionStateChange(r, func(s webState) { got = append(got, s) })
	pair := OnSelectedCandidatePairChange(r, func(p *webPair) { got = append(got, p) }, webTexts)

	host, peer := &webCandidate{hostText}, &webCandidate{peerText}
	selected := &webPair{host, peer}
	candidate(host)
	candidate(nil)
	state("checking")
	pair(selected)
	state("connected")
	candidate(&webCandidate{"candidate:"}) // what pion/webrtc writes where it cannot convert
	pair(&webPair{&webCandidate{""}, peer})

	if len(got) != 7 || got[0] != host || got[1] != (*webCandidate)(nil) || got[2] != webState("checking") || got[3] != selected {
		t.Errorf("the application's handlers got %v", got)
	}
	events := r.Events()
	kinds := []Kind{Gathered, GatheringDone, StateChanged, PairSelected, StateChanged, Gathered, PairSelected}
	if len(events) != len(kinds) {
		t.Fatalf("%d events, want %d", len(events), len(kinds))
	}
	for i, e := range events {
		if e.Kind != kinds[i] || (e.Err != nil) != (i >= 5) {
			t.Errorf("event %d: %v, error %v; want %v", i, e, e.Err, kinds[i])
		}
	}
	if events[0].Local.String() != hostText || events[3].Remote.String() != peerText || events[4].From != "checking" || events[4].State != "connected" {
		t.Errorf("events %v", events)
	}
}

func TestWebRTCHandlersWithoutAnApplication(t *testing.T) {
	r := NewRecorder(RecorderConfig{})
	OnICECandidate(r, nil, webText)(&webCandidate{hostText})
	OnICEConnectionStateChange[webState](r, nil)("new")
	OnSelectedCandidatePairChange(r, nil, webTexts)(&webPair{&webCandidate{hostText}, &webCandidate{peerText}})
	OnSelectedCandidatePairChange(r, nil, webTexts)(nil)
	if r.Count() != 3 {
		t.Errorf("%d events, want 3", r.Count())
	}
}
