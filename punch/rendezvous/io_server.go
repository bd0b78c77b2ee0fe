package rendezvous

import (
	"context"
	"encoding/json"
	"errors"
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

	conns   map[machine.StreamID]*served // owned by the loop
	closing closing                      // owned by the loop
	last    machine.StreamID             // owned by the loop

	mu      sync.Mutex
	closed  bool // nobody gets in any more
	inside  int  // connections between enter and leave
	drained chan struct{}
}

// NewServer starts a server without clients. The caller must Close it, or shut
// it down. The error is a *ConfigError, or cfg.Secrets's.
func NewServer(cfg ServerConfig) (*Server, error) {
	m, err := NewServerMachine(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{m: m, cfg: m.cfg, conns: make(map[machine.StreamID]*served), closing: newClosing(m.cfg), drained: make(chan struct{})}
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

// ServeHTTP opens the WebSocket of one client and returns; the connection goes
// on. What is not a WebSocket handshake gets a 4xx status, and everything 503
// after Shutdown or Close was called.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, shutdownReason, http.StatusServiceUnavailable)
		return
	}
	hijack := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		s.leave()
		return // Accept has answered
	}
	// An address that cannot be read (a Unix socket's) is the zero one.
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	// On a goroutine of its own, for that of the http.Server holds buffers and
	// the request for as long as the handler runs.
	go s.serve(&served{
		wsConn: newConn(ws, hijack.conn, s.cfg.QueueFrames, s.cfg.QueueBytes),
		remote: remote, source: sourceOf(remote.Addr().Unmap()),
	})
}

// serve serves one client until its connection has ended.
func (s *Server) serve(c *served) {
	defer s.leave()
	var id machine.StreamID
	attach := func(now time.Time) {
		id = s.nextStream()
		s.conns[id] = c
		s.m.HandleNotice(now, machine.Notice{Kind: machine.Accepted, Stream: id, Remote: c.remote})
	}
	if s.loop.Do(attach) == nil {
		err := c.read(maxHello, func(data []byte) {
			_ = s.loop.Do(func(now time.Time) {
				s.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: id, Data: data})
			})
		})
		if errors.Is(err, errFlood) {
			_ = s.loop.Do(func(now time.Time) { s.m.Flood(now, id) })
			<-c.gone
		}
		_ = s.loop.Do(func(now time.Time) {
			delete(s.conns, id)
			s.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Err: err})
		})
	}
	c.kill()
	<-c.gone
	s.loop.Post(func(time.Time) { s.closing.ended(c) })
}

// Stats returns the server's figures; all zero after Close.
func (s *Server) Stats() (st Stats) {
	_ = s.loop.Do(func(time.Time) { st = s.m.Stats() })
	return st
}

// ServeHealth is an http.HandlerFunc for load balancers, to be mounted beside
// the server, under "/healthz" say. It answers 200 while clients can sign on,
// and 503 while the bus is cut off from the other nodes and after Shutdown or
// Close was called, with a JSON object: "status", which is "ok", "cut off" or
// "draining", and the figures of [Stats].
func (s *Server) ServeHealth(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	health := struct {
		Status string `json:"status"`
		Stats
	}{"ok", s.Stats()}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case closed:
		health.Status = "draining"
	case health.CutOff:
		health.Status = "cut off"
	}
	if health.Status != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(health)
}

// Shutdown ends the server in peace, and returns when every goroutine has ended.
// At once nobody can sign on any more; [Server.ServeHTTP] answers 503. The
// clients are told to go elsewhere (CodeShutdown) one by one in random order,
// at most 500 a second unless ctx leaves less time than that takes, so that
// they do not all come to the next server in the same moment. Who has been
// writing to its peer within the last two seconds is told once it is quiet.
//
// When ctx ends, or when its deadline is so near that only the closing itself
// fits in, everybody is told who is still there; a ctx without a deadline is
// given 30 seconds. The error is the context's cause if it ended before the last
// client had gone. An http.Server does not know of these connections: call its
// Shutdown afterwards.
func (s *Server) Shutdown(ctx context.Context) error {
	s.refuse()
	within := 30 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		within = max(left/2, left-closeGrace)
	}
	_ = s.loop.Do(func(now time.Time) { s.m.Drain(now, within) })
	select {
	case <-s.drained:
	case <-ctx.Done():
	}
	var err error
	select {
	case <-s.drained:
	default:
		err = context.Cause(ctx)
	}
	_ = s.Close()
	return err
}

// Close tells every client at once that the server is shutting down
// (CodeShutdown), closes all connections and returns when every goroutine has
// ended, within a few seconds. The error is always nil.
func (s *Server) Close() error {
	s.refuse()
	_ = s.loop.Do(s.m.Shutdown)
	<-s.drained
	return s.loop.Close()
}

// enter counts a connection in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inside++
	return true
}

// leave counts a connection out.
func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
	if s.closed && s.inside == 0 {
		close(s.drained)
	}
}

// refuse lets nobody in any more.
func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.inside == 0 {
		close(s.drained)
	}
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
			s.closing.shut(c, &CloseError{Code: CodeSlowReader, Reason: slowReason}, true)
			s.loop.Post(func(now time.Time) { s.m.SlowReader(now, t.Stream) })
		}
	case machine.Close:
		s.closing.shut(c, ParseClose(t.Data), false)
	}
}
