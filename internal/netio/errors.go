package netio

import (
	"errors"
	"fmt"
	"net/netip"
)

// Reason says why a datagram did not arrive, as told by ICMP or ICMPv6.
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
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// UnreachableError says that a datagram sent earlier did not arrive. It comes
// from ReadMeta and leaves the socket usable. Anybody who can guess addresses
// and ports can forge ICMP errors, so that it is a hint and no proof.
type UnreachableError struct {
	Remote netip.AddrPort // where the datagram was sent to
	From   netip.Addr     // the host or router that says so; the zero value: unknown, or this host itself
	Reason Reason
	MTU    int   // TooBig: the MTU of the next hop in bytes, if known
	Err    error // the system's errno
}

// Error names the remote, the reason and who gave it.
func (e *UnreachableError) Error() string {
	by := ""
	if e.From.IsValid() {
		by = " by " + e.From.String()
	}
	return fmt.Sprintf("netio: datagram to %v reported undelivered%s: %v", e.Remote, by, e.Reason)
}

// Unwrap returns the system's error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// IsTransient reports whether err, from a read or a write of a datagram
// socket, concerns one datagram only, so that the socket can still be used. It
// does not hold for a deadline exceeded nor for a closed socket.
func IsTransient(err error) bool {
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) || errors.Is(err, ErrBufferFull) {
		return true
	}
	for _, errno := range transientErrnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
