package main

import (
	"bytes"
	"flag"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func TestBadArguments(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-nonsense", "-nonsense"},
		{"stray", "stray"},
		{"-listen=", "IPv4"},
		{"-listen localhost", "localhost"},
		{"-listen ::1", "IPv4"},
		{"-listen 127.0.0.1,127.0.0.2", "one family"},
		{"-listen 127.0.0.1,fe80::1%lo", "fe80"},
		{"-listen 224.0.0.1", "224.0.0.1"},
		{"-listen 0.0.0.0", "-public"},
		{"-listen 127.0.0.1,::", "-public"},
		{"-public 0.0.0.0", "0.0.0.0"},
		{"-public 2001:db8::1", "2001:db8::1"},
		{"-public x", "-public"},
		{"-listen2 x", "-listen2"},
		{"-listen2 127.0.0.1", "not the same"},
		{"-listen2 0.0.0.0", "0.0.0.0"},
		{"-listen2 ::1", "family"},
		{"-listen2 127.0.0.2 -public 192.0.2.1", "behind"},
		{"-listen2 127.0.0.2 -listen 0.0.0.0 -public 192.0.2.1", "not the same"},
		{"-name http://x/", "-name"},
		{"-name x:", "-name"},
		{"-name x:y", "-name"},
		{"-name :80", "-name"},
		{"-name 2001:db8::1", "-name"},
		{"-http-port -1", "-http-port -1"},
		{"-turn-port 65536", "-turn-port 65536"},
		{"-turn-port x", "-turn-port"},
		{"-turn-port 3478", "-stun-port and -turn-port are both 3478"},
		{"-relay-ports 5", "-relay-ports"},
		{"-relay-ports 9-5", "-relay-ports"},
		{"-max-clients-per-address 0", "-max-clients-per-address 0"},
		{"-max-clients-per-address 65537", "1 to 65536"},
		{"-max-relays 0", "-max-relays 0"},
		{"-max-relays-per-address -1", "-max-relays-per-address -1"},
		{"-turn-lifetime 1s", "-turn-lifetime 1s"},
		{"-drain -1s", "-drain -1s"},
		{"-log xml", "xml"},
		{"-tls-cert x", "-tls-key"},
		{"-turns-port 5349", "-turns-port 5349: TURN over TLS needs a certificate"},
		{"-tls-cert none.pem -tls-key none.pem", "-name"},
		{"-name x -tls-cert none.pem -tls-key none.pem", "none.pem"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), func(string) string { return "" }, &stderr)
		if said := stderr.String(); code != cli.Wrong || !strings.Contains(said, test.want) || !strings.HasPrefix(said, "server: ") || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: it ended with %d and said %q, want %d and %q", test.args, code, said, cli.Wrong, test.want)
		}
	}
}

func TestArguments(t *testing.T) {
	env := func(name string) string { return map[string]string{envSecret: "of the environment"}[name] }
	ip := netip.MustParseAddr
	for _, test := range []struct {
		args string
		want []host
		show string // what URIs name
	}{
		{"", []host{{ip: ip("127.0.0.1"), public: ip("127.0.0.1")}}, "127.0.0.1"},
		{"-listen ::ffff:10.0.0.5 -public 192.0.2.1", []host{{ip: ip("10.0.0.5"), public: ip("192.0.2.1")}}, "192.0.2.1"},
		{"-listen 2001:db8::5,192.0.2.5 -listen2 2001:db8::6", []host{
			{ip: ip("192.0.2.5"), public: ip("192.0.2.5")},
			{ip: ip("2001:db8::5"), second: ip("2001:db8::6"), public: ip("2001:db8::5")},
		}, "192.0.2.5 [2001:db8::5]"},
		{"-listen 0.0.0.0,:: -public 192.0.2.5,2001:db8::5 -name Meet.example:8443", []host{
			{ip: ip("0.0.0.0"), public: ip("192.0.2.5")},
			{ip: ip("::"), public: ip("2001:db8::5")},
		}, "Meet.example"},
		{"-name [2001:db8::5]:8443", []host{{ip: ip("127.0.0.1"), public: ip("127.0.0.1")}}, "[2001:db8::5]"},
		{"-name [2001:db8::5]", []host{{ip: ip("127.0.0.1"), public: ip("127.0.0.1")}}, "[2001:db8::5]"},
	} {
		c, err := parse(strings.Fields(test.args), env, io.Discard)
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		if show := strings.Join(c.advertised(), " "); !slices.Equal(c.hosts, test.want) || show != test.show || c.secret != "of the environment" {
			t.Errorf("%s: %v as %s, want %v as %s", test.args, c.hosts, show, test.want, test.show)
		}
	}
	// The flag beats the environment, and where neither says anything the secret is new.
	seen := map[string]bool{}
	for _, args := range [][]string{{"-turn-secret", "of the flag"}, nil, nil} {
		c, err := parse(args, func(string) string { return "" }, io.Discard)
		if err != nil || len(c.secret) < len("of the flag") || seen[c.secret] {
			t.Errorf("%q: %v", args, err)
		}
		seen[c.secret] = true
	}
	if c, err := parse([]string{"-turn-secret", "of the flag"}, env, io.Discard); err != nil || c.secret != "of the flag" {
		t.Errorf("the flag does not beat the environment: %v", err)
	}
}

func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, func(string) string { return "" }, &help); code != cli.Done {
		t.Errorf("it ended with %d", code)
	}
	for _, want := range []string{"examples:", "exit codes:", "-listen2"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	// Its examples are right, as far as that can be known without their certificates.
	for line := range strings.Lines(usage) {
		if args, ok := strings.CutPrefix(strings.TrimSpace(line), "server"); ok && !strings.Contains(args, "-tls") {
			if _, err := parse(strings.Fields(args), func(string) string { return "" }, io.Discard); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if _, err := parse([]string{"-help"}, func(string) string { return "" }, io.Discard); err != flag.ErrHelp {
		t.Errorf("-help: %v", err)
	}
}
