package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What compiles on one system only is an error on the other, in tests too.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.com/x\n\ngo 1.26\n",
		"x.go":      "package x\n\nimport \"syscall\"\n\nfunc F() { _ = syscall.Kill(1, syscall.SIGSTOP) }\n",
		"x_test.go": "package x\n\nimport \"syscall\"\n\nvar attributes = syscall.SysProcAttr{Pdeathsig: 9}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for system, want := range map[string][]string{
		"linux/amd64": {}, "darwin/arm64": {"Pdeathsig"}, "windows/amd64": {"syscall.Kill", "SIGSTOP", "Pdeathsig"},
	} {
		found, err := check(system, []string{"./..."})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(found, "\n")
		if len(want) == 0 && text != "" {
			t.Errorf("%s: %s", system, text)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no error about %s in %q", system, w, text)
			}
		}
	}
	if found, err := check("windows/amd64", []string{"./none"}); err == nil && len(found) == 0 {
		t.Error("a package that does not exist is no error")
	}
}
