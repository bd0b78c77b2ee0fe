package fingerprint

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Config tunes Collect. Nil and the zero value work.
type Config struct {
	// Timeout caps the probing of one candidate. Default 1.5 s; at most 1 minute.
	Timeout time.Duration

	// Requests is how many echo requests each candidate gets. Default 5; at most 100.
	Requests int

	// Gap is the time from one request to the next to the same candidate. Default
	// 100 ms; at least 10 ms. All requests must have been sent before Timeout.
	Gap time.Duration

	// Parallel is how many candidates are probed at the same time. Default 64; at
	// most 1024.
	Parallel int

	// RequestsPerSecond caps the echo requests to all candidates together, on
	// average. Default 200; negative: no cap.
	RequestsPerSecond int

	// Dial opens what a candidate is probed through. It must return when ctx ends.
	// Default DialEcho: an unprivileged ping socket. A simulator or a test may stand
	// in. It is called by several goroutines.
	Dial func(ctx context.Context, addr netip.Addr) (EchoConn, error)

	// Observe returns what the NAT at addr is known to do from behind it, most often
	// the Vector of an Observation that a program there has sent; dimensions that
	// nobody knows stay masked. It must return when ctx ends, which is at Timeout.
	// Default none. It is called by several goroutines.
	Observe func(ctx context.Context, addr netip.Addr) (Vector, error)
}

// EchoConn sends ICMP echo requests to one address. One goroutine uses it, but for
// SetReadDeadline, which may be called while Receive waits.
type EchoConn interface {
	// Send sends one request.
	Send(seq uint16) error
	// Receive waits for a reply of the address to a request sent through this
	// EchoConn, and returns its sequence number and the TTL (hop limit) that it
	// arrived with, 0 if that is unknown. An error that is os.ErrDeadlineExceeded
	// says that the read deadline has passed.
	Receive() (seq uint16, ttl int, err error)
	// SetReadDeadline is as in net.Conn.
	SetReadDeadline(t time.Time) error
	// Close ends it.
	Close() error
}

// withDefaults returns a complete copy of c, or a *ConfigError.
func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	setDefault(&d.Timeout, 1500*time.Millisecond)
	setDefault(&d.Requests, 5)
	setDefault(&d.Gap, 100*time.Millisecond)
	setDefault(&d.Parallel, 64)
	setDefault(&d.RequestsPerSecond, 200)
	if d.Dial == nil {
		d.Dial = DialEcho
	}
	switch {
	case d.Timeout < 0 || d.Timeout > time.Minute:
		return d, &ConfigError{"Timeout", fmt.Sprintf("%v is out of range; use 0 (1.5 s) to 1 minute", d.Timeout)}
	case d.Requests < 0 || d.Requests > 100:
		return d, &ConfigError{"Requests", fmt.Sprintf("%d is out of range; use 0 (5) to 100", d.Requests)}
	case d.Gap < 10*time.Millisecond:
		return d, &ConfigError{"Gap", fmt.Sprintf("%v is too short; use 0 (100 ms), or at least 10 ms", d.Gap)}
	case time.Duration(d.Requests-1) >= (d.Timeout+d.Gap-1)/d.Gap:
		return d, &ConfigError{"Timeout", fmt.Sprintf("%v is too short for %d requests, one every %v; use more than %v",
			d.Timeout, d.Requests, d.Gap, time.Duration(d.Requests-1)*d.Gap)}
	case d.Parallel < 0 || d.Parallel > 1024:
		return d, &ConfigError{"Parallel", fmt.Sprintf("%d is out of range; use 0 (64) to 1024", d.Parallel)}
	}
	return d, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// checkCandidates returns the candidates without repetitions, or a *ConfigError.
func checkCandidates(candidates []netip.Addr) ([]netip.Addr, error) {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	seen := make(map[netip.Addr]bool, len(candidates))
	var unique []netip.Addr
	for i, a := range candidates {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == broadcast {
			return nil, &ConfigError{"candidates", fmt.Sprintf("number %d, %v, is not the address of one host; leave it out", i, a)}
		}
		if !seen[a] {
			seen[a] = true
			unique = append(unique, a)
		}
	}
	if len(unique) == 0 {
		return nil, &ConfigError{"candidates", "none given; name at least one address"}
	}
	return unique, nil
}
