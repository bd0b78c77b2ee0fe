package stats

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Numbers of words that every vocabulary has.
const (
	noWord    = 0 // ""
	otherWord = 1 // Other
)

// vocabulary numbers words, the first so many that it meets; the others are Other. Reading
// it takes no lock.
type vocabulary struct {
	limit int
	seed  maphash.Seed
	now   atomic.Pointer[numbered]
	mu    sync.Mutex // held while a word is added
}

// numbered is a state of a vocabulary, never changed.
type numbered struct {
	words  []string        // by number
	places []uint16        // numbers, to be found by their words' hashes; 0: none
	ranks  func() []uint16 // by number: where the word is in the order of all
}

func newVocabulary(limit int, known ...string) *vocabulary {
	v := &vocabulary{limit: min(limit, 1<<16-2) + 2, seed: maphash.MakeSeed()}
	v.set([]string{"", Other})
	for _, word := range known {
		v.number(word)
	}
	return v
}

// set makes a state of some words.
func (v *vocabulary) set(words []string) {
	now := &numbered{words: words, places: make([]uint16, 4<<bits.Len(uint(len(words))))}
	for n, word := range words[1:] {
		at, _ := now.find(word, maphash.String(v.seed, word))
		now.places[at] = uint16(n + 1)
	}
	now.ranks = sync.OnceValue(func() []uint16 {
		ranks := make([]uint16, len(words))
		numbers := make([]uint16, len(words))
		for n := range numbers {
			numbers[n] = uint16(n)
		}
		slices.SortFunc(numbers, func(a, b uint16) int { return strings.Compare(words[a], words[b]) })
		for rank, n := range numbers {
			ranks[n] = uint16(rank)
		}
		return ranks
	})
	v.now.Store(now)
}

// find returns the place of a word that is not "", and its number; 0: it has none.
func (n *numbered) find(word string, hash uint64) (place int, number uint16) {
	mask := uint64(len(n.places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if number := n.places[i]; number == 0 || n.words[number] == word {
			return int(i), number
		}
	}
}

// number returns the number of a word.
func (v *vocabulary) number(word string) uint16 {
	if word == "" {
		return noWord
	}
	hash := maphash.String(v.seed, word)
	now := v.now.Load()
	if _, n := now.find(word, hash); n != 0 {
		return n
	}
	if len(now.words) >= v.limit {
		return otherWord
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now = v.now.Load()
	if _, n := now.find(word, hash); n != 0 {
		return n
	}
	if len(now.words) >= v.limit {
		return otherWord
	}
	v.set(append(slices.Clip(now.words), word))
	return uint16(len(now.words))
}

// words returns all words by their numbers. They must not be changed.
func (v *vocabulary) words() []string { return v.now.Load().words }

// ownWords are the lanes and reasons of this module's own events, which a recorder tells
// apart whatever strangers send it.
var ownWords = []string{
	"plain", "one_packet", "mapped", "predicted", "crossing", "birthday", "blocks", "tcp", "tcp_simultaneous_open", "tcp_predicted",
	"no_address", "host_only", "unanswered", "unconfirmed", "direct_narrow", "direct_in_doubt", "relay_better", "no_pairs", "nat_unknown",
	"local_udp_blocked", "remote_udp_blocked", "both_symmetric", "remote_symmetric", "local_symmetric",
	"infeasible_local_udp_blocked", "infeasible_remote_udp_blocked", "infeasible_both_symmetric", "infeasible_remote_symmetric",
	"infeasible_local_symmetric",
	"closed", "peer_closed", "peer_offline", "not_allowed", "no_answer", "no_path", "lost", "peer_restarted", "made_room", "nonsense",
	"refused", "error",
}
