package turnclient

import (
	"slices"

	"github.com/bradawl/bradawl/internal/wire"
)

// Options are wishes for one allocation. The zero value has none.
type Options struct {
	// EvenPort asks for an even port; Reserve, for an even port and for the next one to
	// be kept for another allocation (RFC 8656 section 7.1).
	EvenPort, Reserve bool
	// Token is what Allocation.Reservation of an earlier allocation gave, 8 bytes: the
	// port that was kept is asked for. Only the first time: should the allocation be
	// lost later, the next one takes any port.
	Token []byte
}

func (o Options) any() bool { return o.EvenPort || o.Reserve || o.Token != nil }

func (o Options) clone() Options {
	o.Token = slices.Clone(o.Token)
	return o
}

// check says what must not be asked for together (RFC 8656 section 7.1).
func (o Options) check(f Family) error {
	switch {
	case o.Token != nil && len(o.Token) != 8:
		return &ConfigError{"Options.Token", "a reservation is 8 bytes long; take it from Allocation.Reservation"}
	case o.Token != nil && (o.EvenPort || o.Reserve):
		return &ConfigError{"Options.Token", "it names a port; leave EvenPort and Reserve out"}
	case o.Reserve && f == DualStack:
		return &ConfigError{"Options.Reserve", "one token cannot stand for two addresses; use IPv4 or IPv6 as Family"}
	}
	return nil
}

func (a *allocation) takeToken(msg *wire.Message) {
	a.token = nil
	if token, ok := msg.Get(wire.AttrReservationToken); ok && len(token) == 8 && a.options.Reserve {
		a.token = slices.Clone(token)
	}
}
