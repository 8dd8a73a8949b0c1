package console_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// widths are those of a phone, a tablet, a laptop and a desktop, in CSS pixels.
var widths = []int64{360, 820, 1280, 1920}

// brokenWords returns the words in table cells that are on two lines. A word may be
// divided after a hyphen or a slash; an address with @ may not.
const brokenWords = `(() => {
	const broken = [];
	for (const cell of document.querySelectorAll("th, td")) {
		const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
		for (let text; text = texts.nextNode();) {
			if (text.parentElement.closest(".sr, pre, details:not([open]) > :not(summary)")) continue;
			for (const word of text.data.matchAll(/\S*@\S*|[^\s\-–—\/]+/g)) {
				const range = document.createRange();
				range.setStart(text, word.index);
				range.setEnd(text, word.index + word[0].length);
				if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) broken.push(word[0]);
			}
		}
	}
	return broken;
})()`

// At each width no page scrolls sideways, and no table breaks a word or an email
// address, whatever names and addresses users have.
func TestWidths(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	long := h.createUser(map[string]any{
		"name": "Maximiliane Wolfeschlegelsteinhausenbergerdorff", "email": "maximiliane.wolfeschlegelsteinhausen@accounting.example.com",
		"groups": []string{"accounting", "administrators-of-accounting", "everything-else"}, "permissions": []string{"UserEdit", "AdministerSystem"},
	})
	h.api(h.admin, http.MethodPost, "/v1/users/"+long+"/revocations", map[string]any{"reason": "Suspicious activity reported: " + strings.Repeat("a very long story, ", 40), "keep_current": false}, nil)
	h.api(h.admin, http.MethodPost, "/v1/clients", map[string]any{"name": "The accounting department’s monthly reports", "capabilities": []string{"follow", "introspect", "issue", "revoke"}}, nil)
	paths := append(h.paths(t), place{"long-user", "/users/" + url.PathEscape(long)}, place{"long-audit", "/audit?person=" + url.QueryEscape(long)})
	for _, width := range widths {
		w := h.open(t, look{width: width, height: 800})
		w.as("admin")
		for _, p := range paths {
			w.visit(p.path)
			w.wellMade(p.path)
			if tall := eval[int](w, `[...document.querySelectorAll(".log tbody tr")].filter((row) => row.offsetHeight > 45).length`); tall > 0 && width >= 1280 {
				t.Errorf("%s at %d px: %d entries take more than one line", p.path, width, tall)
			}
			if wide := eval[int](w, `[...document.querySelectorAll("main table:not(.wide > table)")].filter((table) => table.getBoundingClientRect().right > document.querySelector("main").getBoundingClientRect().right + 0.5).length`); wide > 0 {
				t.Errorf("%s at %d px: %d tables are wider than the page's column", p.path, width, wide)
			}
			for _, word := range eval[[]string](w, brokenWords) {
				t.Errorf("%s at %d px: the word %q is on two lines", p.path, width, word)
			}
		}
	}
}

// At the width of a laptop, usual addresses fit into the table of users beside names and
// groups, and the audit log leaves room for reasons. The filters are even on a tablet.
func TestTablesUseTheirRoom(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	const email = "wilhelmina.featherstone@mail.example.com"
	user := h.createUser(map[string]any{"name": "Wilhelmina Featherstonehaugh", "email": email, "groups": []string{"accounting", "auditors"}, "permissions": []string{"AdministerSystem"}})
	h.api(h.admin, http.MethodPost, "/v1/users/"+user+"/revocations", map[string]any{"reason": "Lost device: left in a train", "keep_current": false}, nil)
	w := h.open(t, look{width: 1280, height: 800})
	w.as("admin")
	const cut = `[...document.querySelectorAll("%")].filter((e) => e.scrollWidth > e.clientWidth || e.parentElement.scrollWidth > e.parentElement.clientWidth).map((e) => e.textContent).join()`
	w.visit("/users?search=wilhelmina")
	w.says(email)
	if text := w.brief(strings.Replace(cut, "%", "td[data-label=Email] .cut", 1)); text != "" {
		t.Errorf("cut: %s", text)
	}
	w.visit("/audit")
	w.says("Lost device: left in a train")
	if text := w.brief(strings.Replace(cut, "%", "td[data-label=Reason] bdi", 1)); text != "" {
		t.Errorf("cut: %s", text)
	}
	w.follow("td[data-label=Action] a[href^='/revocations/']")
	w.says("Receipt", "Lost device: left in a train")
	for width, rows := range map[int64]int{1280: 1, 820: 2, 600: 3, 360: 3} {
		w := h.open(t, look{width: width, height: 800})
		w.as("admin")
		w.visit("/audit")
		got := w.brief(`(() => {
			const boxes = [...document.querySelectorAll(".filter .field")].map((f) => f.getBoundingClientRect());
			const wide = boxes.map((b) => b.width), tops = new Set(boxes.map((b) => Math.round(b.top)));
			return tops.size + (Math.max(...wide) > Math.min(...wide) * 1.3 ? " uneven" : "");
		})()`)
		if got != strconv.Itoa(rows) {
			t.Errorf("at %d px the fields of the filter stand in %s rows, want %d", width, got, rows)
		}
	}
}

// Where the table of users is a list of blocks, a block has room for a whole name.
func TestNamesAreWholeInBlocks(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	h.createUser(map[string]any{"name": "Wilhelmina Featherstonehaugh", "groups": []string{"accounting-and-audit"}})
	for _, width := range []int64{360, 820} {
		w := h.open(t, look{width: width, height: 800})
		w.as("admin")
		w.visit("/users")
		w.says("admin", "Wilhelmina Featherstonehaugh", "accounting-and-audit")
		if text := w.brief(`[...document.querySelectorAll(".users th .cut, .users .cut.short")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent).join()`); text != "" {
			t.Errorf("at %d px these are cut: %s", width, text)
		}
	}
}

// On a phone the first column of a table of the documentation leaves most of the window
// to the others, unless its words are longer.
func TestTablesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{width: 360, height: 740})
	w.as("admin")
	w.visit("/docs/installing")
	if wide := eval[float64](w, `Math.max(...[...document.querySelectorAll(".manual td:first-child")].map((cell) => parseFloat(getComputedStyle(cell).minWidth) / innerWidth))`); wide <= 0 || wide > 0.3 {
		t.Errorf("the first column takes at least %.0f %% of the window", wide*100)
	}
}

// A text that a table cuts is read whole by keyboard, without a script too, and by a tap.
func TestCutTextIsShownWhole(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	h.createUser(map[string]any{"name": "Maximiliane Wolfeschlegelsteinhausenbergerdorff", "email": "maximiliane.wolfeschlegelsteinhausenbergerdorff@accounting.example.com"})
	const cell = "td[data-label=Email] .cut"
	cut := func(w *window) bool {
		return eval[bool](w, `(() => { const e = document.querySelector("`+cell+`"); return e.scrollWidth > e.clientWidth || e.parentElement.scrollWidth > e.parentElement.clientWidth })()`)
	}
	for _, l := range []look{{width: 1280, height: 800}, {width: 1280, height: 800, noScript: true}} {
		w := h.open(t, l)
		w.as("admin")
		w.visit("/users?search=maximiliane")
		if !cut(w) {
			t.Fatal("the address is not cut: the test needs a longer one")
		}
		for range 40 {
			if eval[bool](w, `!!document.activeElement.closest("tbody th")`) {
				break
			}
			w.do(chromedp.KeyEvent("\t"))
		}
		if cut(w) {
			t.Errorf("%+v: the address is cut in the row that has the focus", l)
		}
		if l.noScript {
			continue
		}
		w.visit("/users?search=maximiliane")
		w.click(cell)
		if cut(w) {
			t.Error("the address is cut after a tap on it")
		}
		w.click(cell)
		if !cut(w) {
			t.Error("a second tap does not end it")
		}
	}
}

// On a narrow screen the menu is behind one button, with a script and without. It lies
// over the page, which does not move.
func TestMenuButton(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	const link = "nav a[href='/users']"
	visible := func(w *window) bool {
		return eval[bool](w, `document.querySelector("`+link+`").checkVisibility()`)
	}
	for _, l := range []look{{width: 360, height: 740}, {width: 360, height: 740, noScript: true}, {width: 820, height: 1000}} {
		w := h.open(t, l)
		w.as("admin")
		if visible(w) {
			t.Errorf("%+v: the menu is open before the button is pressed", l)
		}
		const top = `document.querySelector("h1").getBoundingClientRect().top + " " + document.documentElement.scrollHeight`
		before := w.brief(top)
		w.click(".opener")
		if !visible(w) {
			t.Errorf("%+v: the button does not open the menu", l)
		}
		if after := w.brief(top); after != before {
			t.Errorf("%+v: the page moves from %s to %s", l, before, after)
		}
		if !l.noScript {
			w.accessible()
		}
		w.do(chromedp.KeyEvent("\x1b"))
		if visible(w) {
			t.Errorf("%+v: Escape does not close the menu", l)
		}
		w.click(".opener")
		w.follow(link)
		w.at("/users")
	}
	w := h.open(t, look{width: 1280, height: 800})
	w.as("admin")
	if !visible(w) || eval[bool](w, `document.querySelector(".opener").checkVisibility()`) {
		t.Error("on a wide screen the menu is not there, or its button is")
	}
	w.follow(link)
}

// The chart's series and time span are links, with a script and without. Its axes have
// values, and a bar says what it stands for: in the viewer's zone with a script.
func TestChart(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for _, l := range []look{{}, {noScript: true}} {
		w := h.open(t, l)
		w.as("admin")
		w.says("Live sessions in the last day")
		w.follow(".series a[href*='show=sign-ins']")
		w.says("Sign-ins in the last day")
		w.follow(".switch a[href*='span=hour']")
		w.says("Sign-ins in the last hour", "Each bar is a minute.")
		if chosen := w.brief(`[...document.querySelectorAll(".chart [aria-current], .switch [aria-current]")].map((a) => a.firstChild.textContent.trim()).join()`); chosen != "Hour,Sign-ins" {
			t.Errorf("%+v: chosen are %s", l, chosen)
		}
		top := eval[int](w, `Number(document.querySelector(".levels span").textContent)`)
		highest := eval[int](w, `Math.max(...[...document.querySelectorAll(".plot title")].map((title) => parseInt(title.dataset.count)))`)
		if highest < 1 || top < highest || top > 2*highest {
			t.Errorf("%+v: the axis ends at %d, the highest bar is %d", l, top, highest)
		}
		tick := `(() => { const tick = document.querySelector(".ticks text"); return tick.textContent + " is " + tick.dataset.time.slice(11, 16) })()`
		if said := w.brief(tick); (said[:5] == said[9:]) != l.noScript { // Kolkata is half an hour off
			t.Errorf("%+v: a tick: %s", l, said)
		}
		bar := w.brief(`document.querySelector(".plot title").textContent`)
		if want := map[bool]string{true: " UTC: ", false: " GMT+5:30: "}[l.noScript]; !strings.Contains(bar, want) || !strings.Contains(bar, "sign-in") {
			t.Errorf("%+v: a bar says %q", l, bar)
		}
	}
}

// What does not fit in the line of an audit entry is behind its button: within the
// window, accessible, and without a script.
func TestAuditDetails(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": strings.Repeat("a very long story, ", 40) + "the end", "keep_current": false}, nil)
	for _, l := range []look{{width: 360, height: 740}, {width: 1280, height: 900}, {width: 1280, height: 900, noScript: true}} {
		w := h.open(t, l)
		w.as("admin")
		w.visit("/audit?action=sessions.revoke&person=ada%40example.com")
		w.click(".log .more summary")
		w.says("sessions.revoke", "the end", "Request ID")
		if box := eval[[]float64](w, `(() => { const box = document.querySelector(".more[open] .box").getBoundingClientRect(); return [box.left, box.right, innerWidth] })()`); box[0] < 0 || box[1] > box[2] {
			t.Errorf("%+v: the details are from %v to %v px of %v", l, box[0], box[1], box[2])
		}
		if !l.noScript {
			w.accessible()
		}
	}
}
