package natprobe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/netio"
)

// MaxServers is how many STUN servers one call asks at most.
const MaxServers = 32

// ReflexiveConfig tunes how STUN servers are asked. Nil and the zero value use
// the defaults of RFC 8489 section 6.2.1.
type ReflexiveConfig struct {
	// RTO is how long to wait before a request is sent again; the wait doubles
	// each time. Default 500 ms, which is also the least that should be used
	// towards servers on the Internet.
	RTO time.Duration

	// Sends is how often a request is sent at most. Default 7.
	Sends int

	// LastWait is how long to wait after the last send, in multiples of RTO (the
	// RFC's Rm). Default 16: with the defaults a silent server has failed after 39.5 s.
	LastWait int

	// Timeout caps the whole. Default 0: only the above ends it. Negative values
	// are refused.
	Timeout time.Duration

	// Patience is how long to wait for the other servers after the first has told
	// an address. Default 600 ms, so that one lost packet is made good; negative:
	// do not wait.
	Patience time.Duration

	// Secrets is where transaction IDs come from. Default crypto/rand.Reader. It
	// must be hard to predict, as transaction IDs are what keeps others from
	// answering for a server.
	Secrets io.Reader

	// LoggerFactory makes the logger. Default nil: nothing is logged.
	LoggerFactory logging.LoggerFactory
}

// withDefaults returns a complete copy of c, or a *ConfigError.
func (c *ReflexiveConfig) withDefaults() (ReflexiveConfig, error) {
	var d ReflexiveConfig
	if c != nil {
		d = *c
	}
	switch {
	case d.RTO < 0 || d.RTO > time.Minute:
		return d, &ConfigError{"RTO", fmt.Sprintf("%v is out of range; use 0 (500 ms) to 1 minute", d.RTO)}
	case d.Sends < 0 || d.Sends > 20:
		return d, &ConfigError{"Sends", fmt.Sprintf("%d is out of range; use 0 (7) to 20", d.Sends)}
	case d.LastWait < 0 || d.LastWait > 1000:
		return d, &ConfigError{"LastWait", fmt.Sprintf("%d is out of range; use 0 (16) to 1000", d.LastWait)}
	case d.Timeout < 0:
		return d, &ConfigError{"Timeout", fmt.Sprintf("%v is negative; use 0 for no cap", d.Timeout)}
	}
	setDefault(&d.RTO, 500*time.Millisecond)
	setDefault(&d.Sends, 7)
	setDefault(&d.LastWait, 16)
	setDefault(&d.Patience, 600*time.Millisecond)
	d.Patience = max(d.Patience, 0)
	if d.Secrets == nil {
		d.Secrets = rand.Reader
	}
	return d, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Config says what [Discover] looks into, and how. Only Servers must be given.
type Config struct {
	// Servers are STUN servers by name, as [ResolveServers] reads them: HOST or HOST:PORT.
	// Put first one that supports RFC 5780; without such a one filtering stays unknown. The
	// others are asked where the first is of no use. No default.
	Servers []string

	// Network is "ip4", "ip6" or "ip", which looks at both families, each by itself. Default
	// "ip".
	Network string

	// Timeout caps the whole, without the resolution of names. Default 10 s; what is not
	// known then stays unknown. That UDP is blocked is told within 3 s in any case.
	Timeout time.Duration

	// Fast lifts the limit of RFC 5780 section 5, ten new transactions a second after a burst
	// of twelve. Use it only with servers of your own.
	Fast bool

	// NoHairpin leaves out the hairpin test, NoPorts the further mappings that are made to find
	// the port model, where the first do not tell, and NoTCP the attempt over TCP that is made
	// where all is silent over UDP. Default: nothing is left out.
	NoHairpin, NoPorts, NoTCP bool

	// Lifetime measures how long mappings live, up to this long, which takes a little longer
	// than the longest lives, and about a hundred mappings. Default 0: not at all. From 10 s to
	// 1 hour.
	Lifetime time.Duration

	// TCP finds out how TCP is mapped, too, and how its ports are chosen, by at most twelve
	// connections. Default: only where UDP is blocked, and unless NoTCP is set.
	TCP bool

	// Gateway asks the router for its outside IPv4 address, by a port mapping protocol; it
	// differs from what servers see where there is more than one NAT. It may take a second more
	// than the rest. Default nil.
	Gateway func(ctx context.Context) (netip.Addr, error)

	// Progress is called with what is known when a stage is over, from the goroutine that
	// called Discover. Default nil.
	Progress func(Progress)

	// ListenPacket opens sockets; network is "udp4" or "udp6". Default: the system's, bound to
	// the address by which the system reaches the first server.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// Dial makes TCP connections from local, or from anywhere where that is the zero
	// value; network is "tcp4" or "tcp6". Several connections share a local port. Default: the
	// system's.
	Dial func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)

	// Fragments finds out whether packets get through that are too long for one piece.
	// Default no.
	Fragments bool

	// Secrets is where transaction IDs come from. Default crypto/rand.Reader.
	Secrets io.Reader

	// LoggerFactory makes the logger. Default nil: nothing is logged.
	LoggerFactory logging.LoggerFactory
}

// withDefaults returns a complete copy of c, or a *ConfigError.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Network, "ip")
	switch {
	case len(c.Servers) == 0:
		return c, &ConfigError{"Servers", "none given; name at least one STUN server, best one that supports RFC 5780"}
	case len(c.Servers) > MaxServers:
		return c, &ConfigError{"Servers", fmt.Sprintf("%d are too many; name at most %d", len(c.Servers), MaxServers)}
	case c.Network != "ip" && c.Network != "ip4" && c.Network != "ip6":
		return c, &ConfigError{"Network", fmt.Sprintf(`%q is not known; use "ip", "ip4" or "ip6"`, c.Network)}
	}
	if c.Lifetime != 0 && (c.Lifetime < 10*time.Second || c.Lifetime > time.Hour) {
		return c, &ConfigError{"Lifetime", fmt.Sprintf("%v is out of range; use 0 for none, or 10 s to 1 hour", c.Lifetime)}
	}
	c.Servers = slices.Clone(c.Servers)
	for _, name := range c.Servers {
		if _, _, err := splitServer(name); err != nil {
			return c, err
		}
	}
	d, err := (&DiscoveryConfig{Timeout: c.Timeout}).withDefaults()
	c.Timeout = d.Timeout
	return c, err
}

// discovery is the configuration of the machine for one family.
func (c Config) discovery(local netip.Addr) *DiscoveryConfig {
	return &DiscoveryConfig{
		Local: local, Timeout: c.Timeout, Fast: c.Fast, Secrets: c.Secrets,
		NoHairpin: c.NoHairpin, NoPorts: c.NoPorts, NoTCP: c.NoTCP, Fragments: c.Fragments,
	}
}

// DiscoveryConfig tunes a discovery. Nil and the zero value work.
type DiscoveryConfig struct {
	// Local is the address that sockets are bound to. Default: any. With it, whether there
	// is a NAT can be told even where sockets cannot say where a datagram arrived.
	Local netip.Addr

	// Timeout caps the whole; what is not known then stays unknown. Default 10 s. That UDP is
	// blocked is told within 3 s in any case.
	Timeout time.Duration

	// Fast lifts the limit of RFC 5780 section 5, ten new transactions a second after a burst
	// of twelve. Use it only with servers of your own.
	Fast bool

	// NoHairpin leaves the hairpin test out.
	NoHairpin bool

	// NoPorts leaves out the further mappings that are made to find the port model, where the
	// first do not tell.
	NoPorts bool

	// Fragments asks whether packets get through that are too long for one piece.
	Fragments bool

	// NoTCP leaves out the attempt over TCP that is made where all is silent over UDP.
	NoTCP bool

	// Secrets is where transaction IDs come from. Default crypto/rand.Reader. It must be hard
	// to predict, as transaction IDs are what keeps others from answering for a server.
	Secrets io.Reader

	// Rand chooses local ports. Default: a source seeded at random.
	Rand *mathrand.Rand
}

// withDefaults returns a complete copy of c, or a *ConfigError.
func (c *DiscoveryConfig) withDefaults() (DiscoveryConfig, error) {
	var d DiscoveryConfig
	if c != nil {
		d = *c
	}
	if d.Timeout < 0 || d.Timeout > time.Hour {
		return d, &ConfigError{"Timeout", fmt.Sprintf("%v is out of range; use 0 (10 s) to 1 hour", d.Timeout)}
	}
	setDefault(&d.Timeout, 10*time.Second)
	if d.Secrets == nil {
		d.Secrets = rand.Reader
	}
	if d.Rand == nil {
		d.Rand = mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64()))
	}
	d.Local = d.Local.Unmap()
	return d, nil
}

// bind is the address to bind sockets to that shall reach server.
func (c *DiscoveryConfig) bind(server netip.Addr) netip.Addr {
	switch {
	case c.Local.IsValid() && c.Local.Is4() == server.Is4():
		return c.Local
	case server.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// sampleGap is the time between two samples of the port model, in which the NAT is left
// alone.
func (c *DiscoveryConfig) sampleGap() time.Duration {
	if c.Fast {
		return 25 * time.Millisecond
	}
	return time.Second / politeRate
}

// refused tells whether a dial failed because the other side refused: then it is there.
func (c *DiscoveryConfig) refused(err error) bool {
	const winsock = syscall.Errno(10061) // WSAECONNREFUSED, which package syscall does not name
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, winsock)
}

// sender is who sent an ICMP error, where the socket could tell.
func (c *DiscoveryConfig) sender(err error) netip.Addr {
	var u *netio.UnreachableError
	if errors.As(err, &u) {
		return u.From.Unmap()
	}
	return netip.Addr{}
}

// checkServers returns the servers without repetitions, or a *ConfigError.
func checkServers(servers []netip.AddrPort) ([]netip.AddrPort, error) {
	var unique []netip.AddrPort
	for _, s := range servers {
		s = netip.AddrPortFrom(s.Addr().Unmap(), s.Port())
		if !s.IsValid() || s.Port() == 0 || s.Addr().IsUnspecified() || s.Addr().IsMulticast() {
			return nil, &ConfigError{"servers", fmt.Sprintf("%v is not the address of a server; give IP and port", s)}
		}
		if !slices.Contains(unique, s) {
			unique = append(unique, s)
		}
	}
	switch n := len(unique); {
	case n == 0:
		return nil, &ConfigError{"servers", "none given; name at least one STUN server"}
	case n > MaxServers:
		return nil, &ConfigError{"servers", fmt.Sprintf("%d are too many; name at most %d", n, MaxServers)}
	}
	return unique, nil
}
