package bradawl

import (
	"fmt"
	"slices"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// why is why no direct path is in use, worked out once: what users are told and what is
// recorded follow from it.
type why struct {
	reason Reason
	path   *path        // a direct one that works and is not used
	lanes  []punch.Lane // between the two NATs; nil: not both are known
	on     punch.Side   // that is not known, where that is the reason
}

// why says why the path of a connection is not direct.
func (k *connection) why() why {
	switch {
	case k.state == dialing && !(k.rides && k.up) && k.c.unsigned != nil:
		return why{reason: ReasonNotSignedOn}
	case k.state == dialing:
		return why{reason: ReasonDialing}
	case k.state == waiting:
		return why{reason: ReasonWaiting}
	case k.path != nil && !k.path.relayed:
		return why{reason: ReasonNone}
	case k.c.cfg.policy == RelayOnly:
		return why{reason: ReasonRelayOnly}
	}
	return k.notDirect()
}

// notDirect says why no direct path carries data. What lies between two networks is for
// package punch to say.
func (k *link) notDirect() why {
	if k.path != nil {
		if i := slices.IndexFunc(k.paths, func(p *path) bool { return !p.relayed }); i >= 0 {
			p := k.paths[i]
			switch {
			case p.narrow:
				return why{reason: ReasonDirectNarrow, path: p}
			case p.doubt:
				return why{reason: ReasonDirectInDoubt, path: p}
			}
			return why{reason: ReasonRelayBetter, path: p}
		}
	}
	obstacle, on := punch.Between(k.c.profile, k.profile)
	if obstacle != punch.ObstacleBlocked && !k.pairsDirectly() {
		return why{reason: ReasonNoPairs}
	}
	if k.c.mute && k.c.profile == (natprobe.Profile{}) {
		return why{reason: ReasonNoSTUN}
	}
	w := why{lanes: k.lanes(), on: on}
	w.reason = reasonFor(obstacle, on, len(w.lanes) > 0 && punch.Possible(w.lanes) == natprobe.No)
	return w
}

// pairsDirectly reports whether an address of ours makes a pair with one of the peer's without a
// relay. Pairs that failed long ago are not kept, so the addresses are asked.
func (k *link) pairsDirectly() bool {
	theirs := k.c.ice.RemoteCandidates(k.agent)
	return slices.ContainsFunc(k.c.ice.Candidates(k.agent), func(ours ice.Scored) bool {
		return ours.Candidate.Type != ice.Relay && slices.ContainsFunc(theirs, func(r ice.Candidate) bool {
			return r.Type != ice.Relay && !slices.Contains(k.relays, r.Addr) &&
				r.Transport == ours.Candidate.Transport && r.Addr.Addr().Is4() == ours.Candidate.Addr.Addr().Is4()
		})
	})
}

// told is what a connection's user is told: why no direct path is in use and, where none is at
// all, why no relay is.
func (k *connection) told(w why) string {
	text := k.sentence(w)
	if k.path == nil && (k.state == checking || k.state == lost) {
		text += k.withoutRelay()
	}
	return text
}

// sentence tells a connection's user why: what there is to tell of this connection, what is
// done about it, and what would change it.
func (k *connection) sentence(w why) string {
	text, remedy := w.reason.Sentence(), w.reason.Remedy()
	ours, theirs := k.c.profile, k.profile
	switch w.reason {
	case ReasonNone:
		return text + ": " + k.public(k.path).String()
	case ReasonNotSignedOn:
		if text += fmt.Sprintf(": %v", k.c.unsigned); k.c.unsigned != errSigningOn {
			remedy = "" // a Signaler's error has its own, and that one is of the trouble at hand
		}
	case ReasonRelayOnly:
		if k.path != nil {
			break
		}
		if text += ", and none leads to the peer"; k.withoutRelay() != "" {
			remedy = "" // another Policy is none for whoever wants this one, and has no relay
		}
	case ReasonDirectNarrow, ReasonDirectInDoubt:
		text += ": " + k.public(w.path).String()
	case ReasonRelayBetter:
		of := func(p *path) string {
			return fmt.Sprintf("%v, round trip %v, loss %.0f %%", k.public(p), p.rtt(), 100*p.loss())
		}
		text += ": " + of(k.path) + ", against " + of(w.path)
	case ReasonUnanswered:
		text += fmt.Sprintf(" (yours: %v; the peer's: %v): a firewall may drop UDP between them, or one NAT has more to it than was found", natOf(ours), natOf(theirs))
	case ReasonNATUnknown:
		if obstacle, _ := punch.Between(ours, theirs); obstacle == punch.ObstacleFamilies {
			text += ": the NATs are known for one family of addresses each, and not for the same"
			break
		}
		text += ": " + map[punch.Side]string{
			punch.Both: "neither NAT is known yet", punch.Ours: "yours is not known yet", punch.Theirs: "the peer's is not known",
		}[w.on]
	case ReasonBothSymmetric, ReasonInfeasibleBothSymmetric:
		text = fmt.Sprintf("peer's NAT is symmetric with %s, and so is yours, with %s", portsOf(theirs), portsOf(ours))
	case ReasonRemoteSymmetric:
		text = fmt.Sprintf("peer's NAT is symmetric with %s; yours %s", portsOf(theirs), filterOf(ours))
	case ReasonLocalSymmetric:
		text = fmt.Sprintf("your NAT is symmetric with %s; the peer's %s", portsOf(ours), filterOf(theirs))
	case ReasonInfeasibleLocalUDPBlocked, ReasonInfeasibleRemoteUDPBlocked, ReasonInfeasibleBothUDPBlocked:
		because, _ := punch.Because(w.lanes)
		return "infeasible: " + because + "; " + remedy
	}
	if w.reason.Infeasible() {
		return text + ": infeasible without port mapping; " + remedy
	}
	if done := k.doing(w.lanes); done != "" {
		text += "; " + done
	}
	if remedy != "" && !(remedy == mapPort && isMapped(w.lanes)) {
		text += "; " + remedy
	}
	return text
}

// isMapped reports whether a port that a router has mapped is among the ways.
func isMapped(lanes []punch.Lane) bool {
	return slices.ContainsFunc(lanes, func(l punch.Lane) bool { return l.Kind == punch.LaneMapped && l.Ruled == "" })
}

// doing says what is done about NATs that keep two sides apart; "": nothing is to be done.
func (k *link) doing(lanes []punch.Lane) string {
	a := &k.lane
	best, small := punch.Lane{}, false
	for _, l := range lanes {
		switch open := l.Ruled == ""; {
		case open && l.Kind.Guesses() && l.Probability > best.Probability:
			best = l
		case l.Obstacle == punch.ObstacleBudget:
			small = true
		}
	}
	switch {
	case best.Kind == punch.LaneNone && isMapped(lanes):
		return "the port that a router has mapped has not been reached yet"
	case best.Kind == punch.LaneNone && small:
		return "an attempt at the ports takes more than the lesser Config.Budget of both sides allows"
	case best.Kind == punch.LaneNone:
		return ""
	case a.spend.off && k.c.usual.off:
		return "attempts at the ports are switched off by Config.Budget"
	case a.spend.off:
		return "attempts at the ports are switched off by Config.TreatPeer"
	case a.refused:
		return "the peer takes no part in attempts at the ports"
	case a.run != nil:
		return fmt.Sprintf("the lane %v is tried just now, with a chance of %.0f %%", best.Kind, 100*best.Probability)
	case a.tries == 0:
		return fmt.Sprintf("the lane %v is to be tried, with a chance of %.0f %%", best.Kind, 100*best.Probability)
	}
	return fmt.Sprintf("%d attempts were in vain, the best by the lane %v with a chance of %.0f %% each; more follow", a.tries, best.Kind, 100*best.Probability)
}

// portsOf says which ports a NAT gives one after the other.
func portsOf(p natprobe.Profile) string {
	switch p.Ports.Model {
	case natprobe.PortsSequential:
		return fmt.Sprintf("sequential ports, %+d each time", p.Ports.Delta)
	case natprobe.PortsRandom, natprobe.PortsBlock:
		if r := punch.RangeOf(p); r.High != 0 {
			return fmt.Sprintf("random ports from %d to %d", r.Low, r.High)
		}
		return "random ports over the whole range"
	}
	return "ports that were not found out"
}

// filterOf says what a NAT lets in.
func filterOf(p natprobe.Profile) string {
	switch p.Filtering {
	case natprobe.FilteringAddressAndPortDependent:
		return "filters by port"
	case natprobe.FilteringAddressDependent:
		return "filters by address"
	}
	return "may filter by port"
}

func natOf(p natprobe.Profile) string {
	return fmt.Sprintf("%v mapping, %v filtering, %v ports", p.Mapping, p.Filtering, p.Ports.Model)
}
