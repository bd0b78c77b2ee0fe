package bradawl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/feed"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/work"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch/portmap"
)

// Session is this program among its peers: it is reachable by its PeerID, and dials others
// by theirs. It has a few goroutines, however many peers there are. Its methods may be
// called from any goroutine.
type Session struct {
	cfg    Config
	c      *control // the loop's
	loop   *drive.Loop
	log    logging.LeveledLogger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	pool   *work.Pool
	asks   *work.Pool // of AllowPeer, which may wait for people
	treats *work.Pool // of TreatPeer

	conns    map[uint32]*Conn       // the loop's, as are the dials
	dials    map[uint32]chan result // that wait
	incoming chan *Conn
	asking   map[PeerID]*asking        // the loop's, as is the next
	opening  map[machine.SocketID]bool // sockets that are being opened; false: for nothing

	ports *portmap.Client // nil: routers are not asked

	outgoing chan outgoing // for the signalling
	servers  servers
	recorder *recorder

	mu         sync.RWMutex
	sockets    map[machine.SocketID]*tap.Socket
	streams    map[streamKey]*tap.Stream
	byIndex    map[uint32]*Conn
	plain      map[ice.Route]*Conn
	nextSocket machine.SocketID
	locals     []*local
	tcp        []*tcpLocal

	looking sync.Mutex   // at the host's addresses
	hosts   []netip.Addr // guarded by looking: those of the last look, in order

	events *feed.Feed[Event]

	info    sync.Mutex
	nat     natprobe.Report
	natOK   bool
	signals Signals // nil: not signed on
}

type result struct {
	conn *Conn
	err  error
}

type outgoing struct {
	to      PeerID
	message []byte
	left    chan struct{} // not nil: it is closed when all before has left
}

// Bounds of a session.
const (
	eventQueue    = 256
	incomingQueue = 64
	outgoingQueue = 256
	maxAsked      = 64 // questions to AllowPeer at once, and to TreatPeer
)

// New opens the session's sockets and returns at once: it gathers, finds out what the NAT
// does and signs on by itself. ctx is for the opening alone. The error is a *ConfigError,
// or the system's. An address at which no socket can be opened is passed over, and the log
// tells; one at which Config.Port is in use already is an error.
func New(ctx context.Context, cfg Config) (*Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Session{
		cfg: cfg, log: plog.OrDiscard(cfg.LoggerFactory).NewLogger("bradawl"), pool: work.NewPool(work.PoolConfig{}),
		asks: work.NewPool(work.PoolConfig{Workers: maxAsked}), treats: work.NewPool(work.PoolConfig{Workers: maxAsked}),
		conns: make(map[uint32]*Conn), dials: make(map[uint32]chan result), incoming: make(chan *Conn, incomingQueue),
		outgoing: make(chan outgoing, outgoingQueue), events: feed.New[Event](eventQueue),
		sockets: make(map[machine.SocketID]*tap.Socket), streams: make(map[streamKey]*tap.Stream),
		byIndex: make(map[uint32]*Conn), plain: make(map[ice.Route]*Conn),
		opening:  make(map[machine.SocketID]bool),
		asking:   make(map[PeerID]*asking),
		recorder: newRecorder(cfg.Record),
	}
	v := &s.servers
	v.s, v.changed, v.left, v.more = s, make(chan struct{}), make(chan struct{}), make(chan struct{})
	v.find = natprobe.ResolveServers
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	s.c, err = newControl(controlConfig{
		identity: cfg.Identity, protocol: cfg.Protocol, policy: cfg.Policy, plaintext: cfg.Plaintext, timeout: cfg.Timeout, keepalive: cfg.Keepalive,
		loopback: cfg.Loopback, score: cfg.Score, history: cfg.History, ask: cfg.AllowPeer != nil, treat: cfg.TreatPeer != nil,
		budget: cfg.Budget, noLanes: cfg.Budget.Probes < 0, memory: cfg.Memory,
		ids: s.recorder.ids(),
	}, mathrand.New(mathrand.NewChaCha8(seed)), rand.Reader)
	if err != nil {
		return nil, err
	}
	s.c.signedOff(errSigningOn)
	hosts, err := cfg.Addrs()
	if err != nil {
		return nil, fmt.Errorf("bradawl: %w", err)
	}
	hosts = usable(hosts)
	s.hosts = addrsOf(hosts)
	fresh, failures := s.open(ctx, hosts)
	if i := slices.IndexFunc(failures, netio.IsInUse); i >= 0 && cfg.Port != 0 { // what reaches us there is not to depend on who came first
		err = fmt.Errorf("bradawl: Port: %d is in use already; choose another, or 0 for any, or leave its network out of Networks: %w", cfg.Port, failures[i])
	} else if fresh.isEmpty() && len(failures) > 0 {
		err = fmt.Errorf("bradawl: no socket could be opened: %w", errors.Join(failures...))
	}
	if err == nil {
		s.ports, err = s.newPortmap()
	}
	if err == nil {
		s.loop, err = drive.Run(s.c, s.handle, drive.Options{Dial: s.dialStream, Effect: s.effect, Log: s.log})
	}
	if err != nil {
		s.cancel()
		if s.ports != nil {
			_ = s.ports.Close()
		}
		fresh.close()
		return nil, err
	}
	for _, err := range failures {
		s.log.Warnf("passed over a local address: %v", err)
	}
	s.wg.Go(s.recorder.run)
	s.begin(fresh, func(time.Time) {})
	s.wg.Go(s.signOn)
	s.wg.Go(s.watch)
	s.servers.add(cfg.STUN, cfg.TURN)
	return s, nil
}

// ID returns who the session is.
func (s *Session) ID() PeerID { return s.cfg.Identity.ID() }

// Dial connects to a peer, and returns as soon as data can be sent, be it by a relay: the
// connection moves to better paths by itself.
//
// To dial a peer that is connected, or is being dialled, makes another Conn, with keys, an
// index, queues and an end of its own, on the same paths: it takes one round trip of the
// path, needs no rendezvous, and costs neither checks nor keepalives beside those that there
// are. The peer's AllowPeer is asked about it, and its Accept returns it. The paths are given
// up with the last Conn on them. A peer that was started anew meanwhile is dialled as if
// there had been none. With Config.Plaintext each Conn has paths of its own.
//
// The error is a *PeerError, which matches ErrSelf, ErrNobody, ErrOffline or wraps a
// *RefusedError; a *PathsError, which matches ErrNotSignedOn, ErrNoAnswer, ErrNoPath or the
// cause of ctx and tells what was tried; or ErrClosed.
func (s *Session) Dial(ctx context.Context, peer PeerID) (*Conn, error) {
	if ctx.Err() != nil {
		return nil, &PeerError{Peer: peer, Err: context.Cause(ctx)}
	}
	done := make(chan result, 1)
	var number uint32
	var err error
	if s.loop.Do(func(now time.Time) {
		if number, err = s.c.dial(now, peer); err == nil {
			s.dials[number] = done // nothing of it has been told yet
		}
	}) != nil {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, err
	}
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
	case <-s.loop.Done():
		return nil, ErrClosed
	}
	err = ErrClosed
	_ = s.loop.Do(func(now time.Time) {
		if s.dials[number] == done {
			delete(s.dials, number)
			err = s.c.abandon(now, number, context.Cause(ctx))
		}
	})
	select {
	case r := <-done: // it was there all the same
		return r.conn, r.err
	default:
		return nil, err
	}
}

// Accept waits for a peer to connect. 64 connections wait to be accepted; what comes beyond
// is closed: EventRefused tells so here, and whoever has dialled gets a connection that ends
// with ErrPeerClosed at once. The error matches the cause of ctx and, where peers cannot dial because the
// session is not signed on, ErrNotSignedOn; or it is ErrClosed.
func (s *Session) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-s.incoming:
		return c, nil
	default:
	}
	select {
	case c := <-s.incoming:
		return c, nil
	case <-ctx.Done():
		return nil, s.unreached("nobody dialled", context.Cause(ctx))
	case <-s.loop.Done():
		return nil, ErrClosed
	}
}

// unreached is the error of whoever has waited in vain, with why nobody could come.
func (s *Session) unreached(what string, cause error) error {
	var unsigned error
	_ = s.loop.Do(func(time.Time) { unsigned = s.c.unsigned })
	if unsigned == nil {
		return fmt.Errorf("bradawl: %s: %w", what, cause)
	}
	return fmt.Errorf("bradawl: %s: %w; %w: %w", what, cause, ErrNotSignedOn, unsigned)
}

// NAT returns what the NAT was found to be; false while that is not known, as for a moment
// after the host has come to another network.
func (s *Session) NAT() (natprobe.Report, bool) {
	s.info.Lock()
	defer s.info.Unlock()
	return s.nat, s.natOK
}

// SignedOn reports whether the signalling is connected, so that peers can dial.
func (s *Session) SignedOn() bool {
	s.info.Lock()
	defer s.info.Unlock()
	return s.signals != nil
}

// WaitSignedOn waits until the signalling is connected, so that peers can dial: a program
// that is to be dialled says by it whether it can be. The error matches the cause of ctx and
// ErrNotSignedOn, and says why there is no connection, which is tried again all the while; or
// it is ErrClosed.
func (s *Session) WaitSignedOn(ctx context.Context) error {
	for {
		changed := s.events.Changed()
		if s.SignedOn() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s.unreached("waiting to be signed on", context.Cause(ctx))
		case <-s.loop.Done():
			return ErrClosed
		}
	}
}

// Signals returns the connection of the signalling, for what else it can do; nil while
// there is none.
func (s *Session) Signals() Signals {
	s.info.Lock()
	defer s.info.Unlock()
	return s.signals
}

// Stats returns what the session did not take, or could not hand on.
func (s *Session) Stats() (n SessionStats) {
	_ = s.loop.Do(func(time.Time) { n = s.c.counts })
	n.Unrecorded += s.recorder.lost.Load()
	return n
}

// Next returns the next event, waiting for it. 256 events wait to be taken, then the oldest
// go: Event.Missed counts them. The error is ctx's, or ErrClosed when all have been taken
// after Close.
func (s *Session) Next(ctx context.Context) (Event, error) {
	e, missed, err := s.events.Next(ctx, ErrClosed)
	e.Missed = missed
	return e, err
}

// Events returns an iterator over the events, until ctx ends or the session is closed.
func (s *Session) Events(ctx context.Context) func(yield func(Event) bool) {
	return func(yield func(Event) bool) {
		for {
			e, err := s.Next(ctx)
			if err != nil || !yield(e) {
				return
			}
		}
	}
}

// publish hands an event to the user, after what it tells of.
func (s *Session) publish(e Event) { s.events.Push(e) }

// NotifyNetworkChange says that the host's addresses or routes may have changed, as mobile
// systems tell their programs. The session looks and moves. Where no address has changed, it
// checks its paths, relays and signalling, and finds out once more what the NAT does: servers
// are asked for that four times in a row, then every five seconds at most.
func (s *Session) NotifyNetworkChange() { s.look(true) }

// Close closes all connections and sockets, and returns when every goroutine has ended, and
// Config.Record has got what waited for it. It takes leave of peers, TURN servers and routers,
// for which it waits 2.5 s at most where they do not answer.
func (s *Session) Close() error {
	var err error
	s.once.Do(func() {
		_ = s.loop.Do(s.c.closeAll)
		s.farewell()
		s.cancel()
		s.looking.Lock()         // what opens sockets just now has done so, and nothing does any more
		var ended sync.WaitGroup // at once, for where the host is in no network both wait in vain
		ended.Go(s.servers.close)
		if s.ports != nil {
			ended.Go(func() { _ = s.ports.Close() })
		}
		ended.Wait()
		s.looking.Unlock()
		err = s.loop.Close()
		s.recorder.close()
		s.pool.Close()
		s.asks.Close()
		s.treats.Close()
		s.wg.Wait()
		s.events.Close()
	})
	return err
}
