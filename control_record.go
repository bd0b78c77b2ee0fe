package bradawl

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// What becomes of each connection is recorded for statistics: one stats.Event for each
// stage that it goes through. Nothing of what the session does depends on that.
//
// gather begins with the agent and ends when no more addresses of ours are expected; those
// that were found before the dial take no time. signal lasts from the offer until both are
// known to have the keys. relay and punch begin then; each ends with the first path of its
// kind, or when no check can bring one any more. upgrade is for a connection that began on
// a relay, and ends when a direct path carries its data; one that has failed may still
// succeed later, when a direct path is looked for again. connect is the whole.

// Times of the records.
const (
	// judgeAfter is when the checks that began together have come to an end: ice gives each
	// pair that long.
	judgeAfter = 10 * time.Second
	// judgeAgain is when it is looked again, where later ones have not.
	judgeAgain = time.Second
	// judgeMost is when what is still being checked counts as failed.
	judgeMost = 30 * time.Second
)

// records is what is kept for all records. IDs come from a source of their own, so that a
// session does the same whether it is recorded or not.
type records struct {
	ids    io.Reader                           // nil: nothing is recorded
	relays map[machine.SocketID]stats.Protocol // how we reach them
}

func (r *records) init(ids io.Reader) {
	r.ids, r.relays = ids, make(map[machine.SocketID]stats.Protocol)
}

// relayBy notes how the relay is reached whose data goes by a socket.
func (c *control) relayBy(socket machine.SocketID, by stats.Protocol) { c.records.relays[socket] = by }

const numStages = stats.StageConnect + 1

// attempt is the record of one connection. All methods of nil do nothing.
type attempt struct {
	k     *connection
	id    stats.ID
	began [numStages]time.Time // zero: it did not begin
	ended [numStages]bool
	said  int // offers or answers that were sent
	timer machine.Timer
}

func (c *control) newAttempt(now time.Time, k *connection) *attempt {
	if c.records.ids == nil {
		return nil
	}
	id, err := stats.NewID(c.records.ids)
	if err != nil {
		c.counts.Unrecorded++
		return nil
	}
	a := &attempt{k: k, id: id}
	a.timer.Fire = func(now time.Time) { a.judge(now) }
	a.begin(now, stats.StageSignal)
	a.begin(now, stats.StageConnect)
	return a
}

// begin notes when a stage begins, for the first time.
func (a *attempt) begin(now time.Time, s stats.Stage) {
	if a != nil && a.began[s].IsZero() {
		a.began[s] = now
	}
}

// pending reports whether a stage has begun and not ended.
func (a *attempt) pending(s stats.Stage) bool {
	return a != nil && !a.began[s].IsZero() && !a.ended[s]
}

// sent counts what goes by the signalling, before there are keys.
func (a *attempt) sent() {
	if a.pending(stats.StageSignal) {
		a.said++
	}
}

// changed takes in a state of the connection.
func (a *attempt) changed(now time.Time, to connState) {
	if a == nil || a.k.rides || to != checking {
		return
	}
	policy := a.k.c.cfg.policy
	if policy != RelayOnly {
		a.begin(now, stats.StagePunch)
	}
	if policy != DirectOnly {
		a.begin(now, stats.StageRelay)
	}
	a.k.c.timers.Set(&a.timer, now.Add(judgeAfter))
}

// recordTold takes in what the user is told.
func (c *control) recordTold(now time.Time, e Event) {
	k := c.conns[e.Conn]
	switch {
	case k == nil:
		return
	case e.Kind == EventDialing:
		k.attempt = c.newAttempt(now, k)
		return
	case k.path == nil:
		return
	}
	switch a := k.attempt; e.Kind {
	case EventConnected:
		if a == nil {
			return
		}
		a.succeed(now, stats.StageConnect, k.path)
		if k.path.relayed && c.cfg.policy != RelayOnly {
			a.begin(now, stats.StageUpgrade)
			if !a.timer.IsSet() {
				c.timers.Set(&a.timer, now.Add(judgeAfter))
			}
		}
	case EventUpgraded, EventRecovered: // a relay may have been lost before
		for _, of := range k.conns {
			if a := of.attempt; a != nil && !a.began[stats.StageUpgrade].IsZero() && !k.wasGood && !k.path.relayed {
				a.succeed(now, stats.StageUpgrade, k.path)
			}
		}
	}
}

// agentEvent takes in that no more addresses of ours are expected.
func (a *attempt) agentEvent(now time.Time, e ice.Event) {
	if e.Kind == ice.EventGathered && a != nil && !a.ended[stats.StageGather] {
		a.begin(now, stats.StageGather) // the agent is new
		a.gathered(now)
	}
}

func (a *attempt) gathered(now time.Time) {
	all := a.k.c.ice.Candidates(a.k.agent)
	e := stats.Event{Stage: stats.StageGather, Status: stats.StatusSuccess, Tries: len(all)}
	switch {
	case len(all) == 0:
		e.Status, e.Reason = stats.StatusFail, endNoAddress
	case !slices.ContainsFunc(all, func(s ice.Scored) bool { return s.Candidate.Type != ice.Host }):
		e.Reason = endHostOnly
	}
	a.record(now, e)
}

// confirmed takes in that both sides have the keys.
func (a *attempt) confirmed(now time.Time) {
	if a.pending(stats.StageSignal) {
		a.record(now, stats.Event{Stage: stats.StageSignal, Status: stats.StatusSuccess, Tries: a.said})
	}
}

// works takes in a path.
func (a *attempt) works(now time.Time, p *path) {
	s := stats.StagePunch
	if p.relayed {
		s = stats.StageRelay
	}
	if a.pending(s) {
		a.succeed(now, s, p)
	}
}

func (a *attempt) succeed(now time.Time, s stats.Stage, p *path) {
	e := stats.Event{Stage: s, Status: stats.StatusSuccess, Tries: a.checks(s)}
	a.k.describe(&e, p)
	a.record(now, e)
}

// fail records a stage that came to nothing, if it is pending.
func (a *attempt) fail(now time.Time, s stats.Stage, status stats.Status, reason string) {
	if !a.pending(s) {
		return
	}
	e := stats.Event{Stage: s, Status: status, Reason: reason, Tries: a.checks(s)}
	switch s {
	case stats.StageSignal:
		e.Tries = a.said
	case stats.StageRelay:
		if e.Tries == 0 {
			a.ended[s] = true // there is no relay to try
			return
		}
	}
	a.record(now, e)
}

// judge records what no check can bring any more.
func (a *attempt) judge(now time.Time) {
	k := a.k
	since := now.Sub(a.began[stats.StageConnect])
	if since < judgeMost && (k.unsettled() || a.pending(stats.StageSignal)) {
		k.c.timers.Set(&a.timer, now.Add(judgeAgain))
		return
	}
	a.giveUp(now)
}

// giveUp records that checks have not brought a path. Of what the peer may not have begun,
// it says nothing but that.
func (a *attempt) giveUp(now time.Time) {
	status, reason := stats.StatusTimeOut, ReasonUnanswered.String()
	not := a.k.notDirect().reason
	direct, why := not.status(), not.String()
	if a.pending(stats.StageSignal) {
		status, reason = stats.StatusCancelled, endUnconfirmed
		if !not.Infeasible() {
			direct, why = status, reason
		}
	}
	a.fail(now, stats.StageRelay, status, reason)
	a.fail(now, stats.StagePunch, direct, why)
	a.fail(now, stats.StageUpgrade, direct, why)
}

// end records how the stages end that have not, when the connection does.
func (a *attempt) end(now time.Time, err error) {
	if a == nil {
		return
	}
	a.k.c.timers.Stop(&a.timer)
	status, reason := outcome(err)
	a.fail(now, stats.StageGather, stats.StatusCancelled, reason)
	if errors.Is(err, ErrNoPath) {
		a.giveUp(now)
		a.fail(now, stats.StageSignal, status, endUnconfirmed) // our answer may have got lost
	}
	a.fail(now, stats.StageSignal, status, reason)
	a.fail(now, stats.StageRelay, stats.StatusCancelled, reason)
	direct, why := stats.StatusCancelled, reason
	if not := a.k.notDirect().reason; not.Infeasible() { // more time would not have helped
		direct, why = not.status(), not.String()
	}
	a.fail(now, stats.StagePunch, direct, why)
	a.fail(now, stats.StageUpgrade, direct, why)
	a.fail(now, stats.StageConnect, status, reason)
}

// record completes an event and hands it to the shell.
func (a *attempt) record(now time.Time, e stats.Event) {
	c := a.k.c
	a.ended[e.Stage] = true
	id, err := stats.NewID(c.records.ids)
	if err != nil {
		c.counts.Unrecorded++
		return
	}
	e.ID, e.Session, e.Group, e.Time = id, a.id, a.k.group(), c.cfg.wall(now)
	e.Latency = min(max(0, now.Sub(a.began[e.Stage])), stats.MaxLatency)
	e.LocalNAT, e.RemoteNAT = c.profile.Type, a.k.profile.Type
	e.Tries = min(e.Tries, stats.MaxTries)
	if e.Validate() != nil { // a clock on the wall that shows no time of ours
		c.counts.Unrecorded++
		return
	}
	c.notes.Push(note{kind: noteRecord, conn: a.k.number, record: &e})
}

// checks is how many checks a stage has cost so far: of direct pairs, of relayed ones, or
// of all.
func (a *attempt) checks(s stats.Stage) (n int) {
	if a.k.rides {
		return 0
	}
	for _, p := range a.k.c.ice.Pairs(a.k.agent) {
		switch relayed := a.k.relayedPair(p); s {
		case stats.StagePunch, stats.StageUpgrade:
			if !relayed {
				n += p.Sent
			}
		case stats.StageRelay:
			if relayed {
				n += p.Sent
			}
		case stats.StageConnect:
			n += p.Sent
		}
	}
	return n
}

// relayedPair reports whether a pair has a relay at either end.
func (k *link) relayedPair(p ice.Pair) bool {
	return p.Local.Type == ice.Relay || p.Remote.Type == ice.Relay || slices.Contains(k.relays, p.Remote.Addr)
}

// unsettled reports whether a check is still under way, or to be made.
func (k *link) unsettled() bool {
	return slices.ContainsFunc(k.c.ice.Pairs(k.agent), func(p ice.Pair) bool {
		return p.State != ice.Succeeded && p.State != ice.PairFailed
	})
}

// describe fills in what an event says of a path.
func (k *connection) describe(e *stats.Event, p *path) {
	e.Pair, e.Protocol, e.IPVersion = stats.PairPrflx, stats.ProtocolUDP, 6
	if p.route.Remote.Addr().Is4() {
		e.IPVersion = 4
	}
	pair := k.c.ice.PairAt(k.agent, p.route)
	if pair.IsValid() {
		e.Pair = max(pairKind(pair.Local.Type), pairKind(pair.Remote.Type))
	}
	if p.route.Stream != 0 {
		e.Protocol = stats.ProtocolTCP
	}
	switch by := k.c.records.relays[p.route.Socket]; {
	case p.relayed:
		e.Pair = stats.PairRelay
		if by != 0 && p.route.Stream == 0 {
			e.Protocol = by
		}
	case p.route.Stream != 0 && k.laneOf(p) != punch.LaneNone:
		lane := k.laneOf(p)
		e.Lane, e.Pair = lane.String(), max(e.Pair, guessedBy(lane))
	case pair.Local.TCPType == ice.SimultaneousOpen:
		e.Lane = punch.LaneTCP.String()
	case p.route.Stream != 0:
		e.Lane = dialledTCP
	default:
		e.Lane = punch.LanePlain.String()
		if lane := k.laneOf(p); lane != punch.LaneNone {
			e.Lane = lane.String()
			e.Pair = max(e.Pair, guessedBy(lane))
		} else if k.c.isMappedAt(pair.Local.Addr) {
			e.Lane, e.Pair = punch.LaneMapped.String(), max(e.Pair, stats.PairMapped)
		}
	}
}

// dialledTCP is the word for a connection of TCP that one side has opened alone: no lane, for it
// is not planned.
const dialledTCP = "tcp_dial"

// guessedBy is the kind of the pairs whose ports a lane had to guess.
func guessedBy(lane punch.LaneKind) stats.PairKind {
	switch {
	case lane.Sprays():
		return stats.PairBirthday
	case lane.Guesses():
		return stats.PairPredicted
	}
	return 0
}

// record is the record of the connection that made the link; nil: there is none.
func (k *link) record() *attempt {
	if k.founder == nil {
		return nil
	}
	return k.founder.attempt
}

func pairKind(t ice.CandidateType) stats.PairKind {
	switch t {
	case ice.Host:
		return stats.PairHost
	case ice.ServerReflexive:
		return stats.PairSrflx
	case ice.Relay:
		return stats.PairRelay
	}
	return stats.PairPrflx
}

// endings are how connections end, in a word for each error.
var endings = [...]struct {
	err    error
	status stats.Status
	word   string
}{
	{ErrPeerClosed, stats.StatusCancelled, "peer_closed"},
	{ErrOffline, stats.StatusFail, "peer_offline"},
	{ErrNotAllowed, stats.StatusFail, "not_allowed"},
	{ErrNoAnswer, stats.StatusTimeOut, "no_answer"},
	{ErrNotSignedOn, stats.StatusTimeOut, "no_answer"}, // nor could one come
	{ErrNoPath, stats.StatusTimeOut, "no_path"},
	{ErrLost, stats.StatusTimeOut, "lost"},
	{ErrPeerRestarted, stats.StatusFail, "peer_restarted"},
	{errMadeRoom, stats.StatusFail, "made_room"},
	{errNonsense, stats.StatusFail, "nonsense"},
}

// Further words for how stages end.
const (
	endClosed      = "closed"      // by our user
	endRefused     = "refused"     // the peer's words are no word for counting
	endError       = "error"       // another one
	endUnconfirmed = "unconfirmed" // it is not known that the peer has begun
	endNoAddress   = "no_address"
	endHostOnly    = "host_only" // of the gathering, which succeeded
)

// outcome is how a connection ended, in a word.
func outcome(err error) (stats.Status, string) {
	if err == nil {
		return stats.StatusCancelled, endClosed
	}
	if refused := new(RefusedError); errors.As(err, &refused) {
		return stats.StatusFail, endRefused
	}
	for _, e := range endings {
		if errors.Is(err, e.err) {
			return e.status, e.word
		}
	}
	return stats.StatusFail, endError
}
