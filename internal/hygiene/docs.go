package hygiene

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"sort"
	"strings"
	"unicode"
)

const ruleDocumented = "documented"

// checkDocumented finds exported names of one file without a comment: functions,
// methods of exported types, types, constants, variables (a comment on the group
// will do), the methods of exported interfaces that have more than one, and the
// fields of every type whose name ends in Config, for those state default and unit.
func checkDocumented(f *goFile) []finding {
	if f.isTest() {
		return nil
	}
	var found []finding
	missing := func(pos token.Pos, what string) {
		found = append(found, f.at(f.line(pos), ruleDocumented, what+" has no comment",
			"say what it is for: shape, unit, default, who owns slices, errors, safe for which goroutines"))
	}
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && hasNoText(d.Doc) && (d.Recv == nil || ast.IsExported(receiver(d))) {
				missing(d.Pos(), "exported func "+d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				undocumentedSpec(d, spec, missing)
			}
		}
	}
	return found
}

func undocumentedSpec(d *ast.GenDecl, spec ast.Spec, missing func(token.Pos, string)) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && hasNoText(s.Doc, s.Comment, d.Doc) {
				missing(name.Pos(), "exported "+d.Tok.String()+" "+name.Name)
			}
		}
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return
		}
		// The comment on a group of types is none for its members.
		if hasNoText(s.Doc, s.Comment) && (d.Lparen.IsValid() || hasNoText(d.Doc)) {
			missing(s.Pos(), "exported type "+s.Name.Name)
		}
		switch t := s.Type.(type) {
		case *ast.InterfaceType:
			if t.Methods.NumFields() > 1 {
				undocumentedFields(s.Name.Name, t.Methods, missing)
			}
		case *ast.StructType:
			if strings.HasSuffix(s.Name.Name, "Config") {
				undocumentedFields(s.Name.Name, t.Fields, missing)
			}
		}
	}
}

// undocumentedFields passes a field without a comment if another field's comment
// names it: one comment may speak of a pair.
func undocumentedFields(owner string, fields *ast.FieldList, missing func(token.Pos, string)) {
	said := map[string]bool{}
	for _, field := range fields.List {
		for _, word := range strings.FieldsFunc(field.Doc.Text()+" "+field.Comment.Text(), notInName) {
			said[word] = true
		}
	}
	for _, field := range fields.List {
		for _, name := range field.Names {
			if name.IsExported() && hasNoText(field.Doc, field.Comment) && !said[name.Name] {
				missing(name.Pos(), owner+"."+name.Name)
			}
		}
	}
}

func notInName(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }

// hasNoText reports whether none of the comments says anything; a directive such
// as //go:build is no text.
func hasNoText(groups ...*ast.CommentGroup) bool {
	for _, g := range groups {
		if strings.TrimSpace(g.Text()) != "" {
			return false
		}
	}
	return true
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch e := t.(type) {
		case *ast.StarExpr:
			t = e.X
		case *ast.IndexExpr:
			t = e.X
		case *ast.IndexListExpr:
			t = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

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
