// Package curfewtest builds and starts the program for tests that look at it from
// outside. Package chromium below it has the browser.
package curfewtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module returns the directory of the checkout, for a test that runs in the
// directory of a package of internal.
func Module() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err) // the working directory is gone
	}
	return dir
}

// Patch replaces a piece of a source file for one build: to plant a bug, or to
// shift a process's clock, without a switch in the shipped code.
type Patch struct {
	File     string // path in the module
	Old, New string
}

// Build builds curfew with patches into dir, and returns the binary. A patch that
// does not find its place is an error: it would test nothing.
func Build(module, dir, name string, patches ...Patch) (string, error) {
	if err := look(module); err != nil {
		return "", err
	}
	overlay := map[string]map[string]string{"Replace": {}}
	texts := map[string]string{}
	for _, p := range patches {
		file := filepath.Join(module, p.File)
		text, ok := texts[file]
		if !ok {
			b, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if strings.Count(text, p.Old) != 1 {
			return "", fmt.Errorf("%s has %d places that read %q, and the patch takes one", p.File, strings.Count(text, p.Old), p.Old)
		}
		texts[file] = strings.Replace(text, p.Old, p.New, 1)
	}
	for file, text := range texts {
		patched := filepath.Join(dir, name+"-"+strings.ReplaceAll(filepath.Base(file), "/", "-"))
		if err := os.WriteFile(patched, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay["Replace"][file] = patched
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listFile := filepath.Join(dir, name+"-overlay.json")
	if err := os.WriteFile(listFile, list, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-race=false", "-overlay", listFile, "-o", binary, "./cmd/curfew")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

// look reads the directories of the sources. As long as nothing has changed that a
// test has read, `go test` repeats what came out of it the last time; and what a
// build reads it does not see.
func look(module string) error {
	for _, dir := range []string{"cmd", "internal", "revocation", "settings", "token"} {
		err := filepath.WalkDir(filepath.Join(module, dir), func(string, fs.DirEntry, error) error { return nil })
		if err != nil {
			return err
		}
	}
	_, err := os.ReadFile(filepath.Join(module, "go.mod"))
	return err
}
