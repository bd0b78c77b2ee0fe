package bradawl

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
)

// Times of pings.
const (
	heartbeat = 3 * time.Second        // between pings on the path in use, while there is traffic
	spareBeat = 6 * time.Second        // on spare ones
	idleAfter = 15 * time.Second       // longer than pairs are checked
	pongWait  = 500 * time.Millisecond // at least, and 4 round trips, at most 2 s or 1.5 round trips
	pongMost  = 2 * time.Second
	doubtBeat = 500 * time.Millisecond // between pings on a path in doubt
	deadAfter = 4                      // pings without an answer
	// narrowAfter is how many pings of full size must be lost in a row, each followed by a
	// short one that was answered, for a path to count as narrow.
	narrowAfter = 5
	// widenAfter is when a narrow path is tried again.
	widenAfter = 30 * time.Second
	// flightsKept is how many pings of a path can be answered late.
	flightsKept = 4
)

// pinging is what a link keeps of its pings.
type pinging struct {
	active time.Time // when there was traffic last, on any of the connections
	quiet  bool      // there was none for a while
	pings  uint64    // sent
}

// traffic is what a connection keeps of what it sends, and of its keys.
type traffic struct {
	active    time.Time // when there was traffic last
	quiet     bool      // there was none for a while: the shell tells when there is again
	sent      uint64    // datagrams of the user's, when it was looked last
	service   uint64    // datagrams of ours that are no traffic, since the beginning
	acked     uint64    // the newest ping under its keys that was answered
	rekeyAt   time.Time
	rekeyed   uint64 // the last ping under the key before
	rekeyedAt uint64 // what had been sent then
	proveAt   time.Time
	proofs    int // pings sent for the sake of the keys, in a row
}

// ping is one that was sent.
type ping struct {
	id   uint64
	at   time.Time
	wide bool // of full size
}

// The payload of a ping: whether it is the answer, its number, and padding.
const (
	pingAsk = iota
	pingAnswer
	pingSize = 1 + 8
)

// sealTo seals something of the session's own for a path. A connection that is quiet stays
// so.
func (k *connection) sealTo(now time.Time, to ice.Route, kind seal.Kind, payload []byte) {
	k.service++
	sealed := k.keys.Seal(nil, kind, k.theirs, payload)
	_ = k.c.ice.SendOn(now, k.agent, to, sealed) // lost, as datagrams are
	if k.quiet {
		k.keys.Rest()
	}
}

// ping asks the peer for an answer on a path. Every other ping is as long as the longest
// datagram that a connection always takes: a path that carries only short ones is of no use.
func (k *link) ping(now time.Time, p *path) {
	k.pings++
	wide := p.misses%2 == 0 && !p.widenAt.After(now)
	if p.narrow && wide {
		p.widenAt = now.Add(widenAfter)
	}
	p.flights = append(p.flights[max(0, len(p.flights)-flightsKept+1):], ping{k.pings, now, wide})
	p.waiting = true
	payload := make([]byte, pingSize, MaxDatagram)
	binary.BigEndian.PutUint64(payload[1:], k.pings)
	if wide {
		payload = payload[:MaxDatagram]
	}
	if v := k.voice(); v != nil {
		v.sealTo(now, p.route, seal.Ping, payload)
	}
}

// last is the ping whose answer is waited for.
func (p *path) last() *ping { return &p.flights[len(p.flights)-1] }

func (p *path) pongDue() time.Time {
	rtt := p.rtt()
	return p.last().at.Add(min(max(pongWait, 4*rtt), max(pongMost, rtt*3/2)))
}

// heardFrom takes in where something came from that the peer has sealed.
func (k *connection) heardFrom(now time.Time, d machine.Datagram, from ice.Route) {
	k.confirmed(now)
	if k.at(from) == nil && from.Stream == 0 { // the peer's address may have changed
		k.c.ice.Heard(now, k.agent, d.Socket, d.Local, d.Remote)
		k.c.pump(now)
	}
}

// opened takes in what was sealed by the peer.
func (k *connection) opened(now time.Time, kind seal.Kind, payload []byte, d machine.Datagram, from ice.Route) {
	k.heardFrom(now, d, from)
	if k.quiet && kind != seal.Data {
		k.keys.Rest()
	}
	switch kind {
	case seal.Data:
		k.heardData(now, payload)
	case seal.Ping:
		k.pinged(now, payload, from)
	case seal.Control:
		if p := k.at(from); p != nil {
			from = p.route
		}
		if len(payload) > 0 && (payload[0] == msgOffer || payload[0] == msgAnswer) {
			if k.at(from) != k.path {
				k.link.stir(now) // the peer doubts the path that we use
			}
			k.c.message(now, k.peer, payload, true)
			break
		}
		k.updated(now, payload, from)
	case seal.Close:
		k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
	}
	k.link.settle(now)
}

func (k *connection) heardData(now time.Time, data []byte) {
	k.stir(now)
	k.c.notes.Push(note{kind: noteData, conn: k.number, data: slices.Clone(data)})
}

func (k *connection) pinged(now time.Time, payload []byte, from ice.Route) {
	if len(payload) < pingSize {
		return
	}
	id := binary.BigEndian.Uint64(payload[1:])
	if payload[0] == pingAsk {
		p := k.at(from)
		if p == nil {
			p = k.path // nothing is sent to where no check of ours was answered
		}
		if p != nil {
			k.sealTo(now, p.route, seal.Ping, binary.BigEndian.AppendUint64([]byte{pingAnswer}, id))
		}
		return
	}
	if id <= k.pings {
		k.acknowledged(now, id)
	}
	for _, p := range k.paths { // the answer may come by another path than the question went
		if i := slices.IndexFunc(p.flights, func(f ping) bool { return f.id == id }); i >= 0 {
			k.answeredPing(now, p, p.flights[i])
			p.flights = slices.Delete(p.flights, i, i+1)
			k.steer(now)
			return
		}
	}
}

// answeredPing takes in that a ping was answered, in time or late.
func (k *link) answeredPing(now time.Time, p *path, f ping) {
	p.back()
	p.rtts = append(p.rtts[max(0, len(p.rtts)-pingWindow+1):], now.Sub(f.at))
	if p.waiting && p.last().id == f.id {
		p.waiting = false
		p.result(true)
	}
	switch {
	case f.wide:
		p.wide, p.narrow = 0, false
	case p.wide >= narrowAfter && !p.narrow:
		k.note(now, "the path does not carry full datagrams: "+k.public(p).String(), nil)
		p.narrow, p.widenAt = true, now.Add(widenAfter)
	}
	p.doubt = p.wide > 0 && !p.narrow // short ones get through
	p.next = now.Add(p.every(k))
}

// every is the time between two pings.
func (p *path) every(k *link) time.Duration {
	switch {
	case p.doubt:
		return doubtBeat
	case p == k.path:
		return heartbeat
	}
	return spareBeat
}

// beats reports whether a path is to be pinged.
func (k *link) beats(p *path) bool {
	return p.doubt || !k.quiet && (p == k.path || p == k.spares[0] || p == k.spares[1])
}

// beat sends the pings that are due, and counts those that were not answered.
func (k *link) beat(now time.Time) {
	if !k.acquainted() {
		return
	}
	k.look(now)
	var dead []*path
	for _, p := range k.paths {
		if p.waiting && !p.pongDue().After(now) {
			k.missed(now, p)
			if p.misses == deadAfter {
				dead = append(dead, p)
				continue
			}
		}
		if !p.waiting && k.beats(p) && !p.next.After(now) {
			k.ping(now, p)
		}
	}
	for _, p := range dead {
		k.c.ice.Suspect(now, k.agent, p.route) // it comes back if a check is answered
	}
	k.c.pump(now)
	k.steer(now)
}

// missed counts a ping that was not answered.
func (k *link) missed(now time.Time, p *path) {
	p.waiting = false
	p.misses++
	if p.last().wide {
		p.wide++
	}
	if !p.narrow || !p.last().wide {
		p.result(false)
	}
	p.next = now
	if p == k.path && !p.doubt {
		k.c.tell(now, Event{Kind: EventDoubt, Peer: k.peer, Conn: k.eldest(), Path: k.public(p)})
		k.c.ice.Refresh(now) // perhaps it is our NAT
	}
	p.doubt = true
}

// nextBeat is when beat has something to do.
func (k *link) nextBeat(now time.Time) (next time.Time) {
	if !k.acquainted() {
		return next
	}
	for _, p := range k.paths {
		switch {
		case p.waiting:
			next = machine.Earliest(next, p.pongDue())
		case k.beats(p) && p.next.IsZero():
			next = now
		case k.beats(p):
			next = machine.Earliest(next, p.next)
		}
	}
	if !k.quiet && k.path != nil {
		next = machine.Earliest(next, k.active.Add(idleAfter))
	}
	return next
}

// look notices traffic that went past the control, and that there was none for a while.
func (k *link) look(now time.Time) {
	for _, of := range k.conns {
		if of.keys != nil && !of.quiet {
			of.look(now)
		}
	}
	k.voice().rekey(now) // it seals pings, though it may be quiet itself
	if !k.quiet && k.path != nil && now.Sub(k.active) >= idleAfter {
		k.quiet = true
		k.c.ice.Tidy(k.agent)
	}
}

func (k *connection) look(now time.Time) {
	sent := k.keys.Sent() - k.service
	if sent != k.sent {
		k.active, k.link.active, k.sent = now, now, sent
	}
	if k.path != nil && now.Sub(k.active) >= idleAfter {
		k.hush()
	}
	k.rekey(now)
}

// rekey moves on to the next key, if it is time.
func (k *connection) rekey(now time.Time) {
	switch due := !k.rekeyAt.After(now) || k.sent-k.rekeyedAt > rekeyCount; {
	case due && k.acked > k.rekeyed: // the next key is for who has seen the last one (seal.Keys.Rekey)
		k.keys.Rekey()
		k.rekeyAt, k.rekeyed, k.rekeyedAt = now.Add(rekeyAfter), k.pings, k.sent
	case due && !k.quiet && k.proveAt.IsZero() && k != k.voice():
		k.prove(now) // the link's own pings are not under its keys
	}
}

// hush has the shell tell of the next traffic.
func (k *connection) hush() {
	k.quiet = true
	k.keys.Rest()
	k.c.notes.Push(note{kind: noteQuiet, conn: k.number})
}

// stir notes traffic. After a pause the path may have died meanwhile.
func (k *connection) stir(now time.Time) {
	k.active, k.quiet = now, false
	k.link.stir(now)
}

func (k *link) stir(now time.Time) {
	k.active = now
	if k.quiet && k.path != nil {
		k.path.next = now
	}
	k.quiet = false
}

// wrote tells that data was sent by a connection that had been quiet.
func (c *control) wrote(now time.Time, number uint32) {
	c.enter(now)
	if k := c.conns[number]; k != nil && k.keys != nil {
		k.stir(now)
		k.beat(now)
		k.link.settle(now)
	}
	c.pump(now)
}
