//go:build screenshots

package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestScreenshots writes a picture of every page, narrow and wide, light and
// dark, into the directory CURFEW_SCREENSHOTS: `make screenshots`.
func TestScreenshots(t *testing.T) {
	directory := os.Getenv("CURFEW_SCREENSHOTS")
	if directory == "" {
		t.Fatal("CURFEW_SCREENSHOTS must name a directory to write to: make screenshots sets it")
	}
	p := furnished(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			w := p.open(t, look{width: width, height: 800, dark: scheme == "dark"})
			shoot := func(name string) {
				picture, err := chromedp.Run(w.context, chromedp.FullScreenshot(100))
				w.must(err)
				file := filepath.Join(directory, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
				if err := os.WriteFile(file, picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w.visit("/sign-in?why=idle_timeout")
			shoot("sign-in")
			w.as("admin")
			for _, path := range p.paths(t) {
				w.visit(path.path)
				shoot(path.name)
			}
			for _, d := range p.dialogs(t) {
				w.visit(d.path)
				w.do(chromedp.Click(chromedp.CSS(d.open)), chromedp.WaitVisible(chromedp.CSS("dialog[open]")))
				shoot("dialog-" + d.name)
			}
		}
	}
	if entries, _ := os.ReadDir(directory); len(entries) < 40 {
		t.Errorf("only %d pictures: %s", len(entries), strings.TrimSpace(fmt.Sprint(entries)))
	}
}
