package hygiene

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDocumented(t *testing.T) {
	run(t, checkDocumented, []breach{
		{"a func", "punch/a.go", "package p\n\nfunc F() {}\n", 3, "func F"},
		{"a method", "punch/a.go", "package p\n\n// T is.\ntype T int\n\nfunc (t *T) M() {}\n", 6, "func M"},
		{"a method of a generic type", "punch/a.go", "package p\n\n// T is.\ntype T[K any] struct{}\n\nfunc (t *T[K]) M() {}\n", 6, "func M"},
		{"a type", "internal/wire/a.go", "package p\n\ntype T int\n", 3, "type T"},
		{"a type in a group", "punch/a.go", "package p\n\n// All of them.\ntype (\n\tT int\n)\n", 5, "type T"},
		{"a const", "punch/a.go", "package p\n\nconst C = 1\n", 3, "const C"},
		{"a var", "punch/a.go", "package p\n\nvar a, V = 1, 2\n", 3, "var V"},
		{"a directive is no comment", "punch/a.go", "package p\n\n//go:noinline\nfunc F() {}\n", 4, "func F"},
		{"a field of a config", "punch/a.go", "package p\n\n// PunchConfig is.\ntype PunchConfig struct {\n\tRTO int\n}\n", 5, "PunchConfig.RTO"},
		{"a method of an interface", "punch/a.go", "package p\n\n// I is.\ntype I interface {\n\tM()\n\n\t// N does.\n\tN()\n}\n", 5, "I.M"},

		{"all of it", "punch/a.go", "package p\n\n// F does.\nfunc F() {}\n\n// The values.\nconst (\n\tA = iota\n\tB\n)\n\nvar V int // of\n", 0, ""},
		{"an interface of one method", "punch/a.go", "package p\n\n// I does M.\ntype I interface{ M() }\n", 0, ""},
		{"a comment for two fields", "punch/a.go", "package p\n\n// Config is.\ntype Config struct {\n\t// Low and High are.\n\tLow  int\n\tHigh int\n}\n", 0, ""},
		{"a field of a public type", "punch/a.go", "package p\n\n// T is.\ntype T struct {\n\tA int\n}\n", 5, "T.A"},
		{"an error by another name", "punch/a.go", "package p\n\n// T is.\ntype T struct {\n\tCause error\n}\n", 5, "T.Cause"},
		{"a field that is a string", "punch/a.go", "package p\n\n// T is.\ntype T struct {\n\tString string\n}\n", 5, "T.String"},

		{"a field that the type's comment names", "punch/a.go", "package p\n\n// T is A and B.\ntype T struct{ A, B int }\n", 0, ""},
		{"fields that are called as their types are", "punch/a.go", "package p\n\n// T is.\ntype T struct {\n\tKind TKind\n\tAt time.Time\n\tPeer *ident.PeerID\n\tWaves []Wave\n\tErr error\n}\n", 0, ""},
		{"a field within", "internal/wire/a.go", "package p\n\n// T is.\ntype T struct{ A int }\n", 0, ""},
		{"what nobody sees", "punch/a.go", "package p\n\ntype t int\n\nfunc (t) String() string { return \"\" }\n\nfunc f() {}\n", 0, ""},
		{"a test", "punch/a_test.go", "package p\n\nfunc TestX() {}\n", 0, ""},
	})
}

func TestFormatted(t *testing.T) {
	run(t, checkFormatted, []breach{
		{"blanks for a tab", "punch/a.go", "package p\n\nfunc f() {\n  f()\n}\n", 4, "gofmt"},
		{"imports out of order", "punch/a.go", "package p\n\nimport (\n\t\"time\"\n\t\"net\"\n)\n", 4, "gofmt"},
		{"as it should be", "punch/a.go", "package p\n\nfunc f() {\n\tf()\n}\n", 0, ""},
	})
}

func TestUnfinished(t *testing.T) {
	run(t, checkUnfinished, []breach{
		{"put off", "punch/a.go", "package p\n\n// " + "TODO: do it.\nvar x int\n", 3, "TODO"},
		{"in a block", "punch/a.go", "package p\n\nvar x int /* " + "FIXME */\n", 3, "FIXME"},
		{"in a string", "punch/a.go", "package p\n\nvar x = \"TODO\"\n", 0, ""},
		{"a word with it inside", "punch/a.go", "package p\n\nvar x int // TODOS\n", 0, ""},
	})
}

func TestLength(t *testing.T) {
	long := "package p\n" + strings.Repeat("\n", 500)
	for _, tt := range []struct {
		name, src, architecture string
		line                    int
	}{
		{"too long", long, "# Architecture\n", 501},
		{"named without a reason", long, "| `punch/a.go` | |\n", 501},
		{"another file's reason", long, "| `punch/b.go` | a generated table |\n", 501},
		{"named with a reason", long, "| `punch/a.go` | a generated table |\n", 0},
		{"short", long[:len(long)-1], "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &goFile{textFile: textFile{path: "punch/a.go", src: []byte(tt.src)}}
			judge(t, checkLength(f, []byte(tt.architecture)), "punch/a.go", tt.line, "lines")
		})
	}
}

func TestMachine(t *testing.T) {
	for _, tt := range []struct {
		name, src string
		line      int
	}{
		{"a path", "see\n`/wo" + "rk/main`\n", 2},
		{"the superuser's home", "cache=/ro" + "ot/.cache\n", 1},
		{"a registry", "GOPROXY=https://pro" + "xy.golang.org\n", 1},
		{"a path of the project", "internal/ro" + "ot/x and ./wo" + "rk/y\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			judge(t, checkMachine(&textFile{path: "README.md", src: []byte(tt.src)}), "README.md", tt.line, "one machine")
		})
	}
}

func TestCommands(t *testing.T) {
	ci := &textFile{path: ".ci/run", src: []byte("step tests go test -race ./...\n# go test ./never\nstep demo timeout 15 go run ./examples/twopeer\n")}
	for _, tt := range []struct {
		name, command string
		line          int
	}{
		{"not run", "go test ./other", 4},
		{"only in a comment", "go test ./never", 4},
		{"the end of a longer word", "go run ./examples/two", 4},
		{"run", "go run ./examples/twopeer", 0},
		{"run, with a remark", "go test -race ./...   # everything", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			readme := &textFile{path: "README.md", src: []byte("go run ./prose\n\n```sh\n" + tt.command + "\n```\n\n```go\ngo f()\n```\n")}
			judge(t, checkCommands(readme, ci), "README.md", tt.line, ".ci/run")
		})
	}
}

func TestReasons(t *testing.T) {
	architecture := &textFile{path: "ARCHITECTURE.md", src: []byte("- `golang.org/x/sys`: socket options\n")}
	for _, tt := range []struct {
		name, require string
		line          int
	}{
		{"no reason", "github.com/x/y v1.0.0", 3},
		{"a reason for what it begins with", "golang.org/x/sys/more v1.0.0", 3},
		{"a reason", "golang.org/x/sys v1.0.0", 0},
		{"somebody else's choice", "github.com/x/y v1.0.0 // indirect", 0},
		{"our own module", modulePath + " v0.0.0", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, form := range []string{"module m\n\nrequire " + tt.require + "\n", "module m\nrequire (\n\t" + tt.require + "\n)\n"} {
				judge(t, checkReasons(&textFile{path: "go.mod", src: []byte(form)}, architecture), "go.mod", tt.line, "no reason")
			}
		})
	}
}

func TestUnfixed(t *testing.T) {
	for _, tt := range []struct {
		name, require string
		line          int
	}{
		{"required", "github.com/pion/ice/v2 v2.3.38", 3},
		{"by way of another", "github.com/pion/dtls/v2 v2.2.12 // indirect", 3},
		{"the old line", "github.com/pion/stun v0.6.1", 3},
		{"the maintained line", "github.com/pion/stun/v3 v3.1.7", 0},
		{"another module", "github.com/pion/logging v0.2.4", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			judge(t, checkUnfixed(&textFile{path: "go.mod", src: []byte("module m\n\nrequire " + tt.require + "\n")}), "go.mod", tt.line, "flaw")
		})
	}
}

func TestModules(t *testing.T) {
	for _, tt := range []struct {
		name, module, work string
		line               int
	}{
		{"not listed", modulePath + "/internal/interop", "go 1.26\n\nuse .\n", 1},
		{"no go.work", modulePath + "/internal/interop", "", 1},
		{"another module's path", "example.org/interop", "use ./internal/interop\n", 1},
		{"listed alone", modulePath + "/internal/interop", "use ./internal/interop\n", 0},
		{"listed in a block", modulePath + "/internal/interop", "use (\n\t.\n\t./internal/interop\n)\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := new(tree)
			for name, src := range map[string]string{"go.mod": "module " + modulePath + "\n", "internal/interop/go.mod": "module " + tt.module + "\n", "go.work": tt.work} {
				if err := repo.add(name, []byte(src)); err != nil {
					t.Fatal(err)
				}
			}
			judge(t, checkModules(repo), "internal/interop/go.mod", tt.line, "interop")
		})
	}
}

func TestLoadFindsEveryPlatform(t *testing.T) {
	repo := new(tree)
	if err := repo.add("punch/sockopt_windows.go", []byte("//go:build windows\n\npackage punch\n")); err != nil || len(repo.code) != 1 {
		t.Errorf("a file for windows: %v, %d files", err, len(repo.code))
	}
	if err := repo.add("punch/broken.go", []byte("package\n")); err == nil || !strings.Contains(err.Error(), "punch/broken.go:1") {
		t.Errorf("a broken file: %v, want an error that names it", err)
	}
	if _, err := load(t.TempDir() + "/none"); err == nil {
		t.Error("a folder that is not there was read")
	}
}

// In a git worktree .git is a file that names a folder of the machine.
func TestLoadPassesOverVersionControl(t *testing.T) {
	root := t.TempDir()
	for name, src := range map[string]string{
		".git": "gitdir: /" + "work/x/.git/worktrees/y\n", "README.md": "# x\n", "punch/a.go": "package punch\n",
		"testdata/x.txt": "x\n", ".editor/x.txt": "x\n", ".ci/run": "#!/bin/sh\n",
	} {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(src), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	repo, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range repo.text {
		got = append(got, f.path)
	}
	if want := []string{".ci/run", "README.md", "punch/a.go"}; !slices.Equal(got, want) || len(repo.code) != 1 {
		t.Errorf("read %q, %d Go files, want %q", got, len(repo.code), want)
	}
}
