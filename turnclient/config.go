package turnclient

import (
	"fmt"
	"net/netip"
	"time"
)

// MaxServers is how many endpoints a client uses at most.
const MaxServers = 32

// Family says which relayed addresses an allocation has.
type Family uint8

// The families that can be asked for.
const (
	AnyFamily Family = iota // what the server gives by default, which is IPv4 (RFC 8656 section 7.2)
	IPv4
	IPv6
	DualStack // one of each, from servers that can
)

// Protocol limits.
const (
	defaultKeepalive    = 15 * time.Second
	leastKeepalive      = time.Second
	noKeepalive         = 365 * 24 * time.Hour
	defaultRTO          = 500 * time.Millisecond
	defaultChannelAfter = 8
)

// MachineConfig configures a [Machine]. Servers must be given.
type MachineConfig struct {
	// Servers are the ways to reach servers, the best first. They are raced: the next
	// is asked 250 ms after the one before, or when that has failed, and the first that
	// gives an allocation serves. At most MaxServers.
	Servers []Endpoint

	// Credentials are sent to every server. Default: none; see Ask.
	Credentials Credentials

	// Ask makes the machine ask for credentials by EventCredentials, when it has none
	// and when those it has are rejected. Default false: it fails then.
	Ask bool

	// Family is the family of the relayed addresses. Default AnyFamily.
	Family Family

	// Lifetime is what is asked for. Default 0: the server's default, 600 s with most.
	// From 1 s to 24 h.
	Lifetime time.Duration

	// Keepalive is the longest time without anything sent to the server. Default 15 s; at
	// least 1 s; negative: nothing is sent for the NAT's sake.
	Keepalive time.Duration

	// MappingLifetime is how long the NAT in front keeps a UDP mapping that nothing uses,
	// as natprobe measures it (Low of Report.Lifetime.Answered). A third of it, if that is
	// less than Keepalive and more than 1 s, takes the place of Keepalive over UDP and
	// DTLS, so that two may be lost. Default 0: not known. See also
	// Machine.SetMappingLifetime.
	MappingLifetime time.Duration

	// RTO is how long to wait for an answer over UDP before the round trip was
	// measured. Default and RFC 8489's least 500 ms; from 10 ms to 1 minute.
	RTO time.Duration

	// ChannelAfter is how many datagrams go to a peer before a channel is bound for it,
	// which saves 32 bytes a datagram. Default 8; negative: never.
	ChannelAfter int

	// DontFragment asks the server not to fragment what it sends to peers (RFC 8656
	// section 11.1), if it is able to. Such datagrams take no channel. Default false.
	DontFragment bool

	// Mobility asks for a ticket by which an allocation can be moved to another socket
	// when the network changes (RFC 8016). Servers that cannot are used without.
	// Default false.
	Mobility bool

	// usage is asked what passed by the machine. Default nil: nothing does.
	usage bypass
}

// withDefaults returns a complete copy, or a *ConfigError.
func (c MachineConfig) withDefaults() (MachineConfig, error) {
	servers, err := checkServers(c.Servers)
	if err != nil {
		return c, err
	}
	c.Servers = servers
	return c.besideServers()
}

// besideServers is withDefaults without a look at the servers.
func (c MachineConfig) besideServers() (_ MachineConfig, err error) {
	if !c.Credentials.empty() || c.Credentials.Password != "" {
		if c.Credentials, err = c.Credentials.prepare(); err != nil {
			return c, err
		}
	}
	switch {
	case c.Family > DualStack:
		return c, &ConfigError{"Family", fmt.Sprintf("%d is none; use AnyFamily, IPv4, IPv6 or DualStack", c.Family)}
	case c.Lifetime < 0 || c.Lifetime > 24*time.Hour || c.Lifetime > 0 && c.Lifetime < time.Second:
		return c, &ConfigError{"Lifetime", fmt.Sprintf("%v is out of range; use 0 (the server's default) or 1 s to 24 h", c.Lifetime)}
	case c.Keepalive > 0 && c.Keepalive < leastKeepalive:
		return c, &ConfigError{"Keepalive", fmt.Sprintf("%v is too short; use 0 (15 s), at least 1 s, or a negative value for none", c.Keepalive)}
	case c.MappingLifetime < 0:
		return c, &ConfigError{"MappingLifetime", fmt.Sprintf("%v is no time; use 0 where it is not known", c.MappingLifetime)}
	case c.RTO < 0 || c.RTO > time.Minute || c.RTO > 0 && c.RTO < 10*time.Millisecond:
		return c, &ConfigError{"RTO", fmt.Sprintf("%v is out of range; use 0 (500 ms) or 10 ms to 1 minute", c.RTO)}
	}
	setDefault(&c.Keepalive, defaultKeepalive)
	if c.Keepalive < 0 {
		c.Keepalive = noKeepalive
	}
	setDefault(&c.RTO, defaultRTO)
	setDefault(&c.ChannelAfter, defaultChannelAfter)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// checkServers returns the endpoints without repetitions, or a *ConfigError.
func checkServers(servers []Endpoint) ([]Endpoint, error) {
	var unique []Endpoint
	seen := make(map[Endpoint]bool)
	for _, e := range servers {
		e.Addr = netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port())
		ip := e.Addr.Addr()
		if e.Host != "" {
			if e.Addr = (netip.AddrPort{}); !e.Transport.stream() {
				return nil, &ConfigError{"Servers", fmt.Sprintf("%s over %v has no address, and only streams go by a proxy; give IP and port", e.Host, e.Transport)}
			}
		} else if !ip.IsValid() || e.Addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() {
			return nil, &ConfigError{"Servers", fmt.Sprintf("%v is not the address of a server; give IP and port", e.Addr)}
		}
		if e.Transport > DTLS {
			return nil, &ConfigError{"Servers", fmt.Sprintf("transport %d of %v is none; use UDP, TCP, TLS or DTLS", e.Transport, e.Addr)}
		}
		if !seen[e] {
			seen[e] = true
			unique = append(unique, e)
		}
	}
	switch n := len(unique); {
	case n == 0:
		return nil, &ConfigError{"Servers", "none given; name at least one TURN server"}
	case n > MaxServers:
		return nil, &ConfigError{"Servers", fmt.Sprintf("%d are too many; name at most %d", n, MaxServers)}
	}
	return unique, nil
}
