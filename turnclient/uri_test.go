package turnclient_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/turnclient"
)

// RFC 7065 section 3.1 and appendix A.
func TestParseURI(t *testing.T) {
	for s, want := range map[string]turnclient.URI{
		"turn:example.org":                    {Host: "example.org"},
		"turns:example.org":                   {Host: "example.org", Secure: true},
		"turn:3cx":                            {Host: "3cx"},
		"turn:example.org:8000":               {Host: "example.org", Port: 8000},
		"turn:example.org?transport=udp":      {Host: "example.org", Network: "udp"},
		"turn:example.org?transport=tcp":      {Host: "example.org", Network: "tcp"},
		"turns:example.org?transport=tcp":     {Host: "example.org", Secure: true, Network: "tcp"},
		"turns:example.org?transport=udp":     {Host: "example.org", Secure: true, Network: "udp"}, // RFC 7350
		"turns:example.org:443?transport=tcp": {Host: "example.org", Port: 443, Secure: true, Network: "tcp"},
		"turn:192.0.2.1:1?transport=udp":      {Host: "192.0.2.1", Port: 1, Network: "udp"},
		"turn:[2001:db8::1]:80?transport=tcp": {Host: "2001:db8::1", Port: 80, Network: "tcp"},
		"turn:[2001:db8::1]":                  {Host: "2001:db8::1"},
		"turn:[::ffff:192.0.2.1]":             {Host: "192.0.2.1"},
	} {
		got, err := turnclient.ParseURI(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
		if back := got.String(); back != s && !strings.Contains(s, "::ffff:") {
			t.Errorf("%s is written as %s", s, back)
		}
	}
	if u, err := turnclient.ParseURI("TURN:example.org:3479?Transport=TCP"); err != nil || u.Port != 3479 || u.Secure || u.Network != "tcp" {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := turnclient.ParseURI("turn:2001:db8::1"); err != nil || u.Host != "2001:db8::1" || u.Port != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	for _, s := range []string{
		"", "turn", "stun:example.org", "stuns:example.org", "stuns:192.0.2.1", "https://example.org", "turn:", "turns:?transport=tcp",
		"turn:host:0", "turn:host:99999", "turn:host:x", "turn:host:", "turn:host:-1", "turn:host:1:2", "turn:host?transport=sctp",
		"turn:host?transport=", "turn:host?transport=dtls", "turn:host?x=y", "turn:host?", "turn:host?transport=udp&x=y",
		"turn://host", "turn:user@host", "turn:host/path", "turn:a b", "turn:a\r\nb", "turn:a..b", "turn:.", "turn:[::1", "turn:[host]", "turn:[::1]x", "turn:[192.0.2.1]",
		"turn:::1]:80", "turn:" + strings.Repeat("a", 64), "turn:" + strings.Repeat("a.", 200), "turn:h\xffst", "turn:h%00st",
		"turn:1.2.3", "turn:127.1", "turn:2130706433", "turn:0x7f.1", "turn:127.0.0.0x1.", "turn:017700000001",
	} {
		var bad *turnclient.ConfigError
		if u, err := turnclient.ParseURI(s); !errors.As(err, &bad) {
			t.Errorf("%q: %+v, %v", s, u, err)
		}
	}
}

// What is wrong is told with what to write in its place, and without what may be a secret.
func TestURIRemedy(t *testing.T) {
	for s, want := range map[string]string{
		"example.org":                       "; write turn:HOST:PORT, or turns:HOST:PORT for TLS",
		"stun:example.org":                  "; write turn:HOST:PORT, or turns:HOST:PORT for TLS",
		"turn://example.org:3478":           "has a slash, which is of other URIs; write turn:HOST:PORT",
		"turns://example.org":               "has a slash, which is of other URIs; write turns:HOST:PORT",
		"turn:example.org:0":                "has a port outside 1 to 65535; write turn:HOST:PORT",
		"turns:example.org:0?transport=tcp": "; write turns:HOST:PORT?transport=tcp",
		"turn:example.org?transport=sctp":   "names an unknown transport; write turn:HOST:PORT?transport=udp or ?transport=tcp, or without ?",
		"turn:user:secret@example.org":      `before "@example.org"; name and password go into Username and Password, and the URI is turn:HOST:PORT`,
		"turn:user:sec?ret@example.org:5":   `before "@example.org:5"; name and password go into Username and Password`,
		"https://user:secret@example.org":   "name and password go into Username and Password",
	} {
		_, err := turnclient.ParseURI(s)
		if err == nil || !strings.Contains(err.Error()+"$", want) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
		if !strings.Contains(s, "?") && err != nil && strings.Contains(err.Error(), "transport=") {
			t.Errorf("%s: %v: nobody asked for a transport", s, err)
		}
	}
}
