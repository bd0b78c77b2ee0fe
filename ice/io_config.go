package ice

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/netio"
)

// HostAddr is one of the host's addresses, with what is known of its interface.
type HostAddr struct {
	Addr      netip.Addr
	Interface InterfaceInfo
}

// Allocator gives relayed addresses. *turnclient.Client is one.
type Allocator interface {
	// AllocateRelay makes a relayed address: what is written leaves from LocalAddr, what
	// is read arrived there. Writes must not wait for anything. It may take as long as ctx
	// lasts. If the result has a method MappedAddr() netip.AddrPort, that tells where the
	// server sees us.
	AllocateRelay(ctx context.Context) (net.PacketConn, error)
}

// Config configures an [Endpoint]. The zero value works, without servers.
type Config struct {
	// STUN are the servers that are asked where they see our sockets: HOST or HOST:PORT,
	// "stun:" in front is allowed. Default none.
	STUN []string

	// Relays give relayed addresses, one each. Default none.
	Relays []Allocator

	// Networks are "udp4", "udp6", "tcp4" and "tcp6", as far as they are wanted. Default
	// udp4 and udp6.
	Networks []string

	// Port is the local port of every socket. Default 0: any, another for each.
	Port uint16

	// Addrs lists the host's addresses. Default: those of the interfaces that are up, but
	// for loopback and IPv6 link-local ones. Where the system does not tell (Android 11
	// and later), bring your own.
	Addrs func() ([]HostAddr, error)

	// Filter says which of the addresses are used. Default: all.
	Filter func(HostAddr) bool

	// ListenPacket opens UDP sockets; network is "udp4" or "udp6". Default: the system's.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// Listen and Dial open TCP listeners and connections; network is "tcp4" or "tcp6".
	// local is the zero value where any port will do. Default: the system's.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)

	// Resolve looks up names that peers give in place of addresses: mDNS names, which end
	// in ".local", and domain names. Default nil: such candidates are passed over, for a
	// lookup tells others whom we talk to.
	Resolve func(ctx context.Context, name string) (netip.Addr, error)

	// Keepalive, GatherTimeout, Score, History and Loopback are those of MachineConfig,
	// with its defaults. With Loopback, the host's loopback addresses are used too.
	Keepalive     time.Duration
	GatherTimeout time.Duration
	Score         ScoreConfig
	History       History
	Loopback      bool

	// ReadBuffer is how many datagrams wait for Conn.Read before further ones are
	// dropped, and counted. Default 256; from 1 to 65536.
	ReadBuffer int

	// LoggerFactory makes the logger of scope "ice". Default nil: nothing is logged.
	LoggerFactory logging.LoggerFactory
}

func (c Config) withDefaults() (Config, error) {
	for _, n := range c.Networks {
		switch n {
		case "udp4", "udp6", "tcp4", "tcp6":
		default:
			return c, &ConfigError{"Networks", fmt.Sprintf("%q is none; use udp4, udp6, tcp4 and tcp6", n)}
		}
	}
	for i, r := range c.Relays {
		if r == nil {
			return c, &ConfigError{"Relays", fmt.Sprintf("number %d is nil", i)}
		}
	}
	if c.ReadBuffer < 0 || c.ReadBuffer > 65536 {
		return c, &ConfigError{"ReadBuffer", fmt.Sprintf("%d is out of range; use 0 (256) or 1 to 65536", c.ReadBuffer)}
	}
	if len(c.Networks) == 0 {
		c.Networks = []string{"udp4", "udp6"}
	}
	setDefault(&c.ReadBuffer, 256)
	if c.Addrs == nil {
		loopback := c.Loopback
		c.Addrs = func() ([]HostAddr, error) { return SystemAddrs(loopback) }
	}
	if c.ListenPacket == nil {
		c.ListenPacket = netio.ListenUDP
	}
	if c.Listen == nil {
		c.Listen = netio.ListenTCP
	}
	if c.Dial == nil {
		c.Dial = netio.DialTCP
	}
	return c, nil
}

func (c *Config) machine() MachineConfig {
	return MachineConfig{Keepalive: c.Keepalive, GatherTimeout: c.GatherTimeout, Score: c.Score, History: c.History, Loopback: c.Loopback}
}

// SystemAddrs returns the addresses of the interfaces that are up, with what the system
// knows of these; IPv6 link-local ones are left out, and loopback unless it is asked for.
// The error is the system's.
func SystemAddrs(loopback bool) ([]HostAddr, error) {
	hosts, err := netio.HostAddrs(nil)
	if err != nil {
		return nil, fmt.Errorf("ice: %w", err)
	}
	if loopback {
		hosts = append(hosts, netio.HostAddr{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Interface: "lo"})
	}
	infos, _ := knownInterfaces() // without it, all interfaces are alike
	all := make([]HostAddr, len(hosts))
	for i, h := range hosts {
		all[i] = HostAddr{Addr: h.Addr, Interface: InterfaceInfo{Name: h.Interface}}
		for _, info := range infos {
			if info.Name == h.Interface {
				all[i].Interface = info
			}
		}
	}
	return all, nil
}

// knownInterfaces keeps its key for as long as the process lives: networks are recognised
// by it.
var knownInterfaces = SystemInterfaces(nil)
