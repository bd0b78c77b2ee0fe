package bradawl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/punch/portmap"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/turnclient"
)

// Policy says which paths a session uses.
type Policy uint8

// The policies.
const (
	Auto       Policy = iota // every path there is
	DirectOnly               // no relays
	RelayOnly                // relays alone: the peer learns no address of ours
	NoHost                   // the host's own addresses are not told; what NATs and relays show is
)

func (p Policy) ice() ice.Policy {
	switch p {
	case RelayOnly:
		return ice.RelayOnly
	case NoHost:
		return ice.NoHost
	}
	return ice.AllCandidates
}

// TURNServer is a relay server.
type TURNServer struct {
	// URI is as RFC 7065 has it: "turn:HOST", "turns:HOST:PORT?transport=tcp" and the like.
	URI string
	// Username and Password are of its long-term mechanism. Empty: it is open to all.
	Username, Password string
}

// Config configures a [Session]. Signaler must be given.
type Config struct {
	// Signaler gets messages to peers before there is a path. No default.
	Signaler Signaler

	// Identity is who the session is. Default: a new one, which nobody knows. See
	// LoadOrCreateIdentity.
	Identity *Identity

	// Protocol names what is spoken over the connections. Peers whose sessions name another
	// are refused. Default "".
	Protocol string

	// AllowPeer is asked whether a peer that dials us may connect, before it is told
	// anything of us but that we are there, and again about each further connection. It runs
	// on a goroutine of its own, up to 64 at a time, 8 of them about one peer; ctx ends with
	// the session. Where it panics, the peer is refused, and the log says why. Default:
	// everybody may.
	AllowPeer func(ctx context.Context, peer PeerID) bool

	// STUN and TURN are servers to use beside those that the signaler names: at most 32 of
	// each, of which those named here are the first. STUN servers are HOST or HOST:PORT.
	// Default none.
	STUN []string
	TURN []TURNServer

	// TURNClient says how TURN servers are reached, those that the signaler names included:
	// TLS for roots of one's own, DTLS, Proxy and ProxyTLS, Resolver, Family and what else
	// turnclient.Config has. Servers and credentials are not for it to say, and Mobility is
	// always asked for. Its Keepalive, ListenPacket, DialContext and LoggerFactory default to
	// the session's; other than that Keepalive, this one may be negative: nothing is sent to
	// keep the NAT's mapping.
	TURNClient turnclient.Config

	// Keepalive is how often the NAT's mappings are kept up: how often STUN servers are asked
	// where they see our sockets, at which peers may dial us, and how long nothing is sent to
	// a TURN server. Where the NAT forgets sooner, a third of that time is right, so that two
	// datagrams may be lost; natprobe measures it. It is not measured by the session. Paths in
	// use have checks of their own, every few seconds. Default 15 s; from 1 s to 10 min.
	Keepalive time.Duration

	// Policy says which paths are used. Default Auto.
	Policy Policy

	// Plaintext leaves data unsealed, for those who run QUIC, DTLS or WireGuard over the
	// connections. Both sides must want it, and have one connection between them. Whoever
	// is on the path can then inject data. Default false.
	Plaintext bool

	// Timeout is how long Dial looks for the first path. Default 30 s; from 1 s to 10 min.
	Timeout time.Duration

	// Networks are "udp4", "udp6", "tcp4" and "tcp6", as far as they are wanted for direct
	// paths. Default: all four; TCP serves where UDP cannot.
	Networks []string

	// NoNATProbe leaves out to find out what the NAT does, which costs some dozens of
	// datagrams and serves explanations and plans. Default false.
	NoNATProbe bool

	// Budget is what an attempt may cost at NATs whose ports have to be guessed. Default: see
	// punch.Budget; punch.Polite is for small routers; negative Probes: no attempts are made,
	// and no peer's are joined.
	Budget punch.Budget

	// Memory remembers which of the ways through hard NATs worked between which networks. Like
	// History it is asked on the session's one event loop, again and again: it must not block,
	// and must not call the session. Default: in memory.
	Memory punch.Memory

	// NoPortMapping leaves out to ask routers for ports, by PCP, NAT-PMP and UPnP. Default
	// false; with Loopback or sockets of one's own, routers are asked only if Gateways names
	// them.
	NoPortMapping bool

	// Gateways lists the routers to ask. Default: the system's default routes.
	Gateways func() ([]portmap.Gateway, error)

	// Port is the local port of the session's sockets, of each of Networks on each address.
	// Where one is in use already, New fails. Default 0: any.
	Port uint16

	// Addrs lists the host's addresses. Default: those of the interfaces that are up. On
	// mobile systems that do not tell, bring your own, and call NotifyNetworkChange.
	Addrs func() ([]ice.HostAddr, error)

	// ListenPacket, Listen and Dial open sockets, with networks "udp4", "udp6", "tcp4" and
	// "tcp6". Default: the system's.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)
	Dial         func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)

	// Score and History say what local addresses are worth, and remember what worked. History
	// must not block, as Memory must not. Default: see ice.ScoreConfig; a history in memory.
	Score   ice.ScoreConfig
	History ice.History

	// Loopback lets peers be on this machine's loopback addresses, for tests and demos.
	// Default false.
	Loopback bool

	// ReadBuffer is how many datagrams wait for Conn.Read before further ones are dropped,
	// and counted. Default 256; from 1 to 65536.
	ReadBuffer int

	// WatchInterval is how often the host's addresses are looked at for changes. Default
	// 2 s; from 100 ms on; negative: never.
	WatchInterval time.Duration

	// Record gets what becomes of each connection, for statistics: one event for each stage
	// that it went through, of which none says who the peer is or where. A call at a time, on
	// a goroutine of its own; 256 events wait for it, then further ones are dropped, and
	// counted in SessionStats.Unrecorded. Close waits until those that wait have been handed over,
	// so it must not be called from here. What all events of the program are to have in common,
	// such as a Group, it can put into them. Default nil: nothing is recorded.
	Record func(stats.Event)

	// TreatPeer is asked once for each connection how its peer is treated, for experiments:
	// before anything of a dial leaves, and about a peer that dials us once it is allowed to.
	// With a stats.Assigner both ends do the same without a word about it; see the example. It
	// runs on a goroutine of its own, up to 64 at a time, 8 of them about one peer, and must
	// return soon after ctx ends, which is after a second or with the session. The connection
	// waits no longer than a second: where TreatPeer is late, busy, fails or panics, it goes on
	// by this Config, of no group, and EventUntreated and Conn.Explain say so. Default nil: all
	// peers are treated alike.
	TreatPeer func(ctx context.Context, peer PeerID) (Treatment, error)

	// LoggerFactory makes the loggers. Default nil: nothing is logged. Secrets never are.
	LoggerFactory logging.LoggerFactory

	// routerSockets and routerDial are ListenPacket and Dial as they were given.
	routerSockets func(ctx context.Context, network, address string) (net.PacketConn, error)
	routerDial    func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)
}

// Treatment is how a session treats a peer, of what it can treat differently. The zero value
// is how it treats all by its Config.
type Treatment struct {
	// Group is Event.Group of what is recorded of the connection: a word of at most 64
	// characters of a-z, 0-9, '_' and '-'. Default "": of none.
	Group string

	// Budget takes the place of Config.Budget for the paths that the connection makes; one
	// that uses those of an earlier connection leaves them as they are. Negative Probes: no
	// attempts are made at NATs whose ports have to be guessed. Both sides plan by the lesser
	// of their budgets. Default: Config.Budget.
	Budget punch.Budget
}

// check says what is wrong with a treatment.
func (t Treatment) check() error {
	if wrong := new(stats.EventError); errors.As(recordable(t.Group), &wrong) {
		return &ConfigError{"Treatment.Group", wrong.Reason}
	}
	if wrong := new(punch.ConfigError); errors.As(t.Budget.Check(), &wrong) {
		return &ConfigError{"Treatment." + wrong.Field, wrong.Reason}
	}
	return nil
}

// reason is what the error of another package's configuration says of ours, whose field has
// another name.
func reason(err error) string {
	if e := new(natprobe.ConfigError); errors.As(err, &e) {
		return e.Reason
	}
	if e := new(turnclient.ConfigError); errors.As(err, &e) {
		return e.Reason
	}
	return err.Error()
}

var allNetworks = []string{"udp4", "udp6", "tcp4", "tcp6"}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Signaler == nil:
		return c, &ConfigError{"Signaler", "is nil; give one, such as rendezvous.Signaler"}
	case c.Identity != nil && c.Identity.ID().IsZero():
		return c, &ConfigError{"Identity", "is the zero value; make one by NewIdentity or LoadOrCreateIdentity"}
	case c.Policy > NoHost:
		return c, &ConfigError{"Policy", fmt.Sprintf("%d is none; use Auto, DirectOnly, RelayOnly or NoHost", c.Policy)}
	case c.Timeout != 0 && (c.Timeout < time.Second || c.Timeout > 10*time.Minute):
		return c, &ConfigError{"Timeout", fmt.Sprintf("%v is out of range; use 0 (30 s) or 1 s to 10 min", c.Timeout)}
	case c.Keepalive != 0 && (c.Keepalive < time.Second || c.Keepalive > 10*time.Minute):
		return c, &ConfigError{"Keepalive", fmt.Sprintf("%v is out of range; use 0 (15 s) or 1 s to 10 min", c.Keepalive)}
	case c.ReadBuffer < 0 || c.ReadBuffer > 65536:
		return c, &ConfigError{"ReadBuffer", fmt.Sprintf("%d is out of range; use 0 (256) or 1 to 65536", c.ReadBuffer)}
	case c.WatchInterval > 0 && c.WatchInterval < 100*time.Millisecond:
		return c, &ConfigError{"WatchInterval", fmt.Sprintf("%v is too often; use 0 (2 s), at least 100 ms, or a negative value for never", c.WatchInterval)}
	case len(c.Protocol) > 255 || strings.ContainsAny(c.Protocol, "\r\n\x00"):
		return c, &ConfigError{"Protocol", "is longer than 255 bytes, or has control characters; use a short name and a version"}
	}
	for _, n := range c.Networks {
		if !slices.Contains(allNetworks, n) {
			return c, &ConfigError{"Networks", fmt.Sprintf("%q is none; use udp4, udp6, tcp4 and tcp6", n)}
		}
	}
	if err := c.Budget.Check(); err != nil {
		wrong := new(punch.ConfigError)
		errors.As(err, &wrong)
		return c, &ConfigError{wrong.Field, wrong.Reason}
	}
	if s, ok := c.Signaler.(checker); ok {
		if err := s.Check(); err != nil {
			return c, &ConfigError{"Signaler", err.Error()}
		}
	}
	switch {
	case len(c.STUN) > natprobe.MaxServers:
		return c, &ConfigError{"STUN", fmt.Sprintf("%d are too many; name at most %d", len(c.STUN), natprobe.MaxServers)}
	case len(c.TURN) > turnclient.MaxServers:
		return c, &ConfigError{"TURN", fmt.Sprintf("%d are too many; name at most %d", len(c.TURN), turnclient.MaxServers)}
	}
	for i, name := range c.STUN {
		if err := natprobe.CheckServer(name); err != nil {
			return c, &ConfigError{fmt.Sprintf("STUN[%d]", i), reason(err)}
		}
	}
	if err := c.checkTURNClient(); err != nil {
		return c, err
	}
	for i, t := range c.TURN {
		if err := c.TURNClient.CheckServer(t.URI); err != nil {
			return c, &ConfigError{fmt.Sprintf("TURN[%d]", i), reason(err)}
		}
	}
	if c.ListenPacket != nil && c.Gateways == nil {
		c.NoPortMapping = true // the system's routers are not where those sockets are
	}
	c.routerSockets, c.routerDial = c.ListenPacket, c.Dial
	if len(c.Networks) == 0 {
		c.Networks = allNetworks
	}
	if c.Identity == nil {
		var err error
		if c.Identity, err = NewIdentity(); err != nil {
			return c, err
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Keepalive == 0 {
		c.Keepalive = 15 * time.Second // RFC 8445 section 11
	}
	if c.ReadBuffer == 0 {
		c.ReadBuffer = 256
	}
	if c.WatchInterval == 0 {
		c.WatchInterval = 2 * time.Second
	}
	if c.Memory == nil {
		c.Memory = new(punch.LaneMemory)
	}
	if c.History == nil {
		c.History = new(ice.MemoryHistory)
	}
	c.Addrs, c.ListenPacket, c.Listen, c.Dial = systemSockets(c)
	return c, nil
}

func (c *Config) checkTURNClient() error {
	t := &c.TURNClient
	switch {
	case len(t.Servers) > 0:
		return &ConfigError{"TURNClient.Servers", "servers are not named here; name them in TURN"}
	case t.Credentials.Username != "" || t.Credentials.Password != "" || len(t.Credentials.AccessToken) > 0 || t.FetchCredentials != nil:
		return &ConfigError{"TURNClient.Credentials", "credentials are not given here; give them in TURN, or have the signaler give them"}
	}
	wrong := new(turnclient.ConfigError)
	if err := t.Check(); errors.As(err, &wrong) {
		return &ConfigError{"TURNClient." + wrong.Field, wrong.Reason}
	}
	return nil
}
