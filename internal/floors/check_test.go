package floors

import (
	"strings"
	"testing"
)

// house is a small world: some packages of ours, of others, and of the
// standard library.
func house(ours ...Package) []Package {
	world := []Package{
		{ImportPath: "testing", Standard: true},
		{ImportPath: "net/http", Standard: true},
		{ImportPath: "html/template", Standard: true},
		{ImportPath: "database/sql", Standard: true},
		{ImportPath: "golang.org/x/sync/singleflight"},
		{ImportPath: "golang.org/x/text/unicode/norm"},
		{ImportPath: "github.com/golang-jwt/jwt/v5"},
		{ImportPath: "github.com/google/go-cmp/cmp"},
		{ImportPath: "github.com/jmoiron/sqlx", Imports: []string{"database/sql"}},
		{ImportPath: "github.com/spf13/cobra", Imports: []string{"github.com/spf13/pflag"}},
		{ImportPath: "github.com/spf13/pflag"},
	}
	for _, p := range ours {
		p.ImportPath = module + "/" + p.ImportPath
		world = append(world, p)
	}
	return world
}

// our makes import paths of names within the module.
func our(names ...string) []string {
	var paths []string
	for _, name := range names {
		paths = append(paths, module+"/"+name)
	}
	return paths
}

func TestCheckFindsNothingInAGoodHouse(t *testing.T) {
	good := house(
		Package{ImportPath: "settings", TestImports: []string{"testing"}},
		Package{ImportPath: "revocation", Imports: []string{"golang.org/x/sync/singleflight"}},
		Package{ImportPath: "internal/wire"},
		Package{ImportPath: "token", Imports: append(our("settings", "revocation"), "github.com/golang-jwt/jwt/v5"),
			XTestImports: append(our("token", "token/tokentest"), "testing", "github.com/golang-jwt/jwt/v5")},
		Package{ImportPath: "token/tokentest", Imports: our("token")},
		Package{ImportPath: "token/bearer", Imports: append(our("token"), "net/http")},
		Package{ImportPath: "token/follower", Imports: append(our("token", "token/jwks", "internal/wire"), "net/http")},
		Package{ImportPath: "token/jwks", Imports: our("token")},
		Package{ImportPath: "internal/store", Imports: our("settings"), TestImports: []string{"github.com/google/go-cmp/cmp"}},
		Package{ImportPath: "internal/store/sqlstore", Imports: append(our("internal/store"), "github.com/jmoiron/sqlx")},
		// Tests may look sideways and upwards: a real store is better than a made-up one.
		Package{ImportPath: "internal/account", Imports: our("internal/store"), TestImports: our("internal/store/sqlstore", "internal/session")},
		Package{ImportPath: "internal/session", Imports: our("internal/account")},
		Package{ImportPath: "cmd/curfew", Imports: []string{"github.com/spf13/cobra"}},
		Package{ImportPath: "internal/torture", Imports: append(our("cmd/curfew"), "github.com/jmoiron/sqlx"),
			XTestImports: our("internal/torture")},
		Package{ImportPath: "internal/interop/proxies"},
	)
	for _, violation := range check(good) {
		t.Error(violation)
	}
}

func TestCheckBites(t *testing.T) {
	tests := []struct {
		name string
		ours []Package
		want []string // one violation, which says all of these
	}{
		{
			"an import that points up",
			[]Package{{ImportPath: "internal/store", Imports: our("internal/session")}, {ImportPath: "internal/session"}},
			[]string{"internal/store (floor 1) imports internal/session (floor 5)"},
		}, {
			"an import on the same floor",
			[]Package{{ImportPath: "internal/account", Imports: our("internal/feed")}, {ImportPath: "internal/feed"}},
			[]string{"internal/account (floor 4) imports internal/feed (floor 4)"},
		}, {
			"a package on no floor",
			[]Package{{ImportPath: "internal/util"}},
			[]string{"internal/util stands on no floor"},
		}, {
			"a package beneath a package that has a floor",
			[]Package{{ImportPath: "internal/session/helpers"}},
			[]string{"internal/session/helpers stands on no floor"},
		}, {
			"a package at the top of the module",
			[]Package{{ImportPath: "."}},
			[]string{". stands on no floor"},
		}, {
			"an import of the roof",
			[]Package{{ImportPath: "cmd/curfew", Imports: our("internal/torture")}, {ImportPath: "internal/torture"}},
			[]string{"cmd/curfew (floor 9) imports internal/torture (roof)"},
		}, {
			"an import of the roof by a test",
			[]Package{{ImportPath: "cmd/curfew", TestImports: our("internal/torture")}, {ImportPath: "internal/torture"}},
			[]string{"the tests of cmd/curfew import internal/torture"},
		}, {
			"SQL behind the middleware, at a distance",
			[]Package{
				{ImportPath: "token/bearer", Imports: our("token")},
				{ImportPath: "token", Imports: []string{"github.com/golang-jwt/jwt/v5"}},
				// A package of others on the way, as an update might bring it.
				{ImportPath: "token/follower", Imports: []string{"golang.org/x/sync/sneaky"}},
			},
			[]string{"token/follower is public and must not bring database/sql along", "golang.org/x/sync/sneaky → database/sql"},
		}, {
			"a driver in a public package",
			[]Package{{ImportPath: "token", Imports: []string{"modernc.org/sqlite"}}},
			[]string{"token is public and must not bring modernc.org/sqlite along"},
		}, {
			"templates in the middleware",
			[]Package{{ImportPath: "token/bearer", Imports: []string{"html/template"}}},
			[]string{"token/bearer is public and must not bring html/template along"},
		}, {
			"a command line in the follower",
			[]Package{{ImportPath: "token/follower", Imports: []string{"github.com/spf13/cobra"}}},
			[]string{"token/follower is public and must not bring github.com/spf13/cobra along"},
		}, {
			"a store in the tests of a public package",
			[]Package{
				{ImportPath: "token/bearer", XTestImports: our("internal/store/sqlstore")},
				{ImportPath: "internal/store/sqlstore", Imports: []string{"github.com/jmoiron/sqlx"}},
			},
			[]string{"the tests of token/bearer → " + module + "/internal/store/sqlstore → github.com/jmoiron/sqlx"},
		}, {
			"a module that is not agreed in a public package",
			[]Package{{ImportPath: "settings", Imports: []string{"golang.org/x/text/unicode/norm"}}},
			[]string{"settings is public and imports golang.org/x/text/unicode/norm"},
		}, {
			"a test library in a public package",
			[]Package{{ImportPath: "revocation", TestImports: []string{"github.com/google/go-cmp/cmp"}}},
			[]string{"the tests of revocation import github.com/google/go-cmp/cmp"},
		}, {
			"what a room must not know",
			[]Package{{ImportPath: "internal/session", Imports: []string{"net/http"}}},
			[]string{"internal/session imports net/http, which it must not know"},
		}, {
			"a room of ours that a room must not know",
			[]Package{{ImportPath: "internal/httpapi", Imports: our("internal/store/sqlstore")}, {ImportPath: "internal/store/sqlstore"}},
			[]string{"internal/httpapi imports internal/store/sqlstore, which it must not know"},
		}, {
			"SQL outside the store",
			[]Package{{ImportPath: "internal/account", Imports: []string{"github.com/jmoiron/sqlx"}}},
			[]string{"internal/account imports github.com/jmoiron/sqlx, which only internal/store/sqlstore may"},
		}, {
			"a command line outside the command",
			[]Package{{ImportPath: "internal/app", Imports: []string{"github.com/spf13/cobra"}}},
			[]string{"internal/app imports github.com/spf13/cobra, which only cmd/curfew may"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			world := append(house(test.ours...), Package{ImportPath: "golang.org/x/sync/sneaky", Imports: []string{"database/sql"}})
			found := check(world)
			for _, violation := range found {
				if containsAll(violation, test.want) {
					return
				}
			}
			t.Errorf("found %q, want a violation that says %q", found, test.want)
		})
	}
}

func TestCheckTopBites(t *testing.T) {
	found := checkTop([]string{".ci", ".gitignore", "README.md", "token", "docs", "tokens", "readme.md"})
	want := []string{"docs", "tokens", "readme.md"}
	if len(found) != len(want) {
		t.Fatalf("found %q, want one for each of %q", found, want)
	}
	for i, name := range want {
		if !strings.HasPrefix(found[i], name+" stands at the top") {
			t.Errorf("got %q, want it about %s", found[i], name)
		}
	}
}

func TestPlanHoldsTogether(t *testing.T) {
	for name := range never {
		if _, known := floorOf(name); !known {
			t.Errorf("never speaks of %s, which stands on no floor", name)
		}
	}
	for _, owners := range only {
		for _, name := range owners {
			if _, known := floorOf(name); !known {
				t.Errorf("only speaks of %s, which stands on no floor", name)
			}
		}
	}
	for name := range plan {
		if top, _, _ := strings.Cut(name, "/"); checkTop([]string{top}) != nil {
			t.Errorf("%s has a floor, but no %s stands at the top", name, top)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
