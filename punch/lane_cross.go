package punch

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

const (
	// crossMargin is how many mappings more than foreseen may be made between the question
	// for a port and the burst: checks that an agent sends beside, others by chance.
	crossMargin = 6
	// maxCross is how many sockets a burst has at most: they leave together.
	maxCross = pacerDepth - 2
	// crossLag is how long it takes the peer's port to come after ours was named, beside a
	// round trip to the STUN server, before that is known.
	crossLag = 50 * time.Millisecond
	// crossStale is how old it may be in the first round. The peer may have begun later.
	crossStale = 400 * time.Millisecond
	// maxAhead is how far the peer's rounds are followed at once.
	maxAhead = 16
)

// newCrossing runs the crossing lane: the next ports of both sides can be foretold.
//
// Each side asks a STUN server for its latest port, names one that lies a few steps ahead,
// and then sends a burst from new sockets, all to the port that the other named. Somewhere
// in the burst its own sequence gets to the port that it named itself: these two mappings
// expect each other.
func (m *Lanes) newCrossing(r *laneRun) laneWork {
	if r.Hard != Both || len(m.stuns) == 0 {
		return nil
	}
	p := m.cfg.Local
	w := &crossing{m: m, run: r, keeps: p.Ports.Model == natprobe.PortsPreserving || p.Mapping == natprobe.MappingEndpointIndependent}
	if seq, ok := sequenceOf(p, 0, 0); ok {
		w.steps = steps{delta: seq.Delta, rate: seq.Rate}
	} else if !w.keeps {
		return nil
	}
	w.begin(m.started, 1)
	return w
}

type crossing struct {
	m      *Lanes
	run    *laneRun
	keeps  bool // a socket's port is the same for all: nothing to cross
	round  int
	rounds int // that we began; the peer may skip some
	failed int // of them, though both targets were known
	asker  *laneSocket
	query  *laneQuery
	again  *laneQuery // right behind query, to another server; nil where only one is known
	steps  steps
	group  []*laneSocket
	target uint16 // ours; 0: not known yet
	theirs uint16 // of this round; 0: not known yet
	fired  bool
	at     time.Time       // of the burst, or of the round's beginning before
	step   int             // in repeats
	next   int             // of group, while a repetition is under way
	aimed  time.Time       // when our target was named last
	lag    time.Duration   // from there to the burst
	age    time.Duration   // of the port that the target was counted from, when the burst leaves
	old    [][]*laneSocket // of the rounds before
}

// begin starts a round.
func (w *crossing) begin(now time.Time, round int) {
	if len(w.group) > 0 {
		w.old = append(w.old, w.group)
	}
	if len(w.old) > 2 { // what comes so late is not for us
		for _, s := range w.old[0] {
			if !s.met {
				w.m.close(s)
			}
		}
		w.old = w.old[1:]
	}
	if w.asker != nil && !w.asker.met && !w.keeps {
		w.m.close(w.asker)
	}
	if w.fired {
		w.failed++
	}
	w.rounds++
	w.round, w.at = round, now
	w.query, w.again, w.target, w.theirs, w.fired, w.step, w.next, w.group = nil, nil, 0, 0, false, 0, 0, nil
	if w.asker = w.m.openSocket(w.run); w.asker == nil {
		return
	}
	if w.keeps {
		w.group = append(w.group, w.asker)
		return
	}
}

// ahead is how many steps our target lies ahead. Others make a number of mappings meanwhile
// that is Poisson distributed.
func (w *crossing) ahead() int {
	mean := min(w.steps.rate*w.age.Seconds(), 64)
	k := int(mean+1.5*math.Sqrt(mean)) + 1 + crossMargin
	if k >= maxCross { // what is not to be covered lies on both sides
		k = max(maxCross-1, int(mean)+maxCross/2)
	}
	return k
}

// size is how many sockets the burst has: from no mappings of others on, if there can be
// so many.
func (w *crossing) size() int { return min(w.ahead()+1, maxCross) }

func (w *crossing) opened(now time.Time, s *laneSocket) {
	if s != w.asker {
		return
	}
	first, other := w.m.stuns[0], w.m.stuns[len(w.m.stuns)-1]
	if w.rounds%2 == 0 {
		first, other = other, first
	}
	w.query = &laneQuery{entry: entry{s.id, first}, lane: w.run}
	if w.m.twoServers() && !w.keeps {
		w.again = &laneQuery{entry: entry{s.id, other}, lane: w.run}
	}
}

func (w *crossing) lost(now time.Time, s *laneSocket) {
	w.group = slices.DeleteFunc(w.group, func(o *laneSocket) bool { return o == s })
}

func (w *crossing) answered(now time.Time, q *laneQuery) {
	if q == w.query || q == w.again {
		w.aim(now, w.again == nil || w.query.port != 0 && w.again.port != 0)
	}
}

// aim names a port of ours: once all answers are there, or later from the one that is.
func (w *crossing) aim(now time.Time, all bool) {
	if w.query == nil || w.target != 0 || !all && w.step == 0 || w.query.port == 0 {
		return
	}
	if w.aimed.IsZero() {
		w.lag = crossLag + w.query.rtt
	}
	w.aimed = now
	w.age = min(now.Sub(w.query.at)+w.lag, time.Second)
	w.target = w.query.port
	if !w.keeps {
		second := uint16(0)
		if w.again != nil {
			second = w.again.port
		}
		last := w.steps.learn(w.query.at, w.query.port, second)
		if w.again != nil && second == 0 {
			last = w.steps.after(last, 1) // the question whose answer is lost took that
		}
		w.target = w.steps.after(last, w.ahead())
	}
	for len(w.group) < w.size() && !w.keeps {
		s := w.m.openSocket(w.run)
		if s == nil {
			break
		}
		w.group = append(w.group, s)
	}
	w.m.tell(now)
}

func (w *crossing) say(t *tellEntry) bool {
	t.round, t.first = uint16(w.round), w.target
	return true
}

// heard takes the peer's target, and follows it to a later round.
func (w *crossing) heard(now time.Time, t tellEntry) {
	w.m.overThere(now, w.run, t)
	round := int(t.round)
	if t.first < leastPort || round < w.round || round > w.round+maxAhead || round > w.round && w.rounds >= maxRounds {
		return
	}
	if round > w.round {
		w.begin(now, round)
	}
	if w.fired {
		return
	}
	w.theirs = t.first
	if w.target != 0 && round == 1 && now.Sub(w.query.at) > crossStale && !w.keeps && w.rounds < maxRounds {
		w.begin(now, 2)
	}
}

func (w *crossing) ready() bool {
	if w.target == 0 || w.theirs == 0 || w.fired {
		return false
	}
	return !slices.ContainsFunc(w.group, func(s *laneSocket) bool { return !s.open })
}

func (w *crossing) wants() (int, time.Time) {
	switch {
	case w.ready():
		return max(1, len(w.group)), w.at
	case w.query != nil && w.query.sent == 0:
		return 2, w.at
	case w.step < len(repeats):
		return 1, w.at.Add(repeats[w.step])
	}
	return 1, w.at.Add(roundTime)
}

func (w *crossing) send(now time.Time) {
	switch {
	case w.ready():
		w.fired, w.at, w.step, w.next = true, now, 0, 0
		w.lag = now.Sub(w.aimed) // so long it will take the next time
		w.burst(now)
	case w.query != nil && w.query.sent == 0:
		if !w.m.ask(now, w.query) || w.again != nil && !w.m.ask(now, w.again) {
			w.m.end(now, w.run, "the budget is spent")
		}
	case w.step < len(repeats):
		if !w.fired {
			w.step++
			for _, q := range []*laneQuery{w.query, w.again} {
				if q != nil && q.port == 0 {
					w.m.ask(now, q)
				}
			}
			w.aim(now, false)
			return
		}
		// One by one: what is repeated need not leave together.
		if w.next < len(w.group) {
			w.try(now, w.group[w.next])
		}
		if w.next++; w.next >= len(w.group) {
			w.next = 0
			w.step++
		}
	case w.rounds >= maxRounds:
		w.m.end(now, w.run, "the ports did not meet in 12 rounds")
	case !w.m.believed(w.failed, w.m.cfg.Local, w.m.cfg.Remote):
		w.m.end(now, w.run, "the ports are not what the profiles foretell")
	default:
		w.begin(now, w.round+1)
	}
}

func (w *crossing) burst(now time.Time) {
	for _, s := range w.group {
		if !w.try(now, s) {
			w.m.end(now, w.run, "the budget is spent")
			return
		}
	}
}

func (w *crossing) try(now time.Time, s *laneSocket) bool {
	ok := w.m.try(now, w.run, s.id, netip.AddrPortFrom(w.m.ips[0], w.theirs))
	if ok && s.sends == 0 {
		s.sends = 1
		w.steps.made++
	}
	return ok
}
