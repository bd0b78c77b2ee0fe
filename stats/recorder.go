package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Config is how a [Recorder] counts. The zero value is for one program.
type Config struct {
	// Window is what Snapshot looks back on. Default 5 minutes.
	Window time.Duration
	// Hop is how long a pane is, by which the window moves; Window is a multiple of it.
	// Default 30 seconds.
	Hop time.Duration
	// Lateness is how long after its pane's end an event still counts. What comes later
	// is only counted as late. Default 2 minutes; negative: none.
	Lateness time.Duration
	// MaxCells is how many keys and ways are told apart, at most 1,000,000; further ones are
	// counted as Other. Default 4,096. A cell takes 200 to 300 bytes for each pane that it has up to
	// 30 events in (go test ./stats -run '^$' -bench Snapshot), and 4 KB at most.
	MaxCells int
	// MaxIDs is how many events of a pane are remembered by their IDs, 11 to 22 bytes each, to
	// know one that comes twice; further ones are counted unchecked. Default 1,000,000; negative:
	// none.
	MaxIDs int
	// Groups are names of groups that are told apart whatever else arrives; there is room for
	// MaxGroups in all.
	Groups []string
	// Words are lanes and reasons that are told apart whatever else arrives, beside those of
	// this module; there is room for MaxWords in all.
	Words []string
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// What a recorder tells apart at most; the others are Other.
const (
	MaxGroups = 64  // groups of experiments
	MaxWords  = 512 // lanes and reasons
)

const (
	maxPanes  = 10_000
	maxCells  = 1_000_000
	numShards = 16
)

// settings is a Config that was checked.
type settings struct {
	span
	hop    int64 // ns
	cells  int
	ids    int
	now    func() time.Time
	groups []string
	words  []string
}

func (cfg Config) settings() (settings, error) {
	orDefault := func(d, otherwise time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return d
	}
	window, hop := orDefault(cfg.Window, 5*time.Minute), orDefault(cfg.Hop, 30*time.Second)
	lateness := max(0, orDefault(cfg.Lateness, 2*time.Minute))
	s := settings{hop: int64(hop), cells: cfg.MaxCells, ids: cfg.MaxIDs, now: cfg.Now, groups: cfg.Groups, words: cfg.Words}
	switch {
	case hop < time.Millisecond:
		return s, badConfig("Hop", "%v is too short; give a millisecond or more", hop)
	case window < hop:
		return s, badConfig("Window", "%v is shorter than the hop, %v; give one hop or more, or 0 for 5 minutes", window, hop)
	case window%hop != 0:
		return s, badConfig("Window", "%v is no multiple of the hop, %v; give %v, or another Hop", window, hop, window-window%hop)
	case window/hop > maxPanes:
		return s, badConfig("Window", "%v has more than %d hops of %v; make the hop longer", window, maxPanes, hop)
	case lateness/hop >= maxPanes:
		return s, badConfig("Lateness", "%v has more than %d hops of %v; make the hop longer", lateness, maxPanes, hop)
	case cfg.MaxCells < 0 || cfg.MaxCells > maxCells:
		return s, badConfig("MaxCells", "%d is out of range; give 1 to %d, or 0 for 4096", cfg.MaxCells, maxCells)
	case len(cfg.Groups) > MaxGroups:
		return s, badConfig("Groups", "%d are too many; give at most %d", len(cfg.Groups), MaxGroups)
	case len(cfg.Words) > MaxWords-len(ownWords):
		return s, badConfig("Words", "%d are too many; give at most %d", len(cfg.Words), MaxWords-len(ownWords))
	}
	for _, list := range [...]struct {
		field string
		words []string
	}{{"Groups", cfg.Groups}, {"Words", cfg.Words}} {
		for _, w := range list.words {
			if !isWord(w) {
				return s, badConfig(list.field, "%q is no word for counting; give at most %d characters of a-z 0-9 _ -", cut(w), MaxWord)
			}
		}
	}
	s.window, s.late = int64(window/hop), int64((lateness+hop-1)/hop)
	if s.cells == 0 {
		s.cells = 4096
	}
	switch {
	case s.ids == 0:
		s.ids = 1_000_000
	case s.ids < 0:
		s.ids = 0
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// paneOf returns the number of the pane that a time is in. Those before 1970 are in the first,
// and those beyond what 64 bits of nanoseconds hold, in the year 2262, in the last.
func (s *settings) paneOf(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64/s.hop - 1
	}
	return t.UnixNano() / s.hop
}

// pane is settings.paneOf, but faster: most times are in the present pane, and it takes less
// to see that than to divide.
func (r *Recorder) pane(t time.Time) int64 {
	n := r.recent.Load()
	if since := uint64(t.UnixNano() - n*r.set.hop); since < uint64(r.set.hop) && uint64(t.Unix()) < math.MaxInt64/uint64(time.Second) {
		return n
	}
	return r.set.paneOf(t)
}

// present returns the number of the present pane.
func (r *Recorder) present() int64 { return r.presentAt(r.set.now()) }

func (r *Recorder) presentAt(now time.Time) int64 {
	n := r.pane(now)
	if n != r.recent.Load() {
		r.recent.Store(n)
	}
	return n
}

// Recorder counts events: in the panes of a window that moves with time, and in all. It
// takes what memory its Config says at most, whatever arrives, and what it does not count
// it accounts for in a [Ledger]. All methods are safe for several goroutines.
type Recorder struct {
	set    settings
	groups *vocabulary
	words  *vocabulary
	seed   uint64       // of the tags of events
	recent atomic.Int64 // the present pane, when somebody last asked
	room   atomic.Int64 // for new keys
	seen   [numShards]*seen
	shards [numShards]*shard

	invalid, late atomic.Uint64
}

// NewRecorder returns a Recorder that has counted nothing. The error is a *ConfigError.
func NewRecorder(cfg Config) (*Recorder, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	r := &Recorder{set: set, groups: newVocabulary(MaxGroups, set.groups...), words: newVocabulary(MaxWords, slices.Concat(ownWords, set.words)...), seed: rand.Uint64()}
	r.room.Store(int64(set.cells))
	for i := range numShards {
		r.seen[i] = newSeen(int(set.late)+1, (set.ids+numShards-1)/numShards)
		r.shards[i] = newShard(i, set.span, &r.room)
	}
	return r, nil
}

// Record counts an event, in the pane of its own time. It waits for nothing but the other
// calls of the same recorder's methods, at most for as long as one of these takes to look at
// all keys (go test ./stats -run '^$' -bench Snapshot), so it fits as a session's
// Config.Record. An event from the future counts as of now, for its clock is wrong; one that
// is late, was counted before, or is not valid, counts in the Ledger alone.
func (r *Recorder) Record(e Event) { r.record(&e) }

func (r *Recorder) record(e *Event) {
	if e.Validate() != nil {
		r.invalid.Add(1)
		return
	}
	now := r.set.now()
	present, pane := r.presentAt(now), r.pane(e.Time)
	ahead := e.Time.After(now)
	if pane < present-r.set.late {
		r.late.Add(1)
		return
	}
	tag := tagOf(e.ID, r.seed)
	seen := r.seen[tag>>60%numShards]
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if ahead {
		if pane > present {
			seen.ledger.Clamped++
		}
		pane = present
	}
	if !seen.note(tag, pane, present, ahead) {
		return
	}
	key, way := packKey(e, r.groups.number(e.Group)), packed(0)
	if e.Lane != "" || e.Reason != "" {
		way = packWay(e, r.words.number(e.Lane), r.words.number(e.Reason))
	}
	seen.ledger.Overflown += r.count(key, way, e, pane, present)
}

// count counts an event in its cell and in its way, if it has one, both at one moment. It
// returns for how many of the two there was no room.
func (r *Recorder) count(key, way packed, e *Event, pane, present int64) (overflown uint64) {
	bin := 0
	if e.Status == StatusSuccess {
		bin = binOf(e.Latency)
	}
	for {
		a, b := r.shard(key), r.shard(key)
		if way != 0 {
			b = r.shard(way)
		}
		lockBoth(a, b)
		a.pass(present)
		b.pass(present)
		cell, lane := a.of(key), (*series)(nil)
		if way != 0 {
			lane = b.of(way)
		}
		switch {
		case cell == nil:
			key = key.overflow()
		case lane == nil && way != 0:
			way = way.overflow()
		default:
			a.add(cell, e, bin, pane)
			if lane != nil {
				b.add(lane, e, bin, pane)
			}
			unlockBoth(a, b)
			return overflown
		}
		unlockBoth(a, b)
		overflown++
	}
}

func (r *Recorder) shard(key packed) *shard { return r.shards[key.hash()%numShards] }

// Ledger accounts for every event that was given to a recorder: Recorded, Duplicates, Late
// and Invalid add up to all of them.
type Ledger struct {
	Recorded   uint64 `json:"recorded"`   // counted
	Duplicates uint64 `json:"duplicates"` // not counted, for one of the same ID was
	Late       uint64 `json:"late"`       // not counted, for it came after its pane was closed
	Invalid    uint64 `json:"invalid"`    // not counted, for Event.Validate refuses it

	// Of those that were recorded:
	Clamped   uint64 `json:"clamped"`   // its time was a hop or more ahead of ours
	Unchecked uint64 `json:"unchecked"` // there was no room to remember its ID
	Overflown uint64 `json:"overflown"` // there was no room for its key, or its way; counts twice if for neither
}

// Given is how many events were given to the recorder.
func (l Ledger) Given() uint64 { return l.Recorded + l.Duplicates + l.Late + l.Invalid }

// Merge adds what another recorder accounts for.
func (l *Ledger) Merge(o Ledger) {
	l.Recorded += o.Recorded
	l.Duplicates += o.Duplicates
	l.Late += o.Late
	l.Invalid += o.Invalid
	l.Clamped += o.Clamped
	l.Unchecked += o.Unchecked
	l.Overflown += o.Overflown
}

// Ledger returns what the recorder has been given so far.
func (r *Recorder) Ledger() Ledger {
	r.lockSeen()
	defer r.unlockSeen()
	return r.ledger()
}

// ledger returns the Ledger, with all IDs locked.
func (r *Recorder) ledger() Ledger {
	l := Ledger{Late: r.late.Load(), Invalid: r.invalid.Load()}
	for _, s := range r.seen {
		l.Merge(s.ledger)
	}
	return l
}

// Whoever holds several locks has taken IDs before shards, and each of the two in their
// order.

func (r *Recorder) lockSeen() {
	for _, s := range r.seen {
		s.mu.Lock()
	}
}

func (r *Recorder) unlockSeen() {
	for _, s := range r.seen {
		s.mu.Unlock()
	}
}

// lockShards locks all shards and lets the time pass until a pane. It returns the latest that
// one of them has come to.
func (r *Recorder) lockShards(present int64) int64 {
	for _, s := range r.shards {
		s.mu.Lock()
		present = max(present, s.now)
	}
	for _, s := range r.shards {
		s.pass(present)
	}
	return present
}

func lockBoth(a, b *shard) {
	if a.number > b.number {
		a, b = b, a
	}
	a.mu.Lock()
	if a != b {
		b.mu.Lock()
	}
}

func unlockBoth(a, b *shard) {
	a.mu.Unlock()
	if a != b {
		b.mu.Unlock()
	}
}
