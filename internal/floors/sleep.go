package floors

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
)

// sleeps returns the places in a test file at which time.Sleep waits in real time and no
// comment says why, in the same line or in a line of its own above. In a function that is
// passed to synctest.Test, or to a function of the file that passes it on, it takes no time.
// Another helper that runs in such a bubble says so.
func sleeps(name string, source []byte) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(source, []byte("\n"))
	commented := map[int]bool{} // by line
	for _, group := range file.Comments {
		at := files.Position(group.Pos())
		commented[at.Line] = true
		if len(bytes.TrimSpace(lines[at.Line-1][:at.Column-1])) == 0 {
			commented[files.Position(group.End()).Line+1] = true
		}
	}
	var found []string
	bubbles := bubbles(file)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		switch {
		case !ok:
			return true
		case calls(call, "synctest", "Test"), bubbles[nameOf(call.Fun)]:
			return false
		case calls(call, "time", "Sleep"):
			if line := files.Position(call.Pos()).Line; !commented[line] {
				found = append(found, name+":"+strconv.Itoa(line))
			}
		}
		return true
	})
	return found, nil
}

// bubbles returns the names of the functions of a file that take a function and call
// synctest.Test.
func bubbles(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, d := range file.Decls {
		function, ok := d.(*ast.FuncDecl)
		if !ok || function.Recv != nil || !slices.ContainsFunc(function.Type.Params.List, func(f *ast.Field) bool {
			_, ok := f.Type.(*ast.FuncType)
			return ok
		}) {
			continue
		}
		ast.Inspect(function, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && calls(call, "synctest", "Test") {
				names[function.Name.Name] = true
			}
			return true
		})
	}
	return names
}

// nameOf returns the name of a function that is called by its name alone.
func nameOf(function ast.Expr) string {
	if id, ok := function.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// calls reports whether a call is of a function of a package.
func calls(call *ast.CallExpr, pkg, function string) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != function {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == pkg
}
