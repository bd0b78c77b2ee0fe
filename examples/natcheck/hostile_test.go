package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
)

// hostile is what somebody might send who wants to be seen.
const hostile = "\"'><script>alert(1)</script></style></title></svg>]]><!--<img src=x onerror=alert(1)>{{.}}%s\x00\x1b[31m\u202e\u2066\xff&lt;"

// poisoned is a report all of whose words are hostile, the zones of its addresses too.
func poisoned(r natprobe.Report) natprobe.Report {
	r.Conclusions = slices.Clone(r.Conclusions)
	for i := range r.Conclusions {
		c := &r.Conclusions[i]
		c.Says, c.Because = hostile, hostile
	}
	r.Observations = slices.Clone(r.Observations)
	for i := range r.Observations {
		o := &r.Observations[i]
		o.ICMP, o.Local, o.To = hostile, zoned(o.Local), zoned(o.To)
	}
	r.Local = zoned(r.Local)
	if r.TCP != nil {
		r.TCP.Because = hostile
	}
	if r.Lifetime != nil {
		r.Lifetime.Reason = hostile
	}
	if r.IPv6 != nil {
		six := poisoned(*r.IPv6)
		r.IPv6 = &six
	}
	return r
}

func zoned(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(hostile), a.Port()) // without effect on IPv4
}

// shape lists the elements of a page with their attributes' names.
func shape(t *testing.T, page []byte) (all []string) {
	for _, n := range elements(t, page) {
		var names []string
		for name := range n.attr {
			names = append(names, name)
		}
		slices.Sort(names)
		all = append(all, n.name+" "+strings.Join(names, " "))
	}
	return all
}

// TestHostileWordsStayWords: a page with them has the very elements of one without.
func TestHostileWordsStayWords(t *testing.T) {
	for name, r := range map[string]natprobe.Report{
		"measured": measured(t, "symmetric-sequential"),
		"blocked":  measured(t, "udp-blocked"),
		"whole":    discovered(t, "dual-stack", capable[0].String(), limited.String(), capable6[0].String()),
	} {
		tame := rendered(t, name, r, someServer)
		page := rendered(t, "hostile-"+name, poisoned(r), hostile)
		inert(t, page)
		if a, b := shape(t, tame), shape(t, page); !slices.Equal(a, b) {
			t.Errorf("%s: %d elements became %d", name, len(a), len(b))
		}
		if !bytes.Contains(page, []byte("&lt;script&gt;alert(1)&lt;/script&gt;")) {
			t.Errorf("%s: the words are not told", name)
		}
		if bytes.ContainsAny(page, "\x00\x1b\u202e\u2066") {
			t.Errorf("%s: control characters", name)
		}
	}
}

// TestSoftwareOfServersIsNotShown: what a server calls itself is its free choice, and no part of
// a report.
func TestSoftwareOfServersIsNotShown(t *testing.T) {
	w := newWorldOf(t, "full-cone", "<script>alert(1)</script>")
	r := w.measure(capable[0], limited)
	if r.Type != natprobe.TypeFullCone {
		t.Fatalf("the server is not understood: %v", r)
	}
	if page := rendered(t, "software", r, someServer); bytes.Contains(page, []byte("alert")) {
		t.Errorf("%s", page)
	}
}

// FuzzPage: any report that can be read has a page that is well-formed, inert and bounded.
func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"type":"symmetric","nat":"yes","mapped":"192.0.2.1:1","ports":{"model":"block","low":9,"high":3},
		"observations":[{"asked":"plain","mapped":"192.0.2.1:1","local":"10.0.0.1:1","to":"192.0.2.2:1"}],
		"lifetime":{"answered":{"low_ms":-1,"high_ms":-9}},"ipv6":{"type":"udp_blocked"}}`), hostile)
	f.Fuzz(func(t *testing.T, text []byte, server string) {
		var r natprobe.Report
		if json.Unmarshal(text, &r) != nil {
			return
		}
		page := rendered(t, "fuzz", r, server)
		inert(t, page)
		if len(page) > 600<<10 {
			t.Errorf("%d bytes", len(page))
		}
	})
}
