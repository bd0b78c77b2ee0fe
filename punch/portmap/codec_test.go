package portmap

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Requests byte for byte, as RFC 6887 figures 2 and 9 and RFC 6886 section 3 have them.
func TestRequestsOnTheWire(t *testing.T) {
	n := nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{appendPCP(nil, pcpAnnounce, 0, netip.MustParseAddr("192.168.1.2")), "02000000 00000000 00000000000000000000ffffc0a80102"},
		{appendMap(nil, 7200, netip.MustParseAddr("192.168.1.2"), n, UDP, 5000, netip.AddrPortFrom(netip.Addr{}, 6000)),
			"02010000 00001c20 00000000000000000000ffffc0a80102 0102030405060708090a0b0c 11000000 1388 1770 00000000000000000000ffff00000000"},
		{appendMap(nil, 0, netip.MustParseAddr("2001:db8::2"), n, TCP, 5000, netip.AddrPort{}),
			"02010000 00000000 20010db8000000000000000000000002 0102030405060708090a0b0c 06000000 1388 0000 00000000000000000000000000000000"},
		{appendPMP(nil, UDP, 5000, 6000, 7200), "00010000 1388 1770 00001c20"},
		{appendPMP(nil, TCP, 5000, 0, 0), "00020000 1388 0000 00000000"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.got, want) {
			t.Errorf("got  %x\nwant %x", c.got, want)
		}
	}
}

// RFC 6887 section 8.3: what may not be looked at.
func TestPCPSizes(t *testing.T) {
	for size, want := range map[int]bool{0: false, 4: false, 23: false, 24: true, 25: false, 60: true, 62: false, 1100: true, 1104: false} {
		b := make([]byte, size)
		if size > 1 {
			b[0], b[1] = 2, 0x81
		}
		if a, ok := parsePCP(b); ok != want || a.mapped != (ok && size >= 60) {
			t.Errorf("%d bytes: %v, %+v", size, ok, a)
		}
	}
}

func TestEpoch(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		after  time.Duration
		server uint32
		want   bool
	}{
		{0, 1000, false}, {0, 999, false}, {0, 998, true}, {0, 0, true},
		{time.Hour, 4600, false}, {time.Hour, 4400, false}, {time.Hour, 4300, true}, {time.Hour, 4800, false}, {time.Hour, 5000, true},
		{-time.Hour, 1001, true}, {time.Hour, 1, true}, {10 * time.Second, 1008, false}, {10 * time.Second, 1<<32 - 1, true},
	} {
		var e epoch
		if e.restarted(start, 1000) {
			t.Error("the first answer is a restart")
		}
		if got := e.restarted(start.Add(c.after), c.server); got != c.want {
			t.Errorf("after %v the router says %d: restarted %v", c.after, c.server, got)
		}
	}
}

func TestParseHTTP(t *testing.T) {
	for _, c := range []struct {
		in     string
		over   bool
		status int
		body   string
		done   bool
		bad    bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, 200, "hi", true, false},
		{"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nhi and more", false, 200, "hi", true, false},
		{"HTTP/1.0 200 OK\n\nhi", true, 200, "hi", true, false},
		{"HTTP/1.0 200 OK\r\n\r\nhi", false, 200, "hi", false, false},
		{"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\n yo\r\n0\r\n\r\n", false, 200, "hi yo", true, false},
		{"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", false, 200, "", false, false},
		{"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true, 200, "", false, true},
		{"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", false, 200, "", false, true},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false, 500, "", true, false},
		{"HTTP/1.1 301 Moved\r\n\r\n", true, 0, "", false, true},
		{"HTTP/2 200\r\n\r\n", true, 0, "", false, true},
		{"", true, 0, "", false, true},
		{"", false, 0, "", false, false},
	} {
		status, body, done, err := parseHTTP([]byte(c.in), c.over, 100)
		if done != c.done || (err != nil) != c.bad || done && (status != c.status || string(body) != c.body) {
			t.Errorf("%q: %d %q %v %v", c.in, status, body, done, err)
		}
	}
}

func TestResolve(t *testing.T) {
	at, err := locate("http://192.168.1.1:5000/a/root.xml")
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"/ctl": "192.168.1.1:5000/ctl", "ctl?x": "192.168.1.1:5000/a/ctl?x", "http://192.168.1.1:6000/c": "192.168.1.1:6000/c", "http://192.168.1.1": "192.168.1.1:80/",
		"": "", "http://192.168.1.2:5000/c": "", "//192.168.1.1/c": "", "/a b": "", "http://[::ffff:192.168.1.1]:1/": "192.168.1.1:1/",
		"/" + strings.Repeat("x", 1024): "",
	} {
		p, err := at.resolve(ref)
		if got := p.addr.String() + p.path; (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%.40q: %s, %v", ref, got, err)
		}
	}
	if p, err := locate("http://[fe80::1]:80/x"); err != nil {
		t.Error(err)
	} else if p, err = p.on(netip.MustParseAddr("fe80::1%eth0")); err != nil || p.addr.Addr().Zone() != "eth0" || host(p) != "[fe80::1]:80" {
		t.Errorf("%v, %v", p, err)
	}
}

func TestParseSSDP(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nSt: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nlocation: http://192.168.1.1/x\r\n\r\n"
	if l, ok := parseSSDP([]byte(answer)); !ok || l != "http://192.168.1.1/x" {
		t.Errorf("%q, %v", l, ok)
	}
	for _, bad := range []string{
		"", "HTTP/1.1 404 No\r\n\r\n", "NOTIFY * HTTP/1.1\r\n\r\n", strings.Replace(answer, "InternetGatewayDevice", "MediaServer", 1),
		strings.Replace(answer, "location", "elsewhere", 1), answer[:40],
	} {
		if l, ok := parseSSDP([]byte(bad)); ok {
			t.Errorf("%q leads to %q", bad, l)
		}
	}
}

func TestWordsAreFitForALog(t *testing.T) {
	if got := clip("a\r\nb\x00\xff" + strings.Repeat("ä", 100)); strings.ContainsAny(got, "\r\n\x00") || len(got) > 128 {
		t.Errorf("%q", got)
	}
}
