package console_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Loading the page of a generated password again makes no other one, with and without the
// script.
func TestReloadOfAGeneratedPassword(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for i, l := range []look{{}, {noScript: true}} {
		w := h.open(t, l)
		w.as("admin")
		w.visit("/new-user")
		w.fill("#name", fmt.Sprintf("newcomer %d", i))
		w.follow("form[action='/users'] button.primary")
		w.says("it is shown only once")
		password := w.brief(`document.getElementById("password").textContent`)
		w.do(chromedp.Reload())
		w.says("The generated password was shown once and can’t be shown again.")
		if password == "" || strings.Contains(w.text(), password) {
			t.Errorf("%+v: the page shows the password", l)
		}
		w.saysNot("Another user has this name")
	}
}
