package hygiene

import (
	"cmp"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

const ruleToType = "commands"

// toType is a command of Go's in a document, with the folder that it says to be in:
//
//	cd stats/natsbus && go test -v .
//	in `internal/peerbench`: `go test ./icetimes -bench IdleAgents`
//
// In a block it may be the line of a cd that says the folder.
var (
	toType = regexp.MustCompile("(?:\\bcd (\\S+) && |\\bin `([^`]+)`: `)?\\bgo (test|run) ([^`\n]+)")
	cdLine = regexp.MustCompile(`^(?:\$ )?cd (\S+)$`)
)

// checkToType finds commands in the documents, but for what has changed and when, that name a
// package that is not there, or a test that it does not have: CI runs few of them.
func checkToType(t *tree) []finding {
	var found []finding
	for _, f := range t.text {
		if !isMarkdown(f.path) || f.path == "CHANGELOG.md" {
			continue
		}
		folder := ""
		for i, line := range strings.Split(string(f.src), "\n") {
			if strings.HasPrefix(line, "```") {
				folder = ""
			} else if m := cdLine.FindStringSubmatch(line); m != nil {
				folder = m[1]
			}
			// One command may stand within another.
			for part := range strings.SplitSeq(line, "$(") {
				for _, m := range toType.FindAllStringSubmatch(part, -1) {
					if what := t.wrong(cmp.Or(m[1], m[2], folder), m[3], wordsOf(m[4])); what != "" {
						found = append(found, f.at(i+1, ruleToType, fmt.Sprintf("go %s %s: %s", m[3], m[4], what),
							"mend the command, or say the folder: cd FOLDER && go "+m[3]))
					}
				}
			}
		}
	}
	return found
}

// wrong says what is wrong with a command; "": nothing is.
func (t *tree) wrong(folder, command string, words []string) string {
	pkgs := slices.Clone(words)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); command == "run" && i >= 0 {
		pkgs = words[:i] // what follows is the program's
	}
	pkgs = slices.DeleteFunc(pkgs, func(w string) bool { return w != "." && !strings.HasPrefix(w, "./") })
	if command == "run" {
		pkgs = pkgs[:min(len(pkgs), 1)]
	} else if len(pkgs) == 0 {
		pkgs = []string{"."}
	}
	names := make(map[string]bool)
	for _, p := range pkgs {
		under, all := strings.CutSuffix(p, "/...")
		room := strings.TrimPrefix(path.Join(folder, under), ".")
		there := false
		for _, f := range t.code {
			if f.pkg == room || all && (room == "" || within(f.pkg, room)) {
				there = there || !f.isTest() || command == "test"
				f.addTests(names)
			}
		}
		if !there {
			return fmt.Sprintf("there is no package %q", room)
		}
	}
	for i, w := range words[:max(0, len(words)-1)] {
		if command != "test" || w != "-run" && w != "-bench" && w != "-fuzz" || words[i+1] == "^$" || words[i+1] == "." {
			continue
		}
		pattern, _, _ := strings.Cut(words[i+1], "/")
		re, err := regexp.Compile(pattern)
		if err != nil {
			return err.Error()
		}
		kinds := map[string]string{"-run": "Test Example Fuzz", "-bench": "Benchmark", "-fuzz": "Fuzz"}[w]
		if !hasTest(names, strings.Fields(kinds), re) {
			return fmt.Sprintf("%s %s matches nothing in %q", w, pattern, path.Join(folder, strings.Join(pkgs, " ")))
		}
	}
	return ""
}

func hasTest(names map[string]bool, kinds []string, re *regexp.Regexp) bool {
	for name := range names {
		if re.MatchString(name) && slices.ContainsFunc(kinds, func(k string) bool { return strings.HasPrefix(name, k) }) {
			return true
		}
	}
	return false
}

// addTests adds the functions of a test file.
func (f *goFile) addTests(names map[string]bool) {
	if !f.isTest() {
		return
	}
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			names[fn.Name.Name] = true
		}
	}
}

// wordsOf splits a command as a shell does, to the end of it.
func wordsOf(command string) (words []string) {
	var word strings.Builder
	quote, in := rune(0), false
	end := func() {
		if in {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	for _, r := range command {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			end()
		case quote == 0 && (strings.ContainsRune("|&;)", r) || r == '#' && !in):
			end()
			return words
		default:
			word.WriteRune(r)
			in = true
		}
	}
	end()
	return words
}
