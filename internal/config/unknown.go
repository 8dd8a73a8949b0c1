package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Unknown is an environment variable that is named like Curfew's and is none.
type Unknown struct {
	Name string
	// Nearest is the variable that was probably meant; "" if none is similar.
	Nearest string
}

// serviceVariable matches the variables that Kubernetes sets in every container of a
// namespace with a service called curfew, or curfew-something.
var serviceVariable = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// UnknownVariables returns the variables of an environment (NAME=value, as of
// os.Environ) that begin with CURFEW_ and that no program of Curfew reads, sorted by
// name. A mistyped name would otherwise be ignored in silence. others are the names of
// variables that are read besides those of options.
func UnknownVariables(environment []string, others ...string) []Unknown {
	known := map[string]bool{}
	for _, name := range others {
		known[name] = true
	}
	addVariables(known, ServerOptions())
	addVariables(known, EdgeOptions())
	addVariables(known, ToolOptions())
	addVariables(known, CopyOptions())
	addVariables(known, RemoteOptions())
	names := slices.Sorted(maps.Keys(known))
	var unknown []Unknown
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "CURFEW_") && !known[name] && !serviceVariable.MatchString(name) {
			unknown = append(unknown, Unknown{name, Nearest(name, names)})
		}
	}
	slices.SortFunc(unknown, func(a, b Unknown) int { return strings.Compare(a.Name, b.Name) })
	return unknown
}

func addVariables[T any](known map[string]bool, options []Option[T]) {
	for _, o := range options {
		known[o.Env()] = true
		if o.Secret {
			known[o.Env()+"_FILE"] = true
		}
	}
}
