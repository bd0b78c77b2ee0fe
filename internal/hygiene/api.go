package hygiene

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"slices"
	"strings"
)

// isPublic reports whether programs of others can import the package of a file: a library
// that is not under internal. Examples are programs.
func isPublic(f *goFile) bool {
	return f.ast.Name.Name != "main" && !slices.Contains(strings.Split(f.pkg, "/"), "internal")
}

// publicName is how a package is called in the listing of the API and in findings.
func publicName(pkg string) string { return cmp.Or(pkg, "bradawl") }

// listAPI returns the exported declarations of all public packages, for all platforms
// together, one a line and sorted. Types are as written; parameters have no names, for a
// new name breaks nobody.
func listAPI(files []*goFile) []string {
	var l lister
	for _, f := range files {
		if !f.isTest() {
			l.declared = append(l.declared, f)
		}
	}
	for _, f := range l.declared {
		if isPublic(f) {
			l.pkg = publicName(f.pkg)
			l.file(f)
		}
	}
	slices.Sort(l.lines)
	return slices.Compact(l.lines) // a platform's variants are one declaration
}

type lister struct {
	declared []*goFile // all that types may be in
	pkg      string
	lines    []string
}

func (l *lister) add(format string, args ...any) {
	l.lines = append(l.lines, l.pkg+": "+fmt.Sprintf(format, args...))
}

func (l *lister) file(f *goFile) {
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Recv == nil {
				l.add("func %s%s", d.Name.Name, signature(d.Type))
			}
		case *ast.GenDecl:
			switch d.Tok {
			case token.CONST:
				l.constants(d)
			case token.VAR:
				l.variables(d)
			case token.TYPE:
				for _, spec := range d.Specs {
					l.typeSpec(f, spec.(*ast.TypeSpec))
				}
			}
		}
	}
}

// constants lists those of a group. One without type and value has those of the one before.
func (l *lister) constants(d *ast.GenDecl) {
	var of ast.Expr
	for _, spec := range d.Specs {
		s := spec.(*ast.ValueSpec)
		if s.Type != nil || len(s.Values) > 0 {
			of = s.Type
		}
		for i, name := range s.Names {
			switch {
			case !name.IsExported():
			case of != nil:
				l.add("const %s %s", name.Name, text(of))
			case i < len(s.Values):
				l.add("const %s = %s", name.Name, text(s.Values[i]))
			default:
				l.add("const %s", name.Name)
			}
		}
	}
}

// variables lists those of a group, with the type as far as it shows.
func (l *lister) variables(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		s := spec.(*ast.ValueSpec)
		for i, name := range s.Names {
			if !name.IsExported() {
				continue
			}
			of := ""
			if s.Type != nil {
				of = text(s.Type)
			} else if i < len(s.Values) {
				of = typeOf(s.Values[i])
			}
			l.add("%s", strings.TrimSpace("var "+name.Name+" "+of))
		}
	}
}

// typeOf is the type of a value that says it; "" if it does not.
func typeOf(value ast.Expr) string {
	switch v := value.(type) {
	case *ast.CompositeLit:
		return text(v.Type)
	case *ast.UnaryExpr:
		if inner := typeOf(v.X); v.Op == token.AND && inner != "" {
			return "*" + inner
		}
	case *ast.CallExpr:
		switch f := text(v.Fun); f {
		case "errors.New", "fmt.Errorf":
			return "error"
		case "new":
			return "*" + text(v.Args[0])
		}
	}
	return ""
}

func (l *lister) typeSpec(f *goFile, s *ast.TypeSpec) {
	if !s.Name.IsExported() {
		return
	}
	name := s.Name.Name
	if s.Assign.IsValid() {
		if t, ok := s.Type.(*ast.InterfaceType); ok {
			l.add("type %s = interface", name)
			l.fields(f.pkg, t, name, nil)
			return
		}
		l.add("type %s%s = %s", name, parameters(s.TypeParams), text(s.Type))
		// What is internal has no line of its own.
		if pkg, of, ok := imported(f, s.Type); ok && within(pkg, "internal") {
			l.members(pkg, of, name, nil)
		}
		return
	}
	switch t := s.Type.(type) {
	case *ast.StructType:
		l.add("type %s%s struct", name, parameters(s.TypeParams))
	case *ast.InterfaceType:
		l.add("type %s%s interface", name, parameters(s.TypeParams))
	default:
		l.add("type %s%s %s", name, parameters(s.TypeParams), text(t))
	}
	l.members(f.pkg, name, name, nil)
}

// members lists fields and methods of the type called of in pkg as those of the type as.
// What an unexported type that is embedded has is the outer one's.
func (l *lister) members(pkg, of, as string, seen []string) {
	if slices.Contains(seen, of) {
		return
	}
	seen = append(seen, of)
	for _, f := range l.declared {
		if f.pkg != pkg {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil && d.Name.IsExported() && receiver(d) == of {
					star := ""
					if _, ok := d.Recv.List[0].Type.(*ast.StarExpr); ok {
						star = "*"
					}
					l.add("method (%s%s) %s%s", star, as, d.Name.Name, signature(d.Type))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.Name == of {
						l.fields(pkg, s.Type, as, seen)
					}
				}
			}
		}
	}
}

func (l *lister) fields(pkg string, of ast.Expr, as string, seen []string) {
	switch t := of.(type) {
	case *ast.StructType:
		for _, field := range t.Fields.List {
			if len(field.Names) == 0 {
				if base := strings.TrimPrefix(text(field.Type), "*"); token.IsExported(base[strings.LastIndexByte(base, '.')+1:]) {
					l.add("type %s struct: embedded %s", as, text(field.Type))
				} else {
					l.members(pkg, base, as, seen)
				}
			}
			for _, name := range field.Names {
				if name.IsExported() {
					l.add("type %s struct: %s %s", as, name.Name, text(field.Type))
				}
			}
		}
	case *ast.InterfaceType:
		for _, method := range t.Methods.List {
			if len(method.Names) == 0 {
				l.add("type %s interface: %s", as, text(method.Type))
			}
			for _, name := range method.Names {
				if name.IsExported() {
					l.add("type %s interface: %s%s", as, name.Name, signature(method.Type.(*ast.FuncType)))
				} else {
					l.add("type %s interface: unexported methods", as) // so that nobody else implements it
				}
			}
		}
	}
}

// imported returns the package of ours, and the name there, that an expression refers to.
func imported(f *goFile, e ast.Expr) (pkg, name string, ok bool) {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	for _, spec := range f.ast.Imports {
		pkg, local := localPackage(strings.Trim(spec.Path.Value, `"`))
		called := pkg[strings.LastIndexByte(pkg, '/')+1:]
		if spec.Name != nil {
			called = spec.Name.Name
		}
		if local && called == text(s.X) {
			return pkg, s.Sel.Name, true
		}
	}
	return "", "", false
}

// signature is a function's type without "func" and without the names of parameters.
func signature(t *ast.FuncType) string {
	out := unnamed(t.Results)
	switch {
	case t.Results.NumFields() > 1:
		out = " (" + out + ")"
	case out != "":
		out = " " + out
	}
	return parameters(t.TypeParams) + "(" + unnamed(t.Params) + ")" + out
}

func unnamed(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var types []string
	for _, field := range list.List {
		for range max(len(field.Names), 1) {
			types = append(types, text(field.Type))
		}
	}
	return strings.Join(types, ", ")
}

// parameters are those of a generic type or function, whose names its other types use.
func parameters(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var all []string
	for _, field := range list.List {
		for _, name := range field.Names {
			all = append(all, name.Name+" "+text(field.Type))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// text is an expression in one line.
func text(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.FuncType:
		return "func" + signature(t)
	case *ast.StarExpr:
		return "*" + text(t.X)
	case *ast.Ellipsis:
		return "..." + text(t.Elt)
	case *ast.ArrayType:
		if t.Len == nil {
			return "[]" + text(t.Elt)
		}
	case *ast.MapType:
		return "map[" + text(t.Key) + "]" + text(t.Value)
	}
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), e); err != nil {
		return fmt.Sprintf("<%v>", err)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
