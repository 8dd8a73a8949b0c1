package floors

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPackagesKeepToTheirFloors(t *testing.T) {
	for _, violation := range check(list(t)) {
		t.Error(violation)
	}
}

func TestTopLevelHoldsNothingElse(t *testing.T) {
	root := root(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	for _, violation := range checkTop(withoutIgnored(t, root, names)) {
		t.Error(violation)
	}
}

// list asks the go command for all packages of the module and what they and
// their tests need.
func list(t *testing.T) []Package {
	t.Helper()
	root := root(t)
	look(t, root)
	out := output(t, root, "go", "list", "-deps", "-test",
		"-json=ImportPath,Standard,Imports,TestImports,XTestImports", "./...")
	var packages []Package
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read the output of go list: %v", err)
		}
		// "a [b.test]" is a compiled for b's tests, "b.test" their main: what
		// they import is in the lists of a and b.
		if !strings.HasSuffix(p.ImportPath, "]") && !strings.HasSuffix(p.ImportPath, ".test") {
			packages = append(packages, p)
		}
	}
	if !slices.ContainsFunc(packages, func(p Package) bool { return p.ImportPath == module+"/internal/floors" }) {
		t.Fatalf("go list found %d packages, not even this one", len(packages))
	}
	return packages
}

// look reads every directory of ours. The go command caches the result of a test by
// the files that the test has read, not by those that its programs have read:
// without this look, a result from before an import changed would be taken from the
// cache.
func look(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// root returns the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	return filepath.Dir(strings.TrimSpace(string(output(t, ".", "go", "env", "GOMOD"))))
}

// withoutIgnored returns the names without those that git ignores: the
// database of a server that was run here is no part of the repository. Where
// there is no git, as in an unpacked archive, nothing is dropped.
func withoutIgnored(t *testing.T, root string, names []string) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return names
	}
	command := exec.CommandContext(t.Context(), "git", "check-ignore", "--stdin", "-z")
	command.Dir = root
	command.Stdin = strings.NewReader(strings.Join(names, "\x00") + "\x00")
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return names // it ignores none
	}
	if err != nil {
		t.Fatalf("ask git what it ignores: %v", err)
	}
	ignored := strings.Split(string(out), "\x00")
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(ignored, name) })
}

func output(t *testing.T, dir, program string, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = dir
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(arguments, " "), err, &complaint)
	}
	return out
}
