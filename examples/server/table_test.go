package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v4"
)

// at is the address of a client.
func at(address string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)) }

// open makes a relay for a client, as pion/turn calls.
func (t *table) open(user string, client net.Addr) bool {
	if !t.admit(user, "", client) {
		return false
	}
	t.made(client, nil, "", user, "", nil, 0)
	return true
}

func TestTableLimits(t *testing.T) {
	tb := newTable(5, 2, secret)
	a := []net.Addr{at("192.0.2.1:1"), at("192.0.2.1:2"), at("192.0.2.1:3")}
	// One /64 of IPv6 is one source, and an IPv4 address the same in both notations.
	b := []net.Addr{at("[2001:db8::1]:1"), at("[2001:db8::2]:1"), at("[2001:db8::3]:1")}
	c := []net.Addr{at("192.0.2.9:1"), at("[::ffff:192.0.2.9]:2")}
	for i, want := range []bool{true, true, false} {
		if tb.open("u", a[i]) != want || tb.open("u", b[i]) != want {
			t.Errorf("relay %d of a source: admitted %t", i, !want)
		}
	}
	if tb.open("u", a[0]) {
		t.Error("a second relay was admitted for one client")
	}
	if !tb.open("u", c[0]) || tb.open("u", c[1]) {
		t.Error("the fifth relay was not admitted, or the sixth was")
	}
	tb.gone(a[0], nil, "", "", "")
	tb.gone(a[0], nil, "", "", "") // only the first one counts
	tb.gone(a[2], nil, "", "", "")
	if !tb.open("u", a[2]) || tb.open("u", c[1]) || tb.len() != 5 {
		t.Errorf("%d relays after one has ended", tb.len())
	}
	tb.gone(b[0], nil, "", "", "")
	if !tb.open("u", c[1]) || tb.sources[sourceOf(c[0])] != 2 {
		t.Error("the two notations of an address are two sources")
	}
	for _, client := range append(append(a, b...), c...) {
		tb.gone(client, nil, "", "", "")
	}
	if len(tb.relays) != 0 || len(tb.sources) != 0 {
		t.Errorf("%v and %v are left", tb.relays, tb.sources)
	}
}

// What was admitted and could not be made gives its place back; what goes wrong later
// does not end a relay.
func TestTableFailures(t *testing.T) {
	tb := newTable(1, 1, secret)
	a, b := at("192.0.2.1:1"), at("192.0.2.2:1")
	if !tb.admit("u", "", a) || tb.admit("u", "", b) {
		t.Fatal("what is asked for does not count")
	}
	if tb.has(a) || tb.owns("u", a) {
		t.Error("what is only asked for is there")
	}
	tb.failed(b, nil, "", "")
	tb.failed(a, nil, "", "")
	if !tb.open("u", b) {
		t.Fatal("the place was not given back")
	}
	tb.failed(b, nil, "", "")
	if !tb.has(b) || tb.open("u", a) {
		t.Error("a relay's place was given back")
	}
}

func TestTableKeys(t *testing.T) {
	tb := newTable(5, 5, secret)
	now := time.Unix(1_000_000, 0)
	tb.now = func() time.Time { return now }
	client := at("192.0.2.1:1")
	const user = "1000060:somebody"
	key, ok := tb.key(user, "realm", client)
	if want := turn.GenerateAuthKey(user, "realm", password(secret, user)); !ok || !bytes.Equal(key, want) {
		t.Errorf("%x, %t; want %x", key, ok, want)
	}
	for _, wrong := range []string{"", ":", "somebody", "999999:somebody", "-5:x", "0x10:x", "99999999999999999999:x", "1000060"} {
		_, ok := tb.key(wrong, "realm", client)
		if want := wrong == "1000060"; ok != want { // a name is not needed
			t.Errorf("%q: %t", wrong, ok)
		}
	}
	// What has expired opens nothing, but keeps what it has opened.
	if !tb.open(user, client) {
		t.Fatal("not admitted")
	}
	now = now.Add(61 * time.Second)
	if again, ok := tb.key(user, "realm", client); !ok || !bytes.Equal(again, key) {
		t.Error("a relay ends with its credentials")
	}
	if _, ok := tb.key(user, "realm", at("192.0.2.1:2")); ok {
		t.Error("expired credentials are good for another client")
	}
	if _, ok := tb.key("1000059:somebody", "realm", client); ok {
		t.Error("expired credentials are good for another user's relay")
	}
	tb.gone(client, nil, "", "", "")
	if _, ok := tb.key(user, "realm", client); ok {
		t.Error("expired credentials are good once the relay is gone")
	}
}

func TestTablePermissions(t *testing.T) {
	tb := newTable(5, 5, secret)
	client := at("192.0.2.1:1")
	peer := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }
	if tb.mayPermit(client, peer(0)) {
		t.Error("a peer is permitted without a relay")
	}
	tb.open("u", client)
	for n := range maxPermissions {
		if !tb.mayPermit(client, peer(n)) {
			t.Fatalf("peer %d is not permitted", n)
		}
		tb.permitted(client, nil, "", "", "", nil, peer(n).AsSlice())
	}
	if tb.mayPermit(client, peer(maxPermissions)) {
		t.Error("there is no limit")
	}
	if !tb.mayPermit(client, peer(0)) {
		t.Error("a permission is not renewed at the limit")
	}
	tb.forbidden(client, nil, "", "", "", nil, peer(0).AsSlice())
	if !tb.mayPermit(client, peer(maxPermissions)) {
		t.Error("a place is not given back")
	}
	other := at("192.0.2.7:1")
	tb.permitted(other, nil, "", "", "", nil, peer(0).AsSlice()) // its relay has ended meanwhile
	tb.forbidden(other, nil, "", "", "", nil, peer(0).AsSlice())
}

func TestTableDrain(t *testing.T) {
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	tb := newTable(5, 5, secret)
	for range 2 {
		if !closed(tb.drain()) || tb.open("u", at("192.0.2.1:1")) {
			t.Error("a table without relays does not drain")
		}
	}
	tb = newTable(5, 5, secret)
	for n := range 3 {
		tb.open("u", at(fmt.Sprint("192.0.2.1:", n+1)))
	}
	for n := range 3 {
		if closed(tb.drain()) {
			t.Errorf("drained with %d relays", tb.len())
		}
		tb.gone(at(fmt.Sprint("192.0.2.1:", n+1)), nil, "", "", "")
	}
	if !closed(tb.drain()) {
		t.Error("not drained")
	}
}
