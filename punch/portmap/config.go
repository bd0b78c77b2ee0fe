package portmap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Gateway is a router as seen from one of this host's addresses.
type Gateway struct {
	// Addr is the router's address on the network that it shares with this host, with a
	// zone where it is link-local.
	Addr netip.Addr
	// Local is this host's address towards it: for IPv6 the one that others are told. The
	// two are of one family.
	Local netip.Addr
}

// Config says how routers are found and asked. The zero value is ready.
type Config struct {
	// Gateways finds the routers. It is called on goroutines of the Client's, again and again,
	// and must return soon, for Close waits for it; with an error what was known is kept.
	// Default: the system's default routes on Linux; elsewhere the first address of the private
	// IPv4 networks that the host is on.
	Gateways func() ([]Gateway, error)

	// Lifetime is what mappings are asked for, in whole seconds; they are renewed. Default
	// 2 h (RFC 6886 section 3.3), from 1 minute to 24 h.
	Lifetime time.Duration

	// Watch is how often a router that has given mappings is asked whether it has restarted
	// and which address it has; of UPnP routers, which need a connection for that, every
	// sixth time. Default 10 s; negative: not at all. At least 5 s.
	Watch time.Duration

	// Description is what UPnP routers show to people. Default "bradawl". Printable ASCII,
	// at most 64 bytes.
	Description string

	// NoPCP, NoNATPMP and NoUPnP leave protocols out. Default: all are tried, but for UPnP
	// where the gateway's address is a public one of another network.
	NoPCP, NoNATPMP, NoUPnP bool

	// Loopback lets a gateway be on a loopback address, and take mappings to one. Default
	// false.
	Loopback bool

	// Port is where gateways are asked by PCP and NAT-PMP. Default 5351, as the RFCs have it;
	// SSDPPort likewise, 1900. Others are for tests.
	Port, SSDPPort uint16

	// ListenPacket opens the UDP sockets that routers are asked from; network is "udp4" or
	// "udp6". Default: the system's.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// Dial makes the TCP connections to UPnP routers, from local. It is never given anything
	// but a gateway's address. Default: the system's.
	Dial func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error)

	// LoggerFactory makes the logger of scope "portmap". Default nil: nothing is logged.
	LoggerFactory logging.LoggerFactory
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Lifetime == 0:
		c.Lifetime = 2 * time.Hour
	case c.Lifetime < time.Minute || c.Lifetime > longest || c.Lifetime%time.Second != 0:
		return c, &ConfigError{"Lifetime", fmt.Sprintf("%v is not in whole seconds from 1m to 24h; use 0 for 2h", c.Lifetime)}
	}
	switch {
	case c.Watch == 0:
		c.Watch = 10 * time.Second
	case c.Watch > 0 && c.Watch < calm:
		return c, &ConfigError{"Watch", fmt.Sprintf("%v is more often than routers should be asked; use at least %v, or a negative value for never", c.Watch, calm)}
	}
	if c.Description == "" {
		c.Description = "bradawl"
	}
	if len(c.Description) > 64 {
		return c, &ConfigError{"Description", fmt.Sprintf("is %d bytes long; use at most 64", len(c.Description))}
	}
	for _, r := range []byte(c.Description) {
		if r < ' ' || r > '~' || r == '<' || r == '>' || r == '&' {
			return c, &ConfigError{"Description", "has characters that routers stumble over; use printable ASCII without <, > and &"}
		}
	}
	if c.NoPCP && c.NoNATPMP && c.NoUPnP {
		return c, &ConfigError{"NoPCP, NoNATPMP, NoUPnP", "leave nothing to ask by; leave one of them false"}
	}
	if c.Port == 0 {
		c.Port = serverPort
	}
	if c.SSDPPort == 0 {
		c.SSDPPort = ssdpPort
	}
	return c, nil
}

const (
	longest  = 24 * time.Hour   // a lifetime that is more is taken for this
	shortest = 10 * time.Second // a lifetime that is less cannot be kept up
	calm     = 5 * time.Second  // between two renewals that were not due
)
