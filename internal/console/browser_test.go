package console_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest/chromium"
)

// browser is the one of the test process. Tests open windows in it that share no
// cookies.
var browser chromium.Browser

func profile() (string, error) { return os.MkdirTemp(scratch, "profile-") }

// patience is how long a test waits for an event. It is far longer than any event
// takes on a machine with ten times the load: only an event that never comes fails.
const patience = await.Limit

// window is a browser window with cookies of its own. A violation of the content
// security policy fails its test.
type window struct {
	testing.TB
	url     string
	look    look
	context context.Context

	mu         sync.Mutex
	violations []string
}

// how a window is.
type look struct {
	noScript      bool
	width, height int64
	dark          bool
}

func (p *program) open(t testing.TB, l look) *window {
	t.Helper()
	ctx, cancel, err := browser.Tab(profile, chromedp.Flag("host-resolver-rules", "MAP nas.test 127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	w := &window{TB: t, url: p.url, look: l, context: ctx}
	w.prepare(l)
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, v := range w.violations {
			t.Error(v)
		}
	})
	return w
}

// prepare listens for what the browser finds wrong with a page, in pages without
// scripts too, and sets the window's look.
func (w *window) prepare(l look) {
	w.Helper()
	w.must(chromedp.Do(w.context))
	w.must(chromedp.Listen(w.context, func(event any) {
		switch e := event.(type) {
		case *audits.EventIssueAdded:
			if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
				w.violated(fmt.Sprintf("content security policy: %s %s", d.ViolatedDirective, d.BlockedURL))
			}
		case *cdplog.EventEntryAdded:
			if e.Entry.Source == cdplog.EntrySourceSecurity || e.Entry.Source == cdplog.EntrySourceJavascript {
				w.violated(e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			w.violated("exception: " + e.ExceptionDetails.Text)
		case *page.EventJavascriptDialogOpening:
			w.violated("a script opened a dialog: " + e.Message)
		}
	}))
	if l.width == 0 {
		l.width, l.height = 1280, 900
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(w, audits.Enable, cdp.Empty{})
	call(w, cdplog.Enable, cdp.Empty{})
	call(w, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
	call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(w, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1})
	call(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
}

// call calls a command of the browser.
func call[P, R any](w *window, command cdp.Command[P, R], params P) R {
	w.Helper()
	result, err := chromedp.Call(w.context, command, params)
	w.must(err)
	return result
}

func (w *window) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v\nat %s, which says:\n%s", err, w.address(), w.text())
	}
}

func (w *window) violated(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, what)
}

// do runs actions, and fails the test with what the page shows if one fails.
func (w *window) do(actions ...chromedp.Action[chromedp.Void]) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.context, patience)
	defer cancel()
	w.must(chromedp.Do(ctx, actions...))
}

// visit opens a path and waits for the page.
func (w *window) visit(path string) {
	w.Helper()
	w.visitSite(w.url + path)
}

// visitSite opens an address, of any site, and waits for the page.
func (w *window) visitSite(address string) {
	w.Helper()
	w.do(chromedp.Navigate(address))
}

// follow clicks what a selector finds, and waits for the page that comes.
func (w *window) follow(selector string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.context, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		w.Fatalf("clicking %s: %v\nat %s, which says:\n%s", selector, err, w.address(), w.text())
	}
}

// click clicks what a selector finds.
func (w *window) click(selector string) {
	w.Helper()
	w.do(chromedp.Click(chromedp.CSS(selector)))
}

// eval returns what an expression is in the page.
func eval[T any](w *window, expression string, options ...chromedp.EvaluateOption) T {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.context, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	w.must(err)
	return value
}

// text returns the text of the page.
func (w *window) text() string { return w.brief(`document.body ? document.body.innerText : ""`) }

// address returns the path and query of the page.
func (w *window) address() string { return strings.TrimPrefix(w.brief("location.href"), w.url) }

// brief is an expression's value, for messages too: it never fails.
func (w *window) brief(expression string) string {
	ctx, cancel := context.WithTimeout(w.context, time.Minute)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return text
}

// says fails the test unless the page says each of the texts, soon.
func (w *window) says(texts ...string) {
	w.Helper()
	for _, text := range texts {
		if !w.soon(func() bool { return strings.Contains(w.text(), text) }) {
			w.Fatalf("the page at %s does not say %q:\n%s", w.address(), text, w.text())
		}
	}
}

// saysNot fails the test if the page says one of the texts.
func (w *window) saysNot(texts ...string) {
	w.Helper()
	page := w.text()
	for _, text := range texts {
		if strings.Contains(page, text) {
			w.Fatalf("the page at %s says %q:\n%s", w.address(), text, page)
		}
	}
}

// soon waits for a condition. It polls: a navigation ends every observer that a
// page could hold.
func (w *window) soon(condition func() bool) bool { return await.Holds(patience, condition) }

// at fails the test unless the window is at a path, soon.
func (w *window) at(path string) {
	w.Helper()
	if !w.soon(func() bool { at, _, _ := strings.Cut(w.address(), "?"); return at == path }) {
		w.Fatalf("at %s, and should be at %s:\n%s", w.address(), path, w.text())
	}
}

// fill replaces the text of a field, as one input event.
func (w *window) fill(selector, text string) {
	w.Helper()
	w.do(chromedp.Focus(chromedp.CSS(selector)))
	eval[chromedp.Void](w, "document.activeElement.select()")
	call(w, input.InsertText, input.InsertTextParams{Text: text})
}

// signIn signs a user in by the form.
func (w *window) signIn(name, password string, rememberMe bool) {
	w.Helper()
	w.fill("#username", name)
	w.fill("#password", password)
	if rememberMe {
		w.click("input[name=remember_me]")
	}
	w.follow("main button.primary")
}

// as opens the start page and signs a user in.
func (w *window) as(name string) {
	w.Helper()
	password := userPassword
	if name == "admin" {
		password = adminPassword
	}
	w.visit("/")
	w.at("/sign-in")
	w.signIn(name, password, false)
	w.at("/")
}
