package bradawl

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// TestExplain asks sessions behind preset pairs why their path is what it is.
func TestExplain(t *testing.T) {
	const (
		whole = "random ports over the whole range"
		off   = "attempts at the ports are switched off by Config.Budget"
		cure  = "infeasible without port mapping; enable UPnP or PCP on either router"
	)
	for _, r := range []struct {
		nats   [2]string
		blind  bool // the NATs are not known
		policy Policy
		kind   PathKind
		why    string // contains
		reason Reason
	}{
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, kind: PathDirect, why: "direct: direct udp srflx 203.0.113.1:40000 -> srflx 203.0.113.2:40000"},
		{nats: [2]string{"port-restricted-cone", "symmetric-random"}, reason: ReasonRemoteSymmetric, kind: PathRelay,
			why: "peer's NAT is symmetric with " + whole + "; yours filters by port; " + off},
		{nats: [2]string{"symmetric-random", "port-restricted-cone"}, reason: ReasonLocalSymmetric, kind: PathRelay,
			why: "your NAT is symmetric with " + whole + "; the peer's filters by port; " + off},
		{nats: [2]string{"symmetric-random", "symmetric-random"}, reason: ReasonInfeasibleBothSymmetric, kind: PathRelay,
			why: "peer's NAT is symmetric with " + whole + ", and so is yours, with " + whole + ": " + cure},
		{nats: [2]string{"symmetric-random", "symmetric-sequential-2"}, reason: ReasonInfeasibleBothSymmetric, kind: PathRelay,
			why: "peer's NAT is symmetric with sequential ports, +2 each time, and so is yours, with " + whole + ": " + cure},
		{nats: [2]string{"port-restricted-cone", "symmetric-sequential"}, reason: ReasonRemoteSymmetric, kind: PathRelay,
			why: "sequential ports, +1 each time; yours filters by port; attempts at the ports are switched off"},
		{nats: [2]string{"port-restricted-cone", "symmetric-block"}, reason: ReasonRemoteSymmetric, kind: PathRelay, why: "random ports from 2048 to 2559; yours filters by port"},
		{nats: [2]string{"cgnat", "cgnat-symmetric"}, reason: ReasonRemoteSymmetric, kind: PathRelay, why: "random ports from 2048 to 4095; yours filters by port"},
		{nats: [2]string{"udp-blocked", "full-cone"}, reason: ReasonLocalUDPBlocked, kind: PathRelay, why: "UDP does not get out of your network"},
		{nats: [2]string{"open", "only-443"}, reason: ReasonRemoteUDPBlocked, kind: PathRelay, why: "UDP does not get out of the peer's network"},
		{nats: [2]string{"symmetric-random", "symmetric-random"}, blind: true, reason: ReasonNATUnknown, kind: PathRelay, why: "neither NAT is known yet"},
		{nats: [2]string{"linux", "linux"}, reason: ReasonUnanswered, kind: PathRelay, why: "though the NATs allow it"},
		{nats: [2]string{"full-cone", "full-cone"}, policy: RelayOnly, reason: ReasonRelayOnly, kind: PathRelay, why: "as Config.Policy wants it"},
	} {
		w := newWorld(t, 1, r.nats[0], r.nats[1], func(o *worldOptions) {
			o.config = func(c *controlConfig) { c.policy, c.noLanes = r.policy, true }
		})
		if !r.blind {
			for i, p := range w.peers {
				preset, err := simnet.PresetByName(r.nats[i])
				w.check(err)
				p.do(func(now time.Time) { p.setProfile(now, profileOf(preset)) })
			}
		}
		w.dialNow()
		w.Run(20 * time.Second)
		a := w.peers[0]
		e, ok := a.explain(a.now, a.conn)
		if !ok || e.Path.Kind != r.kind || !strings.Contains(e.Why, r.why) || e.Reason != r.reason || e.Infeasible != r.reason.Infeasible() || !strings.HasSuffix(e.Why, r.reason.Remedy()) {
			w.fail("%v: want %v because %q, %v", r.nats, r.kind, r.why, r.reason)
		}
		ours, theirs := 0, 0
		for _, c := range e.Candidates {
			if c.Ours {
				ours++
			} else {
				theirs++
			}
			if c.Addr == "" || c.Type == "" || c.Priority == 0 {
				w.fail("%v: candidate %+v", r.nats, c)
			}
		}
		if ours == 0 || theirs == 0 || len(e.Checks) == 0 || len(e.Story) == 0 || e.Elapsed == 0 || len(e.Paths) == 0 {
			w.fail("%v: %d candidates of ours, %d of the peer's, %d checks, %d steps, %d paths", r.nats, ours, theirs, len(e.Checks), len(e.Story), len(e.Paths))
		}
		for _, c := range e.Checks {
			if (c.State == "succeeded") != (c.Answered > 0) || c.State == "failed" && c.Err == nil {
				w.fail("%v: check %+v", r.nats, c)
			}
		}
		text := e.String()
		for _, part := range []string{"why: " + e.Why, e.Path.String(), e.State, "usable after", "sent", "candidate"} {
			if !strings.Contains(text, part) {
				w.fail("%v: %q is missing in\n%s", r.nats, part, text)
			}
		}
	}
}

// TestExplainByHand: what NATs that no preset has do to a connection that is relayed.
func TestExplainByHand(t *testing.T) {
	at := netip.MustParseAddrPort("203.0.113.9:5000")
	random := profileOf(*namedPreset(t, "symmetric-random"))
	cone := natprobe.Profile{Type: natprobe.TypePortRestrictedCone}
	for _, r := range []struct {
		ours, theirs natprobe.Profile
		budget       punch.Budget
		policy       Policy // of the peer
		reason       Reason
		why          string
	}{
		{ours: cone, theirs: natprobe.Profile{Type: natprobe.TypeSymmetric}, reason: ReasonRemoteSymmetric, why: "peer's NAT is symmetric with ports that were not found out; yours may filter by port"},
		{ours: random, theirs: cone, budget: punch.Budget{Probes: 8, Entries: 8}, reason: ReasonLocalSymmetric, why: "takes more than the lesser Config.Budget of both sides allows"},
		{ours: natprobe.Profile{Mapped: at, Mapping: cone.Mapping, Type: cone.Type, Hairpin: natprobe.No}, theirs: natprobe.Profile{Mapped: at, Type: cone.Type}, reason: ReasonNoHairpin, why: "behind one NAT"},
		{ours: cone, theirs: cone, policy: RelayOnly, reason: ReasonNoPairs, why: "one of them wants relays alone"},
		{ours: cone, theirs: natprobe.Profile{NAT: natprobe.Yes}, reason: ReasonNATUnknown, why: "the peer's is not known"},
		{ours: natprobe.Profile{Type: natprobe.TypeUDPBlocked}, theirs: natprobe.Profile{Type: natprobe.TypeUDPBlocked}, reason: ReasonBothUDPBlocked, why: "UDP does not get out of either network"},
	} {
		made := 0
		w := newWorld(t, 1, "symmetric-random", "symmetric-random", func(o *worldOptions) {
			o.config = func(c *controlConfig) {
				if c.budget = r.budget; made == 1 {
					c.policy = r.policy
				}
				made++
			}
		})
		for i, profile := range []natprobe.Profile{r.ours, r.theirs} {
			w.peers[i].do(func(now time.Time) { w.peers[i].setProfile(now, profile) })
		}
		w.dialNow()
		w.Run(20 * time.Second)
		e, _ := w.peers[0].explain(w.Now(), w.peers[0].conn)
		if e.Path.Kind != PathRelay || e.Reason != r.reason || e.Infeasible || !strings.Contains(e.Why, r.why) || !strings.HasSuffix(e.Why, r.reason.Remedy()) ||
			!strings.Contains(e.String(), "reason: "+r.reason.String()) {
			w.fail("want %v, %q: %v, %v", r.reason, r.why, e.Reason, e.Why)
		}
	}
}

// TestFailureExplains: a dial that finds no path says what was tried.
func TestFailureExplains(t *testing.T) {
	w := newWorld(t, 1, "symmetric-random", "symmetric-random", noTURN)
	for i := range w.peers {
		preset, err := simnet.PresetByName("symmetric-random")
		w.check(err)
		p := w.peers[i]
		p.do(func(now time.Time) { p.setProfile(now, profileOf(preset)) })
	}
	w.dialNow()
	w.Run(31 * time.Second)
	for _, p := range w.peers {
		var failed *PathsError
		if len(p.over) != 1 || !errors.As(p.over[0], &failed) || !errors.Is(failed, ErrNoPath) {
			w.fail("%v", p.over)
		}
		if len(failed.Tried) < 2 || failed.Tried[0].Sent == 0 || failed.Peer.IsZero() || failed.Reason != ReasonInfeasibleBothSymmetric ||
			!strings.Contains(failed.Error(), "infeasible without port mapping") {
			w.fail("%+v", failed)
		}
	}
}

// TestPolicies: what a peer must not know, it is not told, and nothing goes where nothing
// should.
func TestPolicies(t *testing.T) {
	for _, r := range []struct {
		policy   Policy
		lan, nat bool // may be known
		kind     PathKind
	}{{Auto, true, true, PathDirect}, {NoHost, false, true, PathDirect}, {RelayOnly, false, false, PathRelay}, {DirectOnly, true, true, PathDirect}} {
		w := newWorld(t, 1, "", "", cones...)
		a, b := w.peers[0], w.peers[1]
		lan, nat := a.site.Addr(), a.site.NAT.Addrs()[0]
		a.cfg.policy = r.policy
		a.do(func(now time.Time) {
			a.setProfile(now, natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapped: netip.AddrPortFrom(nat, 5000)})
		})
		w.Run(time.Second)
		sent := w.sentBy(a, func() {
			a.dialTo(b)
			w.Run(20 * time.Second)
		})
		if a.path().Kind != r.kind || b.path().Kind != r.kind {
			w.fail("%v: %v", r.policy, a.path())
		}
		k := b.conns[b.conn]
		known := make(map[netip.Addr]bool)
		for _, c := range b.ice.RemoteCandidates(k.agent) {
			known[c.Addr.Addr()], known[c.Related.Addr()] = true, true
		}
		known[k.profile.Mapped.Addr()] = true
		if known[lan] != r.lan || known[nat] != r.nat {
			w.fail("%v: the peer knows the host's address: %v, the NAT's: %v", r.policy, known[lan], known[nat])
		}
		if r.policy == RelayOnly && len(sent) != 0 {
			w.fail("%d datagrams went past the relay", len(sent))
		}
		for _, p := range a.conns[a.conn].paths {
			if p.relayed && r.policy == DirectOnly {
				w.fail("%v: %v", r.policy, p.route)
			}
		}
	}
}

// TestDirectOnly: no relay is used where none is wanted, whatever the peer tells.
func TestDirectOnly(t *testing.T) {
	w := newWorld(t, 1, "symmetric-random", "symmetric-random")
	a := w.peers[0]
	a.cfg.policy = DirectOnly
	a.do(func(now time.Time) { // the shell asks for no relay
		for _, id := range a.relays {
			a.removeBase(now, id)
		}
		a.turn.Close(now, a.alloc)
	})
	w.dialNow()
	w.Run(20 * time.Second)
	for _, k := range a.order() {
		for _, c := range a.ice.RemoteCandidates(k.agent) {
			if c.Type == ice.Relay {
				w.fail("a relay is checked: %v", c)
			}
		}
	}
	w.Run(11 * time.Second)
	if len(a.conns2) != 0 || len(a.over) != 1 || !errors.Is(a.over[0], ErrNoPath) {
		w.fail("%v", a.over)
	}
}

// TestRelayToldLate: a peer that uses relays alone is behind one, also where its checks come
// before it has told which.
func TestRelayToldLate(t *testing.T) {
	w := newWorld(t, 1, "open", "open", func(o *worldOptions) {
		made := 0
		o.config = func(c *controlConfig) {
			if made++; made == 1 {
				c.policy = RelayOnly
			}
		}
	})
	w.connect(PathRelay)
	b := w.peers[1]
	b.do(func(now time.Time) {
		k := b.conns[b.conn].link
		early := ice.Pair{Route: ice.Route{Remote: netip.MustParseAddrPort("198.51.100.9:5000")}}
		early.Remote.Type = ice.PeerReflexive
		k.addPath(now, early)
		if p := k.at(early.Route); p == nil || !p.relayed {
			w.fail("%+v", p)
		}
	})
}
