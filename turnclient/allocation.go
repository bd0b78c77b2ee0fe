package turnclient

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Times of an allocation's life.
const (
	// doubtTicks of doubtTick is how long writes may go out with nothing coming in
	// before the server is asked.
	doubtTick  = time.Second
	doubtTicks = 3
	// beats and beatEvery are a heartbeat: a Refresh that is sent so often, so far
	// apart at the least.
	beats     = 3
	beatEvery = 500 * time.Millisecond
	// streamBeat takes the place of beatEvery on a stream, which repeats by itself: there
	// the one Refresh may have to wait for all the data that was written before it.
	streamBeat = 1700 * time.Millisecond
	// deleteWait is how long to wait for the answer to a deletion.
	deleteWait = 2 * time.Second
	// deadWait takes its place at the end of an allocation that is lost, or that no server would
	// give: the host may be in no network any more, and whoever closes waits.
	deadWait = 500 * time.Millisecond
	// maxLifetime bounds what a server may say.
	maxLifetime = 24 * time.Hour
	// Of allocations that stand for less than shortLife only so many in a row are
	// followed by another at once: the server may be at odds with itself.
	shortLife = 10 * time.Second
	maxShort  = 2
)

var (
	errNetworkChanged = errors.New("the network changed")
	errExpired        = errors.New("it expired while the server could not be asked to keep it")
)

// allocation is one relayed address, or two, and all that is kept for it.
type allocation struct {
	m     *Machine
	id    AllocationID
	state State

	link     *link // that it stands on; nil while there is none
	last     *server
	relayed  []netip.AddrPort
	mapped   netip.AddrPort
	expires  time.Time
	options  Options
	token    []byte // reserved at the server for another allocation
	once     bool   // it has stood
	stood    time.Time
	short    int  // how many in a row stood for less than shortLife
	df       bool // DONT-FRAGMENT is asked for, and the server knows it
	released bool

	contest
	refresh, expiry, retry, doubt machine.Timer
	asking                        *request // the Refresh under way
	backoff                       backoff
	loss                          Loss
	heard, dirty                  bool // something came in, or went out, since that was looked at
	quiet                         int  // ticks without anything coming in
	unanswered                    bool // something went out since
	heardAt                       time.Time
	leaving                       int  // links on which an allocation is being deleted
	unheard                       bool // no server of it answered or took it when it was closed

	mobility
	standby *standby // in state Disconnecting
	permissions
	channels
	connections
}

func newAllocation(m *Machine, id AllocationID) *allocation {
	a := &allocation{m: m, id: id}
	a.permits = make(map[netip.Addr]*permit)
	a.peers = make(map[netip.AddrPort]*peer)
	a.byNumber = make(map[uint16]*channel)
	a.byPeer = make(map[netip.AddrPort]*channel)
	a.nextNumber = wire.MinChannel
	a.refresh.Fire = func(now time.Time) { a.ask(now, 0, 0) }
	a.expiry.Fire = func(now time.Time) { a.lose(now, errExpired, false) }
	a.retry.Fire = a.again
	a.doubt.Fire = a.doubted
	a.stagger.Fire = a.nextServer
	a.linger.Fire = a.lingered
	return a
}

func (a *allocation) tell(now time.Time, e Event) {
	e.At, e.Allocation = now, a.id
	a.m.events.Push(e)
}

// adopt makes l what the allocation stands on. got is what the server gave: addresses and
// lifetime, as an answer to what was sent at sent.
func (a *allocation) adopt(now, sent time.Time, l *link, got Event) {
	old := a.link
	if old != nil && old != l { // it did not answer any more, but may yet
		a.gather(now, nil)
		a.asking = nil
		a.leave(now, old, nil)
	}
	a.link, a.last, a.relayed, a.mapped, a.once, a.stood = l, l.srv, got.Relayed, got.Mapped, true, now
	l.onDown = func(now time.Time, err error) { a.lose(now, err, false) }
	a.m.timers.Stop(&a.retry)
	a.backoff.reset()
	a.granted(now, sent, got.Lifetime)
	a.heardAt = now
	got.Kind, got.State, got.Server, got.Lost = EventAllocated, Allocated, l.srv.Endpoint, a.loss
	got.Relayed, got.Reservation, got.Features = slices.Clone(a.relayed), slices.Clone(a.token), a.features(l.srv)
	got.on, got.df = l.key(), a.df
	a.loss = Loss{}
	a.setState(now, Allocated, nil)
	a.tell(now, got)
	a.permitAgain(now)
	a.connectAgain(now)
	a.settle(now)
}

// granted sets the times that follow from a lifetime that was asked for at sent.
func (a *allocation) granted(now, sent time.Time, lifetime time.Duration) {
	a.expires = sent.Add(lifetime)
	a.m.timers.Set(&a.refresh, sent.Add(lifetime*5/6))
	a.m.timers.Set(&a.expiry, a.expires)
}

// ask sends a Refresh: for the lifetime, or, in doubt, to see whether the allocation
// still stands. limit and every are a request's.
func (a *allocation) ask(now time.Time, limit int, every time.Duration) {
	if a.asking != nil || a.link == nil || a.link.gone {
		return
	}
	r := &request{link: a.link, op: "refresh", method: wire.Refresh, limit: limit, every: every}
	r.add = func(b *wire.Builder) { a.addLifetime(b) }
	r.done = func(now time.Time, msg *wire.Message, err error) {
		a.asking = nil
		switch code := codeOf(err); {
		case err == nil:
			a.refreshed(now, msg, r.sent)
		case a.stepIn(now):
		case code == wire.CodeAllocationMismatch, code == wire.CodeWrongCredentials:
			a.lose(now, err, true) // RFC 8656 section 8.3
		case r.link.gone:
			// The link's end says it.
		case !refused(err) && !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrBidDown):
			a.disconnect(now, err)
		default:
			// The server lives, but does not want to now. It may, before the end.
			a.tell(now, Event{Kind: EventServer, State: a.state, Server: r.link.srv.Endpoint, Err: err})
			a.m.timers.Set(&a.refresh, now.Add(leastWait+a.backoff.next(a.m.random)))
		}
	}
	a.asking = r
	r.start(now)
}

func (a *allocation) addLifetime(b *wire.Builder) {
	if d := a.m.cfg.Lifetime; d > 0 {
		b.AddUint32(wire.AttrLifetime, uint32(d/time.Second))
	}
}

func (a *allocation) refreshed(now time.Time, msg *wire.Message, sent time.Time) {
	lifetime := lifetimeOf(msg)
	if lifetime <= 0 {
		a.lose(now, errors.New("the server granted no lifetime"), true)
		return
	}
	a.takeTicket(msg)
	a.granted(now, sent, lifetime)
	a.recovered(now)
}

// recovered takes in that the allocation stands after all.
func (a *allocation) recovered(now time.Time) {
	a.backoff.reset()
	a.standDown(now)
	if a.state == Disconnecting {
		a.m.timers.Stop(&a.retry)
		if a.presenting() == nil {
			a.concede(now)
		}
		a.loss.Err = nil
		a.setState(now, Allocated, nil)
		a.permitAgain(now)
		a.connectAgain(now)
		a.takeAttempts(now)
		a.settle(now)
	}
}

// lifetimeOf is what an answer grants.
func lifetimeOf(msg *wire.Message) time.Duration {
	seconds, ok := msg.Lifetime()
	if !ok {
		return 10 * time.Minute // RFC 8656 section 3.2: the default
	}
	return min(time.Duration(seconds)*time.Second, maxLifetime)
}

// wrote notes that data went out, or waits to: something should come in.
func (a *allocation) wrote(now time.Time) {
	a.dirty = true
	if a.doubt.IsSet() || !a.state.Usable() {
		return
	}
	a.look()
	a.quiet, a.unanswered = 0, true
	a.m.timers.Set(&a.doubt, now.Add(doubtTick))
}

// look reports what has come in and gone out since it was asked last.
func (a *allocation) look() (heard, wrote bool) {
	heard, wrote = a.heard, a.dirty
	a.heard, a.dirty = false, false
	if u := a.m.cfg.usage; u != nil {
		heard = u.Heard(a.id) || heard
		wrote = u.Wrote(a.id) || wrote
	}
	return heard, wrote
}

// doubted looks, every so often while there is traffic, how long nothing has come in
// for what went out.
func (a *allocation) doubted(now time.Time) {
	heard, wrote := a.look()
	wrote = wrote || a.connecting()
	if heard {
		a.quiet, a.unanswered = 0, wrote // perhaps after what was heard
	} else {
		a.quiet++
		a.unanswered = a.unanswered || wrote
	}
	if a.unanswered && a.quiet >= doubtTicks {
		a.heartbeat(now)
		a.quiet, a.unanswered = 0, a.connecting()
	}
	if a.unanswered && a.state.Usable() {
		a.m.timers.Set(&a.doubt, now.Add(doubtTick))
		return
	}
	if u := a.m.cfg.usage; u != nil {
		u.Disarm(a.id)
	}
}

// heartbeat asks the server whether the allocation still stands: an answer to a
// Binding request would not prove it.
func (a *allocation) heartbeat(now time.Time) {
	if !a.state.Usable() {
		return
	}
	every := max(beatEvery, a.link.rtt.timeout(beatEvery))
	if a.link.stream {
		every = max(every, streamBeat)
	}
	if a.asking != nil {
		a.asking.hasten(now, beats, every)
		return
	}
	a.ask(now, beats, every)
}

// disconnect begins recovery: the old path is tried again and again, and new ones
// beside it, until one of them works or the allocation has ended.
func (a *allocation) disconnect(now time.Time, err error) {
	if a.state.Usable() {
		a.m.timers.Stop(&a.refresh)
		a.m.timers.Stop(&a.doubt)
		a.backoff.reset()
		a.loss.Err = err
		a.setState(now, Disconnecting, err)
		a.again(now)
	} else if a.state == Disconnecting && !a.retry.IsSet() {
		a.m.timers.Set(&a.retry, now.Add(a.backoff.next(a.m.random)))
	}
}

// again is the next try at recovery, or at another allocation.
func (a *allocation) again(now time.Time) {
	switch {
	case a.state == Failed:
		a.setState(now, Allocating, nil)
		a.race(now, nil)
	case a.state == Allocating:
		a.askAgain(now)
	case a.state == Disconnecting:
		if a.racing() {
			a.askAgain(now)
		} else if a.backoff.tries > 0 || errors.Is(a.loss.Err, errNetworkChanged) {
			if a.mayMove() {
				a.move(now)
			} else {
				a.race(now, nil)
			}
		}
		if a.state == Disconnecting {
			a.ask(now, 2, max(beatEvery, a.link.rtt.timeout(beatEvery)))
		}
	}
}

// lose ends an allocation that is gone, and starts to make another. answered says that
// the server itself told, so that the link still works.
func (a *allocation) lose(now time.Time, err error, answered bool) {
	if a.state == Closed || a.link == nil || a.stepIn(now) {
		return
	}
	if r := a.presenting(); r != nil && answered {
		r.hasten(now, beats, beatEvery)
		return
	}
	a.stay()
	a.gather(now, err)
	l := a.link
	a.link, a.ticket = nil, nil
	for _, r := range slices.Clone(l.requests) {
		r.end()
	}
	a.asking = nil
	for _, t := range []*machine.Timer{&a.refresh, &a.expiry, &a.retry, &a.doubt} {
		a.m.timers.Stop(t)
	}
	a.backoff.reset()
	a.setState(now, Allocating, err)
	if !answered || l.gone {
		l.drop()
		l = nil
	} else {
		a.concede(now) // what is under way may be waiting between two sends
	}
	if !a.racing() {
		a.makeAnew(now, l, err)
	}
}

// makeAnew looks for an allocation in place of one that was lost, on l if that is not nil.
func (a *allocation) makeAnew(now time.Time, l *link, err error) {
	if now.Sub(a.stood) >= shortLife {
		a.short = 0
	}
	if a.short++; a.short <= maxShort {
		a.race(now, l)
		return
	}
	if l != nil {
		l.drop()
	}
	var s *ServerError
	if !errors.As(err, &s) {
		err = &ServerError{Server: a.last.Endpoint, Op: "allocate", Err: err}
	}
	a.failures = []error{err}
	a.setState(now, Failed, &AllocateError{Attempts: slices.Clone(a.failures)})
	a.dropQueues(now, ErrLost)
	a.m.timers.Set(&a.retry, now.Add(jitter(a.m.random, windows[min(a.short-maxShort, len(windows)-1)])))
}

// gather notes what is lost.
func (a *allocation) gather(now time.Time, err error) {
	a.leaveFormer()
	if err == nil {
		err = a.loss.Err
	}
	a.loss.Err = err
	a.loss.Relayed = a.relayed
	a.loss.Silence = now.Sub(a.heardAt)
	a.loss.Permissions = a.standing
	a.loss.Channels = a.dropChannels()
	a.loss.Connections = a.dropConns(now, fmt.Errorf("%w: %w", ErrLost, err), false)
	a.unpermit()
}

// leave deletes what is on l at the server and drops the link. done may be nil.
func (a *allocation) leave(now time.Time, l *link, done func(now time.Time, err error)) {
	for _, r := range slices.Clone(l.requests) {
		r.end()
	}
	l.onDown = nil
	a.leaving++
	end := func(now time.Time, err error) {
		if codeOf(err) == wire.CodeAllocationMismatch {
			err = nil // RFC 8656 section 8.3: it is gone, as we want it
		}
		l.drop()
		a.leaving--
		if done != nil {
			done(now, err)
		}
		a.checkReleased(now)
	}
	if l.gone {
		end(now, errors.New("the link to the server was gone"))
		return
	}
	r := &request{link: l, op: "delete", method: wire.Refresh, limit: 4, until: now.Add(a.patience())}
	r.add = func(b *wire.Builder) { b.AddUint32(wire.AttrLifetime, 0) }
	r.done = func(now time.Time, _ *wire.Message, err error) { end(now, err) }
	r.start(now)
}

// patience is how long to wait for what a server says at the end.
func (a *allocation) patience() time.Duration {
	if a.unheard {
		return deadWait
	}
	return deleteWait
}

// close ends the allocation for good.
func (a *allocation) close(now time.Time) {
	if a.state == Closed {
		return
	}
	stands := a.link
	a.link, a.unheard = nil, a.state == Disconnecting || a.state == Failed
	for _, t := range []*machine.Timer{&a.refresh, &a.expiry, &a.retry, &a.doubt} {
		a.m.timers.Stop(t)
	}
	a.asking = nil
	a.standDown(now)
	a.leaveFormer()
	a.dropChannels()
	a.endPermissions(now)
	a.endConns(now)
	a.concede(now)
	a.hurry(now)
	a.setState(now, Closed, nil)
	if stands != nil {
		a.leave(now, stands, func(now time.Time, err error) { a.loss.Err = err })
		return
	}
	a.loss.Err = nil
	a.checkReleased(now)
}

// checkReleased tells of the end of a closed allocation once nothing of it is left.
func (a *allocation) checkReleased(now time.Time) {
	if a.state != Closed || a.leaving > 0 || len(a.attempts) > 0 || a.released {
		return
	}
	a.released = true
	a.m.forget(a)
	err := a.loss.Err
	if err != nil {
		err = fmt.Errorf("turnclient: the allocation may stand at the server until it expires: %w", err)
	}
	a.tell(now, Event{Kind: EventReleased, State: Closed, Err: err})
}
