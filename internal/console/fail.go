package console

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

var (
	errTooLarge = errors.New("the request is too large")
	errBadForm  = errors.New("the form could not be read")
	errForeign  = errors.New("the request came from another site")
	errMethod   = errors.New("method not allowed")
)

// A messageView is a page that reports an outcome or an error, with the reason.
type messageView struct {
	frame
	Status  int
	Lines   []string
	Links   []link
	Request string       // id of the request, for the administrator
	Held    *pendingForm // the form that was not processed; nil if there was none
}

type link struct {
	Path, Words string
	Elsewhere   bool // in a tab of its own
}

// pendingForm is a submitted form that was not processed. The page offers to send it
// again. Passwords are not sent back to the browser: the user types them again.
type pendingForm struct {
	Action    string
	Multipart bool
	Fields    []heldField
	Passwords []heldField
}

type heldField struct {
	Name, Words, Value string
	Required           bool
}

// passwords are the fields that hold secrets, in the order of forms.
var passwords = []heldField{
	{Name: "current", Words: "Current password"}, {Name: "password", Words: "Password"},
	{Name: "client_secret", Words: "Client secret"},
	{Name: "new", Words: "New password"}, {Name: "again", Words: "New password, again"},
}

// fail answers with the page of an error.
func (x *exchange) fail(err error) {
	if x.sent {
		// Half an answer must not look like one.
		panic(http.ErrAbortHandler)
	}
	if old, ok := errors.AsType[*token.AuthenticationError](err); ok {
		x.confirmFirst(old)
		return
	}
	// The session is over: for the validator, or for the store that was asked
	// afterwards.
	if reason := token.Reason(""); errors.As(err, &reason) && reason != token.ErrUnavailable {
		x.signInFirst(err)
		return
	}
	f := fault.Of(err)
	view := messageView{Status: f.Status, Request: x.origin.RequestID}
	forbidden := (*authz.ErrForbidden)(nil)
	switch {
	case errors.Is(err, errTooLarge):
		view.Status = http.StatusRequestEntityTooLarge
		view.Title, view.Lines = "Request too large", []string{"The request is larger than this page accepts. A list can have up to 10 000 names."}
	case errors.Is(err, errBadForm):
		view.Status = http.StatusBadRequest
		view.Title, view.Lines = "Invalid request", []string{"The form could not be read. Go back and try again."}
	case errors.Is(err, errMethod):
		view.Status = http.StatusMethodNotAllowed
		view.Title, view.Lines = "Method not allowed", []string{"This address accepts forms only. It can’t be opened as a page."}
	case errors.Is(err, errForeign):
		view.Status = http.StatusForbidden
		view.Title = "Request from another site"
		view.Lines = []string{"Your browser reports that a page of another site made this request, so Curfew ignored it. To do this, use the console’s own pages."}
		if x.r.Header.Get("Sec-Fetch-Site") == "" {
			view.Lines = append(view.Lines, "If you did use them, a proxy in front of Curfew has changed the request’s Host header. "+
				"For the administrator: make the proxy pass Host on (nginx: proxy_set_header Host $http_host), or set Curfew’s issuer to the address in the browser.")
		}
	case errors.As(err, &forbidden):
		view.Title = "Permission required"
		view.Lines = []string{
			"This requires the " + permissionWords(forbidden.Permission) + " permission. An administrator can grant it under Users.",
		}
		if x.begunByService() {
			view.Lines = append(view.Lines, "A service started this session for you, and such a session carries no permissions. If you have the permission, sign in again yourself.")
		}
		view.Links = []link{{"/", "Back to the start page", false}, {"/sign-in", "Sign in as another user", false}}
	case errors.Is(err, store.ErrNotFound):
		view.Status = http.StatusNotFound
		view.Title, view.Lines = "Not found", []string{"This page does not exist, or no longer exists."}
	case f.Status == http.StatusServiceUnavailable:
		view.Title = "Temporarily unavailable"
		view.Lines = []string{"Curfew can’t reach its database, so it can’t confirm your session. Try again in a moment.",
			"You have not been signed out, and nothing is lost."}
		x.w.Header().Set("Retry-After", "2")
		x.log.WarnContext(x.ctx, "console: request not answered, the database is unavailable", "request_id", x.origin.RequestID, "error", err)
	case f.Status < 500:
		view.Title, view.Lines = "Request refused", []string{sentence(err)}
	default:
		view.Title = "Internal error"
		view.Lines = []string{"The server failed to process this request. The cause is in the server’s log, under the request ID below."}
		x.log.ErrorContext(x.ctx, "console: request failed", "request_id", x.origin.RequestID, "error", err)
	}
	if view.Links == nil {
		view.Links = []link{{"/", "Back to the start page", false}}
	}
	if view.Status == http.StatusServiceUnavailable {
		view.Held = x.pendingForm()
		if view.Held == nil {
			view.Links = []link{{x.r.URL.RequestURI(), "Try again", false}}
		}
	}
	if x.docs {
		view.Links = append(view.Links, link{docsPath + "/troubleshooting", "Troubleshooting", view.Held != nil})
	}
	x.message(f.Code, view)
}

func (x *exchange) message(code string, view messageView) {
	inbound.Of(x.r).Code = code
	view.frame = x.frame(view.Title, "")
	view.Notice = ""
	if err := x.render(view.Status, "message", view); err != nil {
		x.log.ErrorContext(x.ctx, "console: request failed", "request_id", x.origin.RequestID, "error", err)
		http.Error(x.w, "Internal error. The cause is in the server’s log.", http.StatusInternalServerError)
	}
}

// begunByService reports whether a service began the caller's session.
func (x *exchange) begunByService() bool {
	if x.session == nil {
		return false
	}
	r, err := x.own.Record(x.ctx, x.caller, x.session.Subject, x.session.ID)
	return err == nil && r.BegunBy == store.ActorClient
}

// signInFirst sends a user who is not signed in to the sign-in page, with the
// reason. A submitted form is kept: the page offers to sign in in another tab and
// to send the form again. The cookie stays as it is: by the time this answer arrives a
// new one may have taken its place.
func (x *exchange) signInFirst(err error) {
	x.cookie = nil // a refresh may have put a token of the session there before it ended
	why := x.whyRefused(err)
	if x.r.Method == http.MethodGet || x.r.Method == http.MethodHead {
		to := back(x.r.URL.RequestURI())
		if to == start && token.ReasonOf(err) == token.ErrMissing {
			_ = x.redirect("/sign-in") // a first visit: there is nothing to say
			return
		}
		_ = x.redirect("/sign-in", "return", to, "why", why)
		return
	}
	x.message(why, messageView{
		frame:  frame{Title: "Your session has ended"},
		Status: http.StatusUnauthorized,
		Lines:  []string{whyEnded(why), "Nothing was changed, and your input is kept. Sign in again in a new tab, then send the form again."},
		Links:  []link{{"/sign-in?return=/signed-in", "Sign in again", true}},
		Held:   x.pendingForm(),
		// No request id: nothing has failed.
	})
}

// pendingForm returns the form that the request has sent; nil if it has sent none.
func (x *exchange) pendingForm() *pendingForm {
	if x.r.Method != http.MethodPost || x.posted() == nil {
		return nil
	}
	h := &pendingForm{Action: x.r.URL.RequestURI(), Multipart: x.r.MultipartForm != nil}
	for _, p := range passwords {
		if x.posted().Has(p.Name) {
			p.Required = x.posted().Get(p.Name) != ""
			h.Passwords = append(h.Passwords, p)
			if p.Required && p.Name == "client_secret" && !x.posted().Has(secretTyped) {
				h.Fields = append(h.Fields, heldField{Name: secretTyped, Value: "1"})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.posted())) {
		if name == confirmPassword || name == sentAgain || slices.ContainsFunc(passwords, func(p heldField) bool { return p.Name == name }) {
			continue
		}
		for _, v := range x.posted()[name] {
			h.Fields = append(h.Fields, heldField{Name: name, Value: v})
		}
	}
	return h
}

// nowhere answers requests that match no route.
func nowhere(mux *http.ServeMux) func(*exchange) error {
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

func foreign(*exchange) error { return errForeign }

func permissionWords(permission string) string {
	if permission == store.UserEdit {
		return store.UserEdit + " or " + store.AdministerSystem
	}
	return permission
}

// sentence turns the text of an error that is meant for users into a sentence.
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
