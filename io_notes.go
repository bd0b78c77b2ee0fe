package bradawl

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// handle carries out what the control wants, on the loop.
func (s *Session) handle(n note) {
	c := s.conns[n.conn]
	switch n.kind {
	case noteEvent:
		s.log.Debugf("%v", n.event)
		s.publish(n.event)
	case noteSignal:
		select {
		case s.outgoing <- outgoing{to: n.peer, message: n.message}:
		default: // the control says it again
		}
	case noteAsk:
		s.ask(n)
	case noteTreat:
		s.treat(n)
	case noteKeys:
		c = s.newConn(n)
		s.conns[n.conn] = c
		s.mu.Lock()
		s.byIndex[c.ours] = c
		s.mu.Unlock()
	case noteReady:
		s.hand(c)
	case noteRoute:
		s.route(n)
	case noteData:
		if c != nil {
			c.deliver(n.data)
		}
	case noteQuiet:
		if c != nil {
			c.quiet.Store(true)
		}
	case noteRecord:
		s.recorder.put(*n.record)
	case noteRelays:
		s.servers.check()
		if f, ok := s.Signals().(networkFollower); ok {
			s.wg.Go(f.NetworkChanged)
		}
	case notePermit:
		s.servers.permit()
	case noteNAT:
		s.servers.change()
	case noteLeft:
		s.leftNetwork()
	case noteTCP:
		s.servers.lookAtTCP()
	case noteBroken:
		s.broke(n.socket)
	case noteOver:
		s.over(c, n)
	}
}

// asking is what AllowPeer is being asked about one peer. A peer may begin very many connections,
// and people may have to answer: what it does must take no answers from others.
type asking struct {
	under   int      // way
	waiting []uint32 // connections, asked about one after the other
}

// ask asks the user whether a peer may connect.
func (s *Session) ask(n note) {
	a := s.asking[n.peer]
	if a == nil {
		a = new(asking)
		s.asking[n.peer] = a
	}
	if len(a.waiting) >= maxForPeer { // some of them have ended: there are not so many
		a.waiting = slices.DeleteFunc(a.waiting, func(conn uint32) bool { return !s.c.undecided(conn) })
	}
	if a.waiting = append(a.waiting, n.conn); a.under < maxAskedOfPeer {
		a.under++
		s.askNext(n.peer, a)
	}
}

// askNext asks about the connection that has waited longest, or ends what is under way.
func (s *Session) askNext(peer PeerID, a *asking) {
	for len(a.waiting) > 0 && !s.c.undecided(a.waiting[0]) {
		a.waiting = a.waiting[1:]
	}
	if len(a.waiting) == 0 {
		if a.under--; a.under == 0 {
			delete(s.asking, peer)
		}
		return
	}
	conn := a.waiting[0]
	a.waiting = a.waiting[1:]
	answer := func(ok bool) {
		s.loop.Post(func(now time.Time) {
			s.c.decide(now, conn, ok)
			s.askNext(peer, a)
		})
	}
	err := s.asks.Submit(s.ctx, func(ctx context.Context) {
		ok := false
		defer func() { answer(ok) }() // be it by Goexit
		ok = s.allowed(ctx, peer)
	})
	if err != nil {
		answer(false)
	}
}

// allowed is what the user says. Who panics has not said yes; it is logged with where it came
// from.
func (s *Session) allowed(ctx context.Context, peer PeerID) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Errorf("Config.AllowPeer panicked, and peer %s is refused: %v\n%s", peer.Short(), p, debug.Stack())
			ok = false
		}
	}()
	return s.cfg.AllowPeer(ctx, peer)
}

// hand gives a connection to whoever waits for it.
func (s *Session) hand(c *Conn) {
	if done := s.dials[c.number]; done != nil {
		delete(s.dials, c.number)
		done <- result{conn: c} // there is room
		return
	}
	select {
	case s.incoming <- c:
	default:
		s.publish(Event{Kind: EventRefused, At: time.Now(), Peer: c.peer, Conn: c.number, Reason: "too many connections wait for Accept"})
		s.loop.Post(func(now time.Time) { s.c.close(now, c.number) })
	}
}

// route sets where the data of connections goes.
func (s *Session) route(n note) {
	known, out := n.known, s.outlets(n.route)
	for _, number := range n.conns {
		c := s.conns[number]
		if c == nil {
			continue
		}
		if s.cfg.Plaintext {
			s.mu.Lock()
			if old := c.known.Load(); old != nil {
				s.unplain(c, *old)
			}
			for _, r := range n.known {
				if r.Stream == 0 {
					s.plain[ice.Route{Socket: r.Socket, Remote: r.Remote}] = c
				}
			}
			s.mu.Unlock()
		}
		c.known.Store(&known)
		c.out.Store(&out)
		c.setPath(n.event.Path)
	}
}

// unplain takes a connection's routes away, unless another one has them by now.
func (s *Session) unplain(c *Conn, routes []ice.Route) {
	for _, r := range routes {
		key := ice.Route{Socket: r.Socket, Remote: r.Remote}
		if s.plain[key] == c {
			delete(s.plain, key)
		}
	}
}

func (s *Session) over(c *Conn, n note) {
	err := n.err
	if done := s.dials[n.conn]; done != nil {
		delete(s.dials, n.conn)
		if err == nil {
			err = ErrClosed
		}
		done <- result{err: err}
	}
	if c == nil {
		return
	}
	if err == nil {
		err = ErrClosed
	}
	delete(s.conns, n.conn)
	s.mu.Lock()
	delete(s.byIndex, c.ours)
	if known := c.known.Load(); known != nil && s.cfg.Plaintext {
		s.unplain(c, *known)
	}
	s.mu.Unlock()
	c.finish(err)
}
