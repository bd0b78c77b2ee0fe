package hygiene

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

const ruleSnippets = "snippets"

// fromLine stands above a block of Go in a document and says of which declarations it is:
//
//	<!-- from examples/wireguard/bind.go: endpoint, bind.Send -->
//	<!-- from examples/hello/main.go: all -->
//
// The second one is of the whole file from its package clause on.
var fromLine = regexp.MustCompile(`^<!-- from (\S+\.go): (.+) -->$`)

// cookbook is the document of which every block of Go is to be copied, so that each must say
// what it is from. In the README that is so of functions; elsewhere, and in its other blocks,
// there are lines that are no program.
const cookbook = "docs/cookbook.md"

func mustBeQuoted(path, text string) bool {
	return path == cookbook || path == "README.md" && strings.HasPrefix(text, "func ")
}

// likeGo begins a block that is shown as Go, and indentedGo is a line of Go that is a block
// because it is indented.
var (
	likeGo     = regexp.MustCompile("^\\s*(?:>\\s*)*(?:```+|~~~+)\\s*(?i:go|golang)\\b")
	indentedGo = regexp.MustCompile(`^(?: {4}|\t)\s*(?:func[ (]|package \w|import [("]|type \w+ )`)
)

// checkSnippets finds blocks of Go in a document that are not what they are said to be from,
// with its comments: what a document shows must be what CI compiles and tests. It returns the
// document as it should be, too.
func checkSnippets(document *textFile, files []*goFile) (found []finding, want string) {
	var out []string
	lines := strings.Split(strings.ReplaceAll(string(document.src), "\r\n", "\n"), "\n")
	fence := "" // of a block that is none of Go
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		if lines[i] != "```go" || fence != "" {
			var odd bool
			if fence, odd = fenceAfter(fence, lines[i]), fence == "" && (likeGo.MatchString(lines[i]) || indentedGo.MatchString(lines[i])); odd {
				found = append(found, document.at(i+1, ruleSnippets, fmt.Sprintf("%q is Go that nothing looks at", lines[i]), "put it between lines that are just ```go and ```"))
			}
			continue
		}
		start := i
		var block []string
		for i++; i < len(lines) && lines[i] != "```"; i++ {
			block = append(block, lines[i])
		}
		var from []string
		if start > 0 {
			from = fromLine.FindStringSubmatch(lines[start-1])
		}
		text, err := strings.Join(block, "\n"), error(nil)
		switch {
		case from != nil:
			text, err = quote(files, from[1], strings.Split(from[2], ", "))
		case mustBeQuoted(document.path, text):
			err = fmt.Errorf("a block of Go does not say what it is from")
		}
		switch {
		case err != nil:
			found = append(found, document.at(start+1, ruleSnippets, err.Error(), "put <!-- from FILE.go: NAME, TYPE.METHOD --> above the block"))
		case text != strings.Join(block, "\n"):
			found = append(found, document.at(start+1, ruleSnippets, "the block is not what "+from[1]+" has",
				"run: go test ./internal/hygiene -run Snippets -update"))
			block = strings.Split(text, "\n")
		}
		out = append(out, block...)
		if i < len(lines) {
			out = append(out, lines[i])
		}
	}
	return found, strings.Join(out, "\n")
}

// quote returns declarations of a file with their comments, in the order asked for; "all" is the file.
func quote(files []*goFile, path string, names []string) (string, error) {
	at := slices.IndexFunc(files, func(f *goFile) bool { return f.path == path })
	if at < 0 {
		return "", fmt.Errorf("there is no %s", path)
	}
	f := files[at]
	if slices.Equal(names, []string{"all"}) {
		return strings.TrimRight(string(f.src[f.fset.Position(f.ast.Package).Offset:]), "\n"), nil
	}
	var texts []string
	for _, name := range names {
		i := slices.IndexFunc(f.ast.Decls, func(d ast.Decl) bool { return slices.Contains(declared(d), name) })
		if i < 0 {
			return "", fmt.Errorf("%s declares no %s", path, name)
		}
		decl := f.ast.Decls[i]
		pos := decl.Pos()
		if doc := docOf(decl); doc != nil {
			pos = doc.Pos()
		}
		texts = append(texts, string(f.src[f.fset.Position(pos).Offset:f.fset.Position(decl.End()).Offset]))
	}
	return strings.Join(texts, "\n\n"), nil
}

// declared are the names of a declaration; of a method TYPE.METHOD.
func declared(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil {
			return []string{receiver(d) + "." + d.Name.Name}
		}
		return []string{d.Name.Name}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

func docOf(decl ast.Decl) *ast.CommentGroup {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		return d.Doc
	case *ast.GenDecl:
		return d.Doc
	}
	return nil
}
