package punch

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Limits of one attempt. They keep what a peer, or who forges one, can make us do
// in bounds.
const (
	// MaxPeerAddrs is how many addresses of the peer an attempt probes.
	MaxPeerAddrs = 16
	// maxLearnedAddrs is how many more it takes from the peer's own probes.
	maxLearnedAddrs = 16
	// MinSecret is the least length of a secret in bytes.
	MinSecret = 16

	defaultTimeout = 10 * time.Second

	tooMany = "is more than the 16 addresses that an attempt tries"
)

// UDPConfig says whom to reach. Secret is needed.
type UDPConfig struct {
	// Peer are the addresses that the peer may be reached at, most promising first:
	// its host addresses and what STUN servers saw. What the peer tells may be wrong or
	// malicious: addresses that must not be probed, and those after the first
	// MaxPeerAddrs, are passed over and listed in the error of an attempt that fails.
	// Empty is fine where the peer knows an address of ours that anyone can send to, and
	// so are addresses that are all passed over: the attempt waits for the peer's probes.
	Peer []netip.AddrPort
	// Secret is known to the two peers only, is fresh for each attempt, and holds at
	// least MinSecret bytes.
	Secret []byte
	// Timeout is how long to try; 0: 10 s; negative: until ctx ends.
	Timeout time.Duration
	// Loopback lets Peer name loopback addresses. Off by default, because the
	// addresses come from elsewhere and our own machine is not theirs to probe.
	Loopback bool
	// LoggerFactory makes the logger of scope "punch"; nil: no log.
	LoggerFactory logging.LoggerFactory
}

// withDefaults checks c and fills in what is left out.
func (c UDPConfig) withDefaults() (UDPConfig, error) {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c, checkSecret(c.Secret)
}

func checkSecret(s []byte) error {
	if len(s) < MinSecret {
		return &ConfigError{Field: "Secret", Reason: "needs at least 16 bytes that only the two peers know"}
	}
	return nil
}

// TCPConfig says whom to reach, and from which port. Local and Secret are needed.
type TCPConfig struct {
	// Local is the local address to listen at and to dial from. Its port is the one
	// that the peer was told of: that of the connection to the rendezvous, which must
	// have been dialled from it with ReusePort, as a NAT maps each port apart. An
	// unspecified or invalid IP means all of the host's.
	Local netip.AddrPort
	// Peer are the addresses that the peer may be reached at, as in UDPConfig.
	Peer []netip.AddrPort
	// Secret is known to the two peers only, is fresh for each attempt, and holds at
	// least MinSecret bytes.
	Secret []byte
	// Timeout is how long to try; 0: 10 s; negative: until ctx ends.
	Timeout time.Duration
	// Loopback lets Peer name loopback addresses, as in UDPConfig. Default false.
	Loopback bool
	// Listen opens the port and Dial dials from it, both sharing it with other
	// sockets; nil: the system's, with ReusePort. network is "tcp", "tcp4" or "tcp6".
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error)
	// LoggerFactory makes the logger of scope "punch"; nil: no log.
	LoggerFactory logging.LoggerFactory
}

// withDefaults checks c and fills in what is left out.
func (c TCPConfig) withDefaults() (TCPConfig, error) {
	if c.Local.Port() == 0 {
		return c, badConfig("Local", c.Local, "needs a port: the one that the peer was told of")
	}
	ip := c.Local.Addr().Unmap()
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	c.Local = netip.AddrPortFrom(ip, c.Local.Port())
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c, checkSecret(c.Secret)
}
