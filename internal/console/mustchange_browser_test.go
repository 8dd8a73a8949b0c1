package console_test

import (
	"fmt"
	"net/http"
	"testing"
)

// The form for a new password works with and without the script. Errors are seen
// at its top, and each part of it passes the accessibility rules.
func TestMustChangePasswordInABrowser(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for i, l := range []look{{}, {noScript: true}, {width: 360, height: 640}} {
		name := fmt.Sprintf("newcomer %d", i)
		h.api(h.admin, http.MethodPost, "/v1/users", map[string]any{"name": name, "password": userPassword, "must_change_password": true}, nil)
		w := h.open(t, l)
		w.visit("/sign-in?return=/profile")
		w.signIn(name, userPassword, false)
		w.says("Choose a new password")
		// A browser moves the focus some time after the page is there.
		if !w.soon(func() bool { return w.brief("document.activeElement.id") == "password" }) {
			t.Errorf("the focus is on %q", w.brief("document.activeElement.id"))
		}
		if !l.noScript {
			w.accessible()
		}
		w.fill("#password", userPassword)
		w.fill("#new", "short")
		w.fill("#again", "short")
		w.follow("main button.primary")
		w.says("Must have at least 12 characters")
		seen := eval[bool](w, `(() => { const r = document.querySelector(".problems").getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight })()`)
		if !seen || !w.soon(func() bool { return eval[bool](w, `document.activeElement.classList.contains("problems")`) }) {
			t.Errorf("the summary is in sight: %v; the focus is on %q", seen, w.brief("document.activeElement.outerHTML"))
		}
		if !l.noScript {
			w.accessible()
		}
		w.fill("#password", userPassword)
		w.fill("#new", "four unrelated words, zebra")
		w.fill("#again", "four unrelated words, zebra")
		w.follow("main button.primary")
		w.at("/profile")
	}
}
