package punch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

const (
	// blockSockets is how many sockets share the work: a NAT that maps by address and port
	// makes a mapping for each remote port, whichever socket it is from.
	blockSockets = 64
	// blockAhead is how many ports of a sequence are tried beyond those that we make
	// mappings for: the peer and others behind its NAT make some besides.
	blockAhead = 32
)

// newBlocks runs the blocks lane. Both sides have few ports, and each makes many mappings,
// each towards another port of the other. With N on each side, of R and S ports, N*N/(R*S)
// pairs that expect each other are to be hoped for; where one side's ports are a sequence,
// the other aims at those to come, and it is N/R.
func (m *Lanes) newBlocks(r *laneRun) laneWork {
	w := &blocks{m: m, run: r, total: m.limits.tries(forMany)}
	local, remote := m.cfg.Local.Ports, m.cfg.Remote.Ports
	if r.Entries > 0 {
		w.total = min(w.total, r.Entries)
	} else if local.Model == natprobe.PortsBlock && local.High > local.Low {
		w.total = min(w.total, (int(local.High-local.Low)+1)/2)
	}
	if remote.Model == natprobe.PortsBlock && remote.High > remote.Low {
		w.total = min(w.total, int(remote.High-remote.Low)+1+blockAhead) // beyond what the peer can make
	}
	if remote.Model != natprobe.PortsSequential {
		spray := newSpray(RangeOf(m.cfg.Remote), m.random.Uint64())
		for port := range spray.All() {
			if w.ports = append(w.ports, port); len(w.ports) >= w.total {
				break
			}
		}
	}
	if local.Model == natprobe.PortsSequential && local.Delta != 0 {
		if len(m.stuns) == 0 {
			return nil
		}
		w.asker = m.openSocket(r)
	}
	for range min(blockSockets, w.total) {
		m.openSocket(r)
	}
	return w
}

type blocks struct {
	m       *Lanes
	run     *laneRun
	sockets []*laneSocket
	ports   []uint16 // of the peer, in the order in which they are tried
	total   int      // mappings
	at      int      // how many packets left; after total, each is sent once more
	base    uint16   // our last port, where a sequence goes on from there
	asker   *laneSocket
	query   *laneQuery
	asked   int
	wait    time.Time
	done    bool
}

func (w *blocks) opened(now time.Time, s *laneSocket) {
	if s != w.asker {
		w.sockets = append(w.sockets, s)
		return
	}
	w.query = &laneQuery{entry: entry{s.id, w.m.stuns[0]}, lane: w.run}
	w.wait = now
}

func (w *blocks) lost(now time.Time, s *laneSocket) {
	w.sockets = slices.DeleteFunc(w.sockets, func(o *laneSocket) bool { return o == s })
}

// asks reports whether our own port is still to be asked for: that comes first, for the
// mappings that follow are the ones that the peer shall aim at.
func (w *blocks) asks() bool { return w.query != nil && w.base == 0 && w.asked < len(repeats) }

func (w *blocks) wants() (int, time.Time) {
	switch {
	case w.asks() && w.asked == 0:
		return 1, w.wait
	case w.done || w.asker != nil && w.asked == 0:
	case len(w.ports) > 0 && len(w.sockets) > 0:
		return 1, w.m.started
	case w.asks():
		return 1, w.wait
	}
	return 0, time.Time{}
}

func (w *blocks) send(now time.Time) {
	if w.asks() && !w.wait.After(now) {
		w.wait = now.Add(repeats[w.asked])
		w.asked++
		w.m.ask(now, w.query)
		return
	}
	i := w.at % w.total
	// Each time through the ports, another socket takes each.
	s := w.sockets[(i+i/len(w.ports))%len(w.sockets)]
	port := w.ports[i%len(w.ports)]
	if w.at == 2*w.total || !w.m.try(now, w.run, s.id, netip.AddrPortFrom(w.m.ips[0], port)) {
		w.done = true
		if end := now.Add(birthdayGrace); end.Before(w.run.until) {
			w.run.until, w.run.why = end, "all mappings within the budget were made"
		}
		return
	}
	w.at++
}

func (w *blocks) answered(now time.Time, q *laneQuery) {
	if q == w.query {
		w.base = q.port
		w.m.tell(now)
	}
}

func (w *blocks) say(t *tellEntry) bool {
	t.first = w.base
	return w.base != 0
}

// heard takes the port from where the peer's sequence goes on.
func (w *blocks) heard(now time.Time, t tellEntry) {
	if w.m.overThere(now, w.run, t); len(w.ports) > 0 || t.first == 0 {
		return
	}
	if s, ok := sequenceOf(w.m.cfg.Remote, t.first, 0); ok {
		for k := 1; k <= w.total+blockAhead; k++ {
			w.ports = append(w.ports, s.Port(k))
		}
	}
}
