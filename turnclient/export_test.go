package turnclient

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// Illegal returns how many transitions were asked for that the table does not have.
func (m *Machine) Illegal() int { return m.illegal }

// Dropped returns how many messages were dropped.
func (m *Machine) Dropped() int { return m.stats.dropped }

// Queued returns how many bytes wait for permissions, and how many peers are kept.
func (m *Machine) Queued(id AllocationID) (bytes, peers, permits int) {
	a := m.allocs[id]
	return a.queued, len(a.peers), len(a.permits)
}

// NextChannel makes n the next channel number.
func (m *Machine) NextChannel(id AllocationID, n uint16) { m.allocs[id].nextNumber = n }

// Level returns the level of congestion.
func (m *Machine) Level(id AllocationID) int { return m.allocs[id].link.congestion.level }

// Expires returns when the allocation ends.
func (m *Machine) Expires(id AllocationID) time.Time { return m.allocs[id].expires }

// Tries is how often servers are asked while there is none.
const MaxStale = maxStale

// SoFar returns what there is to tell of the servers so far.
func (m *Machine) SoFar(now time.Time, id AllocationID) []error { return m.soFar(now, id) }

// Connections returns how many connections an allocation keeps.
func (m *Machine) Connections(id AllocationID) int { return len(m.allocs[id].conns) }

// HasStream reports whether a stream is the machine's.
func (m *Machine) HasStream(id machine.StreamID) bool { return m.streams[id] != nil }

// NewMessageTap returns what the loop writes to where an association is c.
func NewMessageTap(c net.Conn) net.Conn { return &messageTap{Conn: c} }

// RequestTunnel is what is said to a proxy.
func RequestTunnel(c net.Conn, remote string, user *url.Userinfo) (net.Conn, error) {
	return requestTunnel(c, remote, user)
}

// Resolve returns the endpoints of one URI.
func (c Config) Resolve(ctx context.Context, uri string, random *rand.Rand) ([]Endpoint, error) {
	u, err := ParseURI(uri)
	if err != nil {
		return nil, err
	}
	return c.resolve(ctx, u, random)
}

// BySRV returns records in the order in which they are tried.
func BySRV(records []*net.SRV, random *rand.Rand) []*net.SRV { return bySRV(records, random) }

// Servers returns how many servers are remembered.
func (m *Machine) Servers() int { return len(m.servers) }
