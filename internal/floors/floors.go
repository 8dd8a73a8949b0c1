// Package floors holds the plan of the house: which package stands on which
// floor, and what may be imported where. Its test compares the plan with what
// `go list` finds, so that a wall is never moved in passing.
//
// To add a package, give it a floor in [plan]; to move one, move it here in the
// same commit and say why. A package imports only what stands on lower floors,
// never a neighbour on its own: two rooms that need each other are one room, or
// lack a third below them.
package floors

import (
	"maps"
	"slices"
)

// roof is the floor of the packages that may import all others and that no package
// imports.
const roof = 100

// plan is the one place that says where a package stands, by its path within
// the module. A name that ends in /… stands for everything beneath it.
var plan = map[string]int{
	"internal/notify":   -2, // a leaf that public packages share
	"revocation":        -1, // below settings, which its Epoch dates
	"internal/filelock": -1, // a leaf: one process at a time
	"internal/fileperm": -1, // a leaf: files that hold secrets
	"internal/loopback": -1, // a leaf: which hosts are this machine

	"settings":                   0,
	"internal/wire":              0,
	"internal/strictjson":        0,
	"internal/trace":             0,
	"internal/tokenhook":         0,
	"internal/uses":              0, // a leaf that public packages share
	"internal/manual":            0, // a leaf: the documentation as pages
	"internal/manual/manualtest": 0, // for tests: the documentation against the code

	"internal/await":   0, // for tests: waits for events that send no signal
	"internal/testnet": 0, // for tests: free addresses, a proxy

	"internal/curfewtest":          0, // for tests: builds and starts the program
	"internal/curfewtest/chromium": 0, // for tests: the browser

	"token":             1,
	"internal/store":    1,
	"internal/throttle": 1,

	"internal/servertoken": 2,
	"token/jwks":           2,
	"token/bearer":         2,
	"internal/authz":       2,
	"internal/config":      2,
	"internal/replica":     2,

	"internal/upstream":        3,
	"token/grpcbearer":         3,
	"token/tokentest":          3,
	"token/tokentest/hostile":  4,
	"internal/keyring":         3,
	"internal/store/storetest": 3,
	"internal/store/pgtest":    3,

	"internal/store/sqlstore": 4,
	"internal/store/migrated": 5, // for tests: databases with the schema
	"token/follower":          4,
	"internal/account":        4,
	"internal/feed":           4,
	"internal/oidc":           4,
	"internal/oidc/oidctest":  0, // for tests: a provider

	"internal/providercheck": 5, // a provider's configuration against its metadata

	"internal/session": 5,

	"internal/fault":     6,
	"internal/webcookie": 6,
	"internal/wireform":  6,
	"internal/inbound":   6,
	"internal/longpoll":  6,
	"internal/metrics":   6,

	"internal/httpapi": 7,
	"internal/console": 7,

	"internal/app": 8,

	"cmd/curfew": 9,

	"internal/floors":    roof,
	"internal/torture":   roof,
	"internal/torture/…": roof,
	"internal/interop":   roof,
	"internal/interop/…": roof,
	"internal/packages":  roof,
	"internal/bench":     roof, // a module of its own: peers never enter ours
}

// The names below are import paths. A path that ends in /… covers the path itself
// and the paths beneath it; ours are written without the module's name.

// public are the packages for other people's programs. Their users download,
// compile and audit all their imports; the imports of their tests are in their
// users' go.sum.
var public = []string{"settings", "revocation", "token/…"}

// publicModules are all that public packages may import of others.
var publicModules = []string{
	"github.com/golang-jwt/jwt/v5/…",
	"github.com/hashicorp/golang-lru/v2/…",
	"github.com/MicahParks/jwkset/…",
	"golang.org/x/sync/…",
}

// grpcModules are what token/grpcbearer alone of the public packages may import, and
// bring along, besides.
var grpcModules = []string{
	"google.golang.org/grpc/…",
	"google.golang.org/genproto/…",
	"google.golang.org/protobuf/…",
}

// publicModulesOf returns the modules of others that a public package may import.
func publicModulesOf(name string) []string {
	if name == "token/grpcbearer" {
		return append(slices.Clone(publicModules), grpcModules...)
	}
	return publicModules
}

// heavyFor returns what must not come along with a public package, however
// indirectly. gRPC itself brings html/template.
func heavyFor(name string) []string {
	if name == "token/grpcbearer" {
		return slices.DeleteFunc(slices.Clone(heavy), func(pattern string) bool {
			return pattern == "html/template" || slices.Contains(grpcModules, pattern)
		})
	}
	return heavy
}

// heavy must not come along with a public package, however indirectly.
var heavy = slices.Concat([]string{"database/sql/…", "html/template"}, grpcModules, slices.Collect(maps.Keys(only)))

// never says what a room does not know: it may not import it directly. It
// completes the floors with what they cannot say.
var never = map[string][]string{
	"settings":                {"net/http/…", "database/sql/…"},
	"revocation":              {"net/http/…", "database/sql/…"},
	"token":                   {"net/http/…", "internal/wire"},
	"token/jwks":              {"revocation", "internal/…"},
	"token/bearer":            {"internal/…"},
	"token/follower":          {"internal/store/…"},
	"token/tokentest":         {"internal/…"},
	"token/tokentest/hostile": {"internal/…"},
	"internal/store/sqlstore": {"token/…"},
	"internal/replica":        {"net/http/…", "internal/store/…"},
	"internal/upstream":       {"internal/store/…"},
	"internal/authz":          {"net/http/…", "database/sql/…"},
	"internal/account":        {"net/http/…"},
	"internal/session":        {"net/http/…", "html/template", "database/sql/…"},
	"internal/feed":           {"net/http/…"},
	"internal/webcookie":      {"internal/store/…"},
	"internal/httpapi":        {"internal/store/sqlstore", "html/template"},
	"internal/console":        {"internal/store/sqlstore"},
	"cmd/curfew":              {"internal/store/sqlstore", "internal/httpapi", "internal/console"},
}

// only says who alone may import a package, tests apart.
var only = map[string][]string{
	"github.com/jmoiron/sqlx/…":     {"internal/store/sqlstore"},
	"github.com/lib/pq/…":           {"internal/store/sqlstore", "internal/store/pgtest"}, // pgtest makes databases
	"modernc.org/sqlite/…":          {"internal/store/sqlstore"},
	"github.com/pressly/goose/v3/…": {"internal/store/sqlstore"},
	"github.com/spf13/cobra/…":      {"cmd/curfew"},
	"github.com/spf13/pflag/…":      {"cmd/curfew"},
}

// topLevel is everything that stands at the top of the repository, names that
// begin with a dot apart.
var topLevel = []string{
	"token", "revocation", "settings", "cmd", "internal",
	"go.mod", "go.sum", "Makefile", "README.md", "LICENSE",
}
