package tap

import (
	"net/netip"

	"github.com/bradawl/bradawl/internal/netio"
)

// Outlet is where data to one remote leaves by: a socket or a connection.
type Outlet struct {
	Socket *Socket // nil: by Stream
	Stream *Stream
	Remote netip.AddrPort    // for Socket
	Source netio.SendOptions // for Socket
}

// OK reports whether there is a way at all.
func (o *Outlet) OK() bool { return o.Socket != nil || o.Stream != nil }

// Send sends one datagram, or says why it could not: see [Socket.Send] and [Stream.Send].
func (o *Outlet) Send(b []byte) error {
	if o.Socket != nil {
		return o.Socket.Send(b, o.Remote, o.Source)
	}
	return o.Stream.Send(b)
}
