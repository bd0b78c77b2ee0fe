package ice

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	far  = netip.MustParseAddr("203.0.113.7")
)

func after(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }

func TestHistoryDecays(t *testing.T) {
	var worked, failed MemoryHistory
	for range 9 {
		worked.Record("home", far, true, noon)
	}
	failed.Record("home", far, false, noon)
	for _, c := range []struct {
		hours           int
		worked, refused float64
		known           bool
	}{
		{0, 0.950, 0.250, true},
		{1, 0.946, 0.260, true},
		{2, 0.942, 0.271, true},
		{4, 0.933, 0.291, true},
		{8, 0.911, 0.330, true},
		{12, 0.884, 0.366, true},
		{18, 0.834, 0.409, true},
		{23, 0.785, 0.436, true},
		{24, 0.500, 0.500, false},
		{1000, 0.500, 0.500, false},
	} {
		w, known1 := worked.Quality("home", far, after(c.hours))
		f, known2 := failed.Quality("home", far, after(c.hours))
		if math.Abs(w-c.worked) > 0.0005 || math.Abs(f-c.refused) > 0.0005 || known1 != c.known || known2 != c.known {
			t.Errorf("after %d h: %.3f %v and %.3f %v, want %.3f and %.3f, known %v", c.hours, w, known1, f, known2, c.worked, c.refused, c.known)
		}
	}
}

// A day's history turns a choice, and a day later the choice is what it was.
func TestHistoryMovesAChoice(t *testing.T) {
	var h MemoryHistory
	choose := func(hours int) string {
		var all []Inputs
		for _, i := range []InterfaceInfo{
			{Name: "wlan0", Network: "wifi-1", Kind: WiFi, Signal: Known(0.9)},
			{Name: "eth0", Network: "wired-1", Kind: Wired},
		} {
			in := Inputs{Interface: i, RTT: steady(30)}
			in.History.Value, in.History.Known = h.Quality(i.Network, netip.Addr{}, after(hours))
			all = append(all, in)
		}
		return best(ScoreConfig{}, all...)
	}
	if got := choose(0); got != "eth0" {
		t.Errorf("without a history: %s", got)
	}
	for range 5 {
		h.Record("wired-1", far, false, noon)
		h.Record("wifi-1", far, true, noon)
	}
	for hours, want := range map[int]string{0: "wlan0", 6: "wlan0", 12: "wlan0", 23: "wlan0", 24: "eth0"} {
		if got := choose(hours); got != want {
			t.Errorf("after %d h: %s, want %s", hours, got, want)
		}
	}
	for range 5 { // later outcomes outweigh earlier ones
		h.Record("wired-1", far, true, after(12))
		h.Record("wifi-1", far, false, after(12))
	}
	if got := choose(12); got != "eth0" {
		t.Errorf("after the tide turned: %s", got)
	}
}

func TestHistoryOfNetworks(t *testing.T) {
	var h MemoryHistory
	quality := func(network, remote string) string {
		var addr netip.Addr
		if remote != "" {
			addr = netip.MustParseAddr(remote)
		}
		v, known := h.Quality(network, addr, noon)
		return fmt.Sprintf("%.3f %v", v, known)
	}
	record := func(network, remote string, ok bool, times int) {
		for range times {
			h.Record(network, netip.MustParseAddr(remote), ok, noon)
		}
	}
	record("home", "203.0.113.1", true, 1)
	record("home", "::ffff:203.0.113.1", true, 8) // the same
	record("home", "203.0.113.2", false, 9)
	record("home", "fe80::1%eth0", true, 1)
	record("office", "203.0.113.2", true, 1)
	record("", "203.0.113.2", true, 1)
	h.Record("home", netip.Addr{}, true, noon)
	for _, c := range []struct{ network, remote, want string }{
		{"home", "203.0.113.1", "0.950 true"},
		{"home", "::ffff:203.0.113.1", "0.950 true"},
		{"home", "203.0.113.2", "0.050 true"},
		{"home", "fe80::1", "0.750 true"},
		{"home", "", "0.583 true"}, // each address counts the same
		{"home", "203.0.113.3", "0.500 false"},
		{"office", "203.0.113.2", "0.750 true"},
		{"office", "", "0.750 true"},
		{"elsewhere", "", "0.500 false"},
		{"", "203.0.113.2", "0.500 false"},
		{"", "", "0.500 false"},
	} {
		if got := quality(c.network, c.remote); got != c.want {
			t.Errorf("%q to %q: %s, want %s", c.network, c.remote, got, c.want)
		}
	}
}

// What had an outcome last stays.
func TestHistoryIsBounded(t *testing.T) {
	var h MemoryHistory
	known := func(network string, n int) bool {
		_, ok := h.Quality(network, address(n), noon)
		return ok
	}
	for n := range MaxHistoryRemotes {
		h.Record("home", address(n), true, noon)
	}
	h.Record("home", address(0), true, noon) // so that 1 is the oldest
	h.Record("home", address(MaxHistoryRemotes), true, noon)
	for n, want := range map[int]bool{0: true, 1: false, 2: true, MaxHistoryRemotes - 1: true, MaxHistoryRemotes: true} {
		if known("home", n) != want {
			t.Errorf("address %d: known %v, want %v", n, !want, want)
		}
	}
	for n := range MaxHistoryNetworks - 1 {
		h.Record(fmt.Sprint(n), address(n), true, noon)
	}
	h.Record("home", address(0), true, noon) // so that "0" is the oldest
	h.Record("one more", address(7), true, noon)
	if !known("home", 0) || !known("one more", 7) || known("0", 0) || !known("1", 1) {
		t.Error("the wrong network was dropped")
	}
	if n := len(h.outcomes.networks); n != MaxHistoryNetworks {
		t.Errorf("%d networks", n)
	}
	for _, n := range h.outcomes.networks {
		if len(n.remotes) > MaxHistoryRemotes {
			t.Errorf("%d addresses", len(n.remotes))
		}
	}
}

func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
}

func TestHistoryIsSafe(t *testing.T) {
	var h MemoryHistory
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 500 {
				h.Record(fmt.Sprint(n%5), address(n), n%2 == 0, noon)
				h.Quality(fmt.Sprint(g), address(n), noon)
			}
		})
	}
	wg.Wait()
}

func BenchmarkHistory(b *testing.B) {
	var h MemoryHistory
	for n := range MaxHistoryNetworks * MaxHistoryRemotes {
		h.Record(fmt.Sprint(n/MaxHistoryRemotes), address(n), true, noon)
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
}
