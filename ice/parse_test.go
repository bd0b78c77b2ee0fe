package ice

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// namePort is the address of a candidate that has a name.
func namePort(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, port) }

// candidateTexts are candidates as they are on the wire, and what they mean. canonical
// is what String makes of them; "" stands for text itself.
var candidateTexts = []struct {
	name, text, canonical string
	want                  Candidate
}{
	{
		"RFC 8839 5.1", "a=candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
		"candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
		Candidate{Foundation: "2", Component: 1, Priority: 1694498815, Addr: ap("192.0.2.3:45664"), Type: ServerReflexive, Related: ap("203.0.113.141:8998")},
	},
	{
		"RFC 8839 A", "a=candidate:2 1 UDP 1694498815 2001:db8:8101:3a55:4858:a2a9:22ff:99b9 45664 typ srflx raddr fe80::6676:baff:fe9c:ee4a rport 8998\r\n",
		"candidate:2 1 udp 1694498815 2001:db8:8101:3a55:4858:a2a9:22ff:99b9 45664 typ srflx raddr fe80::6676:baff:fe9c:ee4a rport 8998",
		Candidate{Foundation: "2", Component: 1, Priority: 1694498815, Addr: ap("[2001:db8:8101:3a55:4858:a2a9:22ff:99b9]:45664"), Type: ServerReflexive, Related: ap("[fe80::6676:baff:fe9c:ee4a]:8998")},
	},
	{
		"RFC 8838 9", "a=candidate:1 1 UDP 2130706431 2001:db8::1 5000 typ host ufrag 8hhY",
		"candidate:1 1 udp 2130706431 2001:db8::1 5000 typ host ufrag 8hhY",
		Candidate{Foundation: "1", Component: 1, Priority: 2130706431, Addr: ap("[2001:db8::1]:5000"), Extensions: []Extension{{"ufrag", "8hhY"}}},
	},
	{
		"RFC 6544 C, active", "candidate:4 1 TCP 1688207359 192.0.2.3 9 typ srflx raddr 10.0.1.1 rport 9 tcptype active",
		"candidate:4 1 tcp 1688207359 192.0.2.3 9 typ srflx raddr 10.0.1.1 rport 9 tcptype active",
		Candidate{Foundation: "4", Component: 1, Transport: TCP, Priority: 1688207359, Addr: ap("192.0.2.3:9"), Type: ServerReflexive, Related: ap("10.0.1.1:9"), TCPType: Active},
	},
	{
		"RFC 6544 C, so", "candidate:3 1 TCP 2120220671 10.0.1.1 8999 typ host tcptype so",
		"candidate:3 1 tcp 2120220671 10.0.1.1 8999 typ host tcptype so",
		Candidate{Foundation: "3", Component: 1, Transport: TCP, Priority: 2120220671, Addr: ap("10.0.1.1:8999"), TCPType: SimultaneousOpen},
	},
	{
		"Chromium, host by mDNS", "candidate:3350409123 1 udp 2113937151 3d5a9b3e-6a37-4a53-9e2b-1f0b5a1c2d3e.local 54400 typ host generation 0 ufrag Vf3K network-cost 999", "",
		Candidate{
			Foundation: "3350409123", Component: 1, Priority: 2113937151, Name: "3d5a9b3e-6a37-4a53-9e2b-1f0b5a1c2d3e.local", Addr: namePort(54400),
			Extensions: []Extension{{"generation", "0"}, {"ufrag", "Vf3K"}, {"network-cost", "999"}},
		},
	},
	{
		"Chromium, related address hidden by zeros", "candidate:842163049 1 udp 1677729535 198.51.100.7 41231 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag Vf3K network-cost 999", "",
		Candidate{
			Foundation: "842163049", Component: 1, Priority: 1677729535, Addr: ap("198.51.100.7:41231"), Type: ServerReflexive, Related: ap("0.0.0.0:0"),
			Extensions: []Extension{{"generation", "0"}, {"ufrag", "Vf3K"}, {"network-cost", "999"}},
		},
	},
	{
		"Chromium, TCP", "candidate:1876313031 1 tcp 1518222591 ::1 9 typ host tcptype active generation 0 ufrag Vf3K network-id 5", "",
		Candidate{
			Foundation: "1876313031", Component: 1, Transport: TCP, Priority: 1518222591, Addr: ap("[::1]:9"), TCPType: Active,
			Extensions: []Extension{{"generation", "0"}, {"ufrag", "Vf3K"}, {"network-id", "5"}},
		},
	},
	{
		"Firefox", "candidate:0 2 UDP 2122252542 192.0.2.77 53210 typ host", "candidate:0 2 udp 2122252542 192.0.2.77 53210 typ host",
		Candidate{Foundation: "0", Component: 2, Priority: 2122252542, Addr: ap("192.0.2.77:53210")},
	},
	{
		"pion v2: no prefix, tcptype before raddr", "4207374051 1 tcp 1671430143 192.0.2.15 50000 typ prflx tcptype passive raddr 10.0.0.1 rport 12345",
		"candidate:4207374051 1 tcp 1671430143 192.0.2.15 50000 typ prflx raddr 10.0.0.1 rport 12345 tcptype passive",
		Candidate{Foundation: "4207374051", Component: 1, Transport: TCP, Priority: 1671430143, Addr: ap("192.0.2.15:50000"), Type: PeerReflexive, Related: ap("10.0.0.1:12345"), TCPType: Passive},
	},
	{
		"tcptype among extensions", "candidate:1 1 tcp 1 192.0.2.1 9 typ host generation 0 TCPtype SO ufrag abcd",
		"candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype so generation 0 ufrag abcd",
		Candidate{
			Foundation: "1", Component: 1, Transport: TCP, Priority: 1, Addr: ap("192.0.2.1:9"), TCPType: SimultaneousOpen,
			Extensions: []Extension{{"generation", "0"}, {"ufrag", "abcd"}},
		},
	},
	{
		"TCP without tcptype is passive", "candidate:1 1 tcp 1 192.0.2.1 443 typ host", "candidate:1 1 tcp 1 192.0.2.1 443 typ host tcptype passive",
		Candidate{Foundation: "1", Component: 1, Transport: TCP, Priority: 1, Addr: ap("192.0.2.1:443"), TCPType: Passive},
	},
	{
		"tcptype of UDP means nothing", "candidate:1 1 udp 1 192.0.2.1 443 typ host tcptype what", "",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:443"), Extensions: []Extension{{"tcptype", "what"}}},
	},
	{
		"hidden", "candidate:1 1 udp 1 192.0.2.1 5000 typ relay raddr 0.0.0.0 rport 9", "",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: Relay},
	},
	{
		"hidden, IPv6", "candidate:1 1 udp 1 2001:db8::1 5000 typ relay raddr :: rport 9", "",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("[2001:db8::1]:5000"), Type: Relay},
	},
	{
		"hidden by the other family's zeros", "candidate:1 1 udp 1 2001:db8::1 5000 typ relay raddr 0.0.0.0 rport 9", "",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("[2001:db8::1]:5000"), Type: Relay, Related: ap("0.0.0.0:9")},
	},
	{
		"raddr missing", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 0.0.0.0 rport 9",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: ServerReflexive},
	},
	{
		"raddr is a name", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr some.local rport 7", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 0.0.0.0 rport 9",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: ServerReflexive},
	},
	{
		"raddr without rport, behind extensions", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx a b RADDR 10.0.0.1", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 0 a b",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: ServerReflexive, Related: ap("10.0.0.1:0"), Extensions: []Extension{{"a", "b"}}},
	},
	{
		"host with raddr", "candidate:1 1 udp 1 192.0.2.1 5000 typ host raddr 0.0.0.0 rport 9", "",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Related: ap("0.0.0.0:9")},
	},
	{
		"a domain name", "candidate:abcdefghijklmnopqrstuvwxyz+/0123 256 udp 2147483647 sfu-1.Example.com 0 typ relay raddr 10.0.0.1 rport 65535", "",
		Candidate{Foundation: "abcdefghijklmnopqrstuvwxyz+/0123", Component: 256, Priority: 2147483647, Name: "sfu-1.Example.com", Addr: namePort(0), Type: Relay, Related: ap("10.0.0.1:65535")},
	},
	{
		"mapped addresses", "candidate:1 1 udp 1 ::ffff:192.0.2.1 5000 typ srflx raddr ::ffff:10.0.0.1 rport 5", "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 5",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: ServerReflexive, Related: ap("10.0.0.1:5")},
	},
	{
		"IPv6 in long", "candidate:1 1 udp 1 2001:0DB8:0:0:0:0:0:1 5000 typ host", "candidate:1 1 udp 1 2001:db8::1 5000 typ host",
		Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("[2001:db8::1]:5000")},
	},
	{
		"spaces, case and leading zeros", "  candidate:1  01 Udp   0000000005 192.0.2.1 05000 TYP HOST  generation 0 \r\n", "candidate:1 1 udp 5 192.0.2.1 5000 typ host generation 0",
		Candidate{Foundation: "1", Component: 1, Priority: 5, Addr: ap("192.0.2.1:5000"), Extensions: []Extension{{"generation", "0"}}},
	},
	{
		"extensions without value, and one twice", "candidate:1 1 udp 1 192.0.2.1 5000 typ host empty  x 1 x 2 ~!#$ \"%&'()*+:;<=>?@[\\]^_`{|} last ", "",
		Candidate{
			Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"),
			Extensions: []Extension{{"empty", ""}, {"x", "1"}, {"x", "2"}, {"~!#$", "\"%&'()*+:;<=>?@[\\]^_`{|}"}, {"last", ""}},
		},
	},
}

func TestCandidateText(t *testing.T) {
	for _, c := range candidateTexts {
		canonical := c.canonical
		if canonical == "" {
			canonical = c.text
		}
		got, err := ParseCandidate(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: parsed as\n%+v, want\n%+v", c.name, got, c.want)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: what was parsed does not pass: %v", c.name, err)
		}
		if s := got.String(); s != canonical {
			t.Errorf("%s: written as\n%s, want\n%s", c.name, s, canonical)
		}
		for _, prefix := range []string{"", "candidate:", "a=candidate:"} {
			again, err := ParseCandidate(prefix + strings.TrimPrefix(canonical, candidatePrefix))
			if err != nil || !reflect.DeepEqual(again, c.want) {
				t.Errorf("%s, with %q: parsed again as %+v, %v", c.name, prefix, again, err)
			}
		}
	}
}

// The rows say what is changed in a good candidate.
func TestCandidatesThatAreRefused(t *testing.T) {
	const good = "candidate:1 1 udp 100 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 5001 generation 0"
	if _, err := ParseCandidate(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, new, field string
		unknown         bool
	}{
		{good, "", "text", false},
		{good, "candidate:", "text", false},
		{good, "candidate:1 1 udp 100 192.0.2.1 5000", "text", false},
		{good, "candidate:1 1 udp 100 192.0.2.1 5000 typ", "text", false},
		{" typ ", " type ", "text", false},
		{"generation 0", "generation 0\r\na=candidate:2", "text", false},
		{"generation 0", "generation\t0", "text", false},
		{"generation 0", "generation \x00", "text", false},
		{"generation 0", "generation \x7f", "text", false},
		{"generation 0", "generation é", "text", false},
		{"generation 0", "generation \xff", "text", false},
		{"generation 0", "generation " + strings.Repeat("x", MaxCandidateText), "text", false},
		{"generation 0", strings.Repeat("x ", MaxCandidateText), "text", false},
		// Fits, but not with what String must add.
		{good, "1 1 tcp 1 192.0.2.1 5 typ srflx ufrag " + strings.Repeat("x", MaxCandidateText-50), "text", false},
		{"candidate:1", "candidate:", "text", false}, // without a foundation everything moves up
		{"candidate:1", "candidate:a-b", "foundation", false},
		{"candidate:1", "candidate:candidate:1", "foundation", false},
		{"candidate:1", "a=1", "foundation", false},
		{"candidate:1", "candidate:" + strings.Repeat("1", 33), "foundation", false},
		{"1 1 udp", "1 0 udp", "component", false},
		{"1 1 udp", "1 257 udp", "component", false},
		{"1 1 udp", "1 65537 udp", "component", false},
		{"1 1 udp", "1 +1 udp", "component", false},
		{"1 1 udp", "1 -1 udp", "component", false},
		{"1 1 udp", "1 0x1 udp", "component", false},
		{"1 1 udp", "1 1_0 udp", "component", false},
		{" udp ", " sctp ", "transport", true},
		{" udp ", " ssltcp ", "transport", true},
		{" 100 ", " 0 ", "priority", false},
		{" 100 ", " 2147483648 ", "priority", false},
		{" 100 ", " 4294967297 ", "priority", false},
		{" 100 ", " 1e3 ", "priority", false},
		{"192.0.2.1", "fe80::1%eth0", "address", false},
		{"192.0.2.1", "::ffff:192.0.2.1%1", "address", false},
		{"192.0.2.1", "[2001:db8::1]", "address", false},
		{"192.0.2.1", "2001:db8::1::", "address", false},
		{"192.0.2.1", "192.0.2.1:5000", "address", false},
		{"192.0.2.1", "192.0.2.256", "address", false},
		{"192.0.2.1", "192.0.2.01", "address", false},
		{"192.0.2.1", "2130706433", "address", false},
		{"192.0.2.1", "127.1", "address", false},
		{"192.0.2.1", "0x7f.0.0.0x1", "address", false},
		{"192.0.2.1", "localhost", "address", false},
		{"192.0.2.1", ".local", "address", false},
		{"192.0.2.1", "a..local", "address", false},
		{"192.0.2.1", "a.local.", "address", false},
		{"192.0.2.1", "a/b.local", "address", false},
		{"192.0.2.1", strings.Repeat("a", 64) + ".local", "address", false},
		{"192.0.2.1", strings.Repeat("a.", 124) + "local.x", "address", false},
		{" 5000 ", " 65536 ", "port", false},
		{" 5000 ", " -1 ", "port", false},
		{"typ srflx", "typ quantum", "type", true},
		{"raddr 10.0.0.1", "raddr fe80::1%eth0", "raddr", false},
		{"raddr 10.0.0.1", "raddr 10.0.0.1 raddr 10.0.0.1", "raddr", false},
		{"raddr 10.0.0.1", "raddr 10.0.0", "raddr", false},
		{"generation 0", "raddr", "raddr", false},
		{"generation 0", "rport", "rport", false},
		{"rport 5001", "rport 5001 rport 5001", "rport", false},
		{"rport 5001", "rport 65536", "rport", false},
		{"raddr 10.0.0.1", "", "rport", false},
		{"generation 0", strings.Repeat("x y ", MaxExtensions+1), "extension", false},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		got, err := ParseCandidate(text)
		var wrong *CandidateError
		if !errors.As(err, &wrong) {
			t.Errorf("%q: parsed as %+v, error %v", text, got, err)
			continue
		}
		if wrong.Field != c.field || errors.Is(err, ErrUnknownCandidate) != c.unknown || wrong.Unknown != c.unknown {
			t.Errorf("%q: field %q, unknown %t; want %q, %t (%v)", text, wrong.Field, wrong.Unknown, c.field, c.unknown, err)
		}
		if c.unknown && !strings.Contains(err.Error(), "ignore") {
			t.Errorf("%q: the error does not say what to do: %v", text, err)
		}
		if !reflect.DeepEqual(got, Candidate{}) {
			t.Errorf("%q: %+v beside the error", text, got)
		}
		if len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: error of %d bytes, or with control characters: %v", text, len(err.Error()), err)
		}
	}
	for tcptype, unknown := range map[string]bool{"tcptype both": true, "generation 0 tcptype actpass": true, "tcptype so tcptype so": false, "tcptype": false} {
		var wrong *CandidateError
		_, err := ParseCandidate("candidate:1 1 tcp 1 192.0.2.1 9 typ host " + tcptype)
		if !errors.As(err, &wrong) || wrong.Field != "tcptype" || wrong.Unknown != unknown {
			t.Errorf("%q: %v", tcptype, err)
		}
	}
}

// FuzzCandidate: nothing panics; errors are typed and bounded; what is read passes Check
// and comes back from its text exactly.
func FuzzCandidate(f *testing.F) {
	for _, c := range candidateTexts {
		f.Add(c.text)
	}
	r := rand.New(rand.NewPCG(2, 0))
	for range 20 {
		f.Add(randomCandidate(r).String())
	}
	f.Add("candidate:1 1 udp 100 fe80::1%eth0 5000 typ srflx raddr 10.0.0.1 rport 5001 generation 0")
	f.Add("candidate:1 1 sctp 4294967295 2130706433 65536 typ token raddr a.b rport x tcptype y z")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCandidate(text)
		if err != nil {
			var wrong *CandidateError
			if !errors.As(err, &wrong) || wrong.Field == "" || wrong.Reason == "" || len(wrong.Input) > 80 || len(err.Error()) > 1000 {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if err := c.Check(); err != nil {
			t.Fatalf("does not pass: %v", err)
		}
		canonical := c.String()
		if len(canonical) > MaxCandidateText || len(c.Extensions) > MaxExtensions {
			t.Fatalf("%d bytes, %d extensions", len(canonical), len(c.Extensions))
		}
		again, err := ParseCandidate(canonical)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%q came back as\n%+v, %v; want\n%+v", canonical, again, err, c)
		}
		if s := again.String(); s != canonical {
			t.Fatalf("%q became %q", canonical, s)
		}
		if c.Addr.Addr().Is4In6() || c.Addr.Addr().Zone() != "" || (c.Name == "") != c.Addr.Addr().IsValid() {
			t.Fatalf("address %v, name %q", c.Addr, c.Name)
		}
	})
}

const chromiumCandidate = "candidate:842163049 1 udp 1677729535 198.51.100.7 41231 typ srflx raddr 10.11.12.13 rport 54400 generation 0 ufrag Vf3K network-id 1 network-cost 999"

func BenchmarkParseCandidate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCandidate(chromiumCandidate); err != nil {
			b.Fatal(err)
		}
	}
}
