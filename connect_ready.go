package bradawl

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/seal"
)

// From the keys to a connection that can be used: each side has the other show that it has
// them, too.

// prove sends pings under the connection's own keys, until one is answered: so that the peer
// knows that we have them, or we know that it has.
func (k *connection) prove(now time.Time) {
	k.pings++
	for _, p := range k.inUse() {
		k.sealTo(now, p.route, seal.Ping, binary.BigEndian.AppendUint64([]byte{pingAsk}, k.pings))
	}
	wait := proveWait
	if k.path != nil {
		wait = max(wait, 2*k.path.rtt())
	}
	k.proveAt = now.Add(min(wait<<min(k.proofs, 10), proveMost))
	k.proofs++
	k.settle(now)
}

// acknowledged takes in that a ping under the connection's keys was answered.
func (k *connection) acknowledged(now time.Time, ping uint64) {
	k.acked = max(k.acked, ping)
	if k.acked > k.rekeyed && !k.proveAt.IsZero() {
		k.proveAt, k.proofs = time.Time{}, 0
		k.settle(now)
	}
}

// ready tells that data can be sent by the connection, for the first time or again.
func (k *connection) ready(now time.Time) {
	switch {
	case k.state == lost:
		k.setState(now, connected)
		return
	case k.state == dialing && k.rides && k.own == nil: // it has waited for the link
		k.propose(now)
		return
	case k.state != checking || !k.proven:
		return
	}
	k.setState(now, connected)
	k.deadline, k.readyAt, k.active = time.Time{}, now, now
	e := Event{Kind: EventConnected, Peer: k.peer, Conn: k.number, Path: k.public(k.path), After: now.Sub(k.began)}
	if k.rides {
		e.Reason = k.shared()
		k.c.notes.Push(note{kind: noteRoute, conns: []uint32{k.number}, peer: k.peer, route: k.toldRoutes, known: k.toldKnown, event: Event{Path: e.Path}})
	}
	k.c.notes.Push(note{kind: noteReady, conn: k.number, peer: k.peer, dialled: k.dialled})
	if k.link.quiet {
		k.hush() // the first write ends that
	} else {
		k.link.active = now
	}
	k.c.tell(now, e)
	k.settle(now)
}

// shared says whose paths a connection uses.
func (k *connection) shared() string {
	return fmt.Sprintf("on paths that stood already, those of connection %d", k.eldest())
}
