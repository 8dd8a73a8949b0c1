package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/console"
)

// spoil fills in a form of the page with values that no field accepts, marks it, and
// says what it is.
const spoil = `((n) => {
	const form = document.querySelectorAll("main form")[n];
	form.noValidate = true;
	form.dataset.spoiled = "";
	let fields = 0;
	for (const field of form.querySelectorAll("input:not([type=hidden], [type=file], [hidden]), textarea:not([hidden])")) {
		fields++;
		if (field.type === "checkbox" || field.type === "radio") {
			// The list of names is what can be wrong about its choice.
			field.checked = field.name === "scope" && field.value === "users";
			continue;
		}
		if (field.tagName === "INPUT") field.type = "text"; // a date can hold no other text
		field.value = "\u0007" + "x".repeat(3000) + fields;
	}
	const enabled = [...form.querySelectorAll("button:not([type=button])")].some((b) => !b.matches(":disabled"));
	return { Action: new URL(form.getAttribute("action"), location).pathname, Method: form.getAttribute("method").toUpperCase(), Fields: fields, Enabled: enabled, Search: form.getAttribute("role") === "search" };
})(%d)`

// summary is what a person sees of a refusal, at once: all errors, or the first five if
// more do not fit into a small window.
const summary = `(() => {
	const all = document.querySelectorAll(".problems");
	const box = all.length ? all[0].getBoundingClientRect() : { top: -1, bottom: -1 };
	const items = all.length ? [...all[0].querySelectorAll("li")] : [];
	const bottom = items.length > 5 ? items[4].getBoundingClientRect().bottom : box.bottom;
	const links = all.length ? [...all[0].querySelectorAll("a[href^='#']")] : [];
	return {
		Summaries: all.length, Focused: document.activeElement === all[0],
		Seen: box.top > -1 && bottom <= innerHeight, Where: box.top + " to " + box.bottom + " of " + innerHeight,
		Items: items.length,
		Dead: links.filter((a) => !document.getElementById(a.hash.slice(1))?.checkVisibility()).map((a) => a.hash),
		Unsaid: [...document.querySelectorAll("main .wrong")].filter((p) => !all[0]?.innerText.includes(p.textContent)).map((p) => p.textContent),
		Title: document.title,
	};
})()`

// patternOf returns the console's pattern for a request.
func patternOf(method, path string) string {
	mux := http.NewServeMux()
	for _, pattern := range console.Patterns() {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	_, pattern := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
	return pattern
}

// The errors of a form are within the first viewport after it was sent, in a
// summary that has the focus and links to the fields: for every form of every page,
// and every form that a route accepts is on a page.
func TestRefusedFormsAreSeen(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	var found struct{ Users []struct{ ID string } }
	h.api(h.admin, http.MethodGet, "/v1/users?search=name:admin", nil, &found)
	places := append(h.paths(t), place{"own account", "/users/" + found.Users[0].ID}, place{"disabled", "/users/" + h.disabled}, place{"sign-in", "/sign-in"}, place{"reauthenticate", "/reauthenticate"})
	for _, l := range []look{{}, {width: 360, height: 640, noScript: true}} {
		t.Run(fmt.Sprintf("script %v, width %d", !l.noScript, l.width), func(t *testing.T) {
			w := h.open(t, l)
			w.as("admin")
			refused, harmless := map[string]bool{}, map[string]bool{
				"POST /sign-out":        true, // in the menu, and has no field
				"POST /profile/session": true, // the script's

				"POST /users/{id}/unlink": true, // has no field
			}
			for _, p := range places {
				w.visit(p.path)
				forms := eval[int](w, `document.querySelectorAll("main form").length`)
				for n := range forms {
					w.refuses(p.path, n, refused, harmless)
				}
			}
			w.refusesConfirmation(refused)
			for _, pattern := range console.Patterns() {
				if strings.HasPrefix(pattern, "POST ") && !refused[pattern] && !harmless[pattern] {
					t.Errorf("%s: no form for it is on a page, or none was refused", pattern)
				}
			}
		})
	}
}

// refuses sends the nth form of a page with values that are wrong, and looks at the
// answer. Forms with nothing to fill in are noted and not sent.
func (w *window) refuses(path string, n int, refused, harmless map[string]bool) {
	w.Helper()
	w.visit(path)
	form := eval[struct {
		Action, Method  string
		Fields          int
		Enabled, Search bool
	}](w, fmt.Sprintf(spoil, n))
	pattern := patternOf(form.Method, form.Action)
	if form.Fields == 0 || !form.Enabled {
		harmless[pattern] = harmless[pattern] || form.Fields == 0
		return
	}
	w.follow("form[data-spoiled] button:not([type=button])")
	// A browser moves the focus to an element with autofocus when it next draws.
	w.soon(func() bool {
		return w.brief(`document.querySelector(".problems") ? document.activeElement.className : "none"`) != ""
	})
	seen := eval[struct {
		Summaries, Items int
		Focused, Seen    bool
		Where, Title     string
		Dead, Unsaid     []string
	}](w, summary)
	what := fmt.Sprintf("%s, sent from %s", pattern, path)
	switch {
	case pattern == "POST /sign-in" || pattern == "POST /reauthenticate":
		// The one message has its place between the heading and the two fields, and the
		// focus is in the field to fill in again.
		const described = `document.activeElement.getAttribute("aria-describedby") + " " + (document.getElementById("refused").getBoundingClientRect().bottom <= innerHeight)`
		if !w.soon(func() bool { return w.brief(described) == "refused true" }) {
			w.Errorf("%s: the field in focus is described by %s", what, w.brief(described))
		}
		refused[pattern] = true
		return
	case seen.Summaries == 0 && (form.Search || slices.Contains([]string{"POST /services/{id}/secret", "POST /users/{id}/permissions"}, pattern)):
		// Any text can be searched for, and checkboxes can have either value: only the
		// permissions of the last administrator are refused.
		harmless["POST /services/{id}/secret"] = true
		return
	case seen.Summaries != 1:
		w.Errorf("%s: %d summaries of what is wrong, at %s:\n%s", what, seen.Summaries, w.address(), w.text())
		return
	}
	refused[pattern] = true
	if !seen.Seen || !seen.Focused || seen.Items == 0 || !strings.HasPrefix(seen.Title, "Error: ") {
		w.Errorf("%s: the summary is at %s, in focus: %v, with %d items, the title is %q", what, seen.Where, seen.Focused, seen.Items, seen.Title)
	}
	if len(seen.Dead) > 0 || len(seen.Unsaid) > 0 {
		w.Errorf("%s: links to no element that is seen: %v; not in the summary: %q", what, seen.Dead, seen.Unsaid)
	}
	if first := `document.querySelector(".problems a[href^='#']")`; eval[bool](w, first+" !== null") {
		target := w.brief(first + ".hash")
		w.click(".problems a[href='" + target + "']")
		if got := w.brief(`(() => { const e = document.querySelector("` + target + `"), r = e.getBoundingClientRect();
			return (document.activeElement === e || !e.matches("input, textarea, select")) && r.top >= 0 && r.top < innerHeight ? "there" : "at " + r.top })()`); got != "there" {
			w.Errorf("%s: the link to %s does not lead there: %s", what, target, got)
		}
	}
}

// refusesConfirmation sends the second step of revoking the sessions of many: when a
// user of the list has been deleted meanwhile, and with another word than the one
// that confirms what ends all sessions.
func (w *window) refusesConfirmation(refused map[string]bool) {
	w.Helper()
	for scope, spoil := range map[string]string{
		"users":    `document.querySelector("form.confirm [name=ids]").value = "no-such-user"`,
		"everyone": `document.querySelector("form.confirm [name=word]").value = "no"`,
	} {
		w.visit("/revocations/new")
		w.click("input[name=scope][value=" + scope + "]")
		w.fill("#names", "Alan Turing")
		w.click("input[value='Role change']")
		w.follow("form[action='/revocations'] button")
		eval[string](w, spoil)
		w.follow("form.confirm .actions button")
		w.soon(func() bool { return w.brief("document.activeElement.className") != "" })
		if got := w.brief(`String(document.activeElement.matches(".problems") && document.activeElement.getBoundingClientRect().bottom <= innerHeight)`); got != "true" {
			w.Errorf("the second step of a revocation, scope %s, at %s:\n%s", scope, w.address(), w.text())
		}
	}
	refused["POST /revocations/confirmed"] = true
}
