package natprobe

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/logging"
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

	// Random is where transaction IDs come from. Default crypto/rand.Reader. It
	// must be hard to predict, as transaction IDs are what keeps others from
	// answering for a server.
	Random io.Reader

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
	if d.Random == nil {
		d.Random = rand.Reader
	}
	return d, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
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
