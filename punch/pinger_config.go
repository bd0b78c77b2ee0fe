package punch

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/logging"
)

// Limits of a Pinger.
const (
	// MaxPingRemotes is how many remotes a Pinger has at once.
	MaxPingRemotes = 1024
	// MinPingInterval is the least time between two probes.
	MinPingInterval = time.Millisecond
	// MaxPingLostAfter is the longest that a probe is remembered.
	MaxPingLostAfter = 30 * time.Second
	// MaxPingAnswers is the greatest AnswerRate.
	MaxPingAnswers = 10000

	defaultPingInterval  = time.Second
	defaultPingDeadline  = 15 * time.Millisecond
	defaultPingLostAfter = 2 * time.Second
	defaultPingAnswers   = 200
)

// PingerConfig says how often a Pinger probes, and what it calls late and lost. The
// zero value works.
type PingerConfig struct {
	// Interval is the time between two probes to a remote, in one Ping as well as
	// for a remote that was added. 0: 1 s; at least MinPingInterval. Negative: added
	// remotes are answered but not probed; Ping then uses 1 s. Below 5 ms the remote's
	// AnswerRate must be raised, or what exceeds it looks lost.
	Interval time.Duration
	// Deadline is when an answer begins to be late, counted from the probe. It is the
	// least: with the RTT known to be longer it is SRTT + 4 RTTVAR (RFC 6298 section
	// 2). 0: 15 ms; negative: no answer is late.
	Deadline time.Duration
	// LostAfter is when a probe without an answer is lost, counted from the probe; an
	// answer that comes still later counts as a stray. 0: 2 s; at least Deadline, at
	// most MaxPingLostAfter.
	LostAfter time.Duration
	// AnswerRate is how many probes a second of one remote are answered, with a
	// quarter of it at once. 0: 200; at most MaxPingAnswers; negative: none is answered.
	AnswerRate int
	// LoggerFactory makes the logger of scope "punch"; nil: no log.
	LoggerFactory logging.LoggerFactory
}

// withDefaults checks c and fills in what is left out.
func (c PingerConfig) withDefaults() (PingerConfig, error) {
	switch {
	case c.Interval == 0:
		c.Interval = defaultPingInterval
	case c.Interval > 0 && c.Interval < MinPingInterval:
		return c, badConfig("Interval", c.Interval, "is less than 1 ms, which no path is probed by politely")
	}
	if c.Deadline == 0 {
		c.Deadline = defaultPingDeadline
	}
	switch {
	case c.LostAfter == 0:
		c.LostAfter = max(defaultPingLostAfter, min(2*c.Deadline, MaxPingLostAfter))
	case c.LostAfter < 0:
		return c, badConfig("LostAfter", c.LostAfter, "is negative; a probe must be given up some time, 30 s at most")
	case c.LostAfter > MaxPingLostAfter:
		return c, badConfig("LostAfter", c.LostAfter, "is more than 30 s")
	}
	if c.Deadline > c.LostAfter {
		return c, badConfig("Deadline", c.Deadline, fmt.Sprintf("is after LostAfter, which is %v", c.LostAfter))
	}
	switch {
	case c.AnswerRate == 0:
		c.AnswerRate = defaultPingAnswers
	case c.AnswerRate > MaxPingAnswers:
		return c, badConfig("AnswerRate", c.AnswerRate, "is more than 10000 a second; a stranger can forge probes of a remote")
	}
	return c, nil
}

// PingError is a Ping, or a PingBlocking, that could not be made or was ended before
// its last probe was answered or lost. Loss and lateness are no errors but results.
type PingError struct {
	Local  netip.AddrPort // the zero value: not bound
	Remote netip.AddrPort // who was pinged
	// Err matches net.ErrClosed when the Pinger was closed, errors.ErrUnsupported when
	// the system has no blocking mode, the context's error when that ended, else it
	// is the socket's.
	Err error
}

// Error names the remote and the cause.
func (e *PingError) Error() string {
	if e.Local.IsValid() {
		return fmt.Sprintf("punch: ping %v from %v: %v", e.Remote, e.Local, e.Err)
	}
	return fmt.Sprintf("punch: ping %v: %v", e.Remote, e.Err)
}

// Unwrap returns the cause.
func (e *PingError) Unwrap() error { return e.Err }
