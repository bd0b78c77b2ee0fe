package hygiene

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/api.txt, and the Go in the documents")

const (
	apiFile    = "docs/api.txt"
	apiCommand = "go test ./internal/hygiene -run API -update"
	apiHead    = "# The public API of all packages, a declaration a line: what a change of it breaks shows in its diff.\n# Written by: " + apiCommand + "\n"
)

// TestAPI holds docs/api.txt to the public API.
func TestAPI(t *testing.T) {
	repo, err := repository()
	if err != nil {
		t.Fatalf("reading the repository: %v", err)
	}
	lines := listAPI(repo.code)
	want := []byte(apiHead + strings.Join(lines, "\n") + "\n")
	name := filepath.Join(root, filepath.FromSlash(apiFile))
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; write it by: %s", err, apiCommand)
	}
	if got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
		t.Errorf("the public API is another one than %s says; if that is meant, run: %s\n%s", apiFile, apiCommand, difference(string(got), string(want)))
	}
	if len(lines) < 500 {
		t.Errorf("%d declarations, want a whole SDK's", len(lines))
	}
}

// difference shows the lines that only one of two sorted texts has.
func difference(old, now string) string {
	var b strings.Builder
	before, after := strings.Split(strings.TrimSpace(old), "\n"), strings.Split(strings.TrimSpace(now), "\n")
	for _, line := range before {
		if !slices.Contains(after, line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	if b.Len() == 0 {
		return "the same lines, but repeated or in another order"
	}
	return b.String()
}

func TestAPIDifference(t *testing.T) {
	if got, want := difference("a\nb\nc\n", "b\nc\nd\n"), "- a\n+ d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := difference("a\na\n", "a\n"); !strings.Contains(got, "repeated") {
		t.Errorf("a repeated line: %q", got)
	}
}

func TestAPIListing(t *testing.T) {
	repo := new(tree)
	for name, src := range map[string]string{
		"ice/a.go": `package ice

import (
	"errors"

	"github.com/bradawl/bradawl/internal/ident"
)

type ID = ident.PeerID

type Kind uint8

const (
	Host Kind = iota
	Relay
	hidden
)

const (
	Most     = 1 << 4
	Least, _ = -1, 0
)

var (
	ErrGone     = errors.New("gone")
	Polite      = Config{A: 1}
	Shared      = &Config{}
	Deep    any = 1
	secret  int
)

type Config struct {
	A, B int // two
	C    func(when int, what ...string) (ok bool, err error)
	d    int
	*Base
	inner
}

type inner struct{ E string }

func (i *inner) Promoted() {}
func (i inner) own()       {}

type Base struct{}

type Face interface {
	error
	Do(x, y int) error
	private()
}

type Same = interface {
	// Take takes what is mapped.
	Take(m map[string][]func(n int) bool) [4]int
}

type List[T any, P *T] []T

func (l *List[T, P]) Get(i int) (T, bool) { panic(0) }
func Make[T any](of ...T) *List[T, *T]    { return nil }
func (c hiding) Reached()                 {}
func unexported()                         {}

type hiding int
`,
		"ice/io_linux.go":       "package ice\n\nfunc Twice(onLinux int) {}\n",
		"ice/io_windows.go":     "package ice\n\nfunc Twice(onWindows int) {}\n",
		"ice/a_test.go":         "package ice\n\nfunc Tested() {}\n",
		"internal/ident/id.go":  "package ident\n\ntype PeerID [32]byte\n\nfunc (p PeerID) Short() string { return \"\" }\nfunc Parse(s string) {}\n",
		"examples/chat/main.go": "package main\n\nfunc Main() {}\n",
		"doc.go":                "package bradawl\n\nfunc New() {}\n",
	} {
		if err := repo.add(name, []byte(src)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"bradawl: func New()",
		"ice: const Host Kind",
		"ice: const Least = -1",
		"ice: const Most = 1 << 4",
		"ice: const Relay Kind",
		"ice: func Make[T any](...T) *List[T, *T]",
		"ice: func Twice(int)",
		"ice: method (*Config) Promoted()",
		"ice: method (*List) Get(int) (T, bool)",
		"ice: method (ID) Short() string",
		"ice: type Base struct",
		"ice: type Config struct",
		"ice: type Config struct: A int",
		"ice: type Config struct: B int",
		"ice: type Config struct: C func(int, ...string) (bool, error)",
		"ice: type Config struct: E string",
		"ice: type Config struct: embedded *Base",
		"ice: type Face interface",
		"ice: type Face interface: Do(int, int) error",
		"ice: type Face interface: error",
		"ice: type Face interface: unexported methods",
		"ice: type ID = ident.PeerID",
		"ice: type Kind uint8",
		"ice: type List[T any, P *T] []T",
		"ice: type Same = interface",
		"ice: type Same interface: Take(map[string][]func(int) bool) [4]int",
		"ice: var Deep any",
		"ice: var ErrGone error",
		"ice: var Polite Config",
		"ice: var Shared *Config",
	}
	if got := listAPI(repo.code); !slices.Equal(got, want) {
		t.Errorf("the listing differs:\n%s", difference(strings.Join(want, "\n"), strings.Join(got, "\n")))
	}
}
