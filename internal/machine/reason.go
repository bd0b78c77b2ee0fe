package machine

// Reason says what ICMP or ICMPv6 told of a datagram that did not arrive.
type Reason uint8

// The reasons that matter to a prober.
const (
	OtherReason         Reason = iota
	PortUnreachable            // the host has no socket on that port
	ProtocolUnreachable        // the host does not speak UDP
	HostUnreachable            // the last router does not find the host
	NetUnreachable             // a router has no route
	Prohibited                 // a firewall says so
	TooBig                     // larger than the path's MTU, and not to be fragmented
	TimeExceeded               // the hop limit ran out; wanted, where it was set low
)

var reasonNames = [...]string{
	"destination unreachable", "port unreachable", "protocol unreachable", "host unreachable", "network unreachable",
	"administratively prohibited", "packet too big", "hop limit exceeded",
}

// String returns the reason in words.
func (r Reason) String() string { return name(reasonNames[:], int(r)) }

// Hard reports whether the destination itself refuses, so that another try is
// vain: of the hard errors of RFC 1122 section 4.2.3.9 those that are not about
// the size. Everything else may pass.
func (r Reason) Hard() bool { return r == PortUnreachable || r == ProtocolUnreachable }
