package turnclient_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

// naptr6 are the records of RFC 5928 section 4, figures 1 to 3.
func exampleDNS() *naptrDNS {
	a := func(port uint16) []*net.SRV { return []*net.SRV{{Target: "a.example.net.", Port: port}} }
	return &naptrDNS{
		dns: dns{
			addrs: map[string][]string{"a.example.net.": {"192.0.2.1"}, "example.net": {"192.0.2.99"}, "example.com": {"192.0.2.98"}},
			srv: map[string][]*net.SRV{
				"_turn._udp.example.net.": a(3478), "_turn._tcp.example.net.": a(5000),
				"_turn._udp.example.com": a(3478), "_turn._tcp.example.com": a(5000), "_turns._tcp.example.com": a(5349),
			},
		},
		naptr: map[string][]turnclient.NAPTR{
			"example.net": {
				{Order: 200, Preference: 10, Service: "RELAY:turn.tcp:turn.tls", Replacement: "stream.example.net."},
				{Order: 100, Preference: 10, Service: "RELAY:turn.udp", Replacement: "datagram.example.net."},
			},
			"datagram.example.net.": {{Order: 100, Preference: 10, Flags: "S", Service: "RELAY:turn.udp", Replacement: "_turn._udp.example.net."}},
			"stream.example.net.": {
				{Order: 100, Preference: 10, Flags: "S", Service: "RELAY:turn.tcp", Replacement: "_turn._tcp.example.net."},
				{Order: 200, Preference: 10, Flags: "A", Service: "RELAY:turn.tls", Replacement: "a.example.net."},
			},
			"example.org":  {{Order: 100, Preference: 10, Service: "RELAY:turn.udp:turn.tcp:turn.tls", Replacement: "example.net."}},
			"example.net.": nil, // set below: resolvers may be asked with the dot
		},
	}
}

// RFC 5928 section 3 and RFC 7350 section 4.6.2, step by step.
func TestResolve(t *testing.T) {
	records := exampleDNS()
	records.naptr["example.net."] = records.naptr["example.net"]
	records.addrs["v6.example"] = []string{"2001:db8::1", "2001:db8::2", "::ffff:192.0.2.7", "192.0.2.8", "192.0.2.9"}
	records.addrs["odd.example"] = []string{"0.0.0.0", "224.0.0.1", "::", "192.0.2.5"}
	records.addrs["alone.example"] = []string{"192.0.2.6"}
	records.addrs["gone.example"] = []string{"192.0.2.63"}
	records.srv["_turn._udp.gone.example"] = []*net.SRV{{Target: "."}}
	records.srv["_turn._tcp.gone.example"] = []*net.SRV{{Target: "alone.example", Port: 4000}}
	records.srv["_turns._udp.secure.example"] = []*net.SRV{{Target: "alone.example", Port: 443}}
	records.addrs["secure.example"] = []string{"192.0.2.60"}
	records.srv["_turn._udp.bad.example"] = []*net.SRV{nil, {Target: "alone.example"}, {Target: "no name.example", Port: 1}, {Target: "", Port: 1}, {Target: "nowhere.example", Port: 7}, {Target: "alone.example", Port: 6}}
	records.addrs["useless.example"] = []string{"192.0.2.61"}
	records.srv["_turn._udp.useless.example"] = []*net.SRV{{Target: "alone.example", Port: 0}}
	records.addrs["sip.example"] = []string{"192.0.2.62"}
	records.naptr["sip.example"] = []turnclient.NAPTR{
		{Flags: "S", Service: "SIP+D2U", Replacement: "_sip._udp.sip.example"}, {Flags: "U", Service: "RELAY:turn.udp", Regexp: "!^.*$!sip:x!"},
		{Flags: "P", Service: "RELAY:turn.udp", Replacement: "alone.example"}, {Flags: "A", Service: "RELAY:turn.sctp", Replacement: "alone.example"},
		{Flags: "A", Service: "RELAY:turn.udp", Replacement: "."}, {Flags: "A", Service: "RELAY", Replacement: "alone.example"}, {Flags: "A", Service: "", Replacement: "alone.example"},
	}
	records.naptr["dtls.example"] = []turnclient.NAPTR{
		{Flags: "a", Service: "relay:TURN.DTLS", Replacement: "alone.example"}, {Order: 1, Flags: "s", Service: "relay:turn.tls", Replacement: "_turn._tcp.gone.example"},
	}
	secured := turnclient.Config{DTLS: plainDTLS}
	for _, c := range []struct {
		name  string
		cfg   turnclient.Config
		uri   string
		want  string
		asked string // names that must be asked about, and no others; "": not looked at
	}{
		{"step 1", turnclient.Config{}, "turn:192.0.2.1", "192.0.2.1:3478/udp 192.0.2.1:3478/tcp", "none"},
		{"step 1, port", turnclient.Config{}, "turn:192.0.2.1:80", "192.0.2.1:80/udp 192.0.2.1:80/tcp", "none"},
		{"step 1, transport", turnclient.Config{}, "turn:[2001:db8::1]?transport=tcp", "[2001:db8::1]:3478/tcp", "none"},
		{"step 1, TLS", turnclient.Config{}, "turns:192.0.2.1", "192.0.2.1:5349/tls", "none"},
		{"step 1, DTLS and TLS", secured, "turns:192.0.2.1", "192.0.2.1:5349/dtls 192.0.2.1:5349/tls", "none"},
		{"step 1, DTLS", secured, "turns:192.0.2.1?transport=udp", "192.0.2.1:5349/dtls", "none"},
		{"step 2", turnclient.Config{}, "turn:example.com:80", "192.0.2.98:80/udp 192.0.2.98:80/tcp", "A example.com"},
		{"step 2, transport", turnclient.Config{}, "turn:example.com:80?transport=udp", "192.0.2.98:80/udp", "A example.com"},
		{"step 2, TLS", turnclient.Config{}, "turns:example.com:443?transport=tcp", "192.0.2.98:443/tls", "A example.com"},
		{"step 3", turnclient.Config{}, "turn:example.com?transport=tcp", "192.0.2.1:5000/tcp", "A example.com, SRV _turn._tcp.example.com, A a.example.net."},
		{"step 3, TLS", turnclient.Config{}, "turns:example.com?transport=tcp", "192.0.2.1:5349/tls", ""},
		{"step 3, DTLS", secured, "turns:secure.example?transport=udp", "192.0.2.6:443/dtls", "A secure.example, SRV _turns._udp.secure.example, A alone.example"},
		{"step 3, no records", turnclient.Config{}, "turn:alone.example?transport=udp", "192.0.2.6:3478/udp", "A alone.example, SRV _turn._udp.alone.example"},
		{"step 3, no records, TLS", turnclient.Config{}, "turns:alone.example?transport=tcp", "192.0.2.6:5349/tls", ""},
		{"step 4", turnclient.Config{}, "turn:example.net", "192.0.2.1:3478/udp 192.0.2.1:5000/tcp 192.0.2.1:5349/tls", ""}, // figure 1; TCP before TLS is ours
		{"step 4, hosted elsewhere", turnclient.Config{}, "turn:example.org", "192.0.2.1:3478/udp 192.0.2.1:5000/tcp 192.0.2.1:5349/tls", ""},
		{"step 4, TLS", turnclient.Config{}, "turns:example.org", "192.0.2.1:5349/tls", ""},
		{"step 4, DTLS", secured, "turns:dtls.example", "192.0.2.6:5349/dtls 192.0.2.6:4000/tls", ""},
		{"step 4, DTLS is not to be had", turnclient.Config{}, "turns:dtls.example", "192.0.2.6:4000/tls", ""},
		{"step 5", turnclient.Config{}, "turn:example.com", "192.0.2.1:3478/udp 192.0.2.1:5000/tcp", ""}, // figure 3
		{"step 5, TLS", turnclient.Config{}, "turns:example.com", "192.0.2.1:5349/tls", ""},
		{"step 5, one transport has records", secured, "turns:secure.example", "192.0.2.6:443/dtls 192.0.2.60:5349/tls", ""},
		{"step 5, no records", turnclient.Config{}, "turn:alone.example", "192.0.2.6:3478/udp 192.0.2.6:3478/tcp", ""},
		{"step 5, records of others", turnclient.Config{}, "turn:sip.example", "192.0.2.62:3478/udp 192.0.2.62:3478/tcp", ""},
		{"no such service", turnclient.Config{}, "turn:gone.example", "192.0.2.6:4000/tcp", ""},
		{"bad records among good ones", turnclient.Config{}, "turn:bad.example?transport=udp", "192.0.2.6:6/udp", ""},
		{"none but bad records", turnclient.Config{}, "turn:useless.example?transport=udp", "192.0.2.61:3478/udp", ""},
		{"families in turn, and not too many", turnclient.Config{}, "turn:v6.example:80?transport=udp", "[2001:db8::1]:80/udp 192.0.2.7:80/udp [2001:db8::2]:80/udp 192.0.2.8:80/udp", ""},
		{"addresses that are none", turnclient.Config{}, "turn:odd.example:80?transport=udp", "192.0.2.5:80/udp", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			records.asked = nil
			c.cfg.Resolver = records
			found, err := c.cfg.Resolve(t.Context(), c.uri, rand.New(rand.NewPCG(seed, 3)))
			var got []string
			host := strings.TrimPrefix(strings.TrimPrefix(c.uri, "turn:"), "turns:")
			for _, e := range found {
				got = append(got, fmt.Sprintf("%v/%v", e.Addr, e.Transport))
				if e.Name == "" || !strings.HasPrefix(strings.TrimPrefix(host, "["), e.Name) {
					t.Errorf("the certificate is to be for %q", e.Name) // RFC 5928 section 5: for the URI's host
				}
			}
			if s := strings.Join(got, " "); s != c.want || err != nil {
				t.Errorf("%s: %s, %v; want %s", c.uri, s, err, c.want)
			}
			var asked []string
			if c.asked != "none" {
				asked = strings.Split(c.asked, ", ")
			}
			slices.Sort(asked)
			slices.Sort(records.asked)
			if c.asked != "" && !slices.Equal(asked, slices.Compact(records.asked)) {
				t.Errorf("asked about %q, want %q", records.asked, asked)
			}
		})
	}
}

// What cannot be resolved is an error, whatever the records say.
func TestResolveFails(t *testing.T) {
	broken := errors.New("the DNS is broken")
	relay := func(flags, to string) turnclient.NAPTR {
		return turnclient.NAPTR{Flags: flags, Service: "RELAY:turn.udp", Replacement: to}
	}
	wide := make([]turnclient.NAPTR, 1000)
	for i := range wide {
		wide[i] = relay("", fmt.Sprintf("n%d.wide.example", i))
	}
	records := &naptrDNS{
		dns: dns{
			addrs: map[string][]string{"odd.example": {"0.0.0.0", "ff02::1"}, "loop.example": {"192.0.2.1"}, "wide.example": {"192.0.2.1"}},
			srv: map[string][]*net.SRV{
				"_turn._udp.gone.example": {{Target: "."}}, "_turn._tcp.gone.example": {{Target: ".", Port: 1}},
				"_turn._udp.dangling.example": {{Target: "nowhere.example", Port: 1}},
			},
		},
		naptr: map[string][]turnclient.NAPTR{
			"loop.example": {relay("", "loop2.example")}, "loop2.example": {relay("", "LOOP.example.")}, "LOOP.example.": {relay("", "loop2.example")},
			"nothing.example": {relay("", "empty.example")}, "nosrv.example": {relay("S", "_turn._udp.nosrv.example")}, "noaddr.example": {relay("A", "nowhere.example")},
			"gonesrv.example": {relay("S", "_turn._udp.gone.example")},
			"wide.example":    wide,
		},
	}
	for uri, want := range map[string]string{
		"turn:nowhere.example":                    "no such host",
		"turn:odd.example":                        "no address",
		"turn:gone.example":                       "no such service",
		"turn:dangling.example?transport=udp":     "no such host",
		"turn:loop.example":                       "circle",
		"turn:nothing.example":                    "no NAPTR records for udp",
		"turn:nosrv.example":                      "no such host",
		"turn:noaddr.example":                     "no such host",
		"turn:gonesrv.example":                    "no such service",
		"turn:wide.example":                       "lead to no server",
		"turns:nowhere.example?transport=tcp":     "no such host",
		"turn:nowhere.example:3478?transport=udp": "no such host",
	} {
		records.asked = nil
		found, err := turnclient.Config{Resolver: records}.Resolve(t.Context(), uri, rand.New(rand.NewPCG(seed, 3)))
		if err == nil || !strings.Contains(err.Error(), want) || len(found) > 0 {
			t.Errorf("%s: %v, %v", uri, found, err)
		}
		if len(records.asked) > 25 {
			t.Errorf("%s: %d queries", uri, len(records.asked))
		}
		// The same by Dial, which names the server and what to do.
		_, err = turnclient.Dial(t.Context(), turnclient.Config{Servers: []string{uri}, Resolver: records})
		var failed *turnclient.ResolveError
		if !errors.As(err, &failed) || failed.Server != uri || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "check its name") {
			t.Errorf("%s: %v", uri, err)
		}
	}
	records.dns.err = broken
	if _, err := (turnclient.Config{Resolver: records}).Resolve(t.Context(), "turn:nowhere.example", rand.New(rand.NewPCG(seed, 3))); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// The number of endpoints is bounded, and one server leaves room for others.
func TestResolveIsBounded(t *testing.T) {
	records := &dns{addrs: map[string][]string{"small.example": {"198.51.100.1"}}, srv: map[string][]*net.SRV{}}
	for i := range 100 {
		host := fmt.Sprintf("h%d.example", i)
		for j := range 20 {
			records.addrs[host] = append(records.addrs[host], netip.AddrFrom4([4]byte{192, 0, byte(i), byte(1 + j)}).String())
		}
		for _, proto := range []string{"udp", "tcp"} {
			name := "_turn._" + proto + ".big.example"
			records.srv[name] = append(records.srv[name], &net.SRV{Target: host, Port: 1})
		}
	}
	found, err := turnclient.Config{Resolver: records}.Resolve(t.Context(), "turn:big.example", rand.New(rand.NewPCG(seed, 3)))
	kinds := make(map[turnclient.Transport]int)
	for _, e := range found {
		kinds[e.Transport]++
	}
	if err != nil || kinds[turnclient.UDP] != 12 || kinds[turnclient.TCP] != 12 {
		t.Errorf("%v, %v", kinds, err)
	}
	client, err := turnclient.Dial(t.Context(), turnclient.Config{Servers: []string{"turn:big.example", "turn:big.example?transport=udp", "turn:small.example"}, Resolver: records})
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

// RFC 2782: priorities in order, weights as odds within one.
func TestSRVOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(seed, 4))
	records := []*net.SRV{
		{Target: "last", Priority: 20, Weight: 60000}, {Target: "heavy", Priority: 10, Weight: 30}, {Target: "light", Priority: 10, Weight: 10},
		{Target: "none", Priority: 10, Weight: 0}, {Target: "first", Priority: 0},
	}
	const rounds = 10000
	second := make(map[string]int)
	for range rounds {
		got := turnclient.BySRV(records, random)
		if len(got) != 5 || got[0].Target != "first" || got[4].Target != "last" {
			t.Fatalf("%v", got)
		}
		seen := map[string]bool{}
		for _, r := range got {
			seen[r.Target] = true
		}
		if len(seen) != 5 {
			t.Fatalf("%v", got)
		}
		second[got[1].Target]++
	}
	// The sum of the weights is 40 and 0 is drawn, too: 1 of 41 for the one without weight.
	for target, odds := range map[string]float64{"none": 1. / 41, "light": 10. / 41, "heavy": 30. / 41} {
		if share := float64(second[target]) / rounds; share < odds*0.9-0.005 || share > odds*1.1+0.005 {
			t.Errorf("%s is tried first in %.3f of all, want %.3f (seed %d)", target, share, odds, seed)
		}
	}
	if records[0].Target != "last" {
		t.Error("the caller's records were moved")
	}
}

// slowDNS takes its time for some names.
type slowDNS struct {
	dns
	takes map[string]time.Duration // negative: until ctx ends
}

func (d *slowDNS) wait(ctx context.Context, name string) error {
	takes, slow := d.takes[name]
	if !slow {
		return nil
	}
	var answer <-chan time.Time
	if takes >= 0 {
		answer = time.After(takes)
	}
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *slowDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := d.wait(ctx, host); err != nil {
		return nil, err
	}
	return d.dns.LookupNetIP(ctx, network, host)
}

func (d *slowDNS) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if err := d.wait(ctx, "_"+service+"._"+proto+"."+name); err != nil {
		return "", nil, err
	}
	return d.dns.LookupSRV(ctx, service, proto, name)
}

// Where queries for services are never answered, the host's own addresses do after a
// second. A host that has none is waited for longer.
func TestServiceQueriesThatAreNotAnswered(t *testing.T) {
	for _, c := range []struct {
		host string
		want time.Duration
		addr string
	}{{"plain.example", time.Second, "192.0.2.1:3478"}, {"services.example", 5 * time.Second, "192.0.2.2:7"}, {"quick.example", 0, "192.0.2.2:8"}} {
		synctest.Test(t, func(t *testing.T) {
			d := &slowDNS{
				dns: dns{
					addrs: map[string][]string{"plain.example": {"192.0.2.1"}, "target.example": {"192.0.2.2"}, "quick.example": {"192.0.2.3"}},
					srv: map[string][]*net.SRV{
						"_turn._udp.services.example": {{Target: "target.example", Port: 7}}, "_turn._udp.quick.example": {{Target: "target.example", Port: 8}},
					},
				},
				takes: map[string]time.Duration{"_turn._udp.plain.example": -1, "_turn._udp.services.example": 5 * time.Second, "quick.example": time.Hour},
			}
			start := time.Now()
			found, err := turnclient.Config{Resolver: d}.Resolve(t.Context(), "turn:"+c.host+"?transport=udp", rand.New(rand.NewPCG(seed, 3)))
			if err != nil || len(found) != 1 || found[0].Addr.String() != c.addr || time.Since(start) != c.want {
				t.Errorf("%s: %v, %v after %v", c.host, found, err, time.Since(start))
			}
		})
	}
}

// One server whose DNS is dead does not hold up the others for more than a second, nor
// for good: once it is found it is used.
func TestDeadDNSHoldsUpNobody(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		cfg := w.config("turn:late.example:3478?transport=udp")
		cfg.Servers = append(cfg.Servers, "turn:203.0.113.200?transport=udp")
		cfg.Resolver = &slowDNS{dns: dns{addrs: map[string][]string{"late.example": {"192.0.2.1"}}}, takes: map[string]time.Duration{"late.example": 20 * time.Second}}
		start := time.Now()
		client, err := turnclient.Dial(t.Context(), cfg)
		if err != nil || time.Since(start) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		defer client.Close()
		if _, err := client.Allocate(t.Context()); err == nil {
			t.Fatal("a server that is not there gave an allocation")
		}
		<-time.After(time.Until(start.Add(21 * time.Second)))
		if _, err := client.Allocate(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The server moves to another address, as its name says a little later: the allocation
// follows, and so do new ones (RFC 5928 section 3).
func TestServersAreLookedUpAgain(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		pc := w.echo(t)
		defer pc.Close()
		names := &dns{addrs: map[string][]string{"turn.example.org": {"203.0.113.200", "192.0.2.1"}}}
		cfg := w.config("turn:turn.example.org:3478?transport=udp")
		cfg.Resolver = names
		client, relay := open(t, cfg)
		defer client.Close()
		move := func(to string) {
			names.mu.Lock()
			defer names.mu.Unlock()
			names.addrs["turn.example.org"] = []string{to}
		}
		lookups := func() int {
			names.mu.Lock()
			defer names.mu.Unlock()
			return len(names.asked)
		}
		before := lookups()
		if _, err := client.Allocate(t.Context()); err != nil || lookups() != before {
			t.Errorf("%v, %d lookups within the first minute", err, lookups()-before)
		}
		move("198.51.100.200") // nobody is there
		<-time.After(2 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := client.AllocateWith(ctx, turnclient.Options{}); err == nil {
			t.Error("the old address was asked for a new allocation")
		}
		// What there was goes on there.
		to := netip.AddrPortFrom(w.peer.Addr(), 7)
		buf := make([]byte, 10)
		exchange := func() error {
			relay.WriteToUDPAddrPort([]byte("x"), to)
			relay.SetReadDeadline(time.Now().Add(time.Second))
			_, _, err := relay.ReadFromUDPAddrPort(buf)
			return err
		}
		if err := exchange(); err != nil {
			t.Error(err)
		}
		// Trouble makes the client look again, but not all the time.
		w.loop.Close()
		w.server.Restart()
		before = lookups()
		start := time.Now()
		for time.Since(start) < 2*time.Minute {
			exchange()
		}
		if n := lookups() - before; n == 0 || n > 12 {
			t.Errorf("%d lookups in two minutes of trouble", n)
		}
		move("192.0.2.1")
		w.serve(t)
		back := time.Now()
		for exchange() != nil {
			if time.Since(back) > time.Minute {
				t.Fatalf("no traffic a minute after the name led to the server again: %v", relay.State())
			}
		}
	})
}

// A Dial that is given up leaves nothing behind.
func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := turnclient.Dial(ctx, turnclient.Config{
			Servers:  []string{"turn:slow.example"},
			Resolver: &slowDNS{takes: map[string]time.Duration{"slow.example": -1, "_turn._udp.slow.example": -1, "_turn._tcp.slow.example": -1}},
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
