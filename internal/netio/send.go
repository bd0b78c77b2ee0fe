package netio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// ErrBufferFull says that a datagram was not sent, because the socket takes no
// more at the moment. It is lost, as datagrams are: whoever runs an event loop
// must not wait. It is matched by the error of WriteOpts, and IsTransient holds.
var ErrBufferFull = errors.New("the send buffer is full")

// sendWait is how long a send may wait for room on a socket that can only be
// told by a deadline not to wait at all.
const sendWait = 10 * time.Millisecond

// sendTries is how often a send is tried that ended by that deadline: on a busy machine
// the deadline can pass before the send has begun.
const sendTries = 2

// sourceOf returns the address that a datagram to to is to leave from, where the
// socket, bound to bound, has a choice and the one asked for makes sense; else
// the zero Addr.
func sourceOf(bound netip.Addr, to netip.Addr, o SendOptions) netip.Addr {
	source := o.Source.Unmap()
	switch {
	case !bound.IsUnspecified(), // it has one address
		!source.IsValid(), source.IsUnspecified(), source.IsMulticast(), source == limitedBroadcast,
		source.Is4() != to.Is4(),
		// The interface would have to be named; towards a link-local address it is.
		source.Is6() && source.IsLinkLocalUnicast() && !to.IsLinkLocalUnicast():
		return netip.Addr{}
	}
	return source.WithZone("")
}

// writeError is the error of a send.
func writeError(local net.Addr, to netip.AddrPort, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrBufferFull
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return err
	}
	return &net.OpError{Op: "write", Net: "udp", Source: local, Addr: net.UDPAddrFromAddrPort(to), Err: err}
}
