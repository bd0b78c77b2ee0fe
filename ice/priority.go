package ice

// maxPriority is the greatest priority of a candidate (RFC 8445 section 5.1.2).
const maxPriority = 1<<31 - 1

// Type preferences as RFC 8445 section 5.1.2.2 recommends them.
const (
	hostPreference  = 126
	prflxPreference = 110
	srflxPreference = 100
	relayPreference = 0
	// tcpPenalty is what TCP candidates have less (RFC 6544 section 4.2): the least that
	// puts all of them behind all UDP candidates that are not relayed. pion takes the
	// same, so that both sides order their pairs alike.
	tcpPenalty = 27
)

func typePreference(t CandidateType, transport Transport) uint32 {
	var p uint32
	switch t {
	case Host:
		p = hostPreference
	case PeerReflexive:
		p = prflxPreference
	case ServerReflexive:
		p = srflxPreference
	case Relay:
		return relayPreference // over TCP too: RFC 6544 section 4.2 has relayed candidates stay the last
	default:
		return 0 // none of the types: it goes before nothing
	}
	if transport == TCP {
		p -= tcpPenalty
	}
	return p
}

// RecommendedPriority returns the priority that RFC 8445 section 5.1.2.1 gives a
// candidate of c's type, transport, side and component at a local preference, from 0 to
// 65535: the preference for the address that c was obtained from, 65535 where there is
// one only. It does not look at c.Priority.
//
// Candidates of the same type need different local preferences. Those of TCP candidates
// lose their three lowest bits to the side that c takes (RFC 6544 section 4.2), so let
// them differ by 8.
func (c Candidate) RecommendedPriority(local uint16) uint32 {
	if c.Transport == TCP {
		local = tcpLocalPreference(c.Type, c.TCPType, local>>3)
	}
	return priority(typePreference(c.Type, c.Transport), local, c.Component)
}

// priority is the formula of RFC 8445 section 5.1.2.1. It is at least 1, as priorities
// must be, which the formula misses for the last of the relayed candidates.
func priority(typePreference uint32, local, component uint16) uint32 {
	return max(1, typePreference<<24|uint32(local)<<8|(256-uint32(min(component, 256))))
}

// Direction preferences by TCPType (RFC 6544 section 4.2): behind a NAT the best is that
// both sides open, elsewhere that one does.
var (
	directions          = [numTCPTypes]uint16{NotTCP: 0, Active: 6, Passive: 4, SimultaneousOpen: 2}
	reflexiveDirections = [numTCPTypes]uint16{NotTCP: 0, Active: 4, Passive: 2, SimultaneousOpen: 6}
)

// tcpLocalPreference puts the preference for a side before other, which is at most 8191
// (RFC 6544 section 4.2).
func tcpLocalPreference(t CandidateType, side TCPType, other uint16) uint16 {
	by := &directions
	if t == ServerReflexive || t == PeerReflexive {
		by = &reflexiveDirections
	}
	if side >= numTCPTypes {
		return other // none of the sides: it goes before nothing
	}
	return by[side]<<13 | other
}

// checkPriority is the PRIORITY of checks from a local candidate, which is what the peer
// gives the peer-reflexive candidate that it may learn from them: that of c with the
// type preference of such candidates, and nothing else changed (RFC 8445 section 7.1.1).
func checkPriority(c *Candidate) uint32 {
	return typePreference(PeerReflexive, c.Transport)<<24 | c.Priority&(1<<24-1)
}

// pairPriority is the formula of RFC 8445 section 6.1.2.3 over the priorities of the
// controlling and the controlled agent's candidates. Both agents get the same.
//
// A priority above the greatest, as a peer might put into a PRIORITY attribute, counts as
// the greatest: the sum would overflow and put the pair at a random place.
func pairPriority(controlling, controlled uint32) uint64 {
	g, d := min(controlling, maxPriority), min(controlled, maxPriority)
	p := uint64(min(g, d))<<32 + 2*uint64(max(g, d))
	if g > d {
		p++
	}
	return p
}
