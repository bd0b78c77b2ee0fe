package stats

import (
	"cmp"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
)

// What a History holds at most, 3 MiB in all. What had an outcome last stays.
const (
	MaxHistoryNetworks = 32  // local networks
	MaxHistoryRemotes  = 256 // remote addresses of each local network
	MaxHistoryPairs    = 512 // pairs of networks
	MaxHistoryLanes    = 16  // lanes of each pair
)

// minSecret is how many bytes a History's secret has at least.
const minSecret = 16

// History remembers what got through, for the next attempt: it is an ice.History and a
// punch.Memory, the History and the Memory of a session's Config, and what it knows can be
// kept ([History.Changes], [History.Restore]; package sqlstore does so). Outcomes fade by a
// factor of 0.92 an hour and are forgotten after 24 hours.
//
// Of names and addresses it holds nothing but hashes under a secret, so that what it gives
// out for keeping says where a peer is to nobody without the secret. That is as much as can
// be done: there are so few addresses that who has the secret finds all of them by trying.
//
// The zero value is empty, with a secret of its own that nobody knows, so that what it gives
// out is of no use to another. Methods are safe for several goroutines, and wait for nothing
// but each other: some microseconds, some tens of them for a network's mean.
type History struct {
	mu      sync.Mutex
	mac     hash.Hash // under the secret
	paths   []*place  // local networks and remote addresses; the one with the latest outcome last
	lanes   []*place  // pairs of networks and lanes, likewise
	version uint64    // of the latest outcome
}

// place is a local network with the addresses that it was tried from it, or a pair of
// networks with its lanes; the one with the latest outcome last.
type place struct {
	name hashed
	ways []way
}

type hashed [16]byte

type way struct {
	wayName
	tally   decay.Tally
	last    int64  // Unix time of the last outcome, ms
	version uint64 // of the last outcome; 0: restored, and nothing since
}

// wayName is an address, by its hash, or a lane, by its word.
type wayName struct {
	remote hashed
	lane   string
}

// NewHistory returns an empty History whose hashes are under a secret of 16 bytes or more,
// which it derives a key of: the bytes of a session's Identity will do. With the same secret,
// what another History knew can be restored. nil: a random one.
func NewHistory(secret []byte) (*History, error) {
	if secret != nil && len(secret) < minSecret {
		return nil, badConfig("secret", "%d bytes can be guessed; give %d or more, or nil for a random one", len(secret), minSecret)
	}
	h := new(History)
	h.key(secret)
	return h, nil
}

// key sets the secret; nil: a random one.
func (h *History) key(secret []byte) {
	if secret == nil {
		secret = make([]byte, 32)
		crand.Read(secret) // does not fail
	}
	derive := hmac.New(sha256.New, secret)
	derive.Write([]byte("bradawl stats history"))
	h.mac = hmac.New(sha256.New, derive.Sum(nil))
}

// hash returns the hash of a text. kind keeps hashes of different things apart.
func (h *History) hash(kind byte, parts ...[]byte) (got hashed) {
	if h.mac == nil {
		h.key(nil)
	}
	h.mac.Reset()
	h.mac.Write([]byte{kind})
	for _, p := range parts {
		h.mac.Write(p)
	}
	var sum [sha256.Size]byte
	copy(got[:], h.mac.Sum(sum[:0]))
	return got
}

// remote returns an address's name within a network, which is another within each, so that
// nobody sees who is met from where.
func (h *History) remote(network hashed, addr netip.Addr) wayName {
	bytes := addr.As16()
	return wayName{remote: h.hash('r', network[:], bytes[:])}
}

// Record notes that a path from a local network to a remote address worked, or that it did
// not, as ice.History has it. Where network is empty or remote is not valid, nothing is kept.
func (h *History) Record(network string, remote netip.Addr, ok bool, at time.Time) {
	remote = remote.Unmap().WithZone("")
	if network == "" || !remote.IsValid() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	name := h.hash('n', []byte(network))
	var w *way
	h.paths, w = touch(h.paths, name, h.remote(name, remote), MaxHistoryNetworks, MaxHistoryRemotes)
	h.add(w, ok, at)
}

// Quality returns how likely a path from the network to the address works, 0 to 1; for an
// address that is not valid, the mean over the network's addresses. known is false where
// nothing is remembered.
func (h *History) Quality(network string, remote netip.Addr, now time.Time) (value float64, known bool) {
	remote = remote.Unmap().WithZone("")
	h.mu.Lock()
	defer h.mu.Unlock()
	name := h.hash('n', []byte(network))
	p := find(h.paths, name)
	if p == nil {
		return decay.Neutral, false
	}
	if remote.IsValid() {
		return p.quality(h.remote(name, remote), now)
	}
	// Over addresses and not over outcomes, so that one peer that fails again and again does
	// not ruin the name of a network.
	sum, n := 0.0, 0
	for i := range p.ways {
		if q, known := decay.Quality(p.ways[i].tally.Sum(now)); known {
			sum += q
			n++
		}
	}
	if n == 0 {
		return decay.Neutral, false
	}
	return sum / float64(n), true
}

// Remember notes that a lane, a word such as "birthday", got through between networks, or
// that it was run in vain, as punch.Memory has it. networks is what punch.Networks returns;
// where it is empty, or the lane is "none" or no word, nothing is kept.
func (h *History) Remember(networks, lane string, ok bool, at time.Time) {
	if networks == "" || !isLane(lane) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var w *way
	h.lanes, w = touch(h.lanes, h.hash('p', []byte(networks)), wayName{lane: lane}, MaxHistoryPairs, MaxHistoryLanes)
	h.add(w, ok, at)
}

// Recall returns how likely the lane gets through between the networks, 0 to 1, by what is
// remembered; known is false where nothing is.
func (h *History) Recall(networks, lane string, now time.Time) (quality float64, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := find(h.lanes, h.hash('p', []byte(networks))); p != nil {
		return p.quality(wayName{lane: lane}, now)
	}
	return decay.Neutral, false
}

func isLane(word string) bool { return word != "" && word != "none" && isWord(word) }

func (h *History) add(w *way, ok bool, at time.Time) {
	h.version++
	w.tally.Add(ok, at)
	w.last, w.version = at.UnixMilli(), h.version
}

func find(places []*place, name hashed) *place {
	if i := slices.IndexFunc(places, func(p *place) bool { return p.name == name }); i >= 0 {
		return places[i]
	}
	return nil
}

func (p *place) find(name wayName) *way {
	if i := slices.IndexFunc(p.ways, func(w way) bool { return w.wayName == name }); i >= 0 {
		return &p.ways[i]
	}
	return nil
}

func (p *place) quality(name wayName, now time.Time) (float64, bool) {
	if w := p.find(name); w != nil {
		return decay.Quality(w.tally.Sum(now))
	}
	return decay.Neutral, false
}

// touch moves a way to the end of its place and the place to the end of the list, and makes
// what is not there, instead of the first one where a list is full.
func touch(places []*place, name hashed, of wayName, maxPlaces, maxWays int) ([]*place, *way) {
	p := find(places, name)
	if p == nil {
		p = &place{name: name}
		if len(places) >= maxPlaces {
			places = slices.Delete(places, 0, 1)
		}
	} else {
		places = slices.DeleteFunc(places, func(other *place) bool { return other == p })
	}
	w := way{wayName: of}
	if i := slices.IndexFunc(p.ways, func(w way) bool { return w.wayName == of }); i >= 0 {
		w = p.ways[i]
		p.ways = slices.Delete(p.ways, i, i+1)
	} else if len(p.ways) >= maxWays {
		p.ways = slices.Delete(p.ways, 0, 1)
	}
	p.ways = append(p.ways, w)
	return append(places, p), &p.ways[len(p.ways)-1]
}

// HistoryEntry is what a History knows of one remote address from one local network, or of
// one lane between two networks, in a form for keeping: a later one of the same Key takes
// the place of an earlier one.
type HistoryEntry struct {
	Key      string    // printable, at most 100 characters: hashes, and the word of a lane
	Last     time.Time // of the last outcome, in milliseconds; 24 hours later the entry is worth nothing
	Outcomes []byte    // at most 200 bytes
}

// Owner names the secret of the history's hashes without telling it: entries are of use to
// histories of the same owner alone.
func (h *History) Owner() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := h.hash('o')
	return hex.EncodeToString(name[:])
}

// Entries returns all that the history knows, those with the latest outcomes last.
func (h *History) Entries() []HistoryEntry {
	h.mu.Lock()
	all := h.pull(func(*way) bool { return true })
	h.mu.Unlock()
	return entriesOf(all)
}

// Changes returns the entries that had outcomes after a version, the latest last, and the
// present version, for the next call; version 0 is before the first outcome. What Restore
// brought is no outcome. While there are none it costs next to nothing.
func (h *History) Changes(since uint64) (changed []HistoryEntry, version uint64) {
	h.mu.Lock()
	version = h.version
	var all []pulled
	if version != since {
		all = h.pull(func(w *way) bool { return w.version > since })
	}
	h.mu.Unlock()
	return entriesOf(all), version
}

// pulled is a way with its place, a copy, which is made an entry without the lock.
type pulled struct {
	place hashed
	way
}

func (h *History) pull(want func(*way) bool) (all []pulled) {
	for _, places := range [...][]*place{h.paths, h.lanes} {
		for _, p := range places {
			for i := range p.ways {
				if want(&p.ways[i]) {
					all = append(all, pulled{p.name, p.ways[i]})
				}
			}
		}
	}
	return all
}

func entriesOf(all []pulled) []HistoryEntry {
	slices.SortStableFunc(all, func(a, b pulled) int { return cmp.Compare(a.version, b.version) })
	entries := make([]HistoryEntry, len(all))
	for i := range all {
		p := &all[i]
		outcomes, _ := p.tally.AppendBinary(nil)
		entries[i] = HistoryEntry{Key: keyOf(p.place, p.wayName), Last: time.UnixMilli(p.last).UTC(), Outcomes: outcomes}
	}
	return entries
}

// Restore takes in entries of the same owner, those with the latest outcomes last, as older
// than all that the history has outcomes of already, which stays as it is. Nothing is taken
// on trust: an entry that is none is passed over, and the error, a *ConfigError, tells of
// the first such.
func (h *History) Restore(entries []HistoryEntry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	already := h.pull(func(*way) bool { return true })
	h.paths, h.lanes = nil, nil
	var wrong error
	for _, e := range entries {
		p := pulled{way: way{last: e.Last.UnixMilli()}}
		var ok bool
		if p.place, p.wayName, ok = parseKey(e.Key); ok && p.tally.UnmarshalBinary(e.Outcomes) == nil {
			h.put(p)
		} else if wrong == nil {
			wrong = badConfig("entries", "%q is no entry of a history, or one of a later version", cut(e.Key))
		}
	}
	for _, p := range already {
		h.put(p)
	}
	return wrong
}

// put makes a way the latest one.
func (h *History) put(p pulled) {
	var w *way
	if p.lane != "" {
		h.lanes, w = touch(h.lanes, p.place, p.wayName, MaxHistoryPairs, MaxHistoryLanes)
	} else {
		h.paths, w = touch(h.paths, p.place, p.wayName, MaxHistoryNetworks, MaxHistoryRemotes)
	}
	*w = p.way
}

// keyOf returns the text of a place and a way: the place's hash, and after a slash the hash
// of an address, or after a dot the word of a lane.
func keyOf(place hashed, of wayName) string {
	if of.lane != "" {
		return hex.EncodeToString(place[:]) + "." + of.lane
	}
	return hex.EncodeToString(place[:]) + "/" + hex.EncodeToString(of.remote[:])
}

func parseKey(key string) (place hashed, of wayName, ok bool) {
	digits := 2 * len(place)
	if len(key) <= digits || !unhex(&place, key[:digits]) {
		return place, of, false
	}
	if lane, found := strings.CutPrefix(key[digits:], "."); found {
		return place, wayName{lane: lane}, isLane(lane)
	}
	remote, found := strings.CutPrefix(key[digits:], "/")
	return place, of, found && unhex(&of.remote, remote)
}

func unhex(into *hashed, text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && copy(into[:], b) == len(into) && len(b) == len(into)
}
