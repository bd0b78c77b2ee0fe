package netio

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/bradawl/bradawl/internal/machine"
)

// UnreachableError says that a datagram sent earlier did not arrive. It comes
// from ReadMeta and leaves the socket usable. Anybody who can guess addresses
// and ports can forge ICMP errors, so that it is a hint and no proof.
type UnreachableError struct {
	Remote netip.AddrPort // where the datagram was sent to
	From   netip.Addr     // the host or router that says so; the zero value: unknown, or this host itself
	Reason machine.Reason
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
