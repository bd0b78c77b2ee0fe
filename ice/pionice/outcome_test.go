package pionice

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	pion "github.com/pion/ice/v2"
)

const relayText = "candidate:4 1 udp 16777215 203.0.113.9 8000 typ relay raddr 198.51.100.7 rport 6000"

// What an agent goes through, and what statistics are told of it.
func TestOutcome(t *testing.T) {
	pair := func(local, remote string) func(*testing.T, *Recorder) {
		return func(t *testing.T, r *Recorder) {
			r.Candidate(mustPion(t, local))
			r.State(pion.ConnectionStateChecking)
			r.Candidate(nil)
			r.Pair(mustPion(t, local), mustPion(t, remote))
			r.State(pion.ConnectionStateConnected)
		}
	}
	for name, test := range map[string]struct {
		life func(*testing.T, *Recorder)
		want string
	}{
		"nothing yet": {func(*testing.T, *Recorder) {}, ""},
		"direct":      {pair(srflxText, peerText), "gather success; punch success srflx udp 4; connect success srflx udp 4"},
		"relayed":     {pair(hostText, relayText), "gather success; relay success relay udp 4; connect success relay udp 4"},
		"failed": {func(t *testing.T, r *Recorder) {
			r.State(pion.ConnectionStateChecking)
			r.Candidate(nil)
			r.State(pion.ConnectionStateFailed)
			r.State(pion.ConnectionStateClosed)
		}, "gather fail no_address; punch time_out unanswered; connect time_out no_path"},
		"closed early": {func(t *testing.T, r *Recorder) { r.State(pion.ConnectionStateClosed) }, "gather cancelled closed; connect cancelled closed"},
		"lost later": {func(t *testing.T, r *Recorder) {
			pair(hostText, peerText)(t, r)
			r.State(pion.ConnectionStateDisconnected)
			r.State(pion.ConnectionStateFailed)
		}, "gather success; punch success host udp 4; connect success host udp 4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRecorder(RecorderConfig{})
				time.Sleep(120 * time.Millisecond)
				test.life(t, r)
				time.Sleep(time.Hour)
				about := About{Group: "b", LocalNAT: natprobe.TypeFullCone, RemoteNAT: natprobe.TypeSymmetric}
				events, err := r.Outcome(about)
				if err != nil {
					t.Fatal(err)
				}
				again, _ := r.Outcome(about)
				var got []string
				for i, e := range events {
					text := fmt.Sprint(e.Stage, " ", e.Status, " ", e.Pair, " ", e.Protocol, " ", e.Reason)
					if e.IPVersion != 0 {
						text += fmt.Sprint(" ", e.IPVersion)
					}
					got = append(got, strings.Join(strings.Fields(text), " "))
					if e.Latency != 120*time.Millisecond || e.Group != "b" || e.LocalNAT != about.LocalNAT || e.RemoteNAT != about.RemoteNAT ||
						e.Session != events[0].Session || again[i] != e {
						t.Errorf("%+v, and again %+v", e, again[i])
					}
				}
				if got := strings.Join(got, "; "); got != test.want {
					t.Errorf("%s\nwant %s", got, test.want)
				}
			})
		})
	}
}

func TestOutcomeRefused(t *testing.T) {
	r := NewRecorder(RecorderConfig{})
	r.State(pion.ConnectionStateClosed)
	var wrong *stats.EventError
	if events, err := r.Outcome(About{Group: "no word"}); !errors.As(err, &wrong) || wrong.Field != "ab_group" || len(events) != 0 {
		t.Errorf("%v, %v", events, err)
	}
	if events, err := (*Recorder)(nil).Outcome(About{}); events != nil || err != nil {
		t.Errorf("of no recorder: %v, %v", events, err)
	}
}
