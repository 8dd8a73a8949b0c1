package floors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// undecided are the functions that write without deciding a caller, and why.
var undecided = map[string]string{
	"internal/account.Bootstrap":      "the first start",
	"internal/account.renew":          "a sign-in: its caller is not known yet",
	"internal/account.refuse":         "a failed sign-in",
	"internal/account.TryCode":        "a failed sign-in through a provider",
	"internal/account.endStreaks":     "a sign-in",
	"internal/session.keepSignIn":     "a sign-in, whose epoch was read before everything else",
	"internal/session.keepChanging":   "a sign-in; it refuses what was revoked after its epoch was read",
	"internal/session.recordRequired": "a sign-in that was refused",
	"internal/session.keepThrough":    "a sign-in through a provider; it refuses what was revoked after its epoch was read",
	"internal/session.recordRefusal":  "a sign-in through a provider that was refused",
	"internal/session.EndByProvider":  "a logout at a provider, whose token is the proof",
	"internal/session.Maintain":       "automatic",
	"internal/session.closeReceipts":  "automatic: a fact about a revocation that was decided",
}

// A function that writes without deciding a caller is in the table above, and a
// service that could hold a store.Store to write to holds an authz.Store.
func TestWritesWithoutCaller(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		room := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")
		if room == "internal/authz" {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			function, ok := declared.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if called, ok := n.(*ast.SelectorExpr); ok && called.Sel.Name == "UpdateWithoutCaller" {
					found[room+"."+function.Name.Name] = true
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if undecided[name] == "" {
			t.Errorf("%s writes without deciding a caller: use Update or Record of authz.Store, or say why in this test", name)
		}
	}
	for name := range undecided {
		if !found[name] {
			t.Errorf("%s is in the table of this test, and decides its callers or is gone", name)
		}
	}
}
