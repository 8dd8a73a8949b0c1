package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The headings of a long table stay in sight, and cover nothing that has the focus.
func TestHeadingsStay(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{width: 1280, height: 320})
	w.as("admin")
	for _, path := range []string{"/users", "/users/" + h.ada, "/audit", "/revocations"} {
		w.visit(path)
		eval[chromedp.Void](w, `document.querySelector(".list tbody tr:last-child").scrollIntoView()`)
		if eval[int](w, `scrollY`) == 0 {
			t.Fatalf("%s does not scroll", path)
		}
		// A table whose top is in sight has them there, and one that ends takes them along.
		if stays := eval[bool](w, `(() => {
			const table = document.querySelector(".list").getBoundingClientRect();
			return table.top > -1 || table.bottom < 80 || Math.round(document.querySelector(".list thead th").getBoundingClientRect().top) === 0;
		})()`); !stays {
			t.Errorf("%s: the headings are not at the top", path)
		}
		if covered := w.brief(`[...document.querySelectorAll(".list tbody :is(a, input, summary)")].filter((e) => e.checkVisibility()).reverse().filter((e) => {
			e.focus();
			return e.getBoundingClientRect().top < document.querySelector(".list thead th").getBoundingClientRect().bottom;
		}).map((e) => e.textContent).join()`); covered != "" {
			t.Errorf("%s: the headings cover %s", path, covered)
		}
	}
}

// Without a mouse, a user sorts the list, opens the actions of a row, leaves them, and
// gets to the question that revokes. Without a script the same links are pages.
func TestTablesByKeyboard(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for _, l := range []look{{}, {noScript: true}, {width: 360, height: 740}} {
		w := h.open(t, l)
		w.as("admin")
		w.visit("/users?group=&show=live")
		focus := func(selector string) {
			t.Helper()
			for range 60 {
				if eval[bool](w, `document.activeElement.matches("`+selector+`")`) {
					return
				}
				w.do(chromedp.KeyEvent("\t"))
			}
			t.Fatalf("%+v: the key Tab does not come to %s", l, selector)
		}
		press := func(key string) { t.Helper(); w.do(chromedp.KeyEvent(key)) }
		focus("th[aria-sort=ascending] a")
		if !eval[bool](w, `document.activeElement.matches(":focus-visible") && document.activeElement.checkVisibility()`) {
			t.Errorf("%+v: the focus is not visible", l)
		}
		if _, err := chromedp.RunResponse(w.context, chromedp.KeyEvent("\r")); err != nil {
			t.Fatal(err)
		}
		w.at("/users")
		if got := w.brief(`document.querySelector("th[aria-sort]").ariaSort + " " + document.querySelector("#show").value + " " + location.search`); got != "descending live ?show=live&sort=name-desc" {
			t.Errorf("%+v: sorted %s", l, got)
		}
		const menu = "tbody tr:last-child .more summary"
		open := func() bool { return eval[bool](w, `document.querySelector("tbody tr:last-child .more").open`) }
		focus(menu)
		press("\r")
		if !open() {
			t.Fatalf("%+v: the key Enter does not open the actions", l)
		}
		if !l.noScript {
			press("\x1b")
			if open() || !eval[bool](w, `document.activeElement.matches("`+menu+`")`) {
				t.Errorf("%+v: Escape does not close the actions", l)
			}
			press("\r")
		}
		focus("tbody a[href$='/revoke']")
		if l.noScript {
			if _, err := chromedp.RunResponse(w.context, chromedp.KeyEvent("\r")); err != nil {
				t.Fatal(err)
			}
			w.says("Revoke the sessions of Ada Lovelace?")
			continue
		}
		press("\r")
		w.do(chromedp.WaitVisible(chromedp.CSS("dialog[open]")))
		w.accessible()
		if text := w.brief(`document.querySelector("dialog").innerText`); !strings.Contains(text, "Revoke the sessions of Ada Lovelace?") {
			t.Errorf("the dialog asks %s", text)
		}
		w.click("dialog input[type=radio]") // not outside of the menu, which stays open
		press("\x1b")
		w.do(chromedp.WaitNotVisible(chromedp.CSS("dialog")))
		if !w.soon(func() bool { return eval[bool](w, `document.activeElement.matches("tbody a[href$='/revoke']")`) }) {
			t.Errorf("the focus does not return to the action but to %s; open: %t", eval[string](w, `document.activeElement.outerHTML.slice(0, 200)`), open())
		}
		w.accessible()
	}
}
