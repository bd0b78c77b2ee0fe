package ice

import "net/netip"

// CandidateType is how a candidate was found (RFC 8445 section 5.1.1).
type CandidateType uint8

// The types of candidates.
const (
	Host            CandidateType = iota // an address of the host itself
	ServerReflexive                      // as a STUN server sees it, or as a router mapped it on request
	PeerReflexive                        // as the peer sees it
	Relay                                // on a TURN server
)

var typeNames = [...]string{"host", "srflx", "prflx", "relay"}

// String returns the type as RFC 8839 writes it.
func (t CandidateType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Transport is what a candidate speaks.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP           // RFC 6544, framed as RFC 4571 has it
)

// String returns "udp" or "tcp".
func (t Transport) String() string {
	if t == TCP {
		return "tcp"
	}
	return "udp"
}

// TCPType is the side that a TCP candidate takes in opening connections (RFC 6544
// section 4.5).
type TCPType uint8

// The sides.
const (
	NotTCP           TCPType = iota
	Active                   // opens connections; its port is 9, the discard port
	Passive                  // waits for connections
	SimultaneousOpen         // does both from one port
)

var tcpTypeNames = [...]string{"", "active", "passive", "so"}

// String returns the side as RFC 6544 writes it; "" for NotTCP.
func (t TCPType) String() string {
	if int(t) < len(tcpTypeNames) {
		return tcpTypeNames[t]
	}
	return "unknown"
}

// How many types, transports and sides there are.
const (
	numTypes      = Relay + 1
	numTransports = TCP + 1
	numTCPTypes   = SimultaneousOpen + 1
)

// Extension is an attribute of a candidate that RFC 8839 does not know: Name and Value, as they
// stand on the line.
type Extension struct{ Name, Value string }

// Candidate is an address at which a peer might be reached (RFC 8445 section 5.3).
// ParseCandidate and String are its text form.
type Candidate struct {
	// Foundation is equal for candidates of the same type, base, server and transport;
	// 1 to 32 characters.
	Foundation string
	// Component is 1 to 256. Agents of this package have one component, 1.
	Component uint16
	Transport Transport
	// Priority is what the candidate's agent prefers, 1 to 2^31-1, the highest first.
	Priority uint32
	// Addr is where to send to, never IPv4-mapped. Its IP is not valid where Name
	// stands in its place.
	Addr netip.AddrPort
	// Name is a domain name, or an mDNS name ending in ".local", in place of an IP.
	Name string
	Type CandidateType
	// Related is the base of a reflexive candidate, the mapped address of a relayed one
	// (raddr, rport). Not valid: none, or hidden.
	Related netip.AddrPort
	TCPType TCPType
	// Extensions are kept as they came, in order.
	Extensions []Extension
}
