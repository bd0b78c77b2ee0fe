package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// services are the parts of the program while it runs.
type services struct {
	stun     []*stunserver.Server // one for each host
	relay    *relay
	meet     *rendezvous.Server
	web      *http.Server
	failed   chan error // capacity: one for each listener of web
	draining atomic.Bool
}

// serve runs everything until ctx ends, and then for at most as long as the drain and a
// few seconds more.
func serve(ctx context.Context, c *config, log *slog.Logger) error {
	s := new(services)
	defer s.close()
	if err := s.start(ctx, c, log); err != nil {
		return err
	}
	select {
	case err := <-s.failed:
		return err
	case <-ctx.Done():
	}
	s.drain(context.WithoutCancel(ctx), c.drain, log)
	return nil
}

// start opens what is needed, the rendezvous last: it hands the others out. What was
// opened before an error is left to close.
func (s *services) start(ctx context.Context, c *config, log *slog.Logger) error {
	var logs logging.LoggerFactory
	relayLogs := bradawl.FromSlog(nil) // pion/turn tells of each stray packet
	if c.verbose {
		logs = bradawl.FromSlog(log)
		relayLogs = logs
	}
	for _, h := range c.hosts {
		server, err := stunserver.Listen(ctx, stunserver.Config{
			IP1: h.ip, IP2: h.second, Port1: orAny(c.stunPort), Port2: orAny(c.stunPort2), LoggerFactory: logs,
		})
		if err != nil {
			return fmt.Errorf("%w; choose other ports by -stun-port and -stun-port2, or another address by -listen", err)
		}
		s.stun = append(s.stun, server)
		c.stunPort, c.stunPort2 = int(server.Addrs()[0].Port()), int(server.Addrs()[1].Port())
		log.Info("listening", "service", "stun", "addresses", server.Addrs())
	}
	var err error
	if s.relay, err = listenRelay(ctx, c, relayLogs); err != nil {
		return err
	}
	var uris, turns []string
	for _, host := range c.advertised() {
		uris = append(uris, fmt.Sprintf("stun:%s:%d", host, c.stunPort))
		for _, transport := range []string{"udp", "tcp"} {
			turns = append(turns, fmt.Sprintf("turn:%s:%d?transport=%s", host, c.turnPort, transport))
		}
		if c.cert != nil {
			turns = append(turns, fmt.Sprintf("turns:%s:%d?transport=tcp", host, c.turnsPort))
		}
	}
	log.Info("listening", "service", "turn", "uris", turns)
	s.meet, err = rendezvous.NewServer(rendezvous.ServerConfig{
		Name: c.name, AllowUnproven: c.open, MaxClientsPerAddress: c.maxClients, MaxRoomsPerAddress: 2 * c.maxClients,
		ICEServers: append(uris, turns...), TURNSecret: c.secret, TURNLifetime: c.lifetime, LoggerFactory: logs,
	})
	if err != nil {
		return err
	}
	return s.serveWeb(ctx, c, log)
}

// orAny is what stunserver.Config has for a port that may be any.
func orAny(port int) int {
	if port == 0 {
		return -1
	}
	return port
}

// serveWeb starts the rendezvous and the health endpoint.
func (s *services) serveWeb(ctx context.Context, c *config, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("/", s.meet)
	mux.HandleFunc("GET /healthz", s.health)
	web := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // it tells of strangers
	}
	scheme := "ws"
	if c.cert != nil {
		scheme = "wss"
		// WebSocket is opened by HTTP/1.1.
		web.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*c.cert}, NextProtos: []string{"http/1.1"}}
	}
	var listeners []net.Listener
	for _, h := range c.hosts {
		l, err := listenTCP(ctx, h.ip, c.httpPort)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return fmt.Errorf("%w; choose another port by -http-port, or another address by -listen", err)
		}
		c.httpPort = portOf(l.Addr())
		log.Info("listening", "service", "rendezvous", "url", fmt.Sprintf("%s://%s/", scheme, l.Addr()))
		if c.cert != nil {
			l = tls.NewListener(l, web.TLSConfig)
		}
		listeners = append(listeners, l)
	}
	s.web, s.failed = web, make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { s.failed <- web.Serve(l) }()
	}
	return nil
}

// health answers load balancers.
func (s *services) health(w http.ResponseWriter, _ *http.Request) {
	health := struct {
		Status string `json:"status"`
		rendezvous.Stats
		Relays int `json:"relays"`
	}{"ok", s.meet.Stats(), s.relay.len()}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if s.draining.Load() {
		health.Status = "draining"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(health)
}

// lastAnswer is what pion/turn has for telling the last client that its relay is closed,
// for which it takes no time at all.
const lastAnswer = 100 * time.Millisecond

// drain sends clients and relays away. All ports stay open meanwhile: relays need theirs,
// and who comes is told to go elsewhere.
func (s *services) drain(ctx context.Context, limit time.Duration, log *slog.Logger) {
	s.draining.Store(true)
	log.Info("draining", "limit", limit.String(), "clients", s.meet.Stats().Clients, "relays", s.relay.len())
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.meet.Shutdown(ctx); err != nil {
			log.Warn("some clients were still there after -drain")
		}
	})
	wg.Go(func() {
		select {
		case <-s.relay.drain():
			time.Sleep(lastAnswer)
		case <-ctx.Done():
			if n := s.relay.len(); n > 0 {
				log.Warn("some relays were still there after -drain", "relays", n)
			}
		}
	})
	wg.Wait()
	log.Info("drained")
}

// close ends whatever was started.
func (s *services) close() {
	if s.meet != nil {
		_ = s.meet.Close()
	}
	if s.web != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if s.web.Shutdown(ctx) != nil {
			_ = s.web.Close()
		}
	}
	if s.relay != nil {
		_ = s.relay.server.Close()
	}
	for _, server := range s.stun {
		_ = server.Close()
	}
}
