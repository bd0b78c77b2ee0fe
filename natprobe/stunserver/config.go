package stunserver

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/logging"
)

// Config says where a server listens. The zero value is one on 127.0.0.1, ports
// 3478 and 3479.
type Config struct {
	// IP1 is the server's address. Default 127.0.0.1. An unspecified address
	// (0.0.0.0 or ::) serves all of the host's, but only without IP2.
	IP1 netip.Addr

	// IP2 is a second address of the same family, which clients see as another
	// host's: only with it can they discover NAT behaviour (RFC 5780). Default
	// none.
	IP2 netip.Addr

	// Port1 and Port2 are the ports, on each address. Default 3478 and 3479;
	// negative: any that is free.
	Port1, Port2 int

	// AnswersPerSecond caps the answers to one source address (IPv6: one /64).
	// Default 200; negative: no cap.
	AnswersPerSecond int

	// Readers is how many sockets each address has, each with a goroutine that
	// reads it; one goroutine makes the answers of all. Default 1, which is as
	// good unless the server has more than two processors and reading keeps one
	// busy. With more, the sockets of an address share its port (SO_REUSEPORT),
	// which Windows cannot do and which only Linux, FreeBSD and DragonFly use to
	// spread the load; ListenPacket must be nil then.
	Readers int

	// Classic answers clients of RFC 3489, too, over UDP. Default no: nearly anything may look
	// like their requests.
	Classic bool

	// NoTCP leaves TCP out, which is served at the same addresses otherwise.
	NoTCP bool

	// Listen opens the TCP sockets; network is "tcp4" or "tcp6". Default the system's, or
	// no TCP where ListenPacket is set.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// ListenPacket opens the UDP sockets; network is "udp4" or "udp6". Default
	// the system's.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// LoggerFactory makes the logger. Default nil: nothing is logged.
	LoggerFactory logging.LoggerFactory
}

const maxReaders = 256

// withDefaults returns a complete copy of c, or a *ConfigError.
func (c Config) withDefaults() (Config, error) {
	if !c.IP1.IsValid() {
		c.IP1 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	c.IP1, c.IP2 = c.IP1.Unmap(), c.IP2.Unmap()
	if c.IP2.IsValid() {
		switch {
		case c.IP1 == c.IP2:
			return c, &ConfigError{"IP2", fmt.Sprintf("%v is IP1 as well; give another address of this host, or none", c.IP2)}
		case c.IP1.Is4() != c.IP2.Is4():
			return c, &ConfigError{"IP2", fmt.Sprintf("%v and %v are not of one family; give two IPv4 or two IPv6 addresses", c.IP1, c.IP2)}
		case c.IP1.IsUnspecified() || c.IP2.IsUnspecified():
			return c, &ConfigError{"IP2", fmt.Sprintf("%v and %v: with two addresses both must be named, as clients are told them", c.IP1, c.IP2)}
		}
	}
	for _, ip := range []struct {
		field string
		ip    netip.Addr
	}{{"IP1", c.IP1}, {"IP2", c.IP2}} {
		if ip.ip.IsMulticast() {
			return c, &ConfigError{ip.field, fmt.Sprintf("%v is a multicast address; give one of this host", ip.ip)}
		}
	}
	if c.Port1 == 0 {
		c.Port1 = 3478
	}
	if c.Port2 == 0 {
		c.Port2 = 3479
	}
	switch {
	case c.Port1 > 65535:
		return c, &ConfigError{"Port1", fmt.Sprintf("%d is out of range; give 1 to 65535", c.Port1)}
	case c.Port2 > 65535:
		return c, &ConfigError{"Port2", fmt.Sprintf("%d is out of range; give 1 to 65535", c.Port2)}
	case c.Port1 > 0 && c.Port1 == c.Port2:
		return c, &ConfigError{"Port2", fmt.Sprintf("%d is Port1 as well; give another port", c.Port2)}
	}
	// A negative cap stays negative, which the machine takes as none.
	if c.AnswersPerSecond == 0 {
		c.AnswersPerSecond = 200
	}
	switch {
	case c.Readers < 0 || c.Readers > maxReaders:
		return c, &ConfigError{"Readers", fmt.Sprintf("%d is out of range; give 1 to %d", c.Readers, maxReaders)}
	case c.Readers > 1 && c.ListenPacket != nil:
		return c, &ConfigError{"Readers", fmt.Sprintf("%d with a ListenPacket, which opens one socket on an address; leave out one of the two", c.Readers)}
	case c.Readers == 0:
		c.Readers = 1
	}
	switch {
	case c.NoTCP || c.Listen == nil && c.ListenPacket != nil:
		c.NoTCP = true
	case c.Listen == nil:
		c.Listen = new(net.ListenConfig).Listen
	}
	return c, nil
}
