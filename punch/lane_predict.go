package punch

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

const (
	// maxRounds is how often a port is foretold, each time that of a new socket.
	maxRounds = 12
	// roundTime is how long a round lasts, beside two round trips to the STUN server.
	roundTime = 800 * time.Millisecond
	// maxBracket is how many ports are tried in a round, and widest how far a bracket may be
	// apart to be believed, in steps.
	maxBracket = 12
	// maxFollowing is how many ports beyond it are.
	maxFollowing = 20
	widest       = 64
)

// repeats are when, since a round began, its packets are sent once more: lost ones cost no
// round then.
var repeats = [...]time.Duration{120 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond}

// newPredicted runs a side of the predicted lane.
func (m *Lanes) newPredicted(r *laneRun) laneWork {
	switch {
	case r.Hard == Ours && len(m.stuns) > 0:
		w := &sandwich{m: m, run: r}
		w.begin(m.started)
		return w
	case r.Hard == Theirs:
		return &bracket{m: m, run: r, asked: make(map[uint16]bool)}
	}
	return nil
}

// sandwich is the hard side: a socket that is new to the NAT asks a STUN server, probes the
// peer and asks another server, back to back. The ports in the two answers bracket the one
// that the peer has to try.
//
// Some NATs, Linux as it comes among them, remember a probe that they do not let in, and
// then no mapping of the peer's towards its sender keeps the port that we know. So the peer
// tries the ports that come next as well, and when it tells that it has, one more socket
// probes: its is the second packet, not the first.
type sandwich struct {
	silent
	m             *Lanes
	run           *laneRun
	round         int
	probe, last   *laneSocket // last asks the last question where only one server is known
	second        *laneSocket // probes after the peer has
	seconded      bool
	odd           int // rounds whose bracket cannot be: each counts as three that failed
	before, after *laneQuery
	told          [2]uint16
	fired         bool
	at            time.Time // of the burst, or of the round's beginning before
	step          int       // in repeats
}

// begin starts a round: it opens the sockets.
func (w *sandwich) begin(now time.Time) {
	w.round++
	w.at, w.step, w.fired, w.told = now, 0, false, [2]uint16{}
	w.last, w.second, w.seconded = nil, nil, false
	if w.probe = w.m.openSocket(w.run); w.probe != nil && !w.m.twoServers() {
		w.last = w.m.openSocket(w.run)
	}
	w.second = w.m.openSocket(w.run)
}

// twoServers reports whether there are STUN servers with two IPs, the first and the last:
// then one socket gets a mapping for each even where only addresses matter.
func (m *Lanes) twoServers() bool {
	return m.stuns[0].Addr() != m.stuns[len(m.stuns)-1].Addr()
}

func (w *sandwich) ready() bool {
	return w.probe != nil && w.probe.open && (w.m.twoServers() || w.last != nil && w.last.open)
}

func (w *sandwich) wants() (int, time.Time) {
	switch {
	case !w.fired && w.ready():
		return 3, w.at
	case w.step < len(repeats):
		return 1, w.at.Add(repeats[w.step])
	}
	return 1, w.at.Add(roundTime + 2*w.rtt())
}

func (w *sandwich) rtt() (d time.Duration) {
	for _, q := range []*laneQuery{w.before, w.after} {
		if q != nil {
			d = max(d, q.rtt)
		}
	}
	return min(d, time.Second)
}

func (w *sandwich) send(now time.Time) {
	dest := w.dest()
	switch {
	case !w.fired && w.ready():
		last := w.last
		if last == nil {
			last = w.probe
		}
		w.before = &laneQuery{entry: entry{w.probe.id, w.m.stuns[0]}, lane: w.run}
		w.after = &laneQuery{entry: entry{last.id, w.m.stuns[len(w.m.stuns)-1]}, lane: w.run}
		w.fired, w.at = true, now
		if !w.m.ask(now, w.before) || !w.m.try(now, w.run, w.probe.id, dest) || !w.m.ask(now, w.after) {
			w.m.end(now, w.run, "the budget is spent")
		}
	case w.step < len(repeats):
		w.step++
		if !w.fired {
			return
		}
		w.m.try(now, w.run, w.probe.id, dest)
		if w.seconded {
			w.m.try(now, w.run, w.second.id, dest)
		}
		for _, q := range []*laneQuery{w.before, w.after} {
			if q.port == 0 {
				w.m.ask(now, q)
			}
		}
		w.tell(now)
	case w.round == maxRounds:
		w.m.end(now, w.run, "no port was foretold rightly in 12 rounds")
	case !w.m.believed(w.round+2*w.odd, w.m.cfg.Local):
		w.m.end(now, w.run, "the ports are not what the profile foretells")
	default:
		w.begin(now)
	}
}

func (w *sandwich) dest() netip.AddrPort { return w.m.dests[(w.round-1)%len(w.m.dests)] }

// answered tells the peer as soon as both ports are known; one alone may do later.
func (w *sandwich) answered(now time.Time, q *laneQuery) {
	if w.before == nil || w.after == nil || w.before.port == 0 || w.after.port == 0 {
		return
	}
	if delta := w.m.cfg.Local.Ports.Delta; delta != 0 && !believable(w.before.port, w.after.port, delta) {
		w.odd++
	}
	w.tell(now)
}

func (w *sandwich) tell(now time.Time) {
	if know := [2]uint16{w.before.port, w.after.port}; know != w.told {
		w.told = know
		w.m.tell(now)
	}
}

func (w *sandwich) say(t *tellEntry) bool {
	if w.told == [2]uint16{} {
		return false
	}
	t.round, t.first, t.second = uint16(w.round), w.told[0], w.told[1]
	if p := w.m.cfg.Local.Ports; p.Model == natprobe.PortsSequential {
		t.delta, t.rate = p.Delta, p.Rate
	} else if w.second != nil && w.second.open {
		t.second = w.second.local.Port() // a NAT that keeps ports keeps this one
	}
	return true
}

// heard takes it that the peer has tried the ports of a round.
func (w *sandwich) heard(now time.Time, t tellEntry) {
	w.m.overThere(now, w.run, t)
	if int(t.round) == w.round && w.fired && !w.seconded && w.second != nil && w.second.open {
		w.seconded = w.m.try(now, w.run, w.second.id, w.dest())
	}
}

// overThere ends a lane soon where the other side has ended it.
func (m *Lanes) overThere(now time.Time, r *laneRun, t tellEntry) {
	if soon := now.Add(laneLinger / 4); t.over && soon.Before(r.until) {
		r.until, r.why = soon, "the peer has ended it"
	}
}

// bracket is the easy side: it tries the ports that the peer brackets, from the socket
// whose address the peer knows.
type bracket struct {
	silent
	m     *Lanes
	run   *laneRun
	told  tellEntry
	ports []uint16
	sure  int // of ports, that are bracketed; the others follow, and are tried once
	next  int // of ports
	at    time.Time
	step  int // in repeats
	asked map[uint16]bool
}

func (w *bracket) heard(now time.Time, t tellEntry) {
	w.m.overThere(now, w.run, t)
	t.over = false
	if t.round == 0 || t.round < w.told.round || t == w.told {
		return
	}
	w.told = t
	w.ports = bracketed(t)
	w.sure = len(w.ports)
	w.ports = append(w.ports, following(t)...)
	w.next, w.at, w.step = 0, now, 0
}

func (w *bracket) say(t *tellEntry) bool {
	t.round = w.told.round
	return t.round != 0
}

func (w *bracket) wants() (int, time.Time) {
	switch {
	case w.next < len(w.ports):
		return 1, w.at
	case w.sure > 0 && w.step < len(repeats):
		return 1, w.at.Add(repeats[w.step])
	}
	return 0, time.Time{}
}

func (w *bracket) send(now time.Time) {
	if w.next >= len(w.ports) {
		w.step++
		w.next, w.ports = 0, w.ports[:w.sure]
	}
	port := w.ports[w.next]
	if w.next++; w.next == len(w.ports) && w.step == 0 {
		defer w.m.tell(now)
	}
	w.asked[port] = true
	if !w.m.try(now, w.run, w.m.cfg.Socket, netip.AddrPortFrom(w.m.ips[int(w.told.round-1)%len(w.m.ips)], port)) {
		w.m.end(now, w.run, "the budget is spent")
	}
}

func (w *bracket) tried(a netip.AddrPort) bool { return w.asked[a.Port()] }

// bracketed lists the ports that a mapping may have got which was made between two others,
// the likeliest first: at most maxBracket. Of the two ports one may be 0, unknown; delta 0
// says that a socket keeps its port.
func bracketed(t tellEntry) (ports []uint16) {
	if t.delta == 0 {
		for _, p := range []uint16{t.first, t.second} {
			if p >= leastPort && !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
		return ports
	}
	s, back := t.sequence(t.first), t.sequence(t.second)
	switch {
	case t.first != 0 && t.second != 0 && believable(t.first, t.second, t.delta):
		return s.Sandwich(nil, t.first, t.second, 1, maxBracket)
	case t.first != 0 && t.second != 0:
		// The profile's step is wrong, or the packets left in another order.
		if apart := int(int16(t.second - t.first)); apart%2 == 0 && max(apart, -apart) <= 2*widest {
			s.Delta = apart / 2
			ports = append(ports, s.Port(1))
			s.Delta = t.delta
		}
		for k := 1; k <= 3; k++ {
			ports = append(ports, s.Port(k), back.Port(-k))
		}
		return append(ports, back.Port(1), s.Port(-1))
	case t.first != 0:
		return s.Next(nil, 1, 0, maxBracket/2)
	case t.second != 0:
		for k := 1; k <= maxBracket/2; k++ {
			ports = append(ports, back.Port(-k))
		}
	}
	return ports
}

// sequence is that of the sender of t after one of its ports.
func (t tellEntry) sequence(port uint16) sequence {
	return sequence{Last: port, Delta: t.delta, Rate: t.rate}
}

// believable reports whether two ports can be of mappings that were made just before and
// just after another one.
func believable(before, after uint16, delta int) bool {
	n, ok := sequence{Delta: delta}.steps(before, after)
	return ok && n >= 2 && n <= widest
}

// following lists the ports that come after a bracket, for as long as it takes the peer to
// hear that they were tried.
func following(t tellEntry) (ports []uint16) {
	const later = 0.25 // s
	s, first := t.sequence(t.second), 1
	if t.second == 0 {
		s, first = t.sequence(t.first), 3
	}
	mean := min(t.rate, 100) * later
	for k := range min(crossMargin+int(mean+2*math.Sqrt(mean)), maxFollowing) {
		if t.delta != 0 {
			ports = append(ports, s.Port(first+k))
		}
	}
	return ports
}
