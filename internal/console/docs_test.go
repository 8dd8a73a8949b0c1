package console_test

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// The pages of the documentation break no rule of accessibility, on narrow and wide
// screens, light and dark; they work without scripts and are no wider than the
// screen. The console's pages lead to them.
func TestDocumentationInTheBrowser(t *testing.T) {
	p := run(t, onSQLite(t))
	for name, l := range map[string]look{
		"narrow, dark": {width: 360, height: 800, dark: true},
		"wide, light":  {width: 1280, height: 800},
	} {
		t.Run(name, func(t *testing.T) {
			w := p.open(t, l)
			w.visit("/nowhere")
			w.follow(`main a[href="/docs/troubleshooting"]`)
			w.at("/docs/troubleshooting")
			w.visit("/sign-in")
			w.follow(`footer a[href="/docs"]`)
			w.at("/docs")
			if w.brief(`document.querySelector("header").innerText`) != "Curfew\nSign in" {
				t.Errorf("the header: %q", w.brief(`document.querySelector("header").innerText`))
			}
			topics := eval[[]string](w, `[...document.querySelectorAll("main article a[href]")].map(a => a.pathname)`)
			if len(topics) < 10 {
				t.Fatalf("the list has %d links: %v", len(topics), topics)
			}
			w.accessible()
			for _, topic := range topics {
				w.visit(topic)
				w.accessible()
				if wider := eval[float64](w, `document.documentElement.scrollWidth - innerWidth`); wider > 0 {
					t.Errorf("%s is %v px wider than the screen", topic, wider)
				}
			}
		})
	}
}

// A user who is signed in keeps the console's frame, and a way back to the page with the
// link: from the first topic without a script, from each with one.
func TestDocumentationKeepsThePlace(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for name, l := range map[string]look{
		"narrow":                 {width: 360, height: 800},
		"wide, dark":             {width: 1920, height: 1000, dark: true},
		"wide, without a script": {width: 1280, height: 800, noScript: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := h.open(t, l)
			w.as("admin")
			w.visit("/users?search=ada")
			w.follow(`footer a[href="/docs"]`)
			w.says("Back to Users", "Documentation", "Signing keys")
			if !l.noScript {
				w.accessible()
			}
			w.follow(`main a[href="docs/keys"]`)
			w.at("/docs/keys")
			w.says("Signing keys", "All topics")
			if l.noScript {
				w.saysNot("Back to")
				w.do(chromedp.NavigateBack())
			} else {
				w.accessible()
				w.follow(`main nav a[href="/docs/metrics"]`)
			}
			w.says("Back to Users")
			w.follow(".way-back a")
			if at := w.address(); at != "/users?search=ada" {
				t.Errorf("the way back leads to %s", at)
			}
			// A link of another user is no way back.
			if !l.noScript {
				w.visit("/docs")
				w.says("Back to Users")
				w.visit("/profile")
				w.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("form[action='/sign-out']").submit()`))
				w.at("/sign-in")
				w.visit("/docs")
				w.saysNot("Back to")
			}
		})
	}
}
