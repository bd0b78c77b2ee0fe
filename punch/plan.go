package punch

import (
	"cmp"
	"slices"

	"github.com/bradawl/bradawl/natprobe"
)

// Plan lists all kinds of lanes between two NATs, each once: first those to run, the one
// with the least cost for its chance first, and then those that are ruled out, with the
// reason. It depends on its arguments alone, and what one side plans is what the other
// does, seen from there: the same lanes in the same order with the same chances, if both
// plan with one budget.
//
// What a profile does not tell is taken to be as it mostly is, with a lower chance. A
// profile may come from a peer and say anything: no lane costs more than the budget.
func Plan(local, remote natprobe.Profile, b Budget) []Lane {
	return PlanMapped(local, remote, b, Neither)
}

// PlanMapped is Plan where routers have mapped a port on request: ours, the peer's or both.
func PlanMapped(local, remote natprobe.Profile, b Budget, mapped Side) []Lane {
	p := newPlanner(local, remote, b.WithDefaults())
	all := []planned{
		p.plain(), p.onePacket(), p.mapped(mapped), p.predicted(), p.crossing(), p.birthday(), p.blocks(), p.tcp(), p.tcpPredicted(),
	}
	slices.SortStableFunc(all, func(a, b planned) int {
		if a.ruled() || b.ruled() {
			return boolean(a.ruled()) - boolean(b.ruled())
		}
		return cmp.Compare(a.price(), b.price())
	})
	lanes := make([]Lane, len(all))
	for i, l := range all {
		lanes[i] = l.Lane
	}
	return lanes
}

// planned is a lane with what it costs both sides together, so that both order alike.
type planned struct {
	Lane
	total int
}

func (l planned) ruled() bool { return l.Ruled != "" }

func (l planned) price() float64 { return float64(l.total) / max(l.Probability, 1e-9) }

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// end is one side of a plan.
type end struct {
	natprobe.Profile
	side    Side
	keeps   natprobe.Verdict   // whether a socket has one outside port for all
	filter  natprobe.Filtering // as known, from the type too
	blocked bool               // no UDP
}

func newEnd(p natprobe.Profile, side Side) end {
	e := end{Profile: p, side: side, filter: p.Filtering, blocked: p.Type == natprobe.TypeUDPBlocked}
	switch p.Mapping {
	case natprobe.MappingEndpointIndependent:
		e.keeps = natprobe.Yes
	case natprobe.MappingAddressDependent, natprobe.MappingAddressAndPortDependent:
		e.keeps = natprobe.No
	default:
		switch p.Type {
		case natprobe.TypeOpen, natprobe.TypeSymmetricFirewall, natprobe.TypeFullCone, natprobe.TypeRestrictedCone, natprobe.TypePortRestrictedCone:
			e.keeps = natprobe.Yes
		case natprobe.TypeSymmetric:
			e.keeps = natprobe.No
		default:
			if p.NAT == natprobe.No {
				e.keeps = natprobe.Yes
			}
		}
	}
	if p.Filtering == natprobe.FilteringUnknown || p.Filtering > natprobe.FilteringAddressAndPortDependent {
		switch p.Type {
		case natprobe.TypeOpen, natprobe.TypeFullCone:
			e.filter = natprobe.FilteringEndpointIndependent
		case natprobe.TypeRestrictedCone:
			e.filter = natprobe.FilteringAddressDependent
		case natprobe.TypePortRestrictedCone, natprobe.TypeSymmetricFirewall:
			e.filter = natprobe.FilteringAddressAndPortDependent
		default:
			e.filter = natprobe.FilteringUnknown
		}
	}
	return e
}

// The models that matter: what is known so little of that nothing follows is unknown.
func (e end) model() natprobe.PortModel {
	m := e.Ports.Model
	if _, ok := sequenceOf(e.Profile, 0, 0); m == natprobe.PortsSequential && !ok || m > natprobe.PortsBlock {
		return natprobe.PortsUnknown
	}
	return m
}

// foretold reports whether the next port can be told from the last.
func (e end) foretold() bool {
	m := e.model()
	return m == natprobe.PortsSequential || m == natprobe.PortsPreserving
}

// sure is how far it is known that the NAT keeps one port for all, or that it does not.
func (e end) sure() float64 {
	if e.keeps == natprobe.VerdictUnknown {
		return 0.5
	}
	return 1
}

// address is the chance that packets to the address that is known of the side arrive at the
// NAT's mapping, wherever its port is.
func (e end) address() float64 {
	if e.Paired == natprobe.No {
		return 0.5 // one of two at best
	}
	return 1
}
