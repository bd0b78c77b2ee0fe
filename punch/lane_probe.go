package punch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// The private attribute of lane probes and answers comes first in the message, so that
// LaneID finds it at a fixed place: version, flags, two bytes reserved, the ID.
const (
	laneVersion = 2
	laneDialler = 1 << 0 // the sender is the dialler
	laneState   = wire.HeaderSize + 4

	maxPairs = 16
)

// LaneID returns the ID of the connection that a datagram belongs to as a probe of a lane,
// or an answer to one; false: it is none. It proves nothing, and costs next to nothing.
func LaneID(datagram []byte) (id uint64, ok bool) {
	b := datagram
	if len(b) < laneState+stateSize || !wire.IsSTUN(b) || b[laneState] != laneVersion ||
		wire.AttrType(binary.BigEndian.Uint16(b[wire.HeaderSize:])) != wire.AttrPunchState ||
		binary.BigEndian.Uint16(b[wire.HeaderSize+2:]) != stateSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[laneState+4:]), true
}

// flown is a probe that was not answered yet.
type flown struct {
	entry
	at   time.Time
	lane *laneRun
}

// lanePair is a path on which the peer was heard.
type lanePair struct {
	entry
	lane   *laneRun
	local  netip.AddrPort // ours, as the peer's last probe arrived at it
	named  bool           // the peer's IP is one that signalling named
	opened bool
	tries  int
	timer  machine.Timer
}

// open reports whether the pair may yet open, or has.
func (p *lanePair) open() bool { return p.opened || p.timer.IsSet() }

// triggers are the times between the probes that answer the peer's.
var triggers = [...]time.Duration{
	60 * time.Millisecond, 120 * time.Millisecond, 240 * time.Millisecond, 480 * time.Millisecond, 960 * time.Millisecond,
}

// replays remembers the last probes that were answered: each is, once.
type replays struct {
	ring [128]wire.TransactionID
	next int
}

func (r *replays) again(id wire.TransactionID) bool {
	if slices.Contains(r.ring[:], id) {
		return true
	}
	r.ring[r.next] = id
	r.next = (r.next + 1) % len(r.ring)
	return false
}

// try sends a probe of a lane; false: the budget has no room for it.
func (m *Lanes) try(now time.Time, r *laneRun, socket machine.SocketID, remote netip.AddrPort) bool {
	return m.tryHops(now, r, socket, remote, 0)
}

// tryHops is try with a packet that goes no further than ttl hops; 0: all the way.
func (m *Lanes) tryHops(now time.Time, r *laneRun, socket machine.SocketID, remote netip.AddrPort, ttl int) bool {
	if !m.limits.room(socket, remote, r.use()) || socket != m.cfg.Socket && !m.isOpen(socket) {
		return false
	}
	return m.sendProbe(now, r, socket, netip.AddrPort{}, remote, ttl)
}

// sendProbe asks remote for an answer. ttl is how many hops it may go; 0: all.
func (m *Lanes) sendProbe(now time.Time, r *laneRun, socket machine.SocketID, local, remote netip.AddrPort, ttl int) bool {
	id, err := wire.NewTransactionID(m.secrets)
	if err != nil {
		return false // without randomness a probe would be forgeable
	}
	m.builder.Reset(wire.BindingRequest, id)
	m.addState()
	if !m.finishProbe(now, r, socket, local, remote, ttl) {
		return false
	}
	m.flights[id] = flown{entry{socket, remote}, now, r}
	return true
}

func (m *Lanes) addState() {
	var state [stateSize]byte
	state[0] = laneVersion
	if m.cfg.Dialler {
		state[1] = laneDialler
	}
	binary.BigEndian.PutUint64(state[4:], m.id)
	m.builder.AddRaw(wire.AttrPunchState, state[:])
}

func (m *Lanes) finishProbe(now time.Time, r *laneRun, socket machine.SocketID, local, remote netip.AddrPort, ttl int) bool {
	m.builder.AddIntegrity(m.cfg.Secret)
	m.builder.AddFingerprint()
	return m.transmit(now, r, machine.Transmit{Socket: socket, Local: local, Remote: remote, TTL: ttl, Data: bytes.Clone(m.builder.Bytes())})
}

// transmit sends a datagram, if the budget lets it, and notes what it costs.
func (m *Lanes) transmit(now time.Time, r *laneRun, t machine.Transmit) bool {
	ok, fresh := m.limits.take(now, t.Socket, t.Remote)
	if !ok {
		return false
	}
	if fresh {
		r.entries++
	}
	r.sent++
	m.out.Push(t)
	return true
}

// laneProbe takes a probe or an answer that carries our ID and is decoded.
func (m *Lanes) laneProbe(now time.Time, d machine.Datagram) {
	if m.msg.CheckIntegrity(m.cfg.Secret) != nil || (d.Data[laneState+1]&laneDialler != 0) == m.cfg.Dialler {
		return
	}
	switch m.msg.Class() {
	case wire.Request:
		m.laneRequest(now, d)
	case wire.Success:
		m.laneAnswer(now, d)
	}
}

// laneRequest answers a probe of the peer, and probes back: the way in is open.
func (m *Lanes) laneRequest(now time.Time, d machine.Datagram) {
	id := m.msg.TransactionID()
	if ipcheck.Unusable(d.Remote, false) != "" || m.seen.again(id) || !m.limits.room(d.Socket, d.Remote, forAnswers) {
		return
	}
	p := m.pair(d)
	if p == nil {
		return
	}
	p.local = d.Local
	if s := m.socks[d.Socket]; s != nil {
		s.met = true
	}
	m.builder.Reset(wire.BindingSuccess, id)
	m.addState()
	m.builder.AddXORAddress(wire.AttrXORMappedAddress, d.Remote)
	m.finishProbe(now, p.lane, d.Socket, d.Local, d.Remote, 0)
	if !p.opened && !p.timer.IsSet() && p.tries < 4*len(triggers) {
		m.trigger(now, p)
	}
}

// trigger probes where the peer's probe came from, and again until that is answered
// (RFC 8445 7.3.1.4). Whoever copies a probe from a false address gets no more than one
// for each.
func (m *Lanes) trigger(now time.Time, p *lanePair) {
	if !m.limits.room(p.socket, p.remote, forAnswers) || p.socket != m.cfg.Socket && !m.isOpen(p.socket) {
		return
	}
	m.sendProbe(now, p.lane, p.socket, p.local, p.remote, 0)
	if p.tries++; p.named && p.tries%(len(triggers)+1) != 0 {
		m.timers.Set(&p.timer, now.Add(triggers[(p.tries-1)%(len(triggers)+1)]))
	}
}

// pair finds the pair that a datagram came by, or makes it.
func (m *Lanes) pair(d machine.Datagram) *lanePair {
	e := entry{d.Socket, d.Remote}
	if i := slices.IndexFunc(m.pairs, func(p *lanePair) bool { return p.entry == e }); i >= 0 {
		return m.pairs[i]
	}
	if len(m.pairs) == maxPairs {
		return nil
	}
	p := &lanePair{entry: e, lane: m.laneOf(e), named: slices.Contains(m.ips, d.Remote.Addr())}
	p.timer.Fire = func(now time.Time) { m.trigger(now, p) }
	m.pairs = append(m.pairs, p)
	return p
}

// laneOf says which lane a path is owed to.
func (m *Lanes) laneOf(e entry) *laneRun {
	if s := m.socks[e.socket]; s != nil {
		return s.lane
	}
	for _, r := range m.lanes {
		if w, ok := r.work.(interface{ tried(netip.AddrPort) bool }); ok && w.tried(e.remote) {
			return r
		}
	}
	return m.lanes[0]
}

// laneAnswer takes the answer to one of our probes: the path is open both ways. One that
// comes from elsewhere than the probe went is dropped (RFC 8445 7.2.5.2.1).
func (m *Lanes) laneAnswer(now time.Time, d machine.Datagram) {
	id := m.msg.TransactionID()
	f, ok := m.flights[id]
	if !ok || f.entry != (entry{d.Socket, d.Remote}) {
		return
	}
	delete(m.flights, id)
	p := m.pair(d)
	if p == nil || p.opened || m.opened == maxOpened {
		return
	}
	mapped, _ := m.msg.XORMappedAddress()
	p.opened, p.local = true, d.Local
	m.timers.Stop(&p.timer)
	if s := m.socks[d.Socket]; s != nil {
		s.met, s.kept = true, true
	}
	m.opened++
	m.events.Push(LaneEvent{
		Kind: LaneOpened, At: now, Lane: f.lane.Kind, Socket: d.Socket, Local: d.Local, Remote: d.Remote, Mapped: mapped, RTT: now.Sub(f.at),
	})
	m.gotThrough(now, f.lane)
}

// gotThrough ends all lanes, for one has opened a path.
func (m *Lanes) gotThrough(now time.Time, by *laneRun) {
	if m.state != lanesRun {
		return
	}
	m.state = lanesLinger
	m.timers.Set(&m.linger, now.Add(laneLinger))
	for _, r := range m.lanes {
		if r == by {
			m.end(now, r, "it got through")
		} else {
			m.end(now, r, "another lane got through")
		}
	}
}
