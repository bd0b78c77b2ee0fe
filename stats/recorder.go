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
	// Window is what Snapshot looks back on. 0: 5 minutes.
	Window time.Duration
	// Hop is how long a pane is, by which the window moves; Window is a multiple of it.
	// 0: 30 seconds.
	Hop time.Duration
	// Lateness is how long after its pane's end an event still counts. What comes later
	// is only counted as late. 0: 2 minutes; negative: none.
	Lateness time.Duration
	// MaxCells is how many keys and ways are told apart, at most 1,000,000; further ones are
	// counted as Other. 0: 4,096. A cell takes about 1 KB for each pane that it has events in.
	MaxCells int
	// MaxIDs is how many events of a pane are remembered by their IDs, 16 to 32 bytes each, to
	// know one that comes twice; further ones are counted unchecked. 0: 1,000,000; negative:
	// none.
	MaxIDs int
	// Groups are names of groups that are told apart whatever else arrives; there is room for
	// MaxGroups in all.
	Groups []string
	// Words are lanes and reasons that are told apart whatever else arrives, beside those of
	// this module; there is room for MaxWords in all.
	Words []string
	// Now is the clock. nil: time.Now.
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
	case window < hop || window%hop != 0:
		return s, badConfig("Window", "%v is no multiple of the hop, %v", window, hop)
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

// pane returns the number of the pane that a time is in. Those before 1970 are in the first,
// and those beyond what 64 bits of nanoseconds hold, in the year 2262, in the last.
func (s *settings) pane(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64/s.hop - 1
	}
	return t.UnixNano() / s.hop
}

// present returns the number of the present pane.
func (r *Recorder) present() int64 { return r.set.pane(r.set.now()) }

// Recorder counts events: in the panes of a window that moves with time, and in all. It
// takes what memory its Config says at most, whatever arrives, and what it does not count
// it accounts for in a [Ledger]. All methods are safe for several goroutines.
type Recorder struct {
	set    settings
	groups *vocabulary
	words  *vocabulary
	seed   uint64       // of the tags of events
	room   atomic.Int64 // for new keys
	seen   [numShards]*seen
	shards [numShards]*shard

	invalid, late, clamped, overflown atomic.Uint64
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
		r.shards[i] = newShard(set.span, &r.room)
	}
	return r, nil
}

// Record counts an event, in the pane of its own time. It does not block, and fits as a
// session's Config.Record. An event from the future counts as of now, for its clock is
// wrong; one that is late, was counted before, or is not valid, counts in the Ledger alone.
func (r *Recorder) Record(e Event) { r.record(&e) }

func (r *Recorder) record(e *Event) {
	if e.Validate() != nil {
		r.invalid.Add(1)
		return
	}
	now := r.set.now()
	present, pane := r.set.pane(now), r.set.pane(e.Time)
	ahead := e.Time.After(now)
	switch {
	case ahead:
		if pane > present {
			r.clamped.Add(1)
		}
		pane = present
	case pane < present-r.set.late:
		r.late.Add(1)
		return
	}
	tag := tagOf(e.ID, r.seed)
	if !r.seen[tag>>60%numShards].note(tag, pane, present, ahead) {
		return
	}
	bin := 0
	if e.Status == StatusSuccess {
		bin = binOf(e.Latency)
	}
	r.count(packKey(e, r.groups.number(e.Group)), e, bin, pane, present)
	if e.Lane != "" || e.Reason != "" {
		r.count(packWay(e, r.words.number(e.Lane), r.words.number(e.Reason)), e, bin, pane, present)
	}
}

func (r *Recorder) count(key packed, e *Event, bin int, pane, now int64) {
	if !r.shard(key).add(key, e, bin, pane, now) {
		r.overflown.Add(1)
		key = key.overflow()
		r.shard(key).add(key, e, bin, pane, now)
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
	Overflown uint64 `json:"overflown"` // there was no room for its key, or its way
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
	l := Ledger{Late: r.late.Load(), Invalid: r.invalid.Load(), Clamped: r.clamped.Load(), Overflown: r.overflown.Load()}
	for _, s := range r.seen {
		s.mu.Lock()
		l.Merge(s.ledger)
		s.mu.Unlock()
	}
	return l
}
