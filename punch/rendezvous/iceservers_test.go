package rendezvous

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// The vector was computed with openssl dgst -sha1 -hmac.
func TestTURNCredentials(t *testing.T) {
	peer, err := ident.ParsePeerID("quqpacmjgctvi5elpxolipxxlig36oqney4bv5hlusuy5ku3jzva")
	if err != nil {
		t.Fatal(err)
	}
	s := newICEServers(&ServerConfig{ICEServers: []string{"TURN:t.example"}, TURNSecret: "north", TURNLifetime: time.Hour})
	got := s.forClient(time.Unix(1_700_000_000, 0), peer, true)
	want := []frameServer{{
		URIs: []string{"turn:t.example"}, Username: "1700003600:quqpacmj",
		Credential: "kGt1ZrxZPpaue9KYaN+EesYRQ+0=", TTL: 3600,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWelcomeBringsServers(t *testing.T) {
	cfg := ServerConfig{
		ICEServers: []string{"stun:s.example", "turn:t.example?transport=udp", "turns:t.example:443?transport=tcp"},
		TURNSecret: "north", TURNLifetime: 10 * time.Minute, AllowUnproven: true,
	}
	w := newWorld(t, cfg)
	id := identity(t, 1)
	p := w.dial(addrA, ClientConfig{Identity: id}, "test")
	began := w.now
	list := p.events[0].(Welcome).ICEServers
	if len(list) != 2 {
		t.Fatalf("the welcome has %v", list)
	}
	if want := (ICEServer{URIs: []string{"stun:s.example"}}); !reflect.DeepEqual(list[0], want) {
		t.Errorf("first %v, want %v", list[0], want)
	}
	turn := list[1]
	if want := cfg.ICEServers[1:]; !slices.Equal(turn.URIs, want) || turn.Credential == "" {
		t.Errorf("then %v, want %v", turn, want)
	}
	if want := fmt.Sprintf("%d:%s", began.Add(cfg.TURNLifetime).Unix(), id.ID().Short()); turn.Username != want {
		t.Errorf("username %q, want %q", turn.Username, want)
	}
	if want := began.Add(cfg.TURNLifetime); !turn.Expires.Equal(want) {
		t.Errorf("expires %v, want %v", turn.Expires, want)
	}

	// The frame of an unproven client has no credentials in its name.
	u := w.connect(addrB)
	u.hello(identity(t, 2).ID(), nil)
	u.put(frame{Type: typeServers})
	for _, f := range u.frames[1:] {
		if len(f.Servers) != 1 || f.Servers[0].URIs[0] != "stun:s.example" || f.Servers[0].Username != "" {
			t.Errorf("a client without proof got %+v", f)
		}
	}
	if len(u.frames) != 3 {
		t.Errorf("%d frames, want challenge, welcome and servers", len(u.frames))
	}
}

// For a day, no credentials that the client has are in the second half of
// their life, nor does it ask more often than that takes.
func TestCredentialsAreRenewed(t *testing.T) {
	const lifetime = 10 * time.Minute
	w := newWorld(t, ServerConfig{ICEServers: []string{"turn:t.example"}, TURNSecret: "north", TURNLifetime: lifetime})
	p := w.dial(addrA, ClientConfig{}, "test")
	have := p.take()[0].(Welcome).ICEServers[0]
	renewed := 0
	for end := w.now.Add(24 * time.Hour); w.now.Before(end); w.advance(time.Second) {
		for _, e := range p.take() {
			next := e.(Servers).ICEServers[0]
			if !next.Expires.After(have.Expires) || next.Username == have.Username || next.Credential == have.Credential {
				t.Fatalf("renewed by %v, had %v", next, have)
			}
			have = next
			renewed++
		}
		if left := have.Expires.Sub(w.now); left < lifetime/2-time.Second {
			t.Fatalf("after %d renewals the credentials have %v left of %v", renewed, left, lifetime)
		}
	}
	if renewed < 24*12 || renewed > 24*15 {
		t.Errorf("renewed %d times in a day, want 288 to 360", renewed)
	}
}

// A server that does not answer is asked again, but not without end.
func TestClientAsksAgain(t *testing.T) {
	l := newLone(t, ClientConfig{PingInterval: -1})
	l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected})
	l.receive((&frame{Type: typeChallenge, Version: 1, Key: identity(t, 50).ID(), Nonce: make([]byte, nonceSize)}).encode())
	l.receive((&frame{Type: typeWelcome, Servers: []frameServer{{URIs: []string{"turn:t"}, Username: "u", Credential: "c", TTL: 600}}}).encode())
	l.drain()
	asked, last := 0, l.now
	for end := l.now.Add(time.Hour); l.m.NextTimeout().Before(end); {
		l.now = l.m.NextTimeout()
		if l.now.Sub(last) < leastAsk {
			t.Fatalf("asked after %v", l.now.Sub(last))
		}
		last = l.now
		l.m.HandleTimeout(l.now)
		frames, _, _ := l.drain()
		if len(frames) != 1 || frames[0].Type != typeServers {
			t.Fatalf("wrote %+v, want a request for servers", frames)
		}
		asked++
	}
	if asked < 100 || asked > 180 {
		t.Errorf("asked %d times in an hour", asked)
	}
	// An answer without credentials ends it.
	l.receive([]byte(`{"type":"servers"}`))
	if !l.m.NextTimeout().IsZero() {
		t.Error("it still wants to ask")
	}
}

// What a hostile server hands out is bounded and of the form promised.
func TestHostileServers(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("stun:s%d.example", i)
	}
	for _, test := range []struct {
		name string
		list []frameServer
		want []ICEServer
	}{
		{"none", nil, nil},
		{"no URI", []frameServer{{Username: "u", Credential: "c"}}, nil},
		{"another kind of URI", []frameServer{{URIs: []string{"https://x", "stun:a", ""}}}, []ICEServer{{URIs: []string{"stun:a"}}}},
		{"long username", []frameServer{{URIs: []string{"turn:a"}, Username: strings.Repeat("x", 513)}}, nil},
		{"long credential", []frameServer{{URIs: []string{"turn:a"}, Credential: strings.Repeat("x", 513)}}, nil},
		{"too many", []frameServer{{URIs: many}, {URIs: many}}, []ICEServer{{URIs: many[:MaxICEServers]}}},
		{"expired", []frameServer{{URIs: []string{"turn:a"}, TTL: -5}}, []ICEServer{{URIs: []string{"turn:a"}}}},
		{"eternal", []frameServer{{URIs: []string{"turn:a"}, TTL: 1 << 62}}, []ICEServer{{URIs: []string{"turn:a"}, Expires: now.Add(maxTTL)}}},
	} {
		if got := readICEServers(now, test.list); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestURIs(t *testing.T) {
	for _, uri := range []string{
		// The examples of RFC 7064 and RFC 7065, appendix A of each, and more.
		"stun:example.org", "stuns:example.org", "stun:example.org:8000",
		"turn:example.org", "turns:example.org", "turn:example.org:8000", "turn:example.org?transport=udp",
		"turn:example.org:8000?transport=tcp", "turns:example.org?transport=tcp",
		"STUN:example.org", "stun:192.0.2.1", "stun:192.0.2.1:3478", "turn:[2001:db8::1]", "turn:[2001:db8::1]:3478?transport=udp",
		"stun:localhost", "stun:a_b.example.", "stun:xn--bcher-kva.example", "stun:1.2.3.example:65535",
	} {
		if why := checkURI(uri); why != "" {
			t.Errorf("%s: %s", uri, why)
		}
	}
	for _, uri := range []string{
		"", "stun", "stun:", ":", "example.org", "example.org:3478", "http://example.org", "stunx:example.org",
		"stun://example.org", "turn:user@example.org", "turn:user:pass@example.org", "turn:example.org/path", "stun:example.org#x",
		"stun:example.org?transport=udp", "turn:example.org?transport=", "turn:example.org?transport=sctp", "turn:example.org?", "turn:example.org?x=1",
		"turn:example.org?transport=udp&x=1", "stun:example.org:", "stun:example.org:0", "stun:example.org:65536", "stun:example.org:+1", "stun:example.org:3478:1",
		"stun:300.1.1.1", "stun:1.2.3", "stun:12", "stun:2001:db8::1", "stun:[2001:db8::1", "stun:[192.0.2.1]", "stun:[fe80::1%eth0]", "stun:[]", "stun:[::1]3478", "stun:[::1]:",
		"stun:-a.example", "stun:a..example", "stun:a b", "stun:.", "stun:ä.example", "stun:a%20b", " stun:a", "stun:a ", "stun:a\n",
		"stun:" + strings.Repeat("x", 64), "stun:" + strings.Repeat("x.", 130), strings.Repeat("x", 10_000),
	} {
		if checkURI(uri) == "" {
			t.Errorf("%q counts as a URI of a STUN or TURN server", uri)
		}
	}
}

func FuzzURI(f *testing.F) {
	f.Add("turn:[2001:db8::1]:3478?transport=udp")
	f.Add("STUN:192.0.2.1:1")
	f.Fuzz(func(t *testing.T, uri string) {
		if checkURI(uri) != "" {
			return
		}
		lower := lowerScheme(uri)
		if checkURI(lower) != "" || len(uri) > maxURI || strings.ContainsAny(uri, " \t\r\n/@#\"<>") {
			t.Fatalf("%q passes", uri)
		}
	})
}

func TestServersConfig(t *testing.T) {
	const secret = "a-long-secret"
	for _, test := range []struct {
		name  string
		cfg   ServerConfig
		field string
	}{
		{"a URL for a name", ServerConfig{Name: "ws://meet.example/"}, "Name"},
		{"a name's port", ServerConfig{Name: "meet.example:x"}, "Name"},
		{"no URI", ServerConfig{ICEServers: []string{"stun:a", "stun.example"}}, "ICEServers"},
		{"empty", ServerConfig{ICEServers: []string{""}}, "ICEServers"},
		{"too many", ServerConfig{ICEServers: slices.Repeat([]string{"stun:a"}, MaxICEServers+1)}, "ICEServers"},
		{"TURN without a secret", ServerConfig{ICEServers: []string{"turn:a"}}, "TURNSecret"},
		{"a secret without TURN", ServerConfig{ICEServers: []string{"stun:a"}, TURNSecret: secret}, "TURNSecret"},
		{"a short life", ServerConfig{TURNLifetime: time.Second}, "TURNLifetime"},
		{"a negative life", ServerConfig{TURNLifetime: -1}, "TURNLifetime"},
	} {
		_, err := NewServerMachine(test.cfg)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || wrong.Field != test.field || wrong.Reason == "" {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret: %v", test.name, err)
		}
	}
}

// Client.ICEServers is renewed while the connection lives; and nothing that
// server or client print or log shows the secret or a credential.
func TestICEServersEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "a-long-secret"
		var log lockedBuffer
		factory := logging.NewDefaultLoggerFactory()
		factory.Writer, factory.DefaultLogLevel = &log, logging.LogLevelTrace
		cfg := ServerConfig{ICEServers: []string{"stun:s.example", "turn:t.example"}, TURNSecret: secret, LoggerFactory: factory}
		sv := newService(t, cfg)
		c := sv.dial(ClientConfig{})
		canaries := []string{secret}
		for range 48 {
			list := c.ICEServers()
			if len(list) != 2 || time.Until(list[1].Expires) < 29*time.Minute {
				t.Fatalf("at %v it has %v", time.Now(), list)
			}
			canaries = append(canaries, list[1].Credential)
			list[1].URIs[0] = "the caller's own"
			time.Sleep(30 * time.Minute)
		}
		if slices.Sort(canaries); len(slices.Compact(canaries)) < 40 {
			t.Errorf("few credentials in a day")
		}
		if err := c.Join(context.Background(), "r", nil); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb+verb+verb+"\n", Welcome{ICEServers: c.ICEServers()}, Servers{c.ICEServers()}, c.ICEServers())
			fmt.Fprintf(&log, verb+"\n", *sv.server.m)
			fmt.Fprintf(&log, verb+"\n", sv.server.cfg)
		}
		c.Close()
		sv.close()
		if n := len(c.ICEServers()); n != 2 {
			t.Errorf("after Close there are %d", n)
		}
		text := log.String()
		if !strings.Contains(text, "signed on") || !strings.Contains(text, "turn:t.example") {
			t.Errorf("the log is %.300q", text)
		}
		for _, canary := range canaries {
			for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]")} {
				if strings.Contains(text, form) {
					t.Fatalf("the log shows %q", form)
				}
			}
		}
	})
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
