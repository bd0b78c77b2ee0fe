package hygiene

import (
	"slices"
	"testing"
)

func TestToType(t *testing.T) {
	for _, tt := range []struct {
		name, src string
		line      int
		says      string
	}{
		{"no package", "# A\n\n`go test ./nothing`\n", 3, `no package "nothing"`},
		{"no program", "```sh\ngo run ./cmd/b -x # b\n```\n", 2, `no package "cmd/b"`},
		{"tests alone are no program", "`go run ./only`\n", 1, `no package "only"`},
		{"no test", "`go test ./punch -run 'Lane$'`\n", 1, "matches nothing"},
		{"a benchmark is no test", "`go test ./punch -run Pinger`\n", 1, "matches nothing"},
		{"no benchmark", "    go test ./punch -run '^$' -bench LaneKinds\n", 1, "-bench"},
		{"no folder named", "`go test -run LaneKinds -v`\n", 1, "-run LaneKinds"},
		{"in another folder", "in `deep/nested`: `go test ./punch -run LaneKinds`\n", 1, `"deep/nested/punch"`},
		{"behind a cd's block", "```console\n$ cd deep/nested\n$ go test -run Inner\n```\n`go test -run Inner`\n", 5, "-run Inner"},
		{"within another", "`go run ./cmd/a $(go run ./cmd/b)`\n", 1, `"cmd/b"`},
		{"no pattern", "`go test ./punch -run '('`\n", 1, "missing"},

		{"all of it", "`go test ./punch -run 'LaneKinds|Other$/sub' -v`, `go test . -run Session`, `go run ./cmd/a -o ./none.txt`\n" +
			"| `cd deep/nested && go test -run Inner -count 7` | in `deep/nested`: `go test -run '^$' -bench Pair` |\n" +
			"    go test -run '^$' -bench Pinger -benchtime 1x ./punch -clients 9 | tee x\n" +
			"$ go test ./... -run LaneKinds\n`go test -run '^$' -bench . ./only`, `go run example.org/x@v1 ./...`\n", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := new(tree)
			for name, src := range map[string]string{
				"docs/a.md":             tt.src,
				"session.go":            "package a",
				"session_test.go":       "package a\n\nfunc TestSession() {}",
				"punch/a.go":            "package punch",
				"punch/a_test.go":       "package punch\n\nfunc TestLaneKinds() {}\n\nfunc BenchmarkPinger() {}",
				"only/a_test.go":        "package only\n\nfunc BenchmarkX() {}",
				"cmd/a/main.go":         "package main",
				"deep/nested/a.go":      "package nested",
				"deep/nested/a_test.go": "package nested\n\nfunc TestInner() {}\n\nfunc BenchmarkPair() {}",
			} {
				if err := tr.add(name, []byte(src)); err != nil {
					t.Fatal(err)
				}
			}
			judge(t, checkToType(tr), "docs/a.md", tt.line, tt.says)
		})
	}
}

func TestWordsOf(t *testing.T) {
	got := wordsOf(`./a -run '^$' "b c"d '' # x`)
	if want := []string{"./a", "-run", "^$", "b cd", ""}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"./a | b", "./a; b", "./a && b", "./a) b"} {
		if got := wordsOf(s); !slices.Equal(got, []string{"./a"}) {
			t.Errorf("%q: %q", s, got)
		}
	}
}
