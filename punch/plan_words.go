package punch

import (
	"fmt"

	"github.com/bradawl/bradawl/natprobe"
)

// Reasons that name no side.
const (
	onBothSides  = "both NATs give each destination another port"
	noneToGuess  = "both sides keep one outside port for all destinations, so there is none to guess"
	notKnown     = "it is not known whether either NAT gives each destination another port"
	noMapping    = "no router has mapped a port"
	notBlocked   = "UDP is not known to be blocked on either side, and TCP would meet the same NATs"
	noRoom       = "the budget has no room for it"
	noHairpin    = "both sides are behind one NAT that does not turn packets back (hairpin): their local addresses are the way"
	sameSequence = "the next ports of both NATs can be foretold"
)

// nat names the NAT of a side.
func (e end) nat() string {
	if e.side == Ours {
		return "your NAT"
	}
	return "the peer's NAT"
}

// own is how it is named after the other one.
func (e end) own() string {
	if e.side == Ours {
		return "yours"
	}
	return "the peer's"
}

// ports says what ports the NAT gives.
func (e end) ports() string {
	n := RangeOf(e.Profile).Size()
	half := ""
	if e.Ports.Parity == natprobe.Yes {
		half = " of one parity"
	}
	switch e.model() {
	case natprobe.PortsSequential, natprobe.PortsPreserving:
		return "gives ports that can be foretold"
	case natprobe.PortsBlock:
		return fmt.Sprintf("gives random ports%s out of a block of about %d", half, n)
	case natprobe.PortsRandom:
		if n < AllPorts/2 {
			return fmt.Sprintf("gives random ports%s out of about %d", half, n)
		}
		return "gives random ports" + half + " of its whole range"
	}
	return "gives ports of which no rule is known"
}

// filters says what the NAT does with packets that were not asked for.
func (e end) filters() string {
	switch e.filter {
	case natprobe.FilteringEndpointIndependent:
		return "lets all packets in"
	case natprobe.FilteringAddressDependent:
		return "filters by address"
	case natprobe.FilteringAddressAndPortDependent:
		return "filters by port"
	}
	return "filters one does not know how"
}

// changes says that each destination gets another port.
func (e end) changes() string { return e.nat() + " gives each destination another port" }

// blockedWhere says on whose side UDP is blocked.
func blockedWhere(a, b end) string {
	switch {
	case a.blocked && b.blocked:
		return "UDP is blocked on both sides"
	case a.blocked == (a.side == Ours):
		return "UDP is blocked on your side"
	}
	return "UDP is blocked on the peer's side"
}

// crowded says that too many others use a NAT.
func (p *planner) crowded(chance float64) string {
	return fmt.Sprintf("others behind the NAT make so many mappings that the budget gives it a chance of %.1f %%", 100*chance)
}
