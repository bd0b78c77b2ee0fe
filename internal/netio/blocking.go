package netio

import (
	"errors"
	"net/netip"
)

// ErrNoBlocking is returned by [DialBlocking] on systems where it is not built.
// It matches errors.ErrUnsupported.
var ErrNoBlocking error = noBlocking{}

type noBlocking struct{}

func (noBlocking) Error() string {
	return "netio: no sockets in blocking mode on this system; use those of package net"
}
func (noBlocking) Is(target error) bool { return target == errors.ErrUnsupported }

// unreachableBy is what a connected socket says by errno: the one remote that it
// has did not get a datagram. Nil for an errno that says something else.
func unreachableBy(errno error, remote netip.AddrPort) *UnreachableError {
	for _, e := range unreachableErrnos {
		if errors.Is(errno, e.errno) {
			return &UnreachableError{Remote: remote, Reason: e.reason, Err: errno}
		}
	}
	return nil
}
