package rendezvous

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/ident"
)

// ServerConfig says how a server behaves. The zero value works: it admits
// clients that prove their key, within the default limits. For every limit,
// zero means the default and a negative value switches the limit off.
type ServerConfig struct {
	// Name is the host, with the port unless it is the scheme's default, under
	// which clients dial this server ("rendezvous.example:8443"). With it, a
	// proof made for another rendezvous is refused, so that one cannot pass
	// its clients off as its own. Default "": any name is accepted.
	Name string

	// AllowUnproven admits clients without a proof of their key. They may use
	// rooms, and write to those they were paired with there; nothing else
	// reaches them or comes from them, and they yield their ID to whoever
	// proves it. For demonstrations. Default false.
	AllowUnproven bool

	// RoomSize is the number of members of a room, at least 2. Every two of
	// them are paired. Default 2.
	RoomSize int

	// As many connections again may be about to close, for 2 s at most; beyond
	// that, who is turned away is not told why.
	MaxClients           int // connections in total; default 65,536
	MaxClientsPerAddress int // connections from one IPv4 address or IPv6 /64; default 256

	MaxHalfOpen        int // connections that have not signed on; beyond it the oldest one goes; default 4,096
	MaxRooms           int // rooms in total; default 65,536
	MaxRoomsPerAddress int // memberships of the clients of one IPv4 address or IPv6 /64; default 512
	MaxRoomsPerClient  int // memberships of one client; default 16
	MaxWaiting         int // bytes of the messages that all members of all rooms left there; default 64 MiB

	HelloTimeout time.Duration // from the connection to the sign-on; default 5 s
	IdleTimeout  time.Duration // without any frame from a client; default 90 s

	// MessageRate is the number of frames a second that a client may send on
	// average, default 20; MessageBurst is how many at once, default 100. The
	// same two bound what reaches a client from peers that it was not paired
	// with.
	MessageRate  float64
	MessageBurst int

	// QueueFrames and QueueBytes are how much may wait to be sent to one
	// client before it is dropped as a slow reader; defaults 256 frames and
	// 512 KiB. Only Server uses them.
	QueueFrames int
	QueueBytes  int

	// ICEServers are the STUN and TURN servers that clients are told of when
	// they sign on: URIs of the form stun:HOST[:PORT] or stuns: (RFC 7064) and
	// turn:HOST[:PORT][?transport=udp|tcp] or turns: (RFC 7065), at most
	// MaxICEServers. Default none.
	ICEServers []string

	// TURNSecret is the secret that this server shares with the TURN servers of
	// ICEServers, for which it is required (coturn: static-auth-secret). Every
	// client that has proven its key is given credentials made with it, as
	// draft-uberti-behave-turn-rest-00 has it. No log and no error shows it.
	TURNSecret string

	// TURNLifetime is how long such credentials are good for, in whole seconds,
	// at least 1 min; default 1 h. Clients ask for fresh ones in time.
	TURNLifetime time.Duration

	// Bus joins this server with others. Nil: it is alone ([MemoryBus]). A
	// bus belongs to one server.
	Bus Bus

	// Secrets is where the server's key and its challenges come from; nil means
	// crypto/rand, and anything else is for simulations only.
	Secrets io.Reader

	// LoggerFactory gets one line for each sign-on, end of a connection and
	// pairing, at debug level. Nil: no log. Only Server uses it.
	LoggerFactory logging.LoggerFactory
}

// Check returns a *ConfigError where a server cannot be made with c.
func (c ServerConfig) Check() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults returns c with every default filled in and every limit that is
// off at its type's maximum, or what is wrong with it.
func (c ServerConfig) withDefaults() (ServerConfig, error) {
	switch {
	case c.RoomSize == 1:
		return c, badConfig("RoomSize", c.RoomSize, "is too small; give at least 2, or 0 for the default of 2")
	case c.Name != "" && checkURI("stun:"+c.Name) != "": // of the same form after its scheme
		return c, badConfig("Name", c.Name, "is no host; give HOST or HOST:PORT, as clients dial it")
	case math.IsNaN(c.MessageRate):
		return c, badConfig("MessageRate", c.MessageRate, "is no number; give frames a second, or 0 for the default of 20")
	}
	if err := c.checkICEServers(); err != nil {
		return c, err
	}
	for _, l := range []struct {
		field *int
		def   int
	}{
		{&c.RoomSize, 2},
		{&c.MaxClients, 1 << 16},
		{&c.MaxClientsPerAddress, 256},
		{&c.MaxHalfOpen, 4096},
		{&c.MaxRooms, 1 << 16},
		{&c.MaxRoomsPerAddress, 512},
		{&c.MaxRoomsPerClient, 16},
		{&c.MaxWaiting, 64 << 20},
		{&c.MessageBurst, 100},
		{&c.QueueFrames, 256},
		{&c.QueueBytes, 512 << 10},
	} {
		switch {
		case *l.field == 0:
			*l.field = l.def
		case *l.field < 0:
			*l.field = math.MaxInt
		}
	}
	c.Name = strings.ToLower(c.Name)
	c.HelloTimeout = orDefault(c.HelloTimeout, 5*time.Second)
	c.IdleTimeout = orDefault(c.IdleTimeout, 90*time.Second)
	if c.TURNLifetime == 0 {
		c.TURNLifetime = time.Hour
	}
	if c.MessageRate == 0 {
		c.MessageRate = 20
	}
	if c.Bus == nil {
		c.Bus = NewMemoryBus()
	}
	if c.Secrets == nil {
		c.Secrets = crand.Reader
	}
	return c, nil
}

// checkICEServers returns a *ConfigError for servers that cannot be handed out.
func (c *ServerConfig) checkICEServers() error {
	turn := false
	for _, uri := range c.ICEServers {
		if reason := checkURI(uri); reason != "" {
			return badConfig("ICEServers", uri, reason)
		}
		turn = turn || isTURN(uri)
	}
	// The secret must not become the Value of an error.
	switch {
	case len(c.ICEServers) > MaxICEServers:
		return badConfig("ICEServers", len(c.ICEServers), fmt.Sprintf("servers are too many; give at most %d", MaxICEServers))
	case turn && c.TURNSecret == "":
		return &ConfigError{Field: "TURNSecret", Reason: "is missing, and a TURN server needs credentials; give the secret that it knows too"}
	case !turn && c.TURNSecret != "":
		return &ConfigError{Field: "TURNSecret", Reason: "has no TURN server to be used with; give its URI (turn:HOST) in ICEServers"}
	case c.TURNLifetime != 0 && c.TURNLifetime < minTURNLifetime:
		return badConfig("TURNLifetime", c.TURNLifetime, "is too short; give at least 1 min, or 0 for the default of 1 h")
	}
	return nil
}

// ClientConfig says how a client behaves. The zero value works: it signs on
// under a new identity.
type ClientConfig struct {
	// Identity is who signs on. Nil: an identity made for this client.
	Identity *ident.Identity

	// DialContext opens the TCP connection; network is "tcp". It is the place
	// to bind a port for later use by TCP hole punching. It must heed ctx.
	// Nil: net.Dialer, or the proxy that the environment names
	// (http.ProxyFromEnvironment), which then is whom the server sees. Only
	// Dial uses it.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig is for wss URLs; nil: the defaults. It is cloned. Only Dial
	// uses it.
	TLSConfig *tls.Config

	// DialTimeout bounds Dial as a whole, in addition to its context; default
	// 15 s, negative: the context alone.
	DialTimeout time.Duration

	// PingInterval is the time between two pings, give or take 10 %; default
	// 30 s, negative: none. It must be shorter than the server's IdleTimeout.
	// With pings, the client gives the server up when nothing came from it
	// for three intervals.
	PingInterval time.Duration

	// QueueEvents is how many events wait for Next before the client stops
	// reading from the server, which will drop it as a slow reader when more
	// comes than it queues. No answer to a Join is read meanwhile. Default 256.
	// Only Dial uses it.
	QueueEvents int

	// Rand spreads the pings. Nil: seeded at random.
	Rand *rand.Rand
}

func (c ClientConfig) withDefaults() (ClientConfig, error) {
	if c.QueueEvents < 0 {
		return c, badConfig("QueueEvents", c.QueueEvents, "is no bound; give a number of events, or 0 for the default of 256")
	}
	if c.QueueEvents == 0 {
		c.QueueEvents = 256
	}
	if c.Identity == nil {
		id, err := ident.NewIdentity(nil)
		if err != nil {
			return c, err
		}
		c.Identity = id
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	c.DialTimeout = orDefault(c.DialTimeout, 15*time.Second)
	c.PingInterval = orDefault(c.PingInterval, 30*time.Second)
	return c, nil
}

// orDefault returns def for zero and zero, which then means "never", for a
// negative duration.
func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}
