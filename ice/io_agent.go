package ice

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/feed"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/tap"
)

// Agent finds the paths to one peer, and keeps the best of them. Its methods may be
// called from any goroutine.
//
// The two sides exchange their credentials and candidates by some signalling of their
// own: each tells what LocalCredentials and the events EventCandidate give, and takes in
// what it is told by SetRemote and AddRemote, in any order.
type Agent struct {
	e     *Endpoint
	id    AgentID // the loop's until NewAgent returns
	inbox *netio.Inbox
	out   atomic.Pointer[outlet]
	stats [numCounters]atomic.Uint64

	writeDeadline netio.WriteDeadline

	lookups int         // of the peer's names, under way; the loop's
	ended   *generation // whose end of candidates waits for them; the loop's

	events *feed.Feed[Event]

	mu    sync.Mutex
	state State
	err   error // why it failed
	pair  Pair  // selected
}

// eventQueue is how many events wait for whoever takes them.
const eventQueue = 128

type counter int

const (
	countIn counter = iota
	countOut
	countUnsent
	numCounters
)

func newAgent(e *Endpoint) *Agent {
	return &Agent{e: e, inbox: netio.NewInbox(e.cfg.ReadBuffer), events: feed.New[Event](eventQueue)}
}

// Format implements fmt.Formatter: nothing secret is shown.
func (a *Agent) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ice.Agent{%d, %v}", a.id, a.State()) }

// do enters the machine.
func (a *Agent) do(fn func(now time.Time) error) error {
	var err error
	if a.e.loop.Do(func(now time.Time) { err = fn(now) }) != nil {
		return ErrClosed
	}
	return err
}

// LocalCredentials returns our credentials, which the peer must be told.
func (a *Agent) LocalCredentials() (c Credentials) {
	_ = a.do(func(time.Time) error { c = a.e.m.Credentials(a.id); return nil })
	return c
}

// LocalCandidates returns the candidates that the peer may know so far, each with why it
// is preferred so. The caller owns the slice.
func (a *Agent) LocalCandidates() (all []Scored) {
	_ = a.do(func(time.Time) error { all = a.e.m.Candidates(a.id); return nil })
	return all
}

// SetRemote takes in the peer's credentials; others than before mean that the peer has
// restarted, and so does the agent (EventRestarted). The error is a *CredentialsError or
// ErrClosed.
func (a *Agent) SetRemote(c Credentials) error {
	return a.do(func(now time.Time) error { return a.e.m.SetRemote(now, a.id, c) })
}

// AddRemote takes in a candidate of the peer. One that is of no use is passed over, and
// EventPassedOver says why. Names are looked up if Config.Resolve allows it, without
// waiting. The error is ErrClosed.
func (a *Agent) AddRemote(c Candidate) error {
	if c.Name == "" || a.e.cfg.Resolve == nil {
		return a.do(func(now time.Time) error { return a.e.m.AddRemote(now, a.id, c) })
	}
	if err := a.do(func(time.Time) error { a.lookups++; return nil }); err != nil {
		return err
	}
	err := a.e.pool.Submit(a.e.ctx, func(ctx context.Context) {
		ip, err := a.e.lookup(ctx, c.Name)
		a.e.loop.Post(func(now time.Time) { a.resolved(now, c, ip, err) })
	})
	if err != nil {
		return a.do(func(now time.Time) error { a.resolved(now, c, netip.Addr{}, err); return nil })
	}
	return nil
}

// resolved takes in what became of a lookup, on the loop.
func (a *Agent) resolved(now time.Time, c Candidate, ip netip.Addr, err error) {
	m := a.e.m
	if err != nil {
		m.notFound(now, a.id, c, err)
	} else {
		c.Addr, c.Name = netip.AddrPortFrom(ip, c.Addr.Port()), ""
		_ = m.AddRemote(now, a.id, c)
	}
	if a.lookups--; a.lookups > 0 || a.ended == nil {
		return
	}
	if m.generation(a.id) == a.ended { // it ended this one
		_ = m.EndOfCandidates(now, a.id)
	}
	a.ended = nil
}

// lookup resolves a peer's name.
func (e *Endpoint) lookup(ctx context.Context, name string) (netip.Addr, error) {
	e.mu.Lock()
	err := e.breaker.Allow(time.Now(), name)
	e.mu.Unlock()
	if err != nil {
		return netip.Addr{}, err
	}
	ip, err := e.cfg.Resolve(ctx, name)
	e.mu.Lock()
	e.breaker.Report(time.Now(), name, err == nil)
	e.mu.Unlock()
	return ip, err
}

// EndOfCandidates takes in that the peer has no more candidates. The error is ErrClosed.
func (a *Agent) EndOfCandidates() error {
	return a.do(func(now time.Time) error {
		if a.lookups > 0 { // what they find is of before the end
			a.ended = a.e.m.generation(a.id)
			return nil
		}
		return a.e.m.EndOfCandidates(now, a.id)
	})
}

// Restart begins anew with other credentials, which it returns for the peer (RFC 8445
// section 9). Data keeps its path until another one stands. The error is ErrClosed.
func (a *Agent) Restart() (c Credentials, err error) {
	err = a.do(func(now time.Time) error { c, err = a.e.m.Restart(now, a.id); return err })
	return c, err
}

// Connect waits until data can be sent, and returns the path for it. The error wraps ctx's
// and says what was missing until then, or it is a *FailedError when the agent gave up, or
// ErrClosed.
func (a *Agent) Connect(ctx context.Context) (*Conn, error) {
	for {
		changed := a.events.Changed()
		a.mu.Lock()
		state, err := a.state, a.err
		a.mu.Unlock()
		switch {
		case state.Usable():
			return &Conn{a}, nil
		case state == Failed:
			return nil, err
		case state == Closed:
			return nil, ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			missing := "its endpoint is closed"
			_ = a.do(func(time.Time) error { missing = a.e.m.missing(a.id); return nil })
			return nil, fmt.Errorf("ice: no path: %s: %w", missing, context.Cause(ctx))
		}
	}
}

// State returns where the agent stands.
func (a *Agent) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Selected returns the pair that carries data; not valid while there is none.
func (a *Agent) Selected() Pair {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pair
}

// Pairs returns what became of every pair, the best first. The caller owns the slice.
func (a *Agent) Pairs() (all []Pair) {
	_ = a.do(func(time.Time) error { all = a.e.m.Pairs(a.id); return nil })
	return all
}

// Next returns the next event, waiting for it. 128 events wait to be taken, then the
// oldest go: Event.Missed counts them. After EventClosed the error is ErrClosed; else it
// is ctx's.
func (a *Agent) Next(ctx context.Context) (Event, error) {
	e, missed, err := a.events.Next(ctx, ErrClosed)
	e.Missed = missed
	return e, err
}

// Close ends the agent. The endpoint and its sockets stay.
func (a *Agent) Close() error {
	_ = a.do(func(now time.Time) error { a.e.m.CloseAgent(now, a.id); return nil })
	a.inbox.Close()
	return nil
}

// deliver takes in data of the peer, from any goroutine.
func (a *Agent) deliver(from netip.AddrPort, b []byte) {
	if a.inbox.Deliver(from, b) {
		a.stats[countIn].Add(1)
	}
}

// handle takes in the machine's events, on the loop.
func (e *Endpoint) handle(ev Event) {
	if ev.Kind == EventServer {
		e.log.Debugf("%v", ev.Err)
		return
	}
	a := e.agents[ev.Agent]
	if a == nil {
		return
	}
	switch ev.Kind {
	case EventData:
		a.deliver(netip.AddrPort{}, ev.Data)
		return
	case EventValid, EventInvalid:
		e.reroute(ev.Pair.Route)
	case EventSelected:
		a.out.Store(e.outlet(ev.Pair.Route))
	case EventClosed:
		delete(e.agents, ev.Agent)
		a.inbox.Close()
	}
	e.log.Debugf("agent %d: %v %v %v %v", ev.Agent, ev.Kind, ev.State, ev.Pair.Route.Remote, ev.Err)
	a.take(ev)
}

// reroute makes data from where a pair's peer is go to whom it is for now.
func (e *Endpoint) reroute(r Route) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Stream != 0 {
		if s := e.streams[streamKey{r.Local, r.Remote}]; s != nil {
			s.peer.Store(e.owner(r))
		}
		return
	}
	if s := e.sockets[r.Socket]; s != nil {
		s.route(r.Remote, e.owner(r))
	}
}

func (e *Endpoint) owner(r Route) *Agent {
	from := path{base: &base{socket: r.Socket}, remote: r.Remote}
	if r.Stream != 0 {
		if from.stream = e.m.streams[r.Stream]; from.stream == nil {
			return nil
		}
	}
	if all := e.m.at(from); len(all) > 0 {
		return e.agents[all[0].id]
	}
	return nil
}

// outlet is what a route is to a writer; nil where there is none.
func (e *Endpoint) outlet(r Route) *outlet {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := &outlet{tap.Outlet{Remote: r.Remote}, r.Local}
	if r.Stream != 0 {
		if t := e.streams[streamKey{r.Local, r.Remote}]; t != nil {
			o.Stream = t.Stream
		}
	} else if t := e.sockets[r.Socket]; t != nil && r.Remote.IsValid() {
		o.Socket, o.Source.Source = t.Socket, r.Local.Addr()
		if !o.local.IsValid() {
			o.local = t.LocalAddrPort()
		}
	}
	if !o.OK() {
		return nil
	}
	return o
}

// take hands an event to the user, after what it tells of.
func (a *Agent) take(e Event) {
	a.mu.Lock()
	a.state = e.State
	switch {
	case e.Kind == EventSelected:
		a.pair = e.Pair
	case e.Kind == EventState && e.State == Failed:
		a.err = e.Err
	}
	a.mu.Unlock()
	a.events.Push(e)
	if e.Kind == EventClosed {
		a.events.Close()
	}
}
