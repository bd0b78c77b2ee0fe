package bradawl

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// TestNetworkThatComesAndGoes: servers are not asked each time that the network changes, but
// they are after the last.
func TestNetworkThatComesAndGoes(t *testing.T) {
	w := newWorld(t, 1, "", "", cones...)
	a := w.peers[0]
	w.Run(time.Second)
	const every, changes = 200 * time.Millisecond, 300
	for range changes {
		a.do(func(now time.Time) { a.networkChanged(now, true) })
		w.Run(every)
	}
	last := w.Now()
	if least, most := 4, 4+int(every*changes/wishGap)+1; len(a.doubts) < least || len(a.doubts) > most {
		w.fail("asked %d times, want %d to %d", len(a.doubts), least, most)
	}
	w.Run(time.Minute)
	if at := a.doubts[len(a.doubts)-1]; at.Before(last.Add(-every)) || at.After(last.Add(wishGap)) {
		w.fail("asked last %v after the last change", at.Sub(last))
	}
	if n := len(a.doubts); a.doubts[n-1].Sub(a.doubts[n-2]) < wishGap/2 {
		w.fail("asked at %v", a.doubts)
	}
}

// TestProfilesOfNetworksBefore: what was found out of a NAT is told to peers, and forgotten here
// and there when the host is behind another one, also by a peer that dials only then.
func TestProfilesOfNetworksBefore(t *testing.T) {
	w := newWorld(t, 1, "", "", cones...)
	a, b := w.peers[0], w.peers[1]
	cone := natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapping: natprobe.MappingEndpointIndependent}
	a.do(func(now time.Time) { a.setProfile(now, cone) })
	w.connect(PathDirect)
	if b.links[0].profile != cone {
		w.fail("the peer knows %+v", b.links[0].profile)
	}
	a.do(func(now time.Time) { a.networkChanged(now, false) })
	w.Run(time.Second)
	if b.links[0].profile != cone || a.profile != cone || len(a.doubts) != 1 {
		w.fail("forgotten, though no address has changed, or not asked for: %v", a.doubts)
	}
	a.do(func(now time.Time) { a.networkChanged(now, true) })
	w.Run(time.Second)
	if none := (natprobe.Profile{}); b.links[0].profile != none || a.profile != none || a.profileBytes() != nil {
		w.fail("known of the NAT before: %+v", b.links[0].profile)
	}
	a.do(func(now time.Time) { a.setProfile(now, cone) })
	w.Run(time.Second)
	if b.links[0].profile != cone {
		w.fail("the peer knows %+v", b.links[0].profile)
	}
}

// TestDoubtsThatFindTheSame: where looking at the NAT finds every time what a STUN server
// contradicts, it is looked at ever more seldom.
func TestDoubtsThatFindTheSame(t *testing.T) {
	w := newWorld(t, 1, "", "", cones...)
	a := w.peers[0]
	blocked := natprobe.Profile{Type: natprobe.TypeUDPBlocked}
	a.do(func(now time.Time) { a.setProfile(now, blocked) })
	seen := 0
	for range 180 {
		w.Run(time.Minute)
		if len(a.doubts) > seen {
			seen = len(a.doubts)
			a.do(func(now time.Time) { a.setProfile(now, blocked) })
		}
	}
	if seen < 3 || seen > 9 {
		w.fail("looked %d times in three hours: %v", seen, a.doubts)
	}
}

// TestLanesOfAnotherNetwork: two NATs that no lane joins are left alone; when one of them is
// found to be another, a lane begins at once.
func TestLanesOfAnotherNetwork(t *testing.T) {
	w := newWorld(t, 1, "symmetric-random", "symmetric-random", func(o *worldOptions) { o.probe = true })
	w.connect(PathRelay)
	w.Run(5 * time.Second)
	a := w.peers[0]
	if a.links[0].lane.tries != 0 {
		w.fail("%d attempts at NATs that cannot be joined", a.links[0].lane.tries)
	}
	cone := natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapping: natprobe.MappingEndpointIndependent, Filtering: natprobe.FilteringAddressAndPortDependent}
	a.do(func(now time.Time) { a.setProfile(now, cone) })
	w.Run(5 * time.Second)
	if a.links[0].lane.tries == 0 {
		w.fail("no attempt, though the NAT is another")
	}
}
