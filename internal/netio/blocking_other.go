//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package netio

import (
	"context"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

var unreachableErrnos []struct {
	errno  error
	reason machine.Reason
}

// Blocking is a UDP socket in blocking mode, which this system does not offer.
type Blocking struct{}

// DialBlocking fails with ErrNoBlocking on this system.
func DialBlocking(context.Context, netip.AddrPort, netip.AddrPort) (*Blocking, error) {
	return nil, ErrNoBlocking
}

// LocalAddrPort returns the zero value.
func (*Blocking) LocalAddrPort() netip.AddrPort { return netip.AddrPort{} }

// Send fails with ErrNoBlocking.
func (*Blocking) Send([]byte) error { return ErrNoBlocking }

// Receive fails with ErrNoBlocking.
func (*Blocking) Receive([]byte, time.Duration) (int, Meta, error) { return 0, Meta{}, ErrNoBlocking }

// Close fails with ErrNoBlocking.
func (*Blocking) Close() error { return ErrNoBlocking }
