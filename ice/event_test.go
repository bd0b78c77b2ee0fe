package ice_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/ice"
)

// An event that is printed is one line to read, whatever its kind, and shows nothing secret.
func TestEventString(t *testing.T) {
	host := ice.Candidate{Foundation: "1", Component: 1, Priority: 7, Addr: netip.MustParseAddrPort("192.0.2.1:5"), Type: ice.Host}
	relay := ice.Candidate{Foundation: "2", Component: 1, Priority: 7, Addr: netip.MustParseAddrPort("198.51.100.1:6"), Type: ice.Relay}
	pair := ice.Pair{Local: host, Remote: relay, Route: ice.Route{Remote: relay.Addr}}
	for want, e := range map[string]ice.Event{
		"agent 1, state checking -> failed: broken; 3 before it were missed":       {Kind: ice.EventState, From: ice.Checking, State: ice.Failed, Err: errors.New("ice: broken"), Missed: 3},
		"agent 1, candidate candidate:1 1 udp 7 192.0.2.1 5 typ host":              {Kind: ice.EventCandidate, Candidate: host},
		"agent 1, selected, udp host 192.0.2.1:5 -> relay 198.51.100.1:6":          {Kind: ice.EventSelected, Pair: pair},
		"agent 1, selected, no pair":                                               {Kind: ice.EventSelected},
		"agent 1, role controlling":                                                {Kind: ice.EventRole, Controlling: true},
		"agent 1, role controlled":                                                 {Kind: ice.EventRole},
		"agent 1, restarted, ice-ufrag:abcd":                                       {Kind: ice.EventRestarted, Credentials: ice.Credentials{Ufrag: "abcd", Pwd: "canary-password"}},
		"agent 1, data, 6 bytes":                                                   {Kind: ice.EventData, Data: []byte("canary")},
		"agent 1, gathered":                                                        {Kind: ice.EventGathered},
		"agent 1, passed-over candidate:1 1 udp 7 192.0.2.1 5 typ host: not today": {Kind: ice.EventPassedOver, Candidate: host, Err: errors.New("not today")},
		"agent 1, reflexive base 4 seen at 192.0.2.1:5":                            {Kind: ice.EventReflexive, Base: 4, Candidate: host},
		"agent 1, base-gone 4: pulled out":                                         {Kind: ice.EventBaseGone, Base: 4, Err: errors.New("pulled out")},
	} {
		e.Agent = 1
		if got := fmt.Sprintf("%v", e); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for k := range ice.EventClosed + 2 { // and one that is none
		e := ice.Event{Kind: k, Candidate: host, Credentials: ice.Credentials{Pwd: "canary"}, Data: []byte("canary")}
		if got := e.String(); strings.ContainsAny(got, "\n") || strings.Contains(got, "canary") || strings.Contains(got, "invalid AddrPort") || len(got) > 100 || got == "" {
			t.Errorf("%d: %q", k, got)
		}
	}
}
