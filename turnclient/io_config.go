package turnclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/pion/logging"
)

// Config configures a [Client]. Servers must be given, and Credentials or
// FetchCredentials unless the server is open to all. Its functions, and those of Resolver,
// may be called by several goroutines at once; they must return when their ctx ends.
type Config struct {
	// Servers are URIs as RFC 7065 has them, the best first: "turn:HOST" or
	// "turns:HOST", each with ":PORT" and "?transport=udp" or "?transport=tcp" if wanted.
	// Without a transport turn: means UDP, then TCP; turns: means DTLS, if there is
	// Config.DTLS, then TLS. Without a port the records in the DNS say where the servers
	// are (RFC 5928); where there are none, at the host itself. Each address counts as
	// a server. See MachineConfig.Servers for how they are chosen from. They are looked
	// up again for later allocations.
	Servers []string

	// Credentials are sent to every server. Default: none.
	Credentials Credentials

	// FetchCredentials is called for credentials when there are none and when those in
	// use were rejected, as short-lived ones are once they have expired. It runs on a
	// goroutine of its own; ctx ends with the Client. Default nil: Credentials are all
	// there is.
	FetchCredentials func(ctx context.Context, r CredentialsRequest) (Credentials, error)

	// Keepalive is the longest time without anything sent to the server, so that the NAT in
	// front keeps its mapping and peers' data comes in. Default 15 s; at least 1 s; negative:
	// nothing is sent for that, which is right where there is no NAT.
	Keepalive time.Duration

	// Family, Lifetime, MappingLifetime, RTO, ChannelAfter, DontFragment and Mobility are
	// those of MachineConfig, with its defaults.
	Family          Family
	Lifetime        time.Duration
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
	// literal address; TLS is laid over it. With network "tcp" and a name it connects to
	// a proxy. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS configures TLS and DTLS. Its ServerName, if set, is what every certificate
	// must be for; otherwise it is the URI's host. Default nil: the system's roots, TLS
	// 1.2 or newer.
	TLS *tls.Config

	// DTLS lays DTLS over conn, which carries datagrams to and from one server, and
	// returns the association once the certificate has been found to be for
	// cfg.ServerName; each Read and Write of it is one message. ctx bounds the handshake
	// alone, and on an error conn stays the caller's. dtlstransport.Client is one.
	// Default nil: no server is reached over DTLS.
	DTLS func(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error)

	// Proxy returns the HTTP proxy by which a server is reached over TCP or TLS, or nil
	// for none. The server is HOST:PORT as the URI has it: with a proxy it is the proxy
	// that looks the host up, and records of services are not used. The proxy's URL is
	// http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ if need be. Default nil:
	// no proxy.
	Proxy func(ctx context.Context, server string) (*url.URL, error)

	// ProxyTLS configures TLS with https:// proxies. Default nil: the system's roots,
	// TLS 1.2 or newer, and a certificate for the proxy's host.
	ProxyTLS *tls.Config

	// Resolver looks hosts up. Default: net.DefaultResolver.
	Resolver Resolver

	// LoggerFactory makes the logger. Default nil: nothing is logged. Secrets never are.
	LoggerFactory logging.LoggerFactory
}

// CredentialsRequest says what credentials are wanted for.
type CredentialsRequest struct {
	Server Endpoint // who wants them
	Realm  string   // of the server, as it says
	Again  bool     // those in use were rejected
}

// machine returns what the machine makes of c.
func (c *Config) machine(servers []Endpoint, usage bypass) MachineConfig {
	return MachineConfig{
		Servers: servers, Credentials: c.Credentials, Ask: c.FetchCredentials != nil,
		Family: c.Family, Lifetime: c.Lifetime, Keepalive: c.Keepalive, MappingLifetime: c.MappingLifetime, RTO: c.RTO,
		ChannelAfter: c.ChannelAfter, DontFragment: c.DontFragment, Mobility: c.Mobility, usage: usage,
	}
}

// Check returns a *ConfigError unless c can be used, whatever its servers are, for which
// there is [Config.CheckServer]. It sends nothing.
func (c *Config) Check() error {
	switch {
	case c.ReadBuffer < 0 || c.ReadBuffer > 1<<16:
		return &ConfigError{"ReadBuffer", fmt.Sprintf("%d is out of range; use 0 (256) to 65536", c.ReadBuffer)}
	case c.FetchCredentials != nil && !c.Credentials.empty():
		return &ConfigError{"FetchCredentials", "is set beside Credentials; set one of them"}
	}
	_, err := c.machine(nil, nil).besideServers()
	return err
}
