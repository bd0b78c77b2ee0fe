package turnclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

func modern() turntest.Config {
	cfg := authed()
	cfg.SHA256, cfg.Anonymous = true, true
	return cfg
}

// RFC 8656 section 6 and RFC 8489 section 9.2.5.
func TestSHA256IsChosenThoughMD5ComesFirst(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, modern())
	var offered []byte
	l.down = func(b []byte) []byte {
		var m wire.Message
		if m.Decode(b) == nil {
			if v, ok := m.Get(wire.AttrPasswordAlgorithms); ok {
				offered = bytes.Clone(v)
			}
		}
		return b
	}
	id := l.ready()
	l.send(id, peerA, "a")
	l.run(time.Second)
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(time.Second)
	checked := 0
	for _, s := range l.sent {
		m := s.msg()
		if m.Class() != wire.Request || !signed(m) {
			continue
		}
		checked++
		chosen, _ := m.Get(wire.AttrPasswordAlgorithm)
		echoed, _ := m.Get(wire.AttrPasswordAlgorithms)
		if !bytes.Equal(chosen, []byte{0, 2, 0, 0}) || !bytes.Equal(echoed, offered) || len(offered) != 8 {
			t.Errorf("%v: chose %x, echoed %x of %x", m.Type(), chosen, echoed, offered)
		}
		if m.Has(wire.AttrMessageIntegrity) || m.CheckIntegritySHA256(wire.LongTermKeySHA256("user", "example.org", "canary-password")) != nil {
			t.Errorf("%v is not signed with SHA-256 alone", m.Type())
		}
		if m.Has(wire.AttrUsername) || !m.Has(wire.AttrUserhash) {
			t.Errorf("%v shows the user's name", m.Type())
		}
	}
	if checked != 3 {
		t.Errorf("%d signed requests, want Allocate, CreatePermission and Refresh", checked)
	}
}

// RFC 8489 section 9.2.1: what is stripped from a challenge ends the request.
func TestBidDownEndsTheRequest(t *testing.T) {
	rewrite := func(nonce func(string) string, list func([]uint16) []uint16) func([]byte) []byte {
		return func(b []byte) []byte {
			var m wire.Message
			if m.Decode(b) != nil || m.Class() != wire.Failure {
				return b
			}
			var to wire.Builder
			to.Reset(m.Type(), m.TransactionID())
			code, _, _ := m.ErrorCode()
			to.AddErrorCode(code, "")
			realm, _ := m.Realm()
			n, _ := m.Nonce()
			to.AddRaw(wire.AttrRealm, realm)
			to.AddString(wire.AttrNonce, nonce(string(n)))
			if offered := list([]uint16{1, 2}); offered != nil {
				to.AddPasswordAlgorithms(wire.AttrPasswordAlgorithms, offered...)
			}
			return to.Bytes()
		}
	}
	same := func(s string) string { return s }
	keep := func(a []uint16) []uint16 { return a }
	none := func([]uint16) []uint16 { return nil }
	for name, tamper := range map[string]func([]byte) []byte{
		"list stripped":            rewrite(same, none),
		"bit stripped":             rewrite(func(s string) string { return wire.NonceCookie(wire.FeatureUsernameAnonymity) + s[13:] }, keep),
		"cookie stripped":          rewrite(func(s string) string { return s[13:] }, keep),
		"no algorithm we know":     rewrite(same, func([]uint16) []uint16 { return []uint16{7} }),
		"list too short to be one": rewrite(same, func([]uint16) []uint16 { return []uint16{} }),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds})
			l.serve(serverAddr, modern())
			l.down = tamper
			_, err := l.failed(l.allocate(), time.Minute)
			if n := len(l.requests(wire.Allocate)); n != 1 {
				t.Errorf("%d requests, want no retry: %v", n, err)
			}
		})
	}
	t.Run("bit and list stripped later", func(t *testing.T) {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds})
		server := l.serve(serverAddr, modern())
		id := l.ready()
		server.ForgetNonces()
		l.down = rewrite(func(s string) string { return s[13:] }, none)
		l.send(id, peerA, "a")
		l.run(time.Second)
		if n := len(l.requests(wire.CreatePermission)); n != 1 || !errors.Is(l.last(turnclient.EventPermission).Err, turnclient.ErrBidDown) {
			t.Errorf("%d requests, %v", n, l.failures())
		}
	})
	t.Run("SHA-256 stripped from the list", func(t *testing.T) {
		// The server sees it: the list is echoed, and signed.
		l := newLab(t, turnclient.MachineConfig{Credentials: creds})
		l.serve(serverAddr, modern())
		l.down = rewrite(same, func([]uint16) []uint16 { return []uint16{1} })
		id := l.allocate()
		l.run(time.Minute)
		if l.m.State(id) != turnclient.Failed {
			t.Errorf("state %v", l.m.State(id))
		}
	})
}

// RFC 8489 section 9.2.5: answers other than 401 and 438.
func TestAnswerWithBitButWithoutAlgorithmsIsIgnored(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		return one(answerTo(m, 0, md5Key, func(b *wire.Builder) {
			granted(b)
			b.AddString(wire.AttrNonce, wire.NonceCookie(wire.FeaturePasswordAlgorithms)+"x")
		}))
	})
	id := l.allocate()
	l.run(time.Second)
	if l.m.State(id) != turnclient.Allocating {
		t.Errorf("state %v", l.m.State(id))
	}
}

func TestRejectedCredentialsAreNotSentAgain(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: turnclient.Credentials{Username: "user", Password: "wrong"}})
	l.serve(serverAddr, authed())
	at, err := l.failed(l.allocate(), time.Minute)
	if n := len(l.requests(wire.Allocate)); n != 2 || at > 100*time.Millisecond {
		t.Errorf("%d requests until %v", n, at)
	}
	var s *turnclient.ServerError
	if !errors.As(err, &s) || s.Code != 401 || s.Op != "allocate" || s.Server.Addr != serverAddr || !errors.Is(err, turnclient.ErrCredentials) {
		t.Errorf("%v", err)
	}
	// RFC 8656 section 7.4: stop using the server.
	before := len(l.sent)
	l.run(time.Hour)
	if _, err := l.failed(l.allocate(), time.Minute); !errors.Is(err, turnclient.ErrHeld) {
		t.Errorf("%v", err)
	}
	if len(l.sent) != before {
		t.Error("the server was asked again")
	}
}

func TestNoCredentials(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{})
	l.serve(serverAddr, authed())
	_, err := l.failed(l.allocate(), time.Minute)
	if !errors.Is(err, turnclient.ErrCredentials) || !strings.Contains(err.Error(), `realm "example.org"`) {
		t.Errorf("%v", err)
	}
}

// Realm and nonce are kept: the second allocation takes one round trip.
func TestSecondAllocationTakesOneRoundTrip(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	l.ready()
	start, before := l.elapsed(), len(l.requests(wire.Allocate))
	l.ready()
	if took, n := l.elapsed()-start, len(l.requests(wire.Allocate))-before; took != 2*l.delay || n != 1 {
		t.Errorf("took %v and %d requests", took, n)
	}
}

// 438 is answered with the new nonce wherever it comes.
func TestStaleNonceEverywhere(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 1})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	count := func(m wire.Method) int { return len(l.requests(m)) }
	server.ForgetNonces()
	l.send(id, peerA, "permission")
	l.up = func(b []byte) []byte { // forget again between permission and channel
		if b[1] == 0x09 {
			server.ForgetNonces()
			l.up = nil
		}
		return b
	}
	l.run(time.Second)
	if n := count(wire.CreatePermission); n != 2 || len(l.toPeers) != 1 {
		t.Errorf("%d CreatePermission requests, %d datagrams relayed", n, len(l.toPeers))
	}
	if n := count(wire.ChannelBind); n != 2 || server.Channels(l.now) != 1 {
		t.Errorf("%d ChannelBind requests, %d channels", n, server.Channels(l.now))
	}
	l.run(490 * time.Second)
	server.ForgetNonces()
	before := count(wire.Refresh)
	l.run(20 * time.Second)
	if n := count(wire.Refresh) - before; n != 2 || l.m.Expires(id).Sub(l.now) < 400*time.Second {
		t.Errorf("%d Refresh requests, %v left", n, l.m.Expires(id).Sub(l.now))
	}
	server.ForgetNonces()
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(5 * time.Second)
	if e := l.last(turnclient.EventReleased); e.Err != nil || server.Allocations(l.now) != 0 {
		t.Errorf("closed with %v, %d allocations left", e.Err, server.Allocations(l.now))
	}
}

// A storm of 438s is met with three retries, then with waits; the allocation is kept if
// the server recovers before it expires.
func TestStaleNonceStorm(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	storm := true
	l.up = func(b []byte) []byte {
		if storm {
			server.ForgetNonces()
		}
		return b
	}
	l.run(502 * time.Second)
	if at := times(l.requests(wire.Refresh)); len(at) < 4 || at[3]-at[0] > time.Second {
		t.Fatalf("refreshes at %v", at)
	}
	l.run(30 * time.Second)
	if n := len(l.requests(wire.Refresh)); n > 40 {
		t.Errorf("%d requests in half a minute", n)
	}
	storm = false
	l.run(70 * time.Second)
	if !l.m.State(id).Usable() || l.m.Expires(id).Sub(l.now) < 5*time.Minute || len(l.all(turnclient.EventAllocated)) != 1 {
		t.Errorf("state %v, expires in %v", l.m.State(id), l.m.Expires(id).Sub(l.now))
	}
}

// Short-lived credentials are asked for, and asked for again when they are rejected.
func TestCredentialsAreAskedForAgain(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Ask: true})
	server := l.serve(serverAddr, authed())
	id := l.allocate()
	l.run(time.Second)
	e := l.last(turnclient.EventCredentials)
	if e.Realm != "example.org" || e.Again || e.Server.Addr != serverAddr {
		t.Fatalf("%+v", e)
	}
	l.do(func(now time.Time) { l.m.SetCredentials(now, e.Server, creds, nil) })
	l.run(time.Second)
	if l.m.State(id) != turnclient.Allocated {
		t.Fatalf("state %v: %v", l.m.State(id), l.failures())
	}
	delete(server.Users, "user")
	server.Users["later"] = "other-canary"
	l.run(505 * time.Second)
	e = l.last(turnclient.EventCredentials)
	if !e.Again {
		t.Fatalf("%+v", e)
	}
	l.do(func(now time.Time) {
		l.m.SetCredentials(now, e.Server, turnclient.Credentials{Username: "later", Password: "other-canary"}, nil)
	})
	l.run(time.Second)
	// The old allocation belongs to the old user (441): it is made anew.
	if !l.m.State(id).Usable() || len(l.all(turnclient.EventAllocated)) != 2 {
		t.Errorf("state %v: %v", l.m.State(id), l.failures())
	}
}

func TestCredentialsThatCannotBeHad(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Ask: true})
	l.serve(serverAddr, authed())
	id := l.allocate()
	l.run(time.Second)
	broken := errors.New("the vault is shut")
	l.do(func(now time.Time) {
		l.m.SetCredentials(now, l.last(turnclient.EventCredentials).Server, turnclient.Credentials{}, broken)
	})
	if _, err := l.failed(id, time.Second); !errors.Is(err, broken) || !errors.Is(err, turnclient.ErrCredentials) {
		t.Errorf("%v", err)
	}
}

// RFC 7635 section 4.1: the token goes along, the session key signs.
func TestAccessToken(t *testing.T) {
	key := []byte("session-key-canary")
	l := newLab(t, turnclient.MachineConfig{Credentials: turnclient.Credentials{Username: "kid", AccessToken: []byte("token"), Key: key}})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte {
		token, _ := m.Get(wire.AttrAccessToken)
		if string(token) != "token" || m.CheckIntegrity(key) != nil {
			t.Errorf("token %q", token)
		}
		return one(answerTo(m, 0, key, granted))
	})
	l.ready()
}

// Nothing prints a secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte { return one(challengeTo(m, 438, "other-"+nonce)) })
	l.send(id, peerA, "a")
	l.run(time.Minute)
	cfg := turnclient.Config{Credentials: creds}
	machineCfg := turnclient.MachineConfig{Credentials: creds}
	var all strings.Builder
	for _, v := range []any{l.m, *creds2(), creds2(), cfg, &cfg, machineCfg, l.events, l.failures()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&all, verb+"\n", v)
		}
	}
	for _, err := range l.failures() {
		fmt.Fprintln(&all, err)
	}
	for _, secret := range []string{"canary", fmt.Sprintf("%x", "canary")} {
		if at := strings.Index(all.String(), secret); at >= 0 {
			t.Errorf("%q is printed: ...%s", secret, all.String()[max(0, at-80):at+20])
		}
	}
}

func creds2() *turnclient.Credentials {
	c := creds
	c.AccessToken, c.Key = []byte("token-canary"), []byte("key-canary")
	return &c
}

func TestCredentialsAreChecked(t *testing.T) {
	for _, c := range []turnclient.Credentials{
		{Username: "a\x00b", Password: "x"}, {Username: "", Password: "x"}, {Username: "a", Password: ""},
		{Username: strings.Repeat("u", 509), Password: "x"}, {Username: "a", Password: "\xff"}, {Username: "a", AccessToken: []byte("t")},
	} {
		_, err := turnclient.NewMachine(turnclient.MachineConfig{Servers: []turnclient.Endpoint{{Addr: serverAddr}}, Credentials: c}, nil, nil)
		var bad *turnclient.ConfigError
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Field, "Credentials.") {
			t.Errorf("%q: %v", c.Username, err)
		}
	}
}

// RFC 8265 section 4.2: other spaces are the ASCII space.
func TestOpaqueStringSpaces(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: turnclient.Credentials{Username: "user", Password: "a\u00a0b"}})
	l.serve(serverAddr, turntest.Config{Realm: "r", Users: map[string]string{"user": "a b"}})
	l.ready()
}

// The wrong realm: the credentials are tried once for each, no more.
func TestRealmThatKeepsChanging(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	n := 0
	l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		n++
		return one(answerTo(m, 401, nil, func(b *wire.Builder) {
			b.AddString(wire.AttrRealm, fmt.Sprint("realm ", n))
			b.AddString(wire.AttrNonce, fmt.Sprint("nonce ", n))
		}))
	})
	l.failed(l.allocate(), time.Minute)
	if n > 5 {
		t.Errorf("%d requests", n)
	}
}

// Whoever fetches credentials may take his time; that holds up nobody who closes. Neither
// the deletion that the server wants others for, nor a server that is being asked for
// another allocation.
func TestCloseDoesNotWaitForCredentials(t *testing.T) {
	for _, parked := range []wire.Method{wire.Refresh, wire.Allocate} {
		l := newLab(t, turnclient.MachineConfig{Ask: true})
		server := l.serve(serverAddr, authed())
		id := l.allocate()
		l.run(time.Second)
		l.do(func(now time.Time) {
			l.m.SetCredentials(now, l.last(turnclient.EventCredentials).Server, creds, nil)
		})
		l.run(time.Second)
		if !l.m.State(id).Usable() {
			t.Fatalf("state %v", l.m.State(id))
		}
		server.Users = map[string]string{"user": "another password"}
		if parked == wire.Allocate {
			l.notice(machine.Notice{Kind: machine.SocketFailed, Socket: l.sent[0].socket, Err: errors.New("gone")})
			l.run(time.Second)
		}
		begin := l.elapsed()
		l.do(func(now time.Time) { l.m.Close(now, id) })
		l.run(5 * time.Second)
		if n := len(l.all(turnclient.EventCredentials)); n != 2 {
			t.Fatalf("%v: asked %d times for credentials", parked, n)
		}
		e := l.last(turnclient.EventReleased)
		if took := e.At.Sub(l.start) - begin; took > 2*time.Second || len(l.sockets) != 0 {
			t.Errorf("%v: released after %v", parked, took)
		}
		if parked == wire.Refresh && (!errors.Is(e.Err, turnclient.ErrCredentials) || !strings.Contains(e.Err.Error(), "still being fetched")) {
			t.Errorf("%v", e.Err)
		}
	}
}

// What was left out is told as that, not as text that cannot be used.
func TestCredentialsLeftOut(t *testing.T) {
	for field, c := range map[string]turnclient.Credentials{
		"Credentials.Username": {Password: "canary-password"},
		"Credentials.Password": {Username: "user"},
	} {
		_, err := turnclient.Dial(t.Context(), turnclient.Config{Servers: []string{"turn:192.0.2.1"}, Credentials: c})
		var bad *turnclient.ConfigError
		if !errors.As(err, &bad) || bad.Field != field || !strings.Contains(bad.Reason, "is empty; give the") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
