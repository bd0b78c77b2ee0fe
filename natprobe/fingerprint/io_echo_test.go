package fingerprint

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Real ping sockets, on loopback, where the system grants them.
func TestCollectLoopback(t *testing.T) {
	for _, a := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		conn, err := DialEcho(t.Context(), a)
		if err != nil {
			t.Logf("%v: left out: %v", a, err)
			if !errors.Is(err, os.ErrPermission) && a.Is4() {
				t.Logf("this system has no ping sockets")
			}
			continue
		}
		conn.Close()
		results, err := Collect(t.Context(), []netip.Addr{a}, &Config{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		r := results[0]
		if r.Sent != 5 || r.Answered < 1 || r.Answered > 5 { // a busy machine may be too late for some
			t.Fatalf("%+v; want some of 5 requests answered", r)
		}
		if r.Vector != vec(t, 0, masked, masked, masked, float64(r.Answered)/5) {
			t.Errorf("%+v; want 0 hops, and the rate of %d in 5", r, r.Answered)
		}
	}
}
