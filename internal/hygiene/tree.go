package hygiene

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// modulePath is the main module; a nested module's path is this and its folder.
const modulePath = "github.com/bradawl/bradawl"

// A finding is one breach of a rule.
type finding struct {
	path   string // file, relative to the repository, with slashes
	line   int
	rule   string
	what   string
	remedy string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s; %s", f.path, f.line, f.rule, f.what, f.remedy)
}

// A textFile is any file of the repository that holds text.
type textFile struct {
	path string
	src  []byte
}

// at makes a finding in the file.
func (f *textFile) at(line int, rule, what, remedy string) finding {
	return finding{path: f.path, line: line, rule: rule, what: what, remedy: remedy}
}

// A goFile is one parsed Go file, whatever platform it is for.
type goFile struct {
	textFile
	pkg  string // the package's folder; "" is the root package
	fset *token.FileSet
	ast  *ast.File
}

func (f *goFile) base() string { return path.Base(f.path) }

func (f *goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isExternalTest reports whether the file is a test in a package of its own.
func (f *goFile) isExternalTest() bool {
	return f.isTest() && strings.HasSuffix(f.ast.Name.Name, "_test")
}

func (f *goFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// An importLine is one import of a file. Exactly one of local and foreign says what it is.
type importLine struct {
	path  string
	pkg   string // the folder, for a package of this repository
	local bool
	line  int
}

func (f *goFile) imports() []importLine {
	var all []importLine
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it already
		}
		pkg, local := localPackage(p)
		all = append(all, importLine{path: p, pkg: pkg, local: local, line: f.line(spec.Pos())})
	}
	return all
}

// localPackage returns the folder of an import path of this repository.
func localPackage(importPath string) (string, bool) {
	if importPath == modulePath {
		return "", true
	}
	return strings.CutPrefix(importPath, modulePath+"/")
}

// within reports whether pkg is room or lies under it. The root package holds
// only itself.
func within(pkg, room string) bool {
	return pkg == room || room != "" && strings.HasPrefix(pkg, room+"/")
}

func withinAny(pkg string, rooms []string) bool {
	for _, room := range rooms {
		if within(pkg, room) {
			return true
		}
	}
	return false
}

func parseGo(name string, src []byte) (*goFile, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	pkg := path.Dir(name)
	if pkg == "." {
		pkg = ""
	}
	return &goFile{textFile: textFile{path: name, src: src}, pkg: pkg, fset: fset, ast: file}, nil
}

// A tree is the repository: all text files, and the Go files among them parsed.
type tree struct {
	text []*textFile
	code []*goFile
}

// load reads the repository at root. It passes over version control (in a git worktree
// .git is a file, of that machine alone), vendored code and test data, over folders that
// start with a dot (but for .ci and .github), and over what holds a NUL byte and so is no
// text.
func load(root string) (*tree, error) {
	t := new(tree)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name != root {
			return nil // it went away meanwhile, as what an editor keeps while it saves
		}
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			hidden := strings.HasPrefix(base, ".") && name != root && base != ".ci" && base != ".github"
			if hidden || base == "vendor" || base == "testdata" || base == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || base == ".git" {
			return nil
		}
		src, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(src, 0) >= 0 {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return t.add(filepath.ToSlash(relative), src)
	})
	return t, err
}

func (t *tree) add(name string, src []byte) error {
	if !strings.HasSuffix(name, ".go") {
		t.text = append(t.text, &textFile{path: name, src: src})
		return nil
	}
	file, err := parseGo(name, src)
	if err != nil {
		return err
	}
	t.text = append(t.text, &file.textFile)
	t.code = append(t.code, file)
	return nil
}

// file returns a text file by its path, nil if there is none.
func (t *tree) file(name string) *textFile {
	for _, f := range t.text {
		if f.path == name {
			return f
		}
	}
	return nil
}
