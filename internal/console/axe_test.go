package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/chromedp/chromedp"
)

// axe is axe-core, which knows the rules of accessibility.
var axe = sync.OnceValues(func() (string, error) {
	file := filepath.Join("..", "..", ".cache", "npm", "test", "node_modules", "axe-core", "axe.min.js")
	source, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("axe-core is missing (make deps brings it): %w", err)
	}
	return string(source), nil
})

// accessible fails the test for every rule of accessibility that the page breaks.
func (w *window) accessible() {
	w.Helper()
	source, err := axe()
	if err != nil {
		w.Fatal(err)
	}
	type violation struct {
		ID, Help string
		Nodes    []struct {
			HTML           string
			FailureSummary string
		}
	}
	eval[chromedp.Void](w, source+"; void 0")
	found := eval[[]violation](w, `axe.run({resultTypes: ["violations"]}).then(r => r.violations)`, chromedp.EvalAwaitPromise)
	for _, v := range found {
		for _, n := range v.Nodes {
			w.Errorf("%s: %s (%s)\n%s\n%s", w.address(), v.Help, v.ID, n.HTML, n.FailureSummary)
		}
	}
}
