package turnclient_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

// An event that is printed is one line to read, whatever its kind, and shows nothing secret.
func TestEventString(t *testing.T) {
	server := turnclient.Endpoint{Addr: netip.MustParseAddrPort("192.0.2.1:3478")}
	relayed, peer := netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("198.51.100.1:6")
	broken := errors.New("turnclient: broken")
	for want, e := range map[string]turnclient.Event{
		"allocation 1, state allocating -> failed: broken; 3 before it were missed": {Kind: turnclient.EventState, From: turnclient.Allocating, State: turnclient.Failed, Err: broken, Missed: 3},
		"allocation 1, allocated [192.0.2.1:50000] at 192.0.2.1:3478 over udp for 10m0s, seen as 198.51.100.1:6": {
			Kind: turnclient.EventAllocated, Relayed: []netip.AddrPort{relayed}, Server: server, Lifetime: 10 * time.Minute, Mapped: peer,
		},
		"allocation 1, allocated [192.0.2.1:50000] at 192.0.2.1:3478 over udp for 10m0s, seen as 198.51.100.1:6, in place of [192.0.2.1:50000], lost: broken": {
			Kind: turnclient.EventAllocated, Relayed: []netip.AddrPort{relayed}, Server: server, Lifetime: 10 * time.Minute, Mapped: peer,
			Lost: turnclient.Loss{Relayed: []netip.AddrPort{relayed}, Err: broken},
		},
		"allocation 1, moved to 198.51.100.1:6":                                 {Kind: turnclient.EventMoved, Local: peer},
		"allocation 1, server 192.0.2.1:3478 over udp: broken":                  {Kind: turnclient.EventServer, Server: server, Err: broken},
		"allocation 1, permission for 198.51.100.1: broken":                     {Kind: turnclient.EventPermission, Peer: netip.AddrPortFrom(peer.Addr(), 0), Err: broken},
		"allocation 1, channel 0x4001 for 198.51.100.1:6":                       {Kind: turnclient.EventChannel, Channel: 0x4001, Peer: peer},
		"allocation 1, unreachable 198.51.100.1:6: broken":                      {Kind: turnclient.EventUnreachable, Peer: peer, Err: broken},
		"allocation 1, dropped 2 datagrams for 198.51.100.1:6: broken":          {Kind: turnclient.EventDropped, Peer: peer, Lost: turnclient.Loss{Datagrams: 2}, Err: broken},
		"allocation 1, released":                                                {Kind: turnclient.EventReleased},
		"allocation 1, data of 198.51.100.1:6, 6 bytes":                         {Kind: turnclient.EventData, Peer: peer, Data: []byte("canary")},
		`allocation 1, credentials for realm "a\nb" of 192.0.2.1:3478 over udp`: {Kind: turnclient.EventCredentials, Realm: "a\nb", Server: server},
		"allocation 1, connected 5 from 198.51.100.1:6":                         {Kind: turnclient.EventConnected, Conn: 5, Incoming: true, Peer: peer},
		"allocation 1, connected 5 to 198.51.100.1:6":                           {Kind: turnclient.EventConnected, Conn: 5, Peer: peer},
		"allocation 1, connection-ended 5 with 198.51.100.1:6: broken":          {Kind: turnclient.EventConnEnded, Conn: 5, Peer: peer, Err: broken},
		"allocation 1, connection-data on 5, 6 bytes":                           {Kind: turnclient.EventConnData, Conn: 5, Data: []byte("canary")},
	} {
		e.Allocation = 1
		if got := fmt.Sprintf("%v", e); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for k := range turnclient.EventConnData + 2 { // and one that is none
		e := turnclient.Event{Kind: k, Data: []byte("canary"), Reservation: []byte("canary")}
		if got := e.String(); strings.ContainsAny(got, "\n") || strings.Contains(got, "canary") || len(got) > 100 || got == "" {
			t.Errorf("%d: %q", k, got)
		}
	}
}
