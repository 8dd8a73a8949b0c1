package floors

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The documents name the tests that prove their promises, defences and
// requirements: each of them exists.
func TestDocumentsNameRealTests(t *testing.T) {
	const root = "../.."
	exists := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	test := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for document, atLeast := range map[string]int{"cmd/curfew/docs/promises.md": 10, "cmd/curfew/docs/security.md": 100} {
		text, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		named := test.FindAllSubmatch(text, -1)
		if len(named) < atLeast {
			t.Errorf("%s names %d tests: its tables are gone", document, len(named))
		}
		for _, m := range named {
			if !exists[string(m[1])] {
				t.Errorf("%s names %s, and there is no such test", document, m[1])
			}
		}
	}
}
