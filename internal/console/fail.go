package console

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

var (
	errTooLarge = errors.New("what was sent is too large")
	errBadForm  = errors.New("what was sent is not a form that can be read")
	errForeign  = errors.New("the request came from another site")
	errMethod   = errors.New("this address is not meant for that")
)

// A messageView is a page that says that something is not to be had, and why.
type messageView struct {
	frame
	Status  int
	Lines   []string
	Links   []link
	Request string // id of the request, to tell an administrator
	Held    *held  // what was sent and did not arrive; nil if nothing
}

type link struct {
	Path, Words string
	Elsewhere   bool // in a tab of its own
}

// held is a form that was sent in vain, so that it can be sent again with nothing
// typed twice. Passwords are not given back: they are to be typed again.
type held struct {
	Action    string
	Multipart bool
	Fields    []heldField
	Passwords []heldField
}

type heldField struct{ Name, Words, Value string }

// passwords are the fields that hold secrets, in the order of forms.
var passwords = []heldField{
	{Name: "current", Words: "Current password"}, {Name: "password", Words: "Password"},
	{Name: "new", Words: "New password"}, {Name: "again", Words: "New password, again"},
}

// fail answers with the page of an error.
func (x *exchange) fail(err error) {
	if x.sent {
		// Half an answer must not look like one.
		panic(http.ErrAbortHandler)
	}
	// The session is over: for the validator, or for the store that was asked
	// afterwards.
	if reason := token.Reason(""); errors.As(err, &reason) && reason != token.ErrUnavailable {
		x.signInFirst(err)
		return
	}
	f := fault.Of(err)
	view := messageView{Status: f.Status, Request: x.origin.RequestID}
	forbidden := (*account.ErrForbidden)(nil)
	switch {
	case errors.Is(err, errTooLarge):
		view.Status = http.StatusRequestEntityTooLarge
		view.Title, view.Lines = "That is too much at once", []string{"What was sent is larger than this page takes. A list may have 10 000 names."}
	case errors.Is(err, errBadForm):
		view.Status = http.StatusBadRequest
		view.Title, view.Lines = "That could not be read", []string{"What was sent is not a form that this page knows. Go back and try again."}
	case errors.Is(err, errMethod):
		view.Status = http.StatusMethodNotAllowed
		view.Title, view.Lines = "Not like that", []string{"This address is there for a form, not to be opened by itself."}
	case errors.Is(err, errForeign):
		view.Status = http.StatusForbidden
		view.Title = "That came from another site"
		view.Lines = []string{"Your browser says that this request was made by a page of another site, so nothing was done. If you meant to do it, do it from here."}
	case errors.As(err, &forbidden):
		view.Title = "This takes a permission that you do not have"
		view.Lines = []string{
			"It takes the permission " + permissionWords(forbidden.Permission) + ". An administrator can grant it to you under Users.",
			"If you have it already, sign in again with your password: a session that a service began, or that began before an upgrade, carries no permission.",
		}
		view.Links = []link{{"/", "Back to the start", false}, {"/sign-in", "Sign in as somebody else", false}}
	case errors.Is(err, store.ErrNotFound):
		view.Status = http.StatusNotFound
		view.Title, view.Lines = "Not found", []string{"There is nothing at this address, or no longer."}
	case f.Status == http.StatusServiceUnavailable:
		view.Title = "For a moment this cannot be told"
		view.Lines = []string{"Curfew cannot reach its store, and rather says nothing than something wrong. You are still signed in, and nothing you have is lost. This usually passes within seconds."}
		x.w.Header().Set("Retry-After", "2")
		x.log.WarnContext(x.ctx, "the console could not answer", "request_id", x.origin.RequestID, "error", err)
	case f.Status < 500:
		view.Title, view.Lines = "That is not possible", []string{sentence(err)}
	default:
		view.Title = "Something went wrong here"
		view.Lines = []string{"It is not your fault, and it is in the log of the server."}
		x.log.ErrorContext(x.ctx, "the console failed", "request_id", x.origin.RequestID, "error", err)
	}
	if view.Links == nil {
		view.Links = []link{{"/", "Back to the start", false}}
	}
	if view.Status == http.StatusServiceUnavailable {
		view.Held = x.held()
		if view.Held == nil {
			view.Links = []link{{x.r.URL.RequestURI(), "Try again", false}}
		}
	}
	x.message(f.Code, view)
}

func (x *exchange) message(code string, view messageView) {
	inbound.Of(x.r).Code = code
	view.frame = x.frame(view.Title, "")
	view.Notice = ""
	if err := x.render(view.Status, "message", view); err != nil {
		x.log.ErrorContext(x.ctx, "the console failed", "request_id", x.origin.RequestID, "error", err)
		http.Error(x.w, "Something went wrong here; it is in the log of the server.", http.StatusInternalServerError)
	}
}

// signInFirst sends whoever is not signed in to the sign-in page and says why.
// What a form has brought along is kept: the page offers to sign in beside it and
// to send it again. The cookie stays as it is: by the time this answer arrives a
// new one may have taken its place.
func (x *exchange) signInFirst(err error) {
	x.cookie = nil // a refresh may have put a token of the session there before it ended
	why := x.whyRefused(err)
	if x.r.Method == http.MethodGet || x.r.Method == http.MethodHead {
		to := x.r.URL.RequestURI()
		_ = x.redirect("/sign-in", "return", back(to), "why", why)
		return
	}
	in := x.inForce()
	x.message(why, messageView{
		frame:  frame{Title: "Your session has ended"},
		Status: http.StatusUnauthorized,
		Lines:  []string{whyEnded(why, in.SessionTimeout, in.MaximumSessionDuration), "Nothing was done, and nothing that you have typed is lost: sign in again in a tab of its own, then send it once more."},
		Links:  []link{{"/sign-in?return=/signed-in", "Sign in again", true}},
		Held:   x.held(),
		// No request id: nothing has failed.
	})
}

// held returns the form that the request has sent; nil if it has sent none.
func (x *exchange) held() *held {
	if x.r.Method != http.MethodPost || x.posted() == nil {
		return nil
	}
	h := &held{Action: x.r.URL.RequestURI(), Multipart: x.r.MultipartForm != nil}
	for _, p := range passwords {
		if x.posted().Has(p.Name) {
			h.Passwords = append(h.Passwords, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.posted())) {
		if slices.ContainsFunc(passwords, func(p heldField) bool { return p.Name == name }) {
			continue
		}
		for _, v := range x.posted()[name] {
			h.Fields = append(h.Fields, heldField{Name: name, Value: v})
		}
	}
	return h
}

// nowhere answers what no route is for.
func (c *console) nowhere(mux *http.ServeMux) func(*exchange) error {
	return func(x *exchange) error {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			other := x.r.Clone(x.ctx)
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "/" {
				x.w.Header().Set("Allow", method)
				return errMethod
			}
		}
		return fmt.Errorf("%w: %s", store.ErrNotFound, "no such page")
	}
}

func (c *console) foreign(*exchange) error { return errForeign }

func permissionWords(permission string) string {
	if permission == store.UserEdit {
		return store.UserEdit + " or " + store.AdministerSystem
	}
	return permission
}

// sentence makes a sentence for people of an error that is meant for them.
func sentence(err error) string {
	text := err.Error()
	if text == "" {
		return ""
	}
	return upper(text) + "."
}

func upper(text string) string {
	if c := text[0]; 'a' <= c && c <= 'z' {
		return string(c-'a'+'A') + text[1:]
	}
	return text
}

// retryAfter says when to try again.
func (x *exchange) retryAfter(d time.Duration) {
	x.w.Header().Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
}
