package work

import (
	"errors"
	"fmt"
	"time"
)

// BreakerConfig says when a [Breaker] opens a circuit. The zero value works; a value
// that makes no sense counts as zero.
type BreakerConfig struct {
	// Failures in a row that open a circuit, if ErrorRate is reached too. Default: 3.
	Failures int
	// ErrorRate that opens a circuit, if Failures is reached too: failures by outcomes
	// within Window, over 0 and at most 1. Default: 0.6.
	ErrorRate float64
	// Window is how far back outcomes count, those in a row too. It moves on by sixths,
	// so that an outcome counts for at least 5/6 of it. Default: 1 min.
	Window time.Duration
	// OpenFor is how long an open circuit lets nothing through, and how long a trial
	// may take before another is let through. Default: 30 s.
	OpenFor time.Duration
	// Targets is how many are remembered at most. For one more, that one is forgotten
	// which is not held back now and has been without an outcome the longest; if all
	// are held back, that which has been the longest. Default: 1024.
	Targets int
}

// breakerPanes is how many steps a window moves on by.
const breakerPanes = 6

func (c BreakerConfig) withDefaults() BreakerConfig {
	if c.Failures <= 0 {
		c.Failures = 3
	}
	if !(c.ErrorRate > 0 && c.ErrorRate <= 1) { // which catches NaN, too
		c.ErrorRate = 0.6
	}
	if c.Window < breakerPanes {
		c.Window = time.Minute
	}
	if c.OpenFor <= 0 {
		c.OpenFor = 30 * time.Second
	}
	if c.Targets <= 0 {
		c.Targets = 1024
	}
	return c
}

// ErrCircuitOpen matches every *[CircuitOpenError].
var ErrCircuitOpen = errors.New("circuit open")

// CircuitOpenError says that a target has failed so often that it is left alone for now.
type CircuitOpenError struct {
	Target any       // the key that Allow was given
	Until  time.Time // when it may be tried again
	Trial  bool      // a trial is under way, and its success ends the wait
}

// Error names the target, the time and the remedy.
func (e *CircuitOpenError) Error() string {
	why := "it kept failing"
	if e.Trial {
		why = "it kept failing, and a trial is under way"
	}
	return fmt.Sprintf("%v: %v until %s: %s; use another target until then",
		e.Target, ErrCircuitOpen, e.Until.Format("15:04:05.000"), why)
}

// Is matches [ErrCircuitOpen].
func (e *CircuitOpenError) Is(target error) bool { return target == ErrCircuitOpen }

// Breaker keeps work from targets that keep failing: names, or addresses and ports, of
// servers and peers. For each target it is a circuit, which is closed at first. Enough
// failures open it, and nothing is let through; after a while one attempt is, the trial,
// which closes the circuit by its success or opens it anew by its failure.
//
// It has no clock: times are handed in, and one that is earlier than the latest counts
// as the latest. It is not safe for concurrent use.
type Breaker[K comparable] struct {
	cfg      BreakerConfig
	circuits map[K]*circuit
	begin    time.Time // of counting panes
	now      time.Time // the latest
	reports  uint64    // orders circuits by their last
}

type circuit struct {
	panes [breakerPanes]pane
	row   int       // failures since the last success
	until time.Time // zero: closed; else open, or with a trial under way, until then
	trial bool
	last  uint64 // report or trial; unique
}

// pane counts the outcomes of one sixth of a window.
type pane struct {
	number   int64 // since begin
	ok, fail int
}

// NewBreaker returns a breaker that knows no target.
func NewBreaker[K comparable](cfg BreakerConfig) *Breaker[K] {
	return &Breaker[K]{cfg: cfg.withDefaults(), circuits: map[K]*circuit{}}
}

// Allow asks whether the target may be tried now. If so, Report must tell what came of
// it; if not, the error is a *[CircuitOpenError].
func (b *Breaker[K]) Allow(now time.Time, target K) error {
	now = b.advance(now)
	c := b.circuits[target]
	switch {
	case c == nil || c.until.IsZero():
		return nil
	case now.Before(c.until):
		return &CircuitOpenError{Target: target, Until: c.until, Trial: c.trial}
	}
	b.shut(c, now)
	c.trial = true
	return nil
}

// Report tells what came of an attempt that Allow let through. While the circuit is open
// and no trial is under way, that is an attempt from before it opened, and counts for
// nothing.
func (b *Breaker[K]) Report(now time.Time, target K, ok bool) {
	now = b.advance(now)
	c := b.circuits[target]
	switch {
	case c == nil:
		b.makeRoom(now)
		c = new(circuit)
		b.circuits[target] = c
	case !c.until.IsZero() && !c.trial:
		return
	case c.trial && !ok:
		b.shut(c, now)
		return
	case c.trial:
		*c = circuit{}
	}
	b.touch(c)
	b.count(c, now, ok)
	if good, bad := b.tally(c, now); c.row >= b.cfg.Failures && float64(bad) >= b.cfg.ErrorRate*float64(good+bad) {
		b.shut(c, now)
	}
}

// shut lets nothing through for the time that a circuit is open.
func (b *Breaker[K]) shut(c *circuit, now time.Time) {
	b.touch(c)
	c.until = now.Add(b.cfg.OpenFor)
	c.trial = false
}

func (b *Breaker[K]) touch(c *circuit) {
	b.reports++
	c.last = b.reports
}

// advance returns the latest time that it was given.
func (b *Breaker[K]) advance(now time.Time) time.Time {
	if b.begin.IsZero() {
		b.begin, b.now = now, now
	}
	if now.After(b.now) {
		b.now = now
	}
	return b.now
}

func (b *Breaker[K]) paneNumber(now time.Time) int64 {
	return int64(now.Sub(b.begin) / (b.cfg.Window / breakerPanes))
}

// count adds an outcome.
func (b *Breaker[K]) count(c *circuit, now time.Time, ok bool) {
	if good, bad := b.tally(c, now); good+bad == 0 {
		c.row = 0 // what was in a row has left the window
	}
	number := b.paneNumber(now)
	p := &c.panes[number%breakerPanes]
	if p.number != number {
		*p = pane{number: number}
	}
	if ok {
		p.ok++
		c.row = 0
	} else {
		p.fail++
		c.row++
	}
}

// tally counts the outcomes within the window.
func (b *Breaker[K]) tally(c *circuit, now time.Time) (good, bad int) {
	oldest := b.paneNumber(now) - breakerPanes + 1
	for _, p := range c.panes {
		if p.number >= oldest {
			good, bad = good+p.ok, bad+p.fail
		}
	}
	return good, bad
}

// makeRoom forgets a target if there is no room for one more.
func (b *Breaker[K]) makeRoom(now time.Time) {
	if len(b.circuits) < b.cfg.Targets {
		return
	}
	var victim K
	var first *circuit
	for target, c := range b.circuits { // there is one first, in whatever order
		if first == nil || c.goesBefore(first, now) {
			victim, first = target, c
		}
	}
	delete(b.circuits, victim)
}

// goesBefore reports whether c is to be forgotten before d. A circuit that nobody asked
// for since its time was up must not keep its place for ever, so it counts as closed.
func (c *circuit) goesBefore(d *circuit, now time.Time) bool {
	if held := now.Before(c.until); held != now.Before(d.until) {
		return !held
	}
	return c.last < d.last
}
