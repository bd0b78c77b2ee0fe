package hygiene

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"strings"
)

// A use is one mention of a package's member, such as time.Now.
type use struct {
	path, name string // "time", "Now"
	pos        token.Pos
}

// uses lists the members of imported packages that a file mentions. The type
// checker sorts out renamed imports and variables that hide a package's name;
// it sees one file and empty imports, and what it therefore misses is no matter.
func uses(f *goFile) []use {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: emptyImporter{}, Error: func(error) {}, FakeImportC: true}
	_, _ = conf.Check(f.pkg, f.fset, []*ast.File{f.ast}, info)
	var all []use
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok {
			if name, ok := info.Uses[id].(*types.PkgName); ok {
				all = append(all, use{name.Imported().Path(), sel.Sel.Name, sel.Pos()})
			}
		}
		return true
	})
	return all
}

// emptyImporter knows of every package its name, and nothing else.
type emptyImporter struct{}

func (emptyImporter) Import(importPath string) (*types.Package, error) {
	pkg := types.NewPackage(importPath, packageName(importPath))
	pkg.MarkComplete()
	return pkg, nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// packageName guesses a package's name from its path: the last element that is
// no major version.
func packageName(importPath string) string {
	base := path.Base(importPath)
	if majorVersion.MatchString(base) && strings.Contains(importPath, "/") {
		base = path.Base(path.Dir(importPath))
	}
	return base
}
