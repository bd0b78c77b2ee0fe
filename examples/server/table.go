package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/turn/v4"
)

// maxPermissions is how many peers one relay may reach at a time.
const maxPermissions = 256

// table knows whose relays there are. pion/turn calls it from many goroutines, with locks
// of its own held, so it never calls back.
type table struct {
	max, maxSource int
	secret         string
	now            func() time.Time

	mu       sync.Mutex
	relays   map[string]*relayed // by their clients' addresses
	sources  map[netip.Prefix]int
	draining bool
	empty    chan struct{} // closed when the last one has gone while draining
}

// relayed is one relay.
type relayed struct {
	user        string
	source      netip.Prefix
	made        bool // until then it is only asked for
	permissions map[netip.Addr]bool
}

func newTable(max, maxSource int, secret string) *table {
	return &table{
		max: max, maxSource: maxSource, secret: secret, now: time.Now,
		relays: make(map[string]*relayed), sources: make(map[netip.Prefix]int), empty: make(chan struct{}),
	}
}

// clientKey tells clients apart.
func clientKey(addr net.Addr) string { return addr.Network() + " " + addr.String() }

// key returns the key that a user's messages are signed with. A username is the time at
// which it expires, in Unix seconds, a colon, and whose it is; its password is made with
// the secret (draft-uberti-behave-turn-rest-00). Whoever has a relay may keep it with
// the username by which it was made: credentials are for opening one, and a relay that
// ended with them would cut off its client in mid-session.
func (t *table) key(user, realm string, client net.Addr) ([]byte, bool) {
	expiry, _, _ := strings.Cut(user, ":")
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || seconds < t.now().Unix() && !t.owns(user, client) {
		return nil, false
	}
	mac := hmac.New(sha1.New, []byte(t.secret))
	mac.Write([]byte(user))
	return turn.GenerateAuthKey(user, realm, base64.StdEncoding.EncodeToString(mac.Sum(nil))), true
}

func (t *table) owns(user string, client net.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.relays[clientKey(client)]
	return r != nil && r.made && r.user == user
}

// has reports whether a client has a relay.
func (t *table) has(client net.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.relays[clientKey(client)]
	return r != nil && r.made
}

// admit is asked before a relay is made, and keeps its place.
func (t *table) admit(user, _ string, client net.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, source := clientKey(client), sourceOf(client)
	if t.draining || t.relays[key] != nil || len(t.relays) >= t.max || t.sources[source] >= t.maxSource {
		return false
	}
	t.relays[key] = &relayed{user: user, source: source}
	t.sources[source]++
	return true
}

// made is told that an admitted relay is there.
func (t *table) made(client, _ net.Addr, _, _, _ string, _ net.Addr, _ int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.relays[clientKey(client)]; r != nil {
		r.made = true
	}
}

// failed is told that something went wrong with a client's message; perhaps its relay
// could not be made.
func (t *table) failed(client, _ net.Addr, _, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.relays[clientKey(client)]; r != nil && !r.made {
		t.drop(client)
	}
}

// gone is told that a relay has ended.
func (t *table) gone(client, _ net.Addr, _, _, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(client)
}

// drop forgets a relay. The caller holds mu.
func (t *table) drop(client net.Addr) {
	key := clientKey(client)
	r := t.relays[key]
	if r == nil {
		return
	}
	delete(t.relays, key)
	if t.sources[r.source]--; t.sources[r.source] == 0 {
		delete(t.sources, r.source)
	}
	if t.draining && len(t.relays) == 0 {
		close(t.empty)
	}
}

// mayPermit reports whether a client's relay may reach a peer, as far as the number of
// its peers goes.
func (t *table) mayPermit(client net.Addr, peer netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.relays[clientKey(client)]
	return r != nil && (r.permissions[peer] || len(r.permissions) < maxPermissions)
}

// permitted is told that a client's relay may reach a peer from now on.
func (t *table) permitted(client, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.relays[clientKey(client)]; r != nil {
		if r.permissions == nil {
			r.permissions = make(map[netip.Addr]bool)
		}
		r.permissions[addrOf(peer)] = true
	}
}

// forbidden is told that it no longer may.
func (t *table) forbidden(client, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.relays[clientKey(client)]; r != nil {
		delete(r.permissions, addrOf(peer))
	}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// drain admits nobody any more. The channel is closed when all relays have ended.
func (t *table) drain() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.draining && len(t.relays) == 0 {
		close(t.empty)
	}
	t.draining = true
	return t.empty
}

// len returns the number of relays.
func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.relays)
}
