package main

import (
	"fmt"
	"html/template"
	"net/netip"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// peer is a kind of NAT that the other side may sit behind.
type peer struct {
	name    string
	profile natprobe.Profile
}

// kinds are the peers that reachability is told of, the easiest first.
var kinds = func() []peer {
	profile := func(t natprobe.Type, m natprobe.Mapping, f natprobe.Filtering, p natprobe.Ports) natprobe.Profile {
		nat := natprobe.Yes
		if t == natprobe.TypeOpen || t == natprobe.TypeSymmetricFirewall {
			nat = natprobe.No
		}
		p.Confidence = 1
		return natprobe.Profile{Type: t, Mapping: m, Filtering: f, NAT: nat, Paired: natprobe.Yes, Ports: p, Confidence: 1}
	}
	const (
		one      = natprobe.MappingEndpointIndependent
		each     = natprobe.MappingAddressAndPortDependent
		open     = natprobe.FilteringEndpointIndependent
		address  = natprobe.FilteringAddressDependent
		endpoint = natprobe.FilteringAddressAndPortDependent
	)
	kept := natprobe.Ports{Model: natprobe.PortsPreserving}
	return []peer{
		{"open, no NAT (NAT0)", profile(natprobe.TypeOpen, one, open, kept)},
		{"full cone (NAT1)", profile(natprobe.TypeFullCone, one, open, kept)},
		{"restricted cone (NAT2)", profile(natprobe.TypeRestrictedCone, one, address, kept)},
		{"port restricted cone (NAT3)", profile(natprobe.TypePortRestrictedCone, one, endpoint, kept)},
		{"firewall, no NAT", profile(natprobe.TypeSymmetricFirewall, one, endpoint, kept)},
		{"symmetric, ports in sequence (NAT4)", profile(natprobe.TypeSymmetric, each, endpoint, natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1})},
		{"symmetric, a block of 512 ports (NAT4)", profile(natprobe.TypeSymmetric, each, endpoint, natprobe.Ports{Model: natprobe.PortsBlock, Low: 20480, High: 20991})},
		{"symmetric, random ports (NAT4)", profile(natprobe.TypeSymmetric, each, endpoint, natprobe.Ports{Model: natprobe.PortsRandom, Low: 1024, High: 65535})},
		{"UDP blocked", natprobe.Profile{Type: natprobe.TypeUDPBlocked, Confidence: 1}},
	}
}()

// elsewhere is an address that a peer of the same family may have: another one than ours.
func elsewhere(ours netip.Addr) netip.AddrPort {
	all := [...]string{"203.0.113.77", "198.51.100.77"}
	if ours.Is6() {
		all = [...]string{"2001:db8:77::1", "2001:db8:78::1"}
	}
	ip := netip.MustParseAddr(all[0])
	if ip == ours {
		ip = netip.MustParseAddr(all[1])
	}
	return netip.AddrPortFrom(ip, 40000)
}

// reached is one line of whom this host reaches.
type reached struct {
	State   state
	Badge   template.HTML
	Peer    string
	Percent int    // how likely it is direct
	Chance  string // the same in words
	How     string // by which lane
	Cost    string // what that takes, or why there is none
}

// laneWords say what a lane does.
var laneWords = map[punch.LaneKind]string{
	punch.LanePlain:        "both send at the same time",
	punch.LaneOnePacket:    "one packet opens the way",
	punch.LaneMapped:       "by a port mapped on the router",
	punch.LanePredicted:    "the next port is foretold",
	punch.LaneCrossing:     "the next ports of both are foretold",
	punch.LaneBirthday:     "one opens many ports, the other tries many",
	punch.LaneBlocks:       "both open many ports and try many",
	punch.LaneTCP:          "TCP, both dial at the same time",
	punch.LaneTCPPredicted: "TCP, the next port is foretold",
}

// reach plans for each kind of peer what a session would do. Nil where nothing is known to
// plan with.
func reach(r *natprobe.Report) []reached {
	if r.Type == natprobe.TypeUnknown && r.Mapping == natprobe.MappingUnknown && r.NAT != natprobe.No {
		return nil
	}
	ours := r.Profile()
	var all []reached
	for _, k := range kinds {
		theirs := k.profile
		if theirs.Type != natprobe.TypeUDPBlocked {
			theirs.Mapped = elsewhere(ours.Mapped.Addr())
		}
		all = append(all, reaching(k.name, punch.Plan(ours, theirs, punch.Budget{})))
	}
	return all
}

// reaching tells of a plan the likeliest lane, of several the cheapest.
func reaching(name string, lanes []punch.Lane) reached {
	why, remedy := punch.Because(lanes)
	out := reached{State: bad, Peer: name, Chance: "no", How: "through a relay", Cost: "no direct path, because " + why + "; " + remedy}
	var best punch.Lane
	for _, l := range lanes {
		if l.Ruled == "" && l.Probability > best.Probability {
			best = l
		}
	}
	if best.Kind != punch.LaneNone {
		out.State, out.How = partly, laneWords[best.Kind]
		if best.Probability >= .9 {
			out.State = good
		}
		out.Percent = hundredths(best.Probability)
		out.Chance = fmt.Sprintf("%d %%", out.Percent)
		switch {
		case best.Probes <= 1:
			out.Cost = "a packet"
		case best.Time.Seconds() < 0.1:
			out.Cost = fmt.Sprintf("up to %d packets", best.Probes)
		default:
			out.Cost = fmt.Sprintf("up to %d packets in %.1f s", best.Probes, best.Time.Seconds())
		}
	}
	out.Badge = badge(out.State)
	return out
}
