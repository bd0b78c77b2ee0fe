package stats

import (
	"slices"
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
	now   atomic.Pointer[numbered]
	mu    sync.Mutex // held while a word is added
}

// numbered is a state of a vocabulary, never changed.
type numbered struct {
	numbers map[string]uint16
	words   []string        // by number
	likely  [256]uint16     // which number a word of a mark has, if it has one
	ranks   func() []uint16 // by number: where a word is in the order of all
}

// mark is what words are told apart by at a glance, which is faster than by a hash of them.
// Where it is not enough, there is the map.
func mark(word string) uint8 {
	return uint8(len(word))*29 ^ word[0]*7 ^ word[len(word)-1]
}

func newVocabulary(limit int, known ...string) *vocabulary {
	v := &vocabulary{limit: min(limit, 1<<16-2) + 2}
	v.now.Store(newNumbered([]string{"", Other}))
	for _, word := range known {
		v.number(word)
	}
	return v
}

func newNumbered(words []string) *numbered {
	v := &numbered{words: words, numbers: make(map[string]uint16, len(words))}
	for n, word := range words {
		v.numbers[word] = uint16(n)
		if word != "" && v.likely[mark(word)] == noWord {
			v.likely[mark(word)] = uint16(n)
		}
	}
	v.ranks = sync.OnceValue(func() []uint16 {
		ranks := make([]uint16, len(words))
		for rank, word := range slices.Sorted(slices.Values(words)) {
			ranks[v.numbers[word]] = uint16(rank)
		}
		return ranks
	})
	return v
}

// number returns the number of a word.
func (v *vocabulary) number(word string) uint16 {
	if word == "" {
		return noWord
	}
	now := v.now.Load()
	if n := now.likely[mark(word)]; now.words[n] == word {
		return n
	}
	if n, ok := now.numbers[word]; ok {
		return n
	}
	if len(now.words) >= v.limit {
		return otherWord
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now = v.now.Load()
	if n, ok := now.numbers[word]; ok {
		return n
	}
	if len(now.words) >= v.limit {
		return otherWord
	}
	v.now.Store(newNumbered(append(slices.Clip(now.words), word)))
	return uint16(len(now.words))
}

// words returns all words by their numbers. They must not be changed.
func (v *vocabulary) words() []string { return v.now.Load().words }

// ownWords are the lanes and reasons of this module's own events, which a recorder tells
// apart whatever strangers send it. A test of the session's says which are missing.
var ownWords = []string{
	"plain", "one_packet", "mapped", "predicted", "crossing", "birthday", "blocks", "tcp_dial", "tcp_simultaneous_open", "tcp_predicted",
	"no_address", "host_only", "unanswered", "unconfirmed", "direct_narrow", "direct_in_doubt", "relay_better", "no_pairs", "no_stun", "nat_unknown",
	"local_udp_blocked", "remote_udp_blocked", "both_udp_blocked", "local_symmetric", "remote_symmetric", "both_symmetric", "no_hairpin",
	"infeasible_local_udp_blocked", "infeasible_remote_udp_blocked", "infeasible_both_udp_blocked", "infeasible_both_symmetric",
	"closed", "peer_closed", "peer_offline", "not_allowed", "no_answer", "no_path", "lost", "peer_restarted", "made_room", "nonsense",
	"refused", "error",
}
