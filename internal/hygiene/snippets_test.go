package hygiene

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSnippets holds the Go in the documents to the programs that it is quoted from.
func TestSnippets(t *testing.T) {
	repo, err := repository()
	if err != nil {
		t.Fatalf("reading the repository: %v", err)
	}
	blocks := 0
	for _, f := range repo.text {
		if f.path != "README.md" && (!strings.HasPrefix(f.path, "docs/") || !strings.HasSuffix(f.path, ".md")) {
			continue
		}
		found, want := checkSnippets(f, repo.code)
		blocks += strings.Count(want, "\n```go\n")
		if *update && want != string(f.src) {
			if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(f.path)), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s is rewritten", f.path)
		}
		for _, f := range found {
			t.Error(f)
		}
	}
	if blocks < 10 {
		t.Errorf("%d blocks of Go in documents, want the cookbook's", blocks)
	}
}

func TestSnippetOfNoProgram(t *testing.T) {
	for _, path := range []string{"docs/tuning.md", "README.md"} {
		doc := &textFile{path: path, src: []byte("# A\n\n```go\ncfg.Budget = punch.Polite\n```\n")}
		if found, want := checkSnippets(doc, nil); len(found) > 0 || want != string(doc.src) {
			t.Errorf("%v, %q", found, want)
		}
	}
	doc := &textFile{path: "README.md", src: []byte("# A\n\n```go\nfunc F() {}\n```\n")}
	found, _ := checkSnippets(doc, nil)
	judge(t, found, "README.md", 3, "does not say")
}

// TestSnippetInDisguise: what readers see as Go is looked at, or found.
func TestSnippetInDisguise(t *testing.T) {
	for name, block := range map[string]string{
		"a blank":        "```go \nfunc F() {}\n```",
		"another fence":  "~~~go\nfunc F() {}\n~~~",
		"a longer fence": "````go\nfunc F() {}\n````",
		"another name":   "```golang\nfunc F() {}\n```",
		"in a list":      "  ```Go\n  func F() {}\n  ```",
		"in a quotation": "> ```go\n> func F() {}\n> ```",
		"indented":       "    func F() {}",
		"by a tab":       "\ttype T struct{}",
	} {
		doc := &textFile{path: cookbook, src: []byte("# A\n\n" + block + "\n")}
		t.Run(name, func(t *testing.T) {
			found, want := checkSnippets(doc, nil)
			if judge(t, found, cookbook, 3, "nothing looks at"); want != string(doc.src) {
				t.Errorf("it was rewritten: %q", want)
			}
		})
	}
	doc := &textFile{path: cookbook, src: []byte("# A\n\n```text\n```go\n    func F() {}\n```\n\n```gomod\n```\n\n    go test .\n")}
	if found, want := checkSnippets(doc, nil); len(found) > 0 || want != string(doc.src) {
		t.Errorf("%v, %q", found, want)
	}
}

func TestSnippet(t *testing.T) {
	code := mustParse(t, "examples/a/main.go", `package main

// F does.
func F() {
	f()
}

// T is.
type T struct{}

func (*T) M() {}

const (
	one = 1
	two = 2
)
`)
	const from = "<!-- from examples/a/main.go: "
	for _, tt := range []struct {
		name, above, block string
		line               int
		says               string
	}{
		{"as it is", from + "F -->", "// F does.\nfunc F() {\n\tf()\n}", 0, ""},
		{"several", from + "T.M, T -->", "func (*T) M() {}\n\n// T is.\ntype T struct{}", 0, ""},
		{"a group", from + "two -->", "const (\n\tone = 1\n\ttwo = 2\n)", 0, ""},
		{"the whole file", from + "all -->", "package main\n\n// F does.\nfunc F() {\n\tf()\n}\n\n// T is.\ntype T struct{}\n\nfunc (*T) M() {}\n\nconst (\n\tone = 1\n\ttwo = 2\n)", 0, ""},
		{"not the whole file", from + "all -->", "package main", 4, "not what"},
		{"another body", from + "F -->", "// F does.\nfunc F() {\n\tg()\n}", 4, "not what"},
		{"without its comment", from + "F -->", "func F() {\n\tf()\n}", 4, "not what"},
		{"cut short", from + "F -->", "// F does.", 4, "not what"},
		{"no source", "Text:", "func F() {}", 4, "does not say"},
		{"no such name", from + "G -->", "func G() {}", 4, "declares no G"},
		{"a method's name alone", from + "M -->", "func (*T) M() {}", 4, "declares no M"},
		{"no such file", "<!-- from examples/b/main.go: F -->", "func F() {}", 4, "there is no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := &textFile{path: cookbook, src: []byte("# A\n\n" + tt.above + "\n```go\n" + tt.block + "\n```\n\n```sh\ngo f()\n```\n")}
			found, want := checkSnippets(doc, []*goFile{code})
			judge(t, found, cookbook, tt.line, tt.says)
			if again, same := checkSnippets(&textFile{path: doc.path, src: []byte(want)}, []*goFile{code}); tt.says == "" || tt.says == "not what" {
				if len(again) > 0 || same != want {
					t.Errorf("as it should be, %q has %v", want, again)
				}
			} else if want != string(doc.src) {
				t.Errorf("it was rewritten: %q", want)
			}
		})
	}
}
