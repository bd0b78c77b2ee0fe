package ice_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// What is known of two interfaces becomes the order in which the peer is offered
// their addresses.
func ExampleScoreConfig_Score() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var history ice.MemoryHistory
	history.Record("wired-office", netip.MustParseAddr("203.0.113.7"), true, now.Add(-2*time.Hour))

	interfaces := []ice.InterfaceInfo{ // SystemInterfaces knows those of this host
		{Name: "wlan0", Network: "wifi-guests", Kind: ice.WiFi, Loss: ice.Known(0.08), Signal: ice.Known(0.9)},
		{Name: "eth0", Network: "wired-office", Kind: ice.Wired, Speed: 1e9},
	}
	var preferences ice.Preferences
	for _, i := range interfaces {
		in := ice.Inputs{Interface: i, RTT: ice.RTTSamples{18 * time.Millisecond, 22 * time.Millisecond}}
		in.History.Value, in.History.Known = history.Quality(i.Network, netip.Addr{}, now)
		e := ice.ScoreConfig{}.Score(in)
		fmt.Println(e)
		preference, _ := preferences.Take(e.Score, netip.MustParseAddr("192.0.2.1"))
		fmt.Println(i.Name, "has the local preference", preference)
	}
	// Output:
	// 0.500 = interface 0.40 x 0.244 (wlan0 wifi x0.80, speed unknown x0.83, loss 8 % x0.38, signal 90 % x0.95) + rtt 0.25 x 0.909 (median 20ms, deviation 2ms of 2) + history 0.35 x 0.500 (unknown)
	// wlan0 has the local preference 32766
	// 0.882 = interface 0.40 x 1.000 (eth0 wired x1.00, speed 1000 Mbit/s x1.00, loss unknown x1.00) + rtt 0.25 x 0.909 (median 20ms, deviation 2ms of 2) + history 0.35 x 0.729 (0.73)
	// eth0 has the local preference 57854
}
