package hygiene

import (
	"cmp"
	"fmt"
	"go/doc"
	"path"
	"regexp"
	"slices"
	"sort"
)

const rulePackageDoc = "package comment"

// checkPackageDocs finds packages without a package comment. A library keeps it
// in doc.go; a program and a package of tests alone may have it in any file.
func checkPackageDocs(files []*goFile) []finding {
	type state struct {
		documented bool
		library    bool
		docFile    bool
		first      string
	}
	packages := map[string]*state{}
	for _, f := range files {
		s := packages[f.pkg]
		if s == nil {
			s = &state{first: f.path}
			packages[f.pkg] = s
		}
		s.documented = s.documented || !hasNoText(f.ast.Doc)
		s.library = s.library || !f.isTest() && f.ast.Name.Name != "main"
		s.docFile = s.docFile || f.base() == "doc.go" && !hasNoText(f.ast.Doc)
		if f.path < s.first {
			s.first = f.path
		}
	}
	var found []finding
	for pkg, s := range packages {
		switch {
		case s.library && !s.docFile:
			found = append(found, finding{path.Join(pkg, "doc.go"), 1, rulePackageDoc,
				fmt.Sprintf("package %q has no doc.go with a package comment", pkg), "write one that says what the package is for and where to start"})
		case !s.documented:
			found = append(found, finding{s.first, 1, rulePackageDoc,
				fmt.Sprintf("package %q has no package comment", pkg), "say above the package clause what the program does and how it is called"})
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].path < found[j].path })
	return found
}

const ruleExample = "example"

// checkExamples finds public packages without an example that runs, which is one that
// says what it prints.
func checkExamples(files []*goFile) []finding {
	runs, public := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		switch {
		case f.isTest():
			runs[f.pkg] = runs[f.pkg] || slices.ContainsFunc(doc.Examples(f.ast), func(e *doc.Example) bool { return e.Output != "" })
		case isPublic(f):
			public[f.pkg] = true
		}
	}
	var found []finding
	for pkg := range public {
		if !runs[pkg] {
			found = append(found, finding{path.Join(pkg, "example_test.go"), 1, ruleExample,
				fmt.Sprintf("package %q has no example with an Output comment", publicName(pkg)), "write one that shows what most users begin with"})
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return cmp.Compare(a.path, b.path) })
	return found
}

const ruleUsage = "usage"

// checkUsage finds programs whose package comment shows no command line.
func checkUsage(f *goFile) []finding {
	if f.isTest() || f.ast.Name.Name != "main" || hasNoText(f.ast.Doc) || within(f.pkg, "internal") {
		return nil
	}
	name := path.Base(f.pkg)
	if regexp.MustCompile(`(?m)^\t(?:\w+=\S+ )?(?:go run .*/)?` + regexp.QuoteMeta(name) + `\b`).MatchString(f.ast.Doc.Text()) {
		return nil
	}
	return []finding{f.at(f.line(f.ast.Name.Pos()), ruleUsage, fmt.Sprintf("the comment of program %q does not show how it is called", name),
		"write its command line, indented, below what it is for")}
}
