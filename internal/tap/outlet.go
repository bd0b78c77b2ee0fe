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

// Send sends one datagram, without waiting, or says why it could not. Of errors for which
// netio.IsTransient holds, the datagram is lost, as datagrams are, and the next may leave.
func (o *Outlet) Send(b []byte) error {
	if o.Socket != nil {
		_, err := o.Socket.WriteOpts(b, o.Remote, o.Source)
		return err
	}
	return o.Stream.Send(b)
}
