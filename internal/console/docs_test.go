package console_test

import "testing"

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
			topics := eval[[]string](w, `[...document.querySelectorAll("main a[href]")].map(a => a.pathname)`)
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
