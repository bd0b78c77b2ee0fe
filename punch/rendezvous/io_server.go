package rendezvous

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/plog"
)

// Server is a rendezvous as an http.Handler, to be mounted under any path. It
// takes a client's address from Request.RemoteAddr, so it must be reached
// directly or through a proxy that keeps addresses. Set
// http.Server.ReadHeaderTimeout: until the WebSocket is open, a connection is
// the http.Server's.
//
// All methods are safe for concurrent use.
type Server struct {
	m    *ServerMachine // entered on the loop only
	cfg  ServerConfig
	loop *drive.Loop

	conns map[machine.StreamID]*wsConn // owned by the loop
	last  machine.StreamID             // owned by the loop

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
}

// NewServer starts a server without clients. The caller must Close it. The
// error is a *ConfigError, or cfg.Rand's.
func NewServer(cfg ServerConfig) (*Server, error) {
	m, err := NewServerMachine(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{m: m, cfg: m.cfg, conns: make(map[machine.StreamID]*wsConn)}
	log := plog.OrDiscard(cfg.LoggerFactory).NewLogger("rendezvous")
	report := func(e ServerEvent) { log.Debug(e.String()) }
	if cfg.LoggerFactory == nil {
		report = nil // spares the formatting
	}
	s.loop, err = drive.Run(m, report, drive.Options{Effect: s.effect, Log: log})
	if err != nil {
		return nil, err
	}
	err = s.loop.Do(func(time.Time) {
		m.bus.Wake(func() { s.loop.Post(m.HandleTimeout) })
	})
	return s, err
}

// ServeHTTP serves one client until its connection ends. What is not a
// WebSocket handshake gets a 4xx status, and everything 503 after Close.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, shutdownReason, http.StatusServiceUnavailable)
		return
	}
	defer s.handlers.Done()
	keep := &keepConn{ResponseWriter: w}
	ws, err := websocket.Accept(keep, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}})
	if err != nil {
		return // Accept has answered
	}
	// An address that cannot be read (a Unix socket's) is the zero one.
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	c := newConn(ws, keep.conn, s.cfg.QueueFrames, s.cfg.QueueBytes)
	go c.write()
	var id machine.StreamID
	attach := func(now time.Time) {
		id = s.nextStream()
		s.conns[id] = c
		s.m.HandleNotice(now, machine.Notice{Kind: machine.Accepted, Stream: id, Remote: remote})
	}
	if s.loop.Do(attach) == nil {
		err := c.read(func(data []byte) {
			_ = s.loop.Do(func(now time.Time) {
				s.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: id, Data: data})
			})
		})
		_ = s.loop.Do(func(now time.Time) {
			delete(s.conns, id)
			s.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Err: err})
		})
	}
	c.kill()
	<-c.gone
}

// Stats are figures of a running server.
type Stats struct {
	Clients int // signed on
	Rooms   int // with at least one member
}

// Stats returns the server's figures; all zero after Close.
func (s *Server) Stats() (st Stats) {
	_ = s.loop.Do(func(time.Time) { st = Stats{Clients: s.m.Clients(), Rooms: s.m.Rooms()} })
	return st
}

// Close tells every client that the server is shutting down (CodeShutdown),
// closes all connections and returns when every goroutine has ended, within a
// few seconds. An http.Server does not know of these connections: close the
// Server beside its Shutdown. The error is always nil.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.loop.Do(s.m.Shutdown)
	s.handlers.Wait()
	return s.loop.Close()
}

// enter counts a handler in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// nextStream finds a free number; after 2^31 connections the numbers repeat.
func (s *Server) nextStream() machine.StreamID {
	for {
		s.last++
		if id := machine.AcceptedBase | s.last; s.conns[id] == nil {
			return id
		}
	}
}

// effect carries out what the machine asks for.
func (s *Server) effect(t machine.Transmit) {
	c := s.conns[t.Stream]
	if c == nil {
		return
	}
	switch t.Op {
	case machine.Write:
		if !c.push(t.Data) {
			// The close is the machine's to decide. Until it has, nothing more
			// goes to a client that has missed something.
			c.shut(&CloseError{Code: CodeSlowReader, Reason: slowReason}, true)
			s.loop.Post(func(now time.Time) { s.m.SlowReader(now, t.Stream) })
		}
	case machine.Close:
		c.shut(ParseClose(t.Data), false)
	}
}

// keepConn is a ResponseWriter that remembers the connection below, which the
// WebSocket needs deadlines on.
type keepConn struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (k *keepConn) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(k.ResponseWriter).Hijack()
	k.conn = conn
	return conn, rw, err
}
