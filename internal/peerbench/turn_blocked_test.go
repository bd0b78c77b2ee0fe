package peerbench

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// badPeer is nobody; what matters is what becomes of its permission.
var badPeer = netip.MustParseAddrPort("198.51.100.66:6")

var clients = [2]string{"ours", "pion"}

// A peer whose permission is not answered, or refused, changes nothing for another one:
// what a write to it takes, and then a round trip with another peer that is permitted.
func TestTURNBlockedPeer(t *testing.T) {
	rows := "bad peer is\tits writer is\tclient\twrite to it returns after\twith error\ta good peer's echo comes after\n"
	const roundTrip = 160 * time.Millisecond // client, server, peer and back: 8 links
	for _, c := range []struct {
		name    string
		refused bool
		apart   bool // it is written to by a goroutine of its own
	}{
		{"not answered", false, false}, {"not answered", false, true}, {"refused", true, false}, {"refused", true, true},
	} {
		for who, name := range clients {
			var returned, echoed time.Duration
			var failed error
			inWorld(t, func(t *testing.T, w *world) {
				good, stop := w.echo("good")
				defer stop()
				relay, stop := w.open(who, w.diary())
				defer stop()
				roundTripTo(t, relay, good)
				if c.refused {
					w.set(&w.denied, badPeer.Addr())
				} else {
					w.set(&w.mute, badPeer.Addr())
				}
				began, done := time.Now(), make(chan struct{})
				toBad := func() {
					_, failed = relay.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(badPeer))
					returned = time.Since(began)
					close(done)
				}
				if c.apart {
					go toBad()
				} else {
					toBad()
				}
				roundTripTo(t, relay, good)
				echoed = time.Since(began)
				<-done
			})
			writer := map[bool]string{false: "the same goroutine", true: "another"}[c.apart]
			rows += fmt.Sprintf("%s\t%s\t%s\t%v\t%v\t%v\n", c.name, writer, name, returned, failed != nil, echoed)
			if who == 0 && (returned != 0 || failed != nil || echoed != roundTrip) {
				t.Errorf("%s, written to by %s: the write took %v (%v), the good peer's echo came after %v", c.name, writer, returned, failed, echoed)
			}
		}
	}
	logTable(t, rows)
}

// roundTripTo sends a datagram and waits for its echo.
func roundTripTo(t *testing.T, relay net.PacketConn, to netip.AddrPort) {
	t.Helper()
	if _, err := relay.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := relay.ReadFrom(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
}
