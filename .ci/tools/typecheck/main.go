// Command typecheck type-checks packages, their tests and all that they import, for
// each system given, and prints what does not compile there:
//
//	typecheck -systems windows/amd64,darwin/arm64 PACKAGES
//
// It reads sources and generates no code, so a system takes seconds instead of the
// minutes of a first build.
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	systems := flag.String("systems", "", "GOOS/GOARCH, several separated by commas")
	flag.Parse()
	failed := false
	for system := range strings.SplitSeq(*systems, ",") {
		found, err := check(system, flag.Args())
		if err != nil {
			fmt.Fprintln(os.Stderr, "typecheck:", err)
			os.Exit(1)
		}
		for _, problem := range found {
			fmt.Fprintf(os.Stderr, "%s: %s\n", system, problem)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// check returns the errors in the packages and in those that they import.
func check(system string, patterns []string) ([]string, error) {
	goos, goarch, ok := strings.Cut(system, "/")
	if !ok {
		return nil, fmt.Errorf("%q is not GOOS/GOARCH", system)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	config := &packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo,
		Env:   append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch),
		Tests: true,
		// Declarations are all that others need of the packages of others.
		ParseFile: func(set *token.FileSet, name string, source []byte) (*ast.File, error) {
			file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution|parser.AllErrors)
			if file != nil && !strings.HasPrefix(name, dir+"/") {
				for _, declaration := range file.Decls {
					if f, is := declaration.(*ast.FuncDecl); is {
						f.Body = nil
					}
				}
			}
			return file, err
		},
	}
	loaded, err := packages.Load(config, patterns...)
	if err != nil {
		return nil, err
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("no package matches %s", strings.Join(patterns, " "))
	}
	var found []string
	packages.Visit(loaded, nil, func(p *packages.Package) {
		// Without bodies, imports of packages of others are unused.
		for _, e := range p.Errors {
			if strings.HasPrefix(e.Pos, dir+"/") || e.Kind != packages.TypeError {
				found = append(found, e.Error())
			}
		}
	})
	return found, nil
}
