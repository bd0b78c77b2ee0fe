package stats

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secret = []byte("sixteen bytes or more")
)

func newHistory(t testing.TB, secret []byte) *History {
	t.Helper()
	h, err := NewHistory(secret)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}) }

// What one history gave out another of the same secret takes in, and answers alike, and goes
// on alike.
func TestHistoryRestore(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		was := newHistory(t, secret)
		at := noon
		learn := func(n int, of ...*History) {
			for range n {
				at = at.Add(time.Duration(rng.IntN(60)) * time.Second)
				network, remote, ok := fmt.Sprint(rng.IntN(40)), address(rng.IntN(300)), rng.IntN(2) == 0
				for _, h := range of {
					h.Record(network, remote, ok, at)
					h.Remember(network, fmt.Sprint("lane-", remote.As4()[3]%20), ok, at)
				}
			}
		}
		learn(rng.IntN(4000), was)
		is := newHistory(t, secret)
		if err := is.Restore(was.Entries()); err != nil {
			t.Fatal(err)
		}
		if a, b := byKey(was), byKey(is); !slices.EqualFunc(a, b, sameEntry) {
			t.Fatalf("seed %d: %d entries are other than the %d before", seed, len(b), len(a))
		}
		if changed, _ := is.Changes(0); len(changed) > 0 {
			t.Fatalf("seed %d: what was restored is told as %d changes", seed, len(changed))
		}
		learn(500, was, is) // which pushes out the same
		if a, b := byKey(was), byKey(is); !slices.EqualFunc(a, b, sameEntry) {
			t.Fatalf("seed %d: after more outcomes %d entries are other than the %d", seed, len(b), len(a))
		}
	}
}

func byKey(h *History) []HistoryEntry {
	all := h.Entries()
	slices.SortFunc(all, func(a, b HistoryEntry) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func sameEntry(a, b HistoryEntry) bool {
	return a.Key == b.Key && a.Last.Equal(b.Last) && bytes.Equal(a.Outcomes, b.Outcomes)
}

// A keeper that writes what changed, now and then, has all of it in the end.
func TestHistoryChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	h := newHistory(t, secret)
	kept := map[string]HistoryEntry{}
	version := uint64(0)
	for range 50 {
		for range rng.IntN(20) {
			n := rng.IntN(100)
			h.Record("home", address(n), n%2 == 0, noon)
			h.Remember("pair", fmt.Sprint("lane-", n%10), n%3 == 0, noon)
		}
		var changed []HistoryEntry
		changed, version = h.Changes(version)
		if len(changed) > 40 {
			t.Fatalf("%d changed, of 40 at most", len(changed))
		}
		for _, e := range changed {
			kept[e.Key] = e
		}
		if again, same := h.Changes(version); len(again) > 0 || same != version {
			t.Fatalf("%d changes of version %d to %d without an outcome", len(again), version, same)
		}
	}
	all := h.Entries()
	if len(all) != len(kept) || len(all) < 100 {
		t.Fatalf("%d entries, of which %d were kept", len(all), len(kept))
	}
	for _, e := range all {
		if !sameEntry(e, kept[e.Key]) {
			t.Errorf("%s: kept as %v, is %v", e.Key, kept[e.Key], e)
		}
	}
}

// Outcomes that were there before a late Restore are later than what it brings.
func TestHistoryRestoreIsOlder(t *testing.T) {
	old, h := newHistory(t, secret), newHistory(t, secret)
	for n := range MaxHistoryRemotes {
		old.Record("home", address(n), false, noon)
	}
	h.Record("home", address(0), true, noon)
	h.Record("home", address(7000), true, noon)
	if err := h.Restore(old.Entries()); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{0: "0.75 true", 1: "0.50 false", 2: "0.25 true", MaxHistoryRemotes - 1: "0.25 true", 7000: "0.75 true"} {
		q, known := h.Quality("home", address(n), noon)
		if got := fmt.Sprintf("%.2f %v", q, known); got != want {
			t.Errorf("address %d: %s, want %s", n, got, want)
		}
	}
	if changed, _ := h.Changes(0); len(changed) != 2 {
		t.Errorf("%d changes, want the 2 outcomes", len(changed))
	}
}

// Nothing that is given out for keeping has a name or an address in it, nor a hash of one
// that can be made without the secret.
func TestHistoryKeepsNames(t *testing.T) {
	told := func(h *History) string {
		h.Record("wifi home", netip.MustParseAddr("203.0.113.7"), true, noon)
		h.Record("wired", netip.MustParseAddr("203.0.113.7"), true, noon)
		h.Remember("pair", "birthday", true, noon)
		var all []string
		for _, e := range h.Entries() {
			if len(e.Key) > 100 || len(e.Outcomes) > 200 {
				t.Errorf("%d and %d bytes", len(e.Key), len(e.Outcomes))
			}
			all = append(all, e.Key)
		}
		return strings.Join(all, "\n")
	}
	one, two, again := newHistory(t, secret), newHistory(t, nil), newHistory(t, secret)
	var zero History
	a := told(one)
	addr := netip.MustParseAddr("203.0.113.7").As16()
	for _, clear := range []string{"wifi", "home", "pair", "203", hex.EncodeToString([]byte("wifi home")), hex.EncodeToString(addr[12:])} {
		if strings.Contains(a, clear) {
			t.Errorf("%q is in\n%s", clear, a)
		}
	}
	if remotes := strings.Split(a, "\n"); remotes[0][33:] == remotes[1][33:] {
		t.Error("an address has one name in two networks")
	}
	if b := told(two); a == b || one.Owner() == two.Owner() {
		t.Error("hashes are not under the secret")
	}
	b, owner := told(&zero), zero.Owner()
	if a == b || owner == one.Owner() || owner == two.Owner() || owner != zero.Owner() {
		t.Error("hashes of the zero value are not under a secret")
	}
	if b := told(again); a != b || one.Owner() != again.Owner() {
		t.Error("hashes under one secret differ")
	}
}

func TestHistoryRefuses(t *testing.T) {
	var wrong *ConfigError
	if _, err := NewHistory([]byte("fifteen bytes..")); !errors.As(err, &wrong) || wrong.Field != "secret" {
		t.Errorf("a short secret: %v", err)
	}
	h := newHistory(t, secret)
	h.Record("home", address(1), true, noon)
	h.Remember("pair", "plain", true, noon)
	good := h.Entries()
	key := good[0].Key
	for name, e := range map[string]HistoryEntry{
		"nothing": {}, "no way": {Key: key[:32]}, "half a way": {Key: key[:40]}, "no hash": {Key: strings.Repeat("x", 32) + key[32:]},
		"a long way": {Key: key + "00"}, "no lane": {Key: key[:32] + "."}, "a lane that is no word": {Key: key[:32] + ".a b"},
		"something else": {Key: key[:32] + "!x"},
	} {
		e.Outcomes = good[0].Outcomes
		got := newHistory(t, secret)
		if err := got.Restore([]HistoryEntry{e, good[1]}); !errors.As(err, &wrong) || wrong.Field != "entries" {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(got.Entries()); n != 1 {
			t.Errorf("%s: %d entries, want the good one", name, n)
		}
	}
	bad := good[0]
	bad.Outcomes = append([]byte{9}, bad.Outcomes[1:]...)
	if err := newHistory(t, secret).Restore([]HistoryEntry{bad}); err == nil {
		t.Error("outcomes of a later version were taken")
	}
}

// Whatever arrives, no list grows beyond its limit.
func TestHistoryIsBounded(t *testing.T) {
	h := newHistory(t, secret)
	for n := range 3 * MaxHistoryPairs {
		h.Record(fmt.Sprint(n), address(n), true, noon)
		h.Record("home", address(n), true, noon)
		h.Remember(fmt.Sprint(n), "plain", true, noon)
		h.Remember("pair", fmt.Sprint("lane-", n), true, noon)
	}
	want := MaxHistoryNetworks - 1 + MaxHistoryRemotes + MaxHistoryPairs - 1 + MaxHistoryLanes
	if n := len(h.Entries()); n != want {
		t.Errorf("%d entries, want %d", n, want)
	}
	h.Remember("", "plain", true, noon)
	h.Remember("pair", "", true, noon)
	h.Remember("pair", "no word", true, noon)
	h.Record("", address(1), true, noon)
	h.Record("home", netip.Addr{}, true, noon)
	if n := len(h.Entries()); n != want {
		t.Errorf("%d entries after outcomes of nothing", n)
	}
}

func TestHistoryIsSafe(t *testing.T) {
	var h History
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 200 {
				h.Record(fmt.Sprint(n%5), address(n), n%2 == 0, noon)
				h.Quality(fmt.Sprint(g), netip.Addr{}, noon)
				h.Remember(fmt.Sprint(n%7), "plain", true, noon)
				h.Recall(fmt.Sprint(g), "plain", noon)
				if n%50 == 0 {
					changed, _ := h.Changes(uint64(n))
					h.Restore(changed)
					h.Owner()
				}
			}
		})
	}
	wg.Wait()
	if n := len(h.Entries()); n != 200+7 {
		t.Errorf("%d entries", n)
	}
}

func BenchmarkHistory(b *testing.B) {
	h := newHistory(b, secret)
	for n := range MaxHistoryNetworks * MaxHistoryRemotes {
		h.Record(fmt.Sprint(n/MaxHistoryRemotes), address(n), true, noon)
	}
	for n := range MaxHistoryPairs {
		h.Remember(fmt.Sprint(n), "plain", true, noon)
	}
	b.Run("record", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			h.Record("3", address(n%1000), true, noon)
		}
	})
	b.Run("mean of a network", func(b *testing.B) {
		for b.Loop() {
			h.Quality("7", netip.Addr{}, noon)
		}
	})
	b.Run("recall", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			h.Recall(fmt.Sprint(n%MaxHistoryPairs), "plain", noon)
		}
	})
	b.Run("no changes", func(b *testing.B) {
		for b.Loop() {
			h.Changes(h.version)
		}
	})
}

// No entry leads to a history that cannot be used, or that does not give it out as it was.
func FuzzHistoryRestore(f *testing.F) {
	h := newHistory(f, secret)
	h.Record("home", address(1), true, noon)
	h.Remember("pair", "plain", true, noon)
	for _, e := range h.Entries() {
		f.Add(e.Key, e.Last.UnixMilli(), e.Outcomes)
	}
	f.Fuzz(func(t *testing.T, key string, last int64, outcomes []byte) {
		h := newHistory(t, secret)
		err := h.Restore([]HistoryEntry{{Key: key, Last: time.UnixMilli(last), Outcomes: outcomes}})
		all := h.Entries()
		if (err == nil) != (len(all) == 1) {
			t.Fatal(err, all)
		}
		again := newHistory(t, secret)
		if err := again.Restore(all); err != nil || !slices.EqualFunc(all, again.Entries(), sameEntry) {
			t.Fatal(err, all, again.Entries())
		}
	})
}
