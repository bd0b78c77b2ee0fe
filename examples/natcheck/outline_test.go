package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the outlines of pages anew")

// outline is what a page says to those who do not see it, without the tables at its end.
func outline(t *testing.T, page []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	reach := false
	for _, n := range elements(t, page) {
		class := n.attr["class"]
		switch {
		case n.name == "h1":
			b.WriteString("# " + n.text + "\n")
		case class == "plain":
			b.WriteString(n.text + "\n")
		case n.name == "h2":
			b.WriteString("\n## " + n.text + "\n")
		case n.name == "desc":
			b.WriteString("picture: " + n.text + "\n")
		case class == "says" || n.name == "li":
			b.WriteString(n.text + "\n")
		case class == "reach":
			reach = true
		case n.name == "details":
			reach = false
		case reach && n.name == "th" && n.attr["scope"] == "row":
			b.WriteString(n.text)
		case reach && n.name == "td":
			b.WriteString(" | " + n.text)
		case reach && n.name == "tr":
			b.WriteString("\n")
		}
	}
	return b.Bytes()
}

// TestOutlines compares what pages say with what they said. Where a change is meant,
//
//	go test ./examples/natcheck -run TestOutlines -update
//
// writes them anew; then read the difference.
func TestOutlines(t *testing.T) {
	for _, name := range []string{"open", "firewall", "full-cone", "restricted-cone", "linux", "symmetric-address", "symmetric-sequential-2", "symmetric-random", "cgnat", "udp-blocked", "only-443"} {
		t.Run(name, func(t *testing.T) {
			got := outline(t, rendered(t, name, measured(t, name), someServer))
			file := filepath.Join("testdata", name+".outline")
			if *update {
				if err := os.WriteFile(file, got, 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
			a, b := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
			for i := range max(len(a), len(b)) {
				var was, is string
				if i < len(a) {
					was = a[i]
				}
				if i < len(b) {
					is = b[i]
				}
				if was != is {
					t.Fatalf("line %d was\n%s\nand is\n%s\nIf that is meant: go test ./examples/natcheck -run TestOutlines -update", i+1, was, is)
				}
			}
		})
	}
}
