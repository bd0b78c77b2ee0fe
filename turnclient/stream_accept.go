package turnclient

import (
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// Peers' connections to a TCP allocation (RFC 6062 section 4.4).
const (
	attemptLife = 30 * time.Second // the server closes what was not bound by then (section 5.3)
	maxAttempts = 128              // that wait for their turn
	maxBinding  = 16               // data connections being opened for them
)

// Listen takes the connections of permitted peers from now on, those included that came
// in the last 30 s: EventConnected tells of each. Before, they are left to the server,
// which closes them after that time. The error is ErrClosed or a *ConfigError.
func (m *Machine) Listen(now time.Time, id AllocationID) error {
	m.enter()
	a := m.allocs[id]
	switch {
	case a == nil || a.state == Closed:
		return ErrClosed
	case !a.tcp:
		return &ConfigError{"Listen", fmt.Sprint(errNoStreams)}
	}
	a.listening = true
	a.takeAttempts(now)
	return nil
}

// attempted takes in a ConnectionAttempt indication.
func (a *allocation) attempted(now time.Time, l *link, msg *wire.Message) {
	peer, okPeer := msg.XORPeerAddress()
	number, okNumber := msg.Uint32(wire.AttrConnectionID)
	known := slices.ContainsFunc(a.conns, func(c *conn) bool { return c.incoming && !c.lost && c.number == number })
	if !okPeer || !okNumber || known || !a.tcp || a.link != l || len(msg.AppendUnknown(nil, responseKnown)) > 0 || a.permitted(peer.Addr()) == nil {
		a.m.stats.dropped++
		return
	}
	l.heard(now)
	if a.takeAttempts(now) >= maxAttempts {
		a.m.stats.dropped++ // the server gives it up after a while
		return
	}
	c := a.newConn(peer)
	c.incoming, c.number, c.came = true, number, now
	a.takeAttempts(now)
}

// takeAttempts binds peers' connections, a few at a time, and returns how many wait.
func (a *allocation) takeAttempts(now time.Time) (waiting int) {
	binding := 0
	for _, c := range a.conns {
		if c.incoming && c.state == connBinding {
			binding++
		}
	}
	for _, c := range slices.Clone(a.conns) {
		switch {
		case !c.incoming || c.state != connWaiting:
		case now.Sub(c.came) >= attemptLife:
			c.over()
		case a.listening && a.state.Usable() && binding < maxBinding:
			c.open(now, c.number)
			binding++
		default:
			waiting++
		}
	}
	return waiting
}
