package ice

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestLongestCandidate(t *testing.T) {
	c := Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:1"), Extensions: []Extension{{"x", ""}}}
	c.Extensions[0].Value = strings.Repeat("y", MaxCandidateText-len(c.String()))
	text := c.String()
	if len(text) != MaxCandidateText {
		t.Fatalf("%d bytes", len(text))
	}
	if got, err := ParseCandidate("a=" + text + "\r\n"); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("the longest candidate: %+v, %v", got, err)
	}
	var wrong *CandidateError
	if _, err := ParseCandidate(text + "y"); !errors.As(err, &wrong) || wrong.Field != "text" {
		t.Errorf("one byte more: %v", err)
	}
	c.Extensions[0].Value += "y"
	if err := c.Check(); !errors.As(err, &wrong) || wrong.Field != "text" {
		t.Errorf("one byte more: %v", err)
	}
}

// Each row spoils a good candidate. What does not pass must say which field, and must
// still be printed in one line.
func TestCheck(t *testing.T) {
	good := Candidate{Foundation: "1", Component: 1, Priority: 1, Addr: ap("192.0.2.1:5000"), Type: ServerReflexive, Related: ap("10.0.0.1:5000")}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		spoil func(c *Candidate)
	}{
		{"foundation", func(c *Candidate) { c.Foundation = "" }},
		{"foundation", func(c *Candidate) { c.Foundation = "1\r\na=x" }},
		{"component", func(c *Candidate) { c.Component = 0 }},
		{"component", func(c *Candidate) { c.Component = 257 }},
		{"transport", func(c *Candidate) { c.Transport = 2 }},
		{"priority", func(c *Candidate) { c.Priority = 0 }},
		{"priority", func(c *Candidate) { c.Priority = 1 << 31 }},
		{"address", func(c *Candidate) { c.Addr = netip.AddrPort{} }},
		{"address", func(c *Candidate) { c.Name = "a.local" }},
		{"address", func(c *Candidate) { c.Addr, c.Name = namePort(1), "a.local 1\r\na=x" }},
		{"address", func(c *Candidate) { c.Addr = ap("[::ffff:192.0.2.1]:1") }},
		{"address", func(c *Candidate) { c.Addr = ap("[fe80::1%eth0 1]:1") }},
		{"type", func(c *Candidate) { c.Type = 4 }},
		{"raddr", func(c *Candidate) { c.Related = ap("[::ffff:192.0.2.1]:1") }},
		{"raddr", func(c *Candidate) { c.Related = ap("[fe80::1%eth0\r]:1") }},
		{"raddr", func(c *Candidate) { c.Related = ap("0.0.0.0:9") }},
		{"rport", func(c *Candidate) { c.Related = namePort(9) }},
		{"tcptype", func(c *Candidate) { c.TCPType = Active }},
		{"tcptype", func(c *Candidate) { c.Transport = TCP }},
		{"tcptype", func(c *Candidate) { c.Transport, c.TCPType = TCP, 4 }},
		{"extension", func(c *Candidate) { c.Extensions = slices.Repeat([]Extension{{"n", "v"}}, MaxExtensions+1) }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"", "v"}} }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"n", "v w"}} }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"n m", "v"}} }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"n", "v\na=ice-lite"}} }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"Raddr", "10.0.0.1"}} }},
		{"extension", func(c *Candidate) { c.Extensions = []Extension{{"rport", "1"}} }},
		{"extension", func(c *Candidate) {
			c.Transport, c.TCPType, c.Extensions = TCP, Active, []Extension{{"tcptype", "active"}}
		}},
	} {
		bad := good
		c.spoil(&bad)
		var wrong *CandidateError
		if err := bad.Check(); !errors.As(err, &wrong) || wrong.Field != c.field || wrong.Reason == "" {
			t.Errorf("%+v: %v, want an error about %s", bad, err, c.field)
		}
		if text, err := bad.MarshalText(); err == nil {
			t.Errorf("%+v: marshalled as %s", bad, text)
		}
		if s := bad.String(); !strings.HasPrefix(s, candidatePrefix) || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7F }) >= 0 {
			t.Errorf("%+v: written as %q", bad, s)
		}
	}
}

func TestCandidateInJSON(t *testing.T) {
	type message struct{ Candidates []Candidate }
	var sent message
	for _, c := range candidateTexts {
		sent.Candidates = append(sent.Candidates, c.want)
	}
	text, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got message
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	kept := got.Candidates[0]
	if err := json.Unmarshal([]byte(`{"Candidates":["candidate:1"]}`), &got); err == nil || !reflect.DeepEqual(got.Candidates[0], kept) {
		t.Errorf("a bad candidate: %v; it left %+v", err, got.Candidates[0])
	}
}

func TestExtensionAndMDNS(t *testing.T) {
	c := Candidate{Extensions: []Extension{{"generation", "0"}, {"ufrag", "abcd"}, {"ufrag", "efgh"}, {"none", ""}}}
	for name, want := range map[string]string{"generation": "0", "UFRAG": "abcd", "none": ""} {
		if got, ok := c.Extension(name); !ok || got != want {
			t.Errorf("Extension(%q) = %q, %t", name, got, ok)
		}
	}
	if _, ok := c.Extension("network-cost"); ok {
		t.Error("an extension that is not there")
	}
	for name, want := range map[string]bool{"": false, ".local": false, "a.local": true, "a.LOCAL": true, "a.local.example": false, "alocal": false, "notlocal.com": false} {
		if got := (Candidate{Name: name}).IsMDNS(); got != want {
			t.Errorf("IsMDNS of %q: %t", name, got)
		}
	}
}

// TestCandidateRoundTrip writes and reads candidates made at random.
func TestCandidateRoundTrip(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 20000 {
		c := randomCandidate(r)
		if err := c.Check(); err != nil {
			t.Fatalf("seed %d, candidate %d: %v", seed, i, err)
		}
		got, err := ParseCandidate(c.String())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("seed %d, candidate %d: %s came back as\n%+v, %v; want\n%+v", seed, i, c, got, err, c)
		}
	}
}

func randomCandidate(r *rand.Rand) Candidate {
	text := func(alphabet string, least, most int) string {
		b := make([]byte, least+r.IntN(most-least+1))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	addr := func() netip.Addr {
		var b [16]byte
		for i := range b {
			if r.IntN(3) == 0 { // so that zeros are there to be left out
				b[i] = byte(r.Uint32())
			}
		}
		if ip := netip.AddrFrom16(b).Unmap(); r.IntN(2) == 0 && ip.Is6() {
			return ip
		}
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	port := func() uint16 { return uint16(r.Uint32()) }
	c := Candidate{
		Foundation: text(letters+"0123456789+/", 1, 32), Component: uint16(1 + r.IntN(256)), Transport: Transport(r.IntN(2)),
		Priority: uint32(1 + r.IntN(maxPriority)), Addr: netip.AddrPortFrom(addr(), port()), Type: CandidateType(r.IntN(4)),
	}
	if r.IntN(4) == 0 {
		c.Name, c.Addr = text(letters+"0123456789-", 1, 63)+"."+text(letters, 2, 10), namePort(port())
	}
	if c.Transport == TCP {
		c.TCPType = TCPType(1 + r.IntN(3))
	}
	if r.IntN(2) == 0 {
		if c.Related = netip.AddrPortFrom(addr(), port()); c.Related == c.hidden() && c.Type != Host {
			c.Related = netip.AddrPort{}
		}
	}
	visible := ""
	for b := byte('!'); b <= '~'; b++ {
		visible += string(rune(b))
	}
	for range r.IntN(5) {
		if e := (Extension{text(visible, 1, 16), text(visible, 0, 16)}); !c.owns(e.Name) {
			c.Extensions = append(c.Extensions, e)
		}
	}
	return c
}

func TestAppendToDoesNotAllocate(t *testing.T) {
	c, err := ParseCandidate(chromiumCandidate)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, MaxCandidateText)
	if n := testing.AllocsPerRun(100, func() { buf = c.AppendTo(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if string(buf) != chromiumCandidate {
		t.Errorf("%s", buf)
	}
}
