package hygiene

import "testing"

func TestPackageDocs(t *testing.T) {
	tests := []struct{ name, path, src, at, says string }{
		{"no comment", "punch/a.go", "package punch\n", "punch/doc.go", "no doc.go"},
		{"elsewhere than in doc.go", "punch/a.go", "// Package punch is.\npackage punch\n", "punch/doc.go", "no doc.go"},
		{"a doc.go that says nothing", "punch/doc.go", "//go:build linux\n\npackage punch\n", "punch/doc.go", "no doc.go"},
		{"a program", "examples/a/main.go", "package main\n", "examples/a/main.go", "no package comment"},
		{"documented", "punch/doc.go", "// Package punch is.\npackage punch\n", "", ""},
		{"a documented program", "examples/a/main.go", "// Command a does.\npackage main\n", "", ""},
		{"a documented package of tests", "internal/interop/a_test.go", "// Package interop tests.\npackage interop\n", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line := 1
			if tt.at == "" {
				line = 0
			}
			judge(t, checkPackageDocs([]*goFile{mustParse(t, tt.path, tt.src)}), tt.at, line, tt.says)
		})
	}
}

func TestExamples(t *testing.T) {
	const library = "package punch\n"
	for _, tt := range []struct {
		name, path, src, test string
		line                  int
	}{
		{"none", "punch/a.go", library, "func TestX(t *testing.T) {}", 1},
		{"one that only compiles", "punch/a.go", library, "func Example() {\n\tpunch()\n}", 1},
		{"one that prints nothing", "punch/a.go", library, "func Example() {\n\tpunch()\n\t// Output:\n}", 1},
		{"one that runs", "punch/a.go", library, "func ExampleX() {\n\tpunch()\n\t// Output: x\n}", 0},
		{"in any order", "punch/a.go", library, "func ExampleX() {\n\tpunch()\n\t// Unordered output: x\n}", 0},
		{"a program", "punch/a.go", "package main\n", "", 0},
		{"internal", "punch/internal/x/a.go", library, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := []*goFile{mustParse(t, tt.path, tt.src), mustParse(t, "punch/example_test.go", "package punch_test\n\n"+tt.test+"\n")}
			judge(t, checkExamples(files), "punch/example_test.go", tt.line, "no example")
		})
	}
}

func TestUsage(t *testing.T) {
	run(t, checkUsage, []breach{
		{"no command line", "examples/chat/main.go", "// Chat talks.\npackage main\n", 2, "how it is called"},
		{"another one's", "examples/chat/main.go", "// Chat talks.\n//\n//\tchatter -x\npackage main\n", 4, "how it is called"},
		{"not indented", "examples/chat/main.go", "// Chat talks:\n// chat -x\npackage main\n", 3, "how it is called"},
		{"as it should be", "examples/chat/main.go", "// Chat talks.\n//\n//\tchat -x\npackage main\n", 0, ""},
		{"from its source", "examples/chat/main.go", "// Chat talks.\n//\n//\tgo run ./examples/chat\npackage main\n", 0, ""},
		{"a further file", "examples/chat/flags.go", "package main\n", 0, ""},
		{"a library", "punch/doc.go", "// Package punch is.\npackage punch\n", 0, ""},
	})
}
