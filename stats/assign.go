package stats

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// AssignerConfig configures an [Assigner]. Experiment and Self must be given.
type AssignerConfig struct {
	// Experiment is what is assigned. No default; the Assigner has a copy.
	Experiment Experiment

	// Self is our name, as our peers know it. No default.
	Self string

	// Alone says that our peers record nothing, or that nobody collects it, so that all
	// counting is ours. Default false: of the two ends of a pair the one whose name comes
	// first in byte order counts. What both ends tell of one session is nearly the same, and
	// to count it twice would make chance look like an effect.
	Alone bool

	// Sticky keeps pairs in their arms when weights change. Default nil: they go by the hash
	// alone.
	Sticky Sticky

	// TTL is how long it does, from the pair's first session on. Default 30 days; from 1
	// minute to 366 days.
	TTL time.Duration

	// Timeout is how long Assign waits for Sticky. Default 500 ms; from 1 ms to 1 minute.
	Timeout time.Duration

	// MaxPairs is how many pairs are remembered to have been counted on the present day;
	// sessions of further ones do not count. Default 10,000, at most
	// 10,000,000.
	MaxPairs int

	// Now tells the time. Default time.Now.
	Now func() time.Time
}

func (c AssignerConfig) withDefaults() (AssignerConfig, error) {
	if err := c.Experiment.Validate(); err != nil {
		return c, err
	}
	switch {
	case c.Self == "":
		return c, badConfig("Self", "is empty; name the peer that assigns, such as by PeerID.String")
	case c.TTL != 0 && (c.TTL < time.Minute || c.TTL > 366*24*time.Hour):
		return c, badConfig("TTL", "%v is out of range; give 0 (30 days) or 1 minute to 366 days", c.TTL)
	case c.Timeout != 0 && (c.Timeout < time.Millisecond || c.Timeout > time.Minute):
		return c, badConfig("Timeout", "%v is out of range; give 0 (500 ms) or 1 ms to 1 minute", c.Timeout)
	case c.MaxPairs < 0 || c.MaxPairs > 10_000_000:
		return c, badConfig("MaxPairs", "%d is out of range; give 0 (10,000) or 1 to 10,000,000", c.MaxPairs)
	}
	c.Experiment.Arms = append([]Arm(nil), c.Experiment.Arms...)
	if c.TTL == 0 {
		c.TTL = 30 * 24 * time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.MaxPairs == 0 {
		c.MaxPairs = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// Assigner says, at one of the two ends, which arm a session with a peer is in, and whether
// it counts. What counts is the first session of a pair on each UTC day: sessions of one
// pair go alike, so that counting all of them would let a few busy pairs decide. Only who
// has the session knows the pair, which no event names; so it is decided here, and shows in
// the event's group. It is safe for concurrent use.
type Assigner struct {
	cfg AssignerConfig

	mu     sync.Mutex
	day    int64
	seen   map[uint64]struct{} // pairs that had a session on that day
	counts AssignerCounts
}

// Assignment is what becomes of a session.
type Assignment struct {
	Arm   string // which way to do it
	Group string // for Event.Group; "": the session does not count
	// Err is a *StickyError if Arm is that of the hash because the store failed, or told of an
	// arm that there is none of. The peer may be in another one then, so Group is "".
	Err error
}

// AssignerCounts is how many sessions there were, each of one kind.
type AssignerCounts struct {
	Counted  uint64 // that count
	Failed   uint64 // for which the store failed; none of them counts
	Theirs   uint64 // that the peer counts
	Repeated uint64 // that were not the pair's first of the day
	NoRoom   uint64 // for which MaxPairs left no room
}

// NewAssigner returns an Assigner. The error is a *ConfigError.
func NewAssigner(cfg AssignerConfig) (*Assigner, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Assigner{cfg: cfg, seen: make(map[uint64]struct{})}, nil
}

// Assign decides on a session with a peer that is about to begin. It waits for the store,
// if there is one, at most Timeout. The error is a *ConfigError if peer is empty or
// ourselves; that the store failed is told by Assignment.Err alone, as it stops nothing.
func (a *Assigner) Assign(ctx context.Context, peer string) (Assignment, error) {
	if err := checkPair(a.cfg.Self, peer); err != nil {
		return Assignment{}, err
	}
	x := &a.cfg.Experiment
	p := x.pair(a.cfg.Self, peer)
	got := Assignment{Arm: x.draw(p)}
	if a.cfg.Sticky != nil {
		arm, err := a.stored(ctx, x.stickyKey(p), got.Arm)
		if err != nil {
			got.Err = &StickyError{x.stickyKey(p), err}
		} else {
			got.Arm = arm
		}
	}
	if a.count(p, peer, got.Err != nil) {
		got.Group = x.Group(got.Arm)
	}
	return got, nil
}

// stored asks the store, and believes it only what can be.
func (a *Assigner) stored(ctx context.Context, key, arm string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	got, err := a.cfg.Sticky.Assign(ctx, key, arm, a.cfg.TTL)
	if err == nil && a.cfg.Experiment.index(got) < 0 {
		err = fmt.Errorf("%q is stored, which is no arm; let it expire, or give the experiment another salt", cut(got))
	}
	return got, err
}

// count reports whether a session counts.
func (a *Assigner) count(p pair, peer string, failed bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	// A clock that is put back over midnight begins no new day; one that was far ahead does.
	day := floorDiv(a.cfg.Now().Unix(), 24*60*60)
	if day > a.day || day < a.day-1 {
		a.day = day
		clear(a.seen)
	}
	_, again := a.seen[p.seen]
	room := again || len(a.seen) < a.cfg.MaxPairs
	ours := a.cfg.Alone || a.cfg.Self < peer
	if ours && room {
		a.seen[p.seen] = struct{}{}
	}
	switch {
	case failed:
		a.counts.Failed++
	case !ours:
		a.counts.Theirs++
	case again:
		a.counts.Repeated++
	case !room:
		a.counts.NoRoom++
	default:
		a.counts.Counted++
		return true
	}
	return false
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return (a+1)/b - 1
	}
	return a / b
}

// Forget makes the next session with a peer its first of the day again. It is for sessions
// that came to nothing because the peer was not there, in which no arm had a hand; who
// calls it for failures makes the experiment worthless.
func (a *Assigner) Forget(peer string) {
	p := a.cfg.Experiment.pair(a.cfg.Self, peer)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seen, p.seen)
}

// Counts returns what has become of sessions so far.
func (a *Assigner) Counts() AssignerCounts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}
