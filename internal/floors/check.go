package floors

import (
	"fmt"
	"slices"
	"strings"
)

// module is the name before every import path of ours.
const module = "example.com/curfew"

// Package is what there is to know of a package: the fields of `go list -json`
// that the plan speaks of.
type Package struct {
	ImportPath   string   `json:"ImportPath"`
	Standard     bool     `json:"Standard"` // of the standard library
	Imports      []string `json:"Imports"`
	TestImports  []string `json:"TestImports"`  // of its tests within the package
	XTestImports []string `json:"XTestImports"` // of its tests from outside
}

// check returns what in the packages contradicts the plan, one sentence each,
// in a fixed order. The packages are ours and all that they need.
func check(packages []Package) []string {
	graph := map[string]Package{}
	for _, p := range packages {
		graph[p.ImportPath] = p
	}
	var found []string
	for path, p := range graph {
		name, ours := local(path)
		if !ours {
			continue
		}
		found = append(found, checkFloor(name, p)...)
		found = append(found, checkRooms(name, p)...)
		if matches(public, name) {
			found = append(found, checkPublic(name, p, graph)...)
		}
	}
	slices.Sort(found)
	return found
}

// sameRoof reports whether a program inside a room of the roof imports that room:
// both are one room, which no other package imports.
func sameRoof(name, imported string) bool {
	floor, _ := floorOf(imported)
	return floor == roof && strings.HasPrefix(name, imported+"/")
}

// checkFloor compares a package's imports with where it stands. Tests may look
// upwards, at a real store for example, but not at the roof.
func checkFloor(name string, p Package) []string {
	var found []string
	own, known := floorOf(name)
	if !known {
		return []string{fmt.Sprintf("%s stands on no floor: give it one in internal/floors, or move it into a package that has one", name)}
	}
	for _, path := range p.Imports {
		imported, ours := local(path)
		if !ours {
			continue
		}
		if floor, known := floorOf(imported); known && floor >= own && !sameRoof(name, imported) {
			found = append(found, fmt.Sprintf("%s (%s) imports %s (%s): a package imports only lower floors",
				name, describe(own), imported, describe(floor)))
		}
	}
	for _, path := range testImports(p) {
		imported, ours := local(path)
		if floor, _ := floorOf(imported); ours && floor == roof && imported != name && !sameRoof(name, imported) {
			found = append(found, fmt.Sprintf("the tests of %s import %s: no package imports the roof", name, imported))
		}
	}
	return found
}

// checkRooms compares a package's direct imports with those that its room may have.
func checkRooms(name string, p Package) []string {
	var found []string
	for _, path := range p.Imports {
		imported, _ := local(path)
		if matches(never[name], imported) {
			found = append(found, fmt.Sprintf("%s imports %s, which it must not know", name, imported))
		}
		for pattern, owners := range only {
			if floor, _ := floorOf(name); floor != roof && !slices.Contains(owners, name) && matches([]string{pattern}, imported) {
				found = append(found, fmt.Sprintf("%s imports %s, which only %s may", name, imported, strings.Join(owners, " and ")))
			}
		}
	}
	return found
}

// checkPublic checks the dependencies of a public package and its tests.
func checkPublic(name string, p Package, graph map[string]Package) []string {
	var found []string
	for _, path := range p.Imports {
		_, ours := local(path)
		if dependency := graph[path]; !ours && !dependency.Standard && !matches(publicModulesOf(name), path) {
			found = append(found, fmt.Sprintf("%s is public and imports %s: it may use the standard library and %s",
				name, path, strings.Join(publicModulesOf(name), ", ")))
		}
	}
	for _, path := range testImports(p) {
		_, ours := local(path)
		if dependency := graph[path]; !ours && !dependency.Standard && !matches(publicModulesOf(name), path) {
			found = append(found, fmt.Sprintf("the tests of %s import %s, which its users would find in their go.sum: "+
				"tests of public packages use what their packages may", name, path))
		}
	}
	for what, imports := range map[string][]string{
		name: p.Imports, "the tests of " + name: testImports(p),
	} {
		for _, chain := range reach(imports, heavyFor(name), graph) {
			found = append(found, fmt.Sprintf("%s is public and must not bring %s along: %s → %s",
				name, chain[len(chain)-1], what, strings.Join(chain, " → ")))
		}
	}
	return found
}

// reach returns, for each package of targets that the imports lead to, the shortest
// chain of imports to it. The imports of a target are not followed.
func reach(imports, targets []string, graph map[string]Package) [][]string {
	var found [][]string
	seen := map[string]bool{}
	var queue [][]string
	extend := func(chain, imports []string) {
		for _, path := range imports {
			if !seen[path] {
				seen[path] = true
				queue = append(queue, append(slices.Clone(chain), path))
			}
		}
	}
	for extend(nil, imports); len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		last := chain[len(chain)-1]
		if matches(targets, last) {
			found = append(found, chain)
			continue
		}
		extend(chain, graph[last].Imports)
	}
	return found
}

// checkTop compares the names at the top of the repository with the plan.
func checkTop(names []string) []string {
	var found []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			found = append(found, fmt.Sprintf("%s stands at the top of the repository, where there are only %s and names with a dot",
				name, strings.Join(topLevel, ", ")))
		}
	}
	return found
}

// local returns an import path within the module and whether it is of ours;
// that of others it returns as it is.
func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// floorOf returns the floor of a package of ours and whether it has one.
func floorOf(name string) (int, bool) {
	if floor, known := plan[name]; known {
		return floor, true
	}
	for entry, floor := range plan {
		if strings.HasSuffix(entry, "/…") && matches([]string{entry}, name) {
			return floor, true
		}
	}
	return 0, false
}

func describe(floor int) string {
	if floor == roof {
		return "roof"
	}
	return fmt.Sprintf("floor %d", floor)
}

// matches reports whether one of the patterns covers the path.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		parent, wide := strings.CutSuffix(pattern, "/…")
		return path == parent || wide && strings.HasPrefix(path, parent+"/")
	})
}

func testImports(p Package) []string {
	return slices.Concat(p.TestImports, p.XTestImports)
}
