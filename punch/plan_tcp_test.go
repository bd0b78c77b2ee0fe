package punch

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
)

// overTCP gives a profile what the other is over UDP for TCP.
func overTCP(p natprobe.Profile, name string) natprobe.Profile {
	if name != "" {
		q := profileOf(name)
		p.TCP = natprobe.TCPProfile{Mapping: q.Mapping, Ports: q.Ports}
	}
	return p
}

func TestPlanTCP(t *testing.T) {
	const blocked = "UDP is blocked on your side"
	for _, c := range []struct{ a, tcpA, b, tcpB, want string }{
		{"blocked", "cone", "cone", "cone", "tcp_simultaneous_open 95%"},
		{"blocked", "cone", "random", "cone", "tcp_simultaneous_open 95%"}, // TCP is not what UDP is
		{"blocked", "preserving", "sequential", "preserving", "tcp_simultaneous_open 95%"},
		{"blocked", "cone", "cone", "", "tcp_simultaneous_open 60%"},
		{"blocked", "cone", "sequential", "sequential", "tcp_predicted 99%"},
		{"sequential", "sequential", "blocked", "cone", "tcp_predicted 99%"},
		{"blocked", "sequential, busy", "cone", "cone", "tcp_predicted 99%"},
		{"blocked", "sequential", "blocked", "cone", "tcp_predicted 99%"},
		{"blocked", "cone", "sequential, mad", "sequential, mad", "tcp_predicted 69%"},
		{"blocked", "cone", "cone", "sequential", "tcp_predicted 99%"},
		{"blocked", "cone", "random", "random", "- because " + blocked + ", and the peer's NAT gives each destination another port; the peer's NAT gives TCP random ports of its whole range; let UDP out of the network that blocks it"},
		{"blocked", "cone", "block of 512", "block of 512", "- because " + blocked + ", and the peer's NAT gives each destination another port; the peer's NAT gives TCP random ports out of a block of about 512; let UDP out of the network that blocks it"},
		{"blocked", "cone", "sequential, no step", "sequential, no step", "- because " + blocked + ", and the peer's NAT gives each destination another port; the peer's NAT gives TCP ports of which no rule is known; let UDP out of the network that blocks it"},
		{"blocked", "sequential", "sequential", "sequential", "- because " + blocked + ", and your NAT gives each destination another port; both NATs give each TCP connection another port; let UDP out of the network that blocks it"},
		{"blocked", "", "sequential", "sequential", "- because " + blocked + ", and the peer's NAT gives each destination another port; let UDP out of the network that blocks it"},
		{"cone", "cone", "sequential", "sequential", "predicted 100%"}, // UDP will do
	} {
		a, b := pair(c.a, c.b)
		a, b = overTCP(a, c.tcpA), overTCP(b, c.tcpB)
		lanes := Plan(a, b, Budget{})
		if got := brief(lanes); got != c.want {
			t.Errorf("%s, TCP %q, with %s, TCP %q:\n got %s\nwant %s\n%s", c.a, c.tcpA, c.b, c.tcpB, got, c.want, table(lanes))
		}
		checkPlan(t, a, b, Budget{})
	}
	a, b := pair("blocked", "sequential")
	a, b = overTCP(a, "cone"), overTCP(b, "sequential")
	for _, c := range []struct {
		budget Budget
		ours   Lane // on the easy side
		theirs Lane
		why    string
	}{
		{ours: Lane{Hard: Theirs, Sockets: 2, Probes: 6, Entries: 6}, theirs: Lane{Hard: Ours, Sockets: 4, Probes: 15, Entries: 9}},
		{budget: Budget{Probes: 12, Entries: 12}, ours: Lane{Hard: Theirs, Sockets: 2, Probes: 4, Entries: 4}, theirs: Lane{Hard: Ours, Sockets: 4, Probes: 10, Entries: 6}},
		{budget: Budget{Sockets: 3}, why: noRoom},
		{budget: Budget{Probes: 4}, why: noRoom},
		{budget: Budget{Probes: -1}, why: noRoom},
	} {
		ours, theirs := laneOf(Plan(a, b, c.budget), LaneTCPPredicted), laneOf(Plan(b, a, c.budget), LaneTCPPredicted)
		if c.why != "" {
			if ours.Ruled != c.why || theirs.Ruled != c.why {
				t.Errorf("%+v: %+v and %+v", c.budget, ours, theirs)
			}
			continue
		}
		for _, x := range []struct{ got, want Lane }{{ours, c.ours}, {theirs, c.theirs}} {
			if x.got.Hard != x.want.Hard || x.got.Sockets != x.want.Sockets || x.got.Probes != x.want.Probes || x.got.Entries != x.want.Entries {
				t.Errorf("%+v: %+v, want %+v", c.budget, x.got, x.want)
			}
		}
	}
	a.Mapped, b.Mapped = netip.MustParseAddrPort("203.0.113.1:2000"), netip.MustParseAddrPort("203.0.113.1:3000")
	a.Hairpin, b.Hairpin = natprobe.No, natprobe.No
	if l := laneOf(Plan(a, b, Budget{}), LaneTCPPredicted); l.Ruled != noHairpin {
		t.Errorf("behind one NAT: %+v", l)
	}
	if l := laneOf(Plan(profileOf("cone"), profileOf("sequential"), Budget{}), LaneTCPPredicted); !strings.Contains(l.Ruled, "not known to be blocked") {
		t.Errorf("%+v", l)
	}
}
