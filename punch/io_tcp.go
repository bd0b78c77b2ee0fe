package punch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// TCP makes a direct TCP connection to a peer that does the same at about the same
// time (simultaneous open). It listens at cfg.Local and dials from it, again and again
// until one connection stands on which the peer has proven the secret, and returns the
// one that both sides keep; the caller closes it. Nothing of the peer's data has been
// read from it.
//
// The error is a *ConfigError for a configuration that cannot work, the system's for a
// port that cannot be listened at, else a *PathError, which matches ErrSilence or
// ErrSecret where these say what happened, and ctx's error when ctx ended first.
func TCP(ctx context.Context, cfg TCPConfig) (net.Conn, error) {
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("punch")
	m, err := NewTCPMachine(time.Now(), cfg, rand.Reader, mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())))
	if err != nil {
		return nil, err
	}
	s := &tcpShell{
		m: m, cfg: m.cfg, log: log, result: make(chan tcpResult, 1),
		streams: make(map[machine.StreamID]*tcpEnd), conns: make(map[net.Conn]bool), accepted: machine.AcceptedBase,
	}
	s.setDefaults()
	listener, err := s.listen(ctx)
	if err != nil {
		return nil, fmt.Errorf("punch: listen at the port to dial from: %w", err)
	}
	defer s.wg.Wait()
	defer s.closeAll()
	defer listener.Close()
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	ready := make(chan struct{})
	s.loop, err = drive.Run[TCPEvent](m, s.event, drive.Options{Log: log, Effect: func(t machine.Transmit) {
		<-ready // the machine dials at once; the loop's owner must know the loop first
		s.effect(t)
	}})
	if err != nil {
		return nil, err
	}
	close(ready)
	defer s.loop.Close()
	s.wg.Go(func() { s.acceptAll(listener) })

	var r tcpResult
	select {
	case r = <-s.result:
	default:
		select {
		case r = <-s.result:
		case <-ctx.Done():
			s.loop.Close()
			select {
			case r = <-s.result: // it was there all the same
			default:
				return nil, m.Report(time.Now(), context.Cause(ctx))
			}
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	s.keep(r.conn)
	return r.conn, nil
}

// tcpShell gives a TCPMachine its sockets. What is not marked belongs to the loop.
type tcpShell struct {
	m        *TCPMachine
	cfg      TCPConfig
	log      logging.LeveledLogger
	ctx      context.Context // of the attempt: ends the dials
	cancel   context.CancelFunc
	loop     *drive.Loop
	wg       sync.WaitGroup
	result   chan tcpResult
	streams  map[machine.StreamID]*tcpEnd
	accepted machine.StreamID

	mu     sync.Mutex
	conns  map[net.Conn]bool // all that are open; guarded by mu
	closed bool              // guarded by mu
}

// tcpEnd is a connection, or a dial under way.
type tcpEnd struct {
	conn   net.Conn
	cancel context.CancelFunc
}

type tcpResult struct {
	conn net.Conn
	err  error
}

func (s *tcpShell) setDefaults() {
	if s.cfg.Listen == nil {
		s.cfg.Listen = (&net.ListenConfig{Control: ReusePort, KeepAlive: -1}).Listen
	}
	if s.cfg.Dial == nil {
		s.cfg.Dial = func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Control: ReusePort}
			return d.DialContext(ctx, network, address)
		}
	}
}

func (s *tcpShell) listen(ctx context.Context) (net.Listener, error) {
	if s.cfg.Local.Addr().IsUnspecified() {
		return s.cfg.Listen(ctx, "tcp", fmt.Sprintf(":%d", s.cfg.Local.Port()))
	}
	return s.cfg.Listen(ctx, "tcp", s.cfg.Local.String())
}

// acceptPause is how long to wait when the system refuses to accept, as it does when
// descriptors run out.
const acceptPause = 50 * time.Millisecond

func (s *tcpShell) acceptAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			if s.track(conn) {
				s.loop.Post(func(now time.Time) { s.adopt(now, conn) })
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.log.Debugf("accept: %v", err)
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// track makes closeAll close conn; it reports false, and closes conn, when that is
// over.
func (s *tcpShell) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *tcpShell) keep(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *tcpShell) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *tcpShell) adopt(now time.Time, conn net.Conn) {
	id := s.accepted
	s.accepted++
	s.streams[id] = &tcpEnd{conn: conn}
	s.wg.Go(func() { s.read(id, conn) })
	s.m.HandleNotice(now, notice(machine.Accepted, id, conn))
}

func notice(k machine.NoticeKind, id machine.StreamID, conn net.Conn) machine.Notice {
	return machine.Notice{Kind: k, Stream: id, Local: netio.AddrPortOf(conn.LocalAddr()), Remote: netio.AddrPortOf(conn.RemoteAddr())}
}

// read brings the handshake of one connection to the machine, and not a byte more.
func (s *tcpShell) read(id machine.StreamID, conn net.Conn) {
	buf := make([]byte, TCPHandshakeSize)
	for got := 0; got < len(buf); {
		n, err := conn.Read(buf[got:])
		data := buf[got : got+n]
		got += n
		s.loop.Post(func(now time.Time) {
			if n > 0 {
				s.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: id, Data: data})
			}
			if err != nil {
				s.forget(id)
				s.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Err: err})
			}
		})
		if err != nil {
			return
		}
	}
}

func (s *tcpShell) effect(t machine.Transmit) {
	end := s.streams[t.Stream]
	switch {
	case t.Op == machine.Dial:
		s.dial(t)
	case end == nil:
	case t.Op == machine.Write && end.conn != nil:
		// It fits into the buffer of a fresh connection, so it does not block.
		if _, err := end.conn.Write(t.Data); err != nil {
			s.log.Debugf("write to %v: %v", end.conn.RemoteAddr(), err) // the reader tells the machine
		}
	case t.Op == machine.Reset:
		s.forget(t.Stream)
	}
}

// forget ends a dial, or resets a connection.
func (s *tcpShell) forget(id machine.StreamID) {
	end := s.streams[id]
	delete(s.streams, id)
	if end == nil {
		return
	}
	if end.cancel != nil {
		end.cancel()
	}
	if end.conn != nil {
		if c, ok := end.conn.(interface{ SetLinger(int) error }); ok {
			_ = c.SetLinger(0) // no TIME-WAIT, which would keep the port from another try
		}
		end.conn.Close()
		s.keep(end.conn) // it needs no closing any more
	}
}

func (s *tcpShell) dial(t machine.Transmit) {
	ctx, cancel := context.WithCancel(s.ctx)
	end := &tcpEnd{cancel: cancel}
	s.streams[t.Stream] = end
	network := "tcp4"
	if t.Remote.Addr().Is6() {
		network = "tcp6"
	}
	id, local, remote := t.Stream, t.Local, t.Remote
	s.wg.Go(func() {
		defer cancel()
		conn, err := s.cfg.Dial(ctx, network, local, remote.String())
		if err == nil && !s.track(conn) {
			return
		}
		s.loop.Post(func(now time.Time) {
			switch {
			case s.streams[id] != end:
				if err == nil {
					conn.Close()
					s.keep(conn)
				}
			case err != nil:
				delete(s.streams, id)
				s.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Remote: remote, Err: err})
			default:
				end.conn = conn
				s.wg.Go(func() { s.read(id, conn) })
				s.m.HandleNotice(now, notice(machine.Connected, id, conn))
			}
		})
	})
}

func (s *tcpShell) event(e TCPEvent) {
	s.log.Debugf("%v %v -> %v %v", e.Kind, e.Local, e.Remote, e.Err)
	switch e.Kind {
	case TCPFailed:
		s.result <- tcpResult{err: e.Err}
	case TCPAgreed:
		s.result <- tcpResult{conn: s.streams[e.Stream].conn}
	}
}

var _ interface {
	machine.Machine[TCPEvent]
	machine.Noticer
} = (*TCPMachine)(nil)
