package turnclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Config configures a [Client]. Servers must be given, and Credentials or
// FetchCredentials unless the server is open to all.
type Config struct {
	// Servers are URIs as RFC 7065 has them, the best first: "turn:HOST", "turns:HOST"
	// (TLS), each with ":PORT" and "?transport=udp" or "?transport=tcp" if wanted. A
	// host with several addresses counts as several servers. See MachineConfig.Servers
	// for how they are chosen from.
	Servers []string

	// Credentials are sent to every server. Default: none.
	Credentials Credentials

	// FetchCredentials is called for credentials when there are none and when those in
	// use were rejected, as short-lived ones are once they have expired. It runs on a
	// goroutine of its own; ctx ends with the Client. Default nil: Credentials are all
	// there is.
	FetchCredentials func(ctx context.Context, r CredentialsRequest) (Credentials, error)

	// Family, Lifetime, Keepalive, MappingLifetime, RTO, ChannelAfter, DontFragment and
	// Mobility are those of MachineConfig, with its defaults.
	Family          Family
	Lifetime        time.Duration
	Keepalive       time.Duration
	MappingLifetime time.Duration
	RTO             time.Duration
	ChannelAfter    int
	DontFragment    bool
	Mobility        bool

	// ReadBuffer is how many datagrams wait for ReadFrom before further ones are
	// dropped, and counted. Default 256; from 1 to 65536.
	ReadBuffer int

	// ListenPacket opens the socket of an allocation. Default: the system's, with
	// network "udp4" or "udp6" and the unspecified address.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// DialContext connects to a server over TCP, with network "tcp4" or "tcp6" and a
	// literal address; TLS is laid over it. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS configures TLS. Its ServerName, if set, is what every certificate must be
	// for; otherwise it is the URI's host. Default nil: the system's roots, TLS 1.2.
	TLS *tls.Config

	// Lookup resolves a host's addresses; network is "ip". Default:
	// net.DefaultResolver.LookupNetIP.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// LoggerFactory makes the logger. Default nil: nothing is logged. Secrets never are.
	LoggerFactory logging.LoggerFactory
}

// CredentialsRequest says what credentials are wanted for.
type CredentialsRequest struct {
	Server Endpoint
	Realm  string
	Again  bool // those in use were rejected
}

// machine returns what the machine makes of c.
func (c *Config) machine(servers []Endpoint, usage Usage) MachineConfig {
	return MachineConfig{
		Servers: servers, Credentials: c.Credentials, Ask: c.FetchCredentials != nil,
		Family: c.Family, Lifetime: c.Lifetime, Keepalive: c.Keepalive, MappingLifetime: c.MappingLifetime, RTO: c.RTO,
		ChannelAfter: c.ChannelAfter, DontFragment: c.DontFragment, Mobility: c.Mobility, Usage: usage,
	}
}
