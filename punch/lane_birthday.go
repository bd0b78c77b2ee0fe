package punch

import (
	"math"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

const (
	// birthdayAgain is when a socket that stays probes a second time, so that a lost packet
	// costs no more than this, and birthdayKeep how often after that.
	birthdayAgain = 900 * time.Millisecond
	birthdayKeep  = 5 * time.Second
	// birthdayGrace is how long the side that tries ports waits after its last: until the
	// other side has sent once more from all of its sockets.
	birthdayGrace = 2500 * time.Millisecond
	// openAhead is how many sockets are opened before they can be used.
	openAhead = 16
	// turnAhead is the same once a socket is closed for each that is opened.
	turnAhead = 4
	// Where a packet that goes few hops dies is not known: each socket has its own of these
	// numbers, from the first that a home's router lets out.
	leastHops, mostHops = 2, 6
)

// newBirthday runs a side of the birthday lane. With N mappings of the hard side and M
// ports tried by the other, of R that there are, 1-(1-N/R)^M is the chance that one of
// them meets, whichever packet comes first: it opens the NAT for the other.
func (m *Lanes) newBirthday(r *laneRun) laneWork {
	switch r.Hard {
	case Ours:
		return newManySockets(m, r)
	case Theirs:
		return newManyPorts(m, r)
	}
	return nil
}

// manySockets is the hard side: many mappings towards an address that the peer holds. When
// all sockets have been used, new ones take the place of the oldest, for as long as the
// budget has entries: a new mapping may be one that the peer has tried already, which is
// worth as much as another try.
type manySockets struct {
	silent
	m            *Lanes
	run          *laneRun
	want         int // sockets at a time
	turns        int // sockets in all
	opens, have  int // sockets that are being opened; those and the open ones
	made         int
	fresh        []*laneSocket // open, not used yet
	again, keep  []*laneSocket // used once; used more often; both in the order in which they are due
	againAt, kAt []time.Time
}

func newManySockets(m *Lanes, r *laneRun) laneWork {
	w := &manySockets{m: m, run: r, want: m.limits.left(forMany).sockets, turns: m.limits.tries(forMany)}
	if r.Sockets > 0 {
		w.want = min(w.want, r.Sockets)
	}
	if r.Entries > 0 {
		w.turns = min(w.turns, r.Entries)
	}
	if p := m.cfg.Local.Ports; p.Model == natprobe.PortsBlock && p.High > p.Low {
		w.turns = min(w.turns, (int(p.High-p.Low)+1)/2) // the rest of the block is for the host's other flows
	}
	w.want = min(w.want, w.turns)
	w.open()
	return w
}

func (w *manySockets) open() {
	for w.made < w.turns && w.run.failed < openAhead {
		switch ahead := w.opens + len(w.fresh); {
		case w.have < w.want && ahead < openAhead:
		case w.have >= w.want && ahead < turnAhead && len(w.again) > 0:
			old := w.again[0]
			w.again, w.againAt = w.again[1:], w.againAt[1:]
			if old.gone || old.met {
				continue
			}
			w.m.close(old)
			w.have--
		default:
			return
		}
		if w.m.openSocket(w.run) == nil {
			return
		}
		w.have++
		w.opens++
		w.made++
	}
}

func (w *manySockets) opened(now time.Time, s *laneSocket) {
	w.opens--
	s.tag = 1
	w.fresh = append(w.fresh, s)
	w.open()
}

func (w *manySockets) lost(now time.Time, s *laneSocket) {
	if s.tag == 0 {
		w.opens--
	}
	w.have--
	if w.open(); w.have == 0 {
		w.m.end(now, w.run, "no socket can be opened")
	}
}

func (w *manySockets) wants() (int, time.Time) {
	switch {
	case len(w.fresh) > 0:
		return 1, w.m.started
	case len(w.again) > 0 && (len(w.keep) == 0 || !w.kAt[0].Before(w.againAt[0])):
		return 1, w.againAt[0]
	case len(w.keep) > 0:
		return 1, w.kAt[0]
	}
	return 0, time.Time{}
}

func (w *manySockets) send(now time.Time) {
	var s *laneSocket
	switch {
	case len(w.fresh) > 0:
		s, w.fresh = w.fresh[0], w.fresh[1:]
		w.open()
	case len(w.again) > 0 && (len(w.keep) == 0 || !w.kAt[0].Before(w.againAt[0])):
		s, w.again, w.againAt = w.again[0], w.again[1:], w.againAt[1:]
	default:
		s, w.keep, w.kAt = w.keep[0], w.keep[1:], w.kAt[1:]
	}
	if s.gone {
		return
	}
	dests := w.m.dests
	hops := 0
	if w.m.cfg.FewHops {
		hops = leastHops + int(s.id)%(mostHops-leastHops+1)
	}
	if !w.m.tryHops(now, w.run, s.id, dests[(int(s.id)+s.sends)%len(dests)], hops) {
		return // what is open stays open, for the peer's tries
	}
	if s.sends++; s.sends == 1 {
		w.again, w.againAt = append(w.again, s), append(w.againAt, now.Add(birthdayAgain))
	} else {
		w.keep, w.kAt = append(w.keep, s), append(w.kAt, now.Add(birthdayKeep))
	}
}

func (w *manySockets) heard(now time.Time, t tellEntry) {
	if soon := now.Add(laneLinger / 4); t.over && soon.Before(w.run.until) {
		w.run.until, w.run.why = soon, "the peer has tried all that it may"
	}
}

// manyPorts is the easy side: many ports of the peer, each once, from the socket whose
// address the peer knows.
type manyPorts struct {
	silent
	m     *Lanes
	run   *laneRun
	ports spray
	most  int // packets
	at    int
	size  int // how many ports there are
	done  bool
	asked map[uint16]bool
}

func newManyPorts(m *Lanes, r *laneRun) laneWork {
	ports := RangeOf(m.cfg.Remote)
	w := &manyPorts{m: m, run: r, ports: newSpray(ports, m.random.Uint64()), size: ports.Size(), most: m.limits.tries(forMany), asked: make(map[uint16]bool)}
	if r.Probes > 0 {
		w.most = min(w.most, r.Probes)
	}
	return w
}

func (w *manyPorts) wants() (int, time.Time) {
	if w.done {
		return 0, time.Time{}
	}
	return 1, w.m.started
}

func (w *manyPorts) send(now time.Time) {
	if w.at < w.most && !w.hopeless() {
		port, ok := w.ports.Next()
		ip := w.m.ips[w.at%len(w.m.ips)]
		if ok && w.m.try(now, w.run, w.m.cfg.Socket, netip.AddrPortFrom(ip, port)) {
			w.asked[port] = true
			w.at++
			return
		}
	}
	w.done = true
	if end := now.Add(birthdayGrace); end.Before(w.run.until) {
		w.run.until, w.run.why = end, "all ports within the budget were tried"
	}
}

// hopeless reports whether the next second is not worth its packets. The peer's sockets
// are not known; they are taken to be as many as ours may be.
func (w *manyPorts) hopeless() bool {
	left := max(1, w.size-w.at)
	miss := max(0, 1-float64(max(w.m.limits.Sockets, 1))/float64(left))
	return 1-math.Pow(miss, float64(w.m.limits.Rate)) < w.m.limits.Least
}

func (w *manyPorts) tried(a netip.AddrPort) bool { return w.asked[a.Port()] }
