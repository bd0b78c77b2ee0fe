package talk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
)

// Config says where to meet whom. Rendezvous and Room are needed.
type Config struct {
	Rendezvous string   // URL, ws:// or wss://
	Room       string   // both peers name the same one
	STUN       []string // host:port of STUN servers, beside those that the rendezvous hands out
	Proto      string   // of direct paths: "udp", "tcp", or "auto", which is TCP where UDP does not get through; default "auto"
	TURN       []string // URIs of TURN servers, turn:host:port, beside those that the rendezvous hands out
	TURNUser   string   // for TURN
	TURNPass   string   // for TURN
	Policy     string   // "direct", "relay", or "auto": a relay until a direct path is found; default "auto"
	Echo       int      // messages that must come back; default 20
	Linger     time.Duration
	Timeout    time.Duration   // for the whole but Linger; default 40 s
	Ports      netio.PortRange // local ports to use; default any
	Host       Host            // where the program runs; default this machine

	Report        func(Event)                      // what happened, in order; default: dropped
	Note          func(format string, args ...any) // what is going on, for people; default: dropped
	Record        func(stats.Event)                // what becomes of the connection, for statistics; default: not recorded
	LoggerFactory logging.LoggerFactory            // default nil: nothing is logged
}

// Host is where the program runs. What is nil is the system's; a simulated host brings
// its own.
type Host struct {
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)                          // sharing the port
	Dial         func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) // sharing the port
	Addrs        func() ([]ice.HostAddr, error)
}

// Event is one thing that happened, in the form that `peer -json` prints.
type Event struct {
	Event  string `json:"event"`           // connected, upgraded, moved, echo, explain or failed
	Path   string `json:"path,omitempty"`  // direct or relay
	Proto  string `json:"proto,omitempty"` // of the path: udp or tcp
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	MS     *int64 `json:"ms,omitempty"` // since both members were in the room
	RTTus  *int64 `json:"rtt_us,omitempty"`
	Sent   *int   `json:"sent,omitempty"`
	Echoed *int   `json:"echoed,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (c *Config) setDefaults() {
	if c.Echo == 0 {
		c.Echo = 20
	}
	if c.Timeout == 0 {
		c.Timeout = 40 * time.Second
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	if c.Note == nil {
		c.Note = func(string, ...any) {}
	}
	c.Host.setDefaults(c.atHome())
}

// Run meets the other member of the room, connects to it, exchanges messages and
// lingers. It returns nil only if every message came back.
func Run(ctx context.Context, c Config) error {
	c.setDefaults()
	limit, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("gave up after -timeout %v", c.Timeout))
	defer cancel()
	err := c.run(ctx, limit)
	if err != nil {
		c.Report(Event{Event: "failed", Reason: err.Error()})
	}
	return err
}

func (c *Config) run(ctx, limit context.Context) error {
	identity, err := bradawl.NewIdentity()
	if err != nil {
		return err
	}
	signaler := &rendezvous.Signaler{URL: c.Rendezvous, Client: rendezvous.ClientConfig{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.Host.Dial(ctx, network, netip.AddrPort{}, address)
		},
	}}
	s, err := bradawl.New(limit, c.session(identity, signaler))
	if err != nil {
		return err
	}
	defer s.Close()
	c.Note("I am %s", s.ID().Short())
	// What makes waiting vain ends it.
	hope, despair := context.WithCancelCause(limit)
	defer despair(nil)
	followed := make(chan struct{})
	events, enough := context.WithCancel(ctx)
	go func() {
		defer close(followed)
		c.follow(events, s, despair)
	}()
	defer func() { enough(); <-followed }()

	peer, err := signaler.Meet(hope, c.Room)
	if err != nil {
		return fmt.Errorf("nobody else came to room %q: %w", c.Room, cause(hope, err))
	}
	start := time.Now()
	c.Note("the peer is %s", peer.Short())
	conn, err := connect(hope, s, peer)
	if err != nil {
		return cause(hope, err)
	}
	defer conn.Close()
	ms := func() *int64 { ms := time.Since(start).Milliseconds(); return &ms }
	c.Report(pathEvent("connected", conn.Path(), ms()))
	for _, l := range conn.Explain().Lanes {
		if l.Attempt > 0 {
			c.Note("lane %v", l)
		}
	}
	watch, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watch(watch, conn, ms)
	}()
	defer func() { stop(); <-done }()
	return c.converse(ctx, limit, connLink{conn})
}

// session is the configuration of the session.
func (c *Config) session(id *bradawl.Identity, signaler bradawl.Signaler) bradawl.Config {
	cfg := bradawl.Config{
		Identity: id, Signaler: signaler, Protocol: "bradawl examples/talk 1", STUN: c.STUN, Loopback: c.atHome(),
		Timeout:      min(max(c.Timeout*3/4, time.Second), 10*time.Minute), // so that what it says is heard
		ListenPacket: c.Host.ListenPacket, Listen: c.Host.Listen, Dial: c.Host.Dial, Addrs: c.Host.Addrs,
		LoggerFactory: c.LoggerFactory, Record: c.Record,
	}
	for _, uri := range c.TURN {
		cfg.TURN = append(cfg.TURN, bradawl.TURNServer{URI: uri, Username: c.TURNUser, Password: c.TURNPass})
	}
	switch c.Policy {
	case "direct":
		cfg.Policy = bradawl.DirectOnly
	case "relay":
		cfg.Policy = bradawl.RelayOnly
	}
	switch c.Proto {
	case "udp":
		cfg.Networks = []string{"udp4", "udp6"}
	case "tcp":
		cfg.Networks = []string{"tcp4", "tcp6"}
	}
	if c.Ports != (netio.PortRange{}) {
		open := cfg.ListenPacket
		cfg.ListenPacket = func(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			err = c.Ports.Try(nil, func(port uint16) (err error) {
				pc, err = open(ctx, network, net.JoinHostPort(host, fmt.Sprint(port)))
				return err
			})
			return pc, err
		}
	}
	return cfg
}

// connect dials or accepts: the peer with the smaller ID dials.
func connect(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID) (*bradawl.Conn, error) {
	if s.ID().Compare(peer) < 0 {
		return s.Dial(ctx, peer)
	}
	for {
		conn, err := s.Accept(ctx)
		if err != nil || conn.Peer() == peer {
			return conn, err
		}
		conn.Close() // a stranger
	}
}

// cause is why ctx ended, if it has, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// follow tells what happens to the session, and ends hope where nothing can come of
// waiting: a rendezvous that cannot be reached at first, a relay that is wanted and does not
// answer, a peer that wants something else.
func (c *Config) follow(ctx context.Context, s *bradawl.Session, despair func(error)) {
	signedOn := false
	for e := range s.Events(ctx) {
		c.Note("%s", eventText(e))
		switch {
		case e.Kind == bradawl.EventSignalUp:
			signedOn = true
		case e.Kind == bradawl.EventSignalDown && !signedOn, e.Kind == bradawl.EventServer && c.Policy == "relay":
			despair(e.Err)
		case e.Kind == bradawl.EventClosed && e.Err != nil && !errors.Is(e.Err, bradawl.ErrPeerClosed):
			despair(e.Err)
		case e.Kind == bradawl.EventRefused:
			despair(fmt.Errorf("the peer cannot be talked to: %s", e.Reason))
		}
	}
}

// eventText is an event of a session in a few words.
func eventText(e bradawl.Event) string {
	text := e.Kind.String()
	if e.Path.IsValid() {
		text += " " + e.Path.String()
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// watch tells of the paths that take the first one's place.
func (c *Config) watch(ctx context.Context, conn *bradawl.Conn, ms func() *int64) {
	var last bradawl.Path
	for p := range conn.Paths(ctx) {
		kind := "moved"
		switch {
		case !last.IsValid():
			last = p
			continue
		case !p.IsValid():
			continue
		case last.Kind == bradawl.PathRelay && p.Kind == bradawl.PathDirect:
			kind = "upgraded"
		}
		last = p
		c.Report(pathEvent(kind, p, ms()))
	}
}

func pathEvent(kind string, p bradawl.Path, ms *int64) Event {
	return Event{Event: kind, Path: string(p.Kind), Proto: p.Protocol, Local: p.Local.String(), Remote: p.Remote.String(), MS: ms}
}

// connLink is a connection as a link.
type connLink struct{ *bradawl.Conn }

func (l connLink) send(b []byte) error {
	_, err := l.Write(b)
	if errors.Is(err, bradawl.ErrLost) {
		return nil // lost, and sent again
	}
	return err
}

func (l connLink) receive() ([]byte, error) {
	b := make([]byte, bradawl.MaxDatagram)
	n, err := l.Read(b)
	return b[:n], err
}

func (l connLink) close() error { return l.Close() }

// atHome reports whether the rendezvous is on this machine, so that the peer may be.
func (c *Config) atHome() bool {
	u, err := url.Parse(c.Rendezvous)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

var errNotEchoed = errors.New("not every message came back")
