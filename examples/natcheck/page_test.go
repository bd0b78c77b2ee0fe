package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

var pages = flag.String("pages", "", "directory that the pages of the tests are written to, to look at")

// someDay is when all pages of the tests are made.
var someDay = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const someServer = "stun.example.org:3478"

// rendered is the page of a report.
func rendered(t testing.TB, name string, r natprobe.Report, servers ...string) []byte {
	t.Helper()
	p, err := render(&r, servers, someDay)
	if err != nil {
		t.Fatal(err)
	}
	if *pages != "" {
		if err := os.WriteFile(filepath.Join(*pages, name+".html"), p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// node is an element of a page.
type node struct {
	name string
	attr map[string]string
	text string // all within it, its spaces as people see them
}

// elements parses a page as strictly as XML is, which is stricter than HTML.
func elements(t testing.TB, page []byte) []*node {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	var all, open []*node
	var text []byte  // of the whole page
	var starts []int // where the open elements' begins in it
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			n := &node{name: e.Name.Local, attr: map[string]string{}}
			for _, a := range e.Attr {
				n.attr[a.Name.Local] = a.Value
			}
			all, open, starts = append(all, n), append(open, n), append(starts, len(text))
		case xml.EndElement:
			last := len(open) - 1
			open[last].text = strings.Join(strings.Fields(string(text[starts[last]:])), " ")
			open, starts = open[:last], starts[:last]
		case xml.CharData:
			text = append(text, e...)
		}
	}
}

// inert checks that a page does nothing and asks nobody, and that what it names is there.
func inert(t testing.TB, page []byte) {
	t.Helper()
	ids := map[string]bool{}
	all := elements(t, page)
	for _, n := range all {
		if id := n.attr["id"]; id != "" {
			if ids[id] {
				t.Errorf("two elements have the id %q", id)
			}
			ids[id] = true
		}
	}
	for _, n := range all {
		switch n.name {
		case "script", "iframe", "object", "embed", "link", "img", "image", "base", "form", "use", "foreignObject", "audio", "video":
			t.Errorf("a <%s> is in the page", n.name)
		}
		for name, value := range n.attr {
			if strings.HasPrefix(name, "on") || name == "src" || name == "style" {
				t.Errorf("<%s> has the attribute %s=%q", n.name, name, value)
			}
		}
		if to, ok := n.attr["href"]; ok && !(strings.HasPrefix(to, "#") && ids[to[1:]]) {
			t.Errorf("a link to %q", to)
		}
		if n.attr["role"] != "img" {
			continue
		}
		names := strings.Fields(n.attr["aria-labelledby"])
		if len(names) != 2 || !ids[names[0]] || !ids[names[1]] {
			t.Errorf("a picture without title or description: %v", n.attr)
		}
	}
	text := string(page)
	for _, space := range []string{`xmlns="http://www.w3.org/2000/svg"`, `xmlns="http://www.w3.org/1999/xhtml"`} {
		text = strings.ReplaceAll(text, space, "")
	}
	for _, banned := range []string{"<script", "javascript:", "http://", "https://", "@import", "url(", "NaN", "ZgotmplZ", "%!"} {
		if i := strings.Index(strings.ToLower(text), strings.ToLower(banned)); i >= 0 {
			t.Errorf("%q is in the page: …%s…", banned, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// TestEveryKindOfNAT: each has a page that holds together, names its type in words, and is
// small enough for a bug report.
func TestEveryKindOfNAT(t *testing.T) {
	for _, name := range simnet.PresetNames() {
		t.Run(name, func(t *testing.T) {
			r := measured(t, name)
			page := rendered(t, name, r, someServer)
			inert(t, page)
			if len(page) > 64<<10 {
				t.Errorf("%d bytes", len(page))
			}
			var h1, plain string
			for _, n := range elements(t, page) {
				switch {
				case n.name == "h1":
					h1 = n.text
				case n.attr["class"] == "plain":
					plain = n.text
				}
			}
			head := capital(r.Type.Title())
			if words := typeWords[r.Type]; !strings.HasPrefix(h1, head) || words == "" || !strings.HasPrefix(plain, words) {
				t.Errorf("%q, %q", h1, plain)
			}
			if again := rendered(t, name, measured(t, name), someServer); !bytes.Equal(page, again) {
				t.Error("the same measurement gives another page")
			}
		})
	}
}

// TestTypesHaveWords: no type is shown as an empty line.
func TestTypesHaveWords(t *testing.T) {
	for typ := natprobe.TypeUnknown; typ <= natprobe.TypeUDPBlocked; typ++ {
		if typeWords[typ] == "" {
			t.Errorf("%v has none", typ)
		}
	}
}

// TestWholeReport: both families, with lifetimes and TCP.
func TestWholeReport(t *testing.T) {
	r := discovered(t, "dual-stack", capable[0].String(), limited.String(), capable6[0].String())
	if r.IPv6 == nil || r.Lifetime == nil || r.TCP == nil {
		t.Fatalf("%v", r)
	}
	page := rendered(t, "whole", r, someServer)
	inert(t, page)
	if len(page) > 96<<10 {
		t.Errorf("%d bytes", len(page))
	}
	var sections, pictures []string
	text := ""
	for _, n := range elements(t, page) {
		switch {
		case n.attr["class"] == "family":
			sections = append(sections, n.attr["aria-label"])
			text += n.text
		case n.name == "title":
			pictures = append(pictures, n.text)
		}
	}
	if !slices.Equal(sections, []string{"IPv4", "IPv6"}) {
		t.Errorf("sections %q", sections)
	}
	for _, want := range []string{"Mapping", "Filtering", "Outside ports", "Lifetime", "The way out"} {
		if n := len(slices.DeleteFunc(slices.Clone(pictures), func(s string) bool { return s != want })); n < 2 {
			t.Errorf("%d pictures of %s", n, want)
		}
	}
	for _, want := range []string{"An idle mapping lives about", "TCP: one outside port for all destinations", "[2001:db8:ffff::1]:3478", "Firewall"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, absent := range []string{"-lifetime", "-tcp", "-network"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s is asked for, and was given", absent)
		}
	}
}

// TestSecondNATIsDrawn: by its own icon, between the home's and the internet.
func TestSecondNATIsDrawn(t *testing.T) {
	page := rendered(t, "nested", discovered(t, "cgnat", capable[0].String()), someServer)
	inert(t, page)
	if n := bytes.Count(page, []byte("From here outwards: This host (192.168.0.2")); n != 2 {
		t.Errorf("%d pictures of the way", n)
	}
	if !bytes.Contains(page, []byte("then Home NAT (not seen from outside), then Second NAT (CGNAT) (outside: 203.0.113.")) {
		t.Error("the second NAT is not there")
	}
}

// TestUnknownStaysVisible: with the reason, and with what would tell.
func TestUnknownStaysVisible(t *testing.T) {
	w := newWorld(t, "symmetric-random")
	page := rendered(t, "one-limited-server", w.measure(limited), someServer)
	inert(t, page)
	says, why := map[string]int{}, ""
	for _, n := range elements(t, page) {
		switch n.attr["class"] {
		case "says":
			says[n.text]++
		case "why":
			why += n.text + "\n"
		}
	}
	if says["Not known"] != 2 { // mapping and filtering; the ports can be told
		t.Errorf("%v", says)
	}
	for _, want := range []string{
		"Only one server address told where it sees the socket", "192.0.2.20:3478 cannot tell: it names no other address",
		"Because: only one server address told", "Not known, as the type is not: only one server address told", "add -tcp", "add -lifetime", "see -network",
	} {
		if !strings.Contains(why, want) {
			t.Errorf("no %q in\n%s", want, why)
		}
	}
	if !bytes.Contains(page, []byte(">A NAT of a kind that is not known <")) {
		t.Error("that there is a NAT is known")
	}
	if bytes.Contains(page, []byte(`<table class="reach">`)) {
		t.Error("reachability of what is not known")
	}
}

// TestHalfKnown: what is known of a type that is not is its title.
func TestHalfKnown(t *testing.T) {
	for preset, want := range map[string]string{"port-restricted-cone": "A cone NAT; its filtering is not known", "firewall": "No NAT; whether there is a firewall is not known"} {
		page := rendered(t, "half-"+preset, newWorld(t, preset).measure(limited, plain), someServer)
		inert(t, page)
		all := elements(t, page)
		if i := slices.IndexFunc(all, func(n *node) bool { return n.name == "h1" }); all[i].text != want {
			t.Errorf("%s: %q", preset, all[i].text)
		}
		if !bytes.Contains(page, []byte("Because: 192.0.2.20:3478 cannot tell: it names no other address")) {
			t.Errorf("%s: no reason", preset)
		}
	}
}

// TestPageIsBounded: a report of any size gives a page that people can open.
func TestPageIsBounded(t *testing.T) {
	r := measured(t, "symmetric-random")
	for len(r.Observations) < 10_000 {
		r.Observations = append(r.Observations, r.Observations...)
	}
	for len(r.Conclusions) < 1_000 {
		r.Conclusions = append(r.Conclusions, natprobe.Conclusion{About: "x", Says: "y", Because: strings.Repeat("z", 10_000)})
	}
	page := rendered(t, "bounded", r, someServer)
	inert(t, page)
	if len(page) > 256<<10 {
		t.Errorf("%d bytes", len(page))
	}
	if !bytes.Contains(page, fmt.Appendf(nil, "%d more are left out", len(r.Observations)-maxObservations)) {
		t.Error("what is left out is not told")
	}
}
