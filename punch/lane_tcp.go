package punch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

const (
	// tcpGap is the time between two connections of a bracket: dials that begin together leave
	// in any order.
	tcpGap = 10 * time.Millisecond
	// tcpRoundTime is how long a round lasts. A lost SYN is repeated after a second; and five
	// rounds have room within laneTime.
	tcpRoundTime = 1900 * time.Millisecond
	maxTCPRounds = 5
	// maxTCPPorts is how many ports the peer can have us dial, in all rounds.
	maxTCPPorts = maxTCPRounds * (maxBracket + maxFollowing)
	// tcpLate is how long the answer of one server is waited for when the other's is there. One
	// port alone leaves more to try.
	tcpLate = 100 * time.Millisecond
	// tcpAgain is when a connection that was refused is tried again, and tcpRedials how often:
	// some NATs and hosts answer a SYN by a reset that comes before theirs has left.
	tcpAgain   = 80 * time.Millisecond
	tcpRedials = 8
	// What a round costs the hard side, in packets (two connections to servers and what is
	// asked, one to the peer), and in sockets at once.
	tcpHardPackets = 5
	tcpHardSockets = 4
)

// newTCPPredicted runs a side of the predicted lane of TCP. The side whose NAT gives each
// connection another port dials a STUN server, the peer and a STUN server again; the ports of
// the first and the third bracket that of the second. The peer dials those in between, from the
// port whose outside address is known, while the second still waits for its answer: each SYN
// opens a NAT for the other's.
func (m *Lanes) newTCPPredicted(r *laneRun) laneWork {
	switch {
	case r.Hard == Ours && len(m.stuns) > 0 && m.cfg.Local.TCP.Ports.Delta != 0:
		w := &tcpSandwich{m: m, run: r}
		w.begin(m.started)
		return w
	case r.Hard == Theirs && m.cfg.LocalTCP.Port() != 0:
		return &tcpBracket{m: m, run: r}
	}
	return nil
}

// tcpSandwich is the hard side.
//
// Where its SYN is refused, it has come before the peer's had opened the way in. Some NATs,
// Linux among them, forget a mapping with that, and then no other connection gets its port. So
// the peer is told, dials the ports that come next as well, and says when it has: only then is
// it dialled again, from whatever port comes.
type tcpSandwich struct {
	silent
	m             *Lanes
	run           *laneRun
	round         int
	at            time.Time // when it began
	step          int       // connections of it that were dialled
	local         netip.AddrPort
	before, after *laneStream
	peer, last    *laneStream // last is the one of the round before: the peer may be late
	told          [2]uint16
	late          time.Time // when the peer is told one port alone; zero: not
	refused       bool
	ready         bool // the peer has dialled what comes next, too
	redials       int
	again         time.Time // when the peer is dialled again; zero: it is not
	odd           int       // rounds whose bracket cannot be: each counts as three that failed
	served        bool      // a server has answered, in any round
}

func (w *tcpSandwich) begin(now time.Time) {
	for _, s := range []*laneStream{w.before, w.after, w.last} {
		w.m.drop(s)
	}
	w.round++
	w.at, w.step, w.told = now, 0, [2]uint16{}
	w.before, w.after, w.last, w.peer = nil, nil, w.peer, nil
	w.refused, w.ready, w.redials, w.again, w.late = false, false, 0, time.Time{}, time.Time{}
	// A port of our own choice, so that it can be dialled from again.
	w.local = netip.AddrPortFrom(w.m.bind.Addr(), uint16(32768+w.m.random.IntN(28232)))
}

func (w *tcpSandwich) wants() (int, time.Time) {
	if w.step < 3 {
		return 1, w.at.Add(time.Duration(w.step) * tcpGap)
	}
	return 1, machine.Earliest(w.at.Add(tcpRoundTime), w.again, w.late)
}

func (w *tcpSandwich) send(now time.Time) {
	ok := true
	switch {
	case w.step == 0:
		w.before = w.m.dial(now, w.run, w.m.bind, w.server(0), true)
		ok = w.before != nil
		w.step, w.at = 1, now // the others follow it, however late it is
	case w.step == 1:
		w.step = 2
		ok = w.dial(now)
	case w.step == 2:
		w.after = w.m.dial(now, w.run, w.m.bind, w.server(-1), true)
		w.step = 3
		if ok = w.after != nil; ok && w.before.port != 0 { // a server that is near
			w.late = now.Add(tcpLate)
		}
	case !w.late.IsZero() && !w.late.After(now):
		w.late = time.Time{}
		w.tell(now)
	case !w.again.IsZero() && !w.again.After(now):
		w.again = time.Time{}
		ok = w.dial(now)
	case w.round == maxTCPRounds && !w.served:
		w.m.end(now, w.run, "no STUN server has answered over TCP")
	case w.round == maxTCPRounds:
		w.m.end(now, w.run, "no port was foretold rightly in 5 rounds")
	case !w.m.believed(w.round+2*w.odd, natprobe.Profile{Ports: w.m.cfg.Local.TCP.Ports}):
		w.m.end(now, w.run, "the ports are not what the profile foretells")
	default:
		w.begin(now)
	}
	if !ok {
		w.m.end(now, w.run, "the budget is spent")
	}
}

// server is the one that is asked before the peer is dialled, or -1 the one before that in the
// list, which is asked behind: not all may serve TCP, so each round has others.
func (w *tcpSandwich) server(i int) netip.AddrPort {
	n := len(w.m.stuns)
	return w.m.stuns[(w.round-1+i+n)%n]
}

func (w *tcpSandwich) dial(now time.Time) bool {
	w.peer = w.m.dial(now, w.run, w.local, w.m.dests[(w.round-1)%len(w.m.dests)], false)
	return w.peer != nil
}

func (w *tcpSandwich) saw(now time.Time, s *laneStream) {
	w.served = true
	if w.before == nil || w.after == nil || s != w.before && s != w.after {
		return
	}
	first, second := w.before.port, w.after.port
	if first == 0 || second == 0 {
		w.late = now.Add(tcpLate)
		return
	}
	if !believable(first, second, w.m.cfg.Local.TCP.Ports.Delta) {
		w.odd++
	}
	w.tell(now)
}

// broke has the peer dialled again, when it is ready for that.
func (w *tcpSandwich) broke(now time.Time, s *laneStream) {
	if s != w.peer {
		return
	}
	if !w.refused {
		w.refused = true
		if w.told != [2]uint16{} {
			w.m.tell(now)
		}
	}
	w.redial(now.Add(tcpAgain))
}

func (w *tcpSandwich) redial(at time.Time) {
	if w.ready && w.peer.gone && w.redials < tcpRedials {
		w.redials++
		w.again = at
	}
}

// tell gives the peer the ports that are known.
func (w *tcpSandwich) tell(now time.Time) {
	if know := [2]uint16{w.before.port, w.after.port}; know != w.told {
		w.told = know
		w.m.tell(now)
	}
}

func (w *tcpSandwich) say(t *tellEntry) bool {
	if w.told == [2]uint16{} {
		return false
	}
	t.round, t.first, t.second = uint16(w.round), w.told[0], w.told[1]
	t.delta, t.rate, t.refused = w.m.cfg.Local.TCP.Ports.Delta, w.m.cfg.Local.TCP.Ports.Rate, w.refused
	return true
}

// heard takes it that the peer has dialled the ports of a round, and those behind.
func (w *tcpSandwich) heard(now time.Time, t tellEntry) {
	w.m.overThere(now, w.run, t)
	if int(t.round) == w.round && t.refused && w.refused && !w.ready {
		w.ready = true
		w.redial(now)
	}
}

// tcpBracket is the easy side.
type tcpBracket struct {
	silent
	m     *Lanes
	run   *laneRun
	told  tellEntry
	done  bool      // the peer knows that all of tries were dialled
	tries []*tcpTry // of this round, the likeliest first
	named int       // ports that the peer has named, in all rounds
}

// tcpTry is a port of the peer's that is dialled.
type tcpTry struct {
	port  uint16
	s     *laneStream
	dials int
	at    time.Time // of the next dial
}

func (w *tcpBracket) heard(now time.Time, t tellEntry) {
	w.m.overThere(now, w.run, t)
	t.over = false
	if t.round == 0 || t.round > maxTCPRounds || t.round < w.told.round || t == w.told {
		return
	}
	ports := []uint16{}
	if t.delta != 0 {
		ports = bracketed(t)
		if t.refused {
			ports = append(ports, following(t)...)
		}
	}
	var next []*tcpTry
	for _, port := range ports {
		same := func(y *tcpTry) bool { return y.port == port }
		switch i := slices.IndexFunc(w.tries, same); {
		case slices.ContainsFunc(next, same):
		case i >= 0 && t.round == w.told.round:
			next = append(next, w.tries[i])
		case w.named < maxTCPPorts:
			w.named++
			next = append(next, &tcpTry{port: port, at: now})
		}
	}
	for _, y := range w.tries {
		if !slices.Contains(next, y) {
			w.m.drop(y.s)
		}
	}
	w.told, w.tries, w.done = t, next, false
}

// due is what is to be dialled next; nil: nothing.
func (w *tcpBracket) due() (first *tcpTry) {
	for _, y := range w.tries {
		if (y.s == nil || y.s.gone) && y.dials <= tcpRedials && (first == nil || y.at.Before(first.at)) {
			first = y
		}
	}
	return first
}

// wants leaves what there is no socket for until one of the others fails.
func (w *tcpBracket) wants() (int, time.Time) {
	if y := w.due(); y != nil && w.m.limits.left(w.run.use()).sockets > 0 {
		return 1, y.at
	}
	return 0, time.Time{}
}

func (w *tcpBracket) send(now time.Time) {
	y := w.due()
	ip := w.m.ips[int(w.told.round-1)%len(w.m.ips)]
	y.dials++
	if y.s = w.m.dial(now, w.run, w.m.cfg.LocalTCP, netip.AddrPortFrom(ip, y.port), false); y.s == nil {
		w.tries = slices.DeleteFunc(w.tries, func(o *tcpTry) bool { return o == y })
		if !slices.ContainsFunc(w.tries, (*tcpTry).waits) { // those that wait may yet be answered
			w.m.end(now, w.run, "the budget is spent")
			return
		}
	}
	if n, _ := w.wants(); !w.done && (n == 0 || !slices.ContainsFunc(w.tries, func(y *tcpTry) bool { return y.dials == 0 })) {
		w.done = true
		w.m.tell(now)
	}
}

// waits reports whether the connection may yet stand.
func (y *tcpTry) waits() bool { return y.s != nil && !y.s.gone }

func (w *tcpBracket) saw(time.Time, *laneStream) {}

func (w *tcpBracket) broke(now time.Time, s *laneStream) {
	for _, y := range w.tries {
		if y.s == s {
			y.at = now.Add(tcpAgain)
		}
	}
}

func (w *tcpBracket) say(t *tellEntry) bool {
	if w.done {
		t.round, t.refused = w.told.round, w.told.refused
	}
	return w.done
}

var _, _ streamWork = (*tcpSandwich)(nil), (*tcpBracket)(nil)
