package punch

import (
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Limits of one attempt. They keep what a peer, or who forges one, can make us do
// in bounds.
const (
	// MaxPeerAddrs is how many addresses of the peer an attempt probes.
	MaxPeerAddrs = 16
	// MaxLearnedAddrs is how many more it takes from the peer's own probes.
	MaxLearnedAddrs = 16
	// MinSecret is the least length of a secret in bytes.
	MinSecret = 16

	defaultTimeout = 10 * time.Second
)

// UDPConfig says whom to reach. Secret is needed.
type UDPConfig struct {
	// Peer are the addresses that the peer may be reached at, most promising first:
	// its host addresses and what STUN servers saw. What the peer tells may be wrong or
	// malicious: addresses that must not be probed, and those after the first
	// MaxPeerAddrs, are passed over and listed in the error of an attempt that fails.
	// Empty is fine where the peer knows an address of ours that anyone can send to.
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
	if len(c.Secret) < MinSecret {
		return c, &ConfigError{Field: "Secret", Reason: "needs at least 16 bytes that only the two peers know"}
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c, nil
}

// unusable says why an address must not be probed; "" if it may be. a is unmapped.
func unusable(a netip.AddrPort, loopback bool) string {
	ip := a.Addr()
	switch {
	case !a.IsValid() || a.Port() == 0:
		return "is no address with port"
	case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is no address of one host"
	case ip.IsLoopback() && !loopback:
		return "is a loopback address; set Loopback if the peer is on this machine"
	}
	return ""
}
