package hygiene

import (
	"go/ast"
	"go/token"
	"strings"
	"unicode"
)

const ruleDocumented = "documented"

// checkDocumented finds exported names of one file without a comment: functions,
// methods of exported types, types, constants, variables (a comment on the group
// will do), the methods of exported interfaces that have more than one, the fields of
// every type whose name ends in Config, for those state default and unit, and in public
// packages the fields of all exported structs, but for those whose name and type say it all.
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
				undocumentedSpec(d, spec, isPublic(f), missing)
			}
		}
	}
	return found
}

func undocumentedSpec(d *ast.GenDecl, spec ast.Spec, public bool, missing func(token.Pos, string)) {
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
				undocumentedFields(s.Name.Name, t.Methods, "", func(*ast.Field, string) bool { return false }, missing)
			}
		case *ast.StructType:
			switch {
			case strings.HasSuffix(s.Name.Name, "Config"):
				undocumentedFields(s.Name.Name, t.Fields, "", func(*ast.Field, string) bool { return false }, missing)
			case public:
				undocumentedFields(s.Name.Name, t.Fields, s.Doc.Text()+" "+d.Doc.Text(), plain, missing)
			}
		}
	}
}

// plain reports whether a field needs no words: an error, a time of an event, or a thing
// that is called as its type is, as Peer of type PeerID or Waves of type []Wave.
func plain(field *ast.Field, name string) bool {
	t := field.Type
	for {
		switch e := t.(type) {
		case *ast.StarExpr:
			t = e.X
			continue
		case *ast.ArrayType:
			t = e.Elt
			continue
		case *ast.SelectorExpr:
			if name == "At" && e.Sel.Name == "Time" {
				return true
			}
			t = e.Sel
			continue
		case *ast.Ident:
			kind := strings.ToLower(e.Name)
			name = strings.ToLower(strings.TrimSuffix(name, "s"))
			return name == "err" && kind == "error" || strings.Contains(kind, name) && ast.IsExported(e.Name)
		}
		return false
	}
}

// undocumentedFields passes a field without a comment if another field's comment or more
// names it, for one comment may speak of a pair; or if it is plain.
func undocumentedFields(owner string, fields *ast.FieldList, more string, plain func(*ast.Field, string) bool, missing func(token.Pos, string)) {
	said := map[string]bool{}
	for _, word := range strings.FieldsFunc(more, notInName) {
		said[word] = true
	}
	for _, field := range fields.List {
		for _, word := range strings.FieldsFunc(field.Doc.Text()+" "+field.Comment.Text(), notInName) {
			said[word] = true
		}
	}
	for _, field := range fields.List {
		for _, name := range field.Names {
			if name.IsExported() && hasNoText(field.Doc, field.Comment) && !said[name.Name] && !plain(field, name.Name) {
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
