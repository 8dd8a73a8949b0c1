package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// confirmPassword is the field of the user's password in the form of the page "Confirm
// it is you". The form goes to the address of the form that it interrupts, so that one
// request confirms and acts.
const confirmPassword = "confirm_password"

// sentAgain is the button of that page which sends the form again after an authentication
// at a provider.
const sentAgain = "sent_again"

// A reauthenticateView is the page that asks the user of a session to authenticate again.
type reauthenticateView struct {
	frame
	Lines      []string
	Cancel     string // address of the page to go back to
	Error      string // what was wrong with the attempt before
	MustChange bool   // the password must be changed first
	NotYet     bool   // the form was sent again without a new authentication
	For        string // host of the proxied service that the user returns to, or ""
	Held       *pendingForm
	// Sends means that Held is a form of another page, which is sent again in the new
	// session after a sign-in through a provider.
	Sends     bool
	Passwords bool   // the user can confirm the password
	Providers []link // each begins a sign-in that demands a fresh authentication
}

// confirmPath is the path of the page "Confirm it is you".
const confirmPath = "/reauthenticate"

// reauthenticatePage asks the user to authenticate again on behalf of a proxied service:
// forward auth with max_age sends browsers here. A session that is recent enough goes on at once.
func (p *signInPages) reauthenticatePage(x *exchange) error {
	to := p.returnTo(x)
	seconds, err := strconv.ParseUint(x.r.FormValue("max_age"), 10, 32)
	if err == nil && seconds > 0 && x.session.CheckAuthTime(time.Duration(seconds)*time.Second, x.now()) == nil { // #nosec G115 -- 32 bits
		return x.continueTo(to)
	}
	view := p.confirming(x)
	view.Held = &pendingForm{Action: confirmPath, Fields: []heldField{{Name: "return", Value: to}}}
	return x.askAgain(http.StatusOK, view, to)
}

// confirming returns the page "Confirm it is you" for an address to go on to.
func (p *signInPages) confirming(x *exchange) reauthenticateView {
	view := reauthenticateView{
		frame: x.frame("Confirm it is you", ""), Cancel: start,
		Lines: []string{"The page that you opened requires that you have authenticated recently."},
	}
	if to := p.returnTo(x); isElsewhere(to) {
		view.For = webcookie.Host(to)
	}
	return view
}

// operation is what a form does, for the page "Confirm it is you".
type operation struct {
	words string // as the page says it, in front of the subject
	field string // of the form: the subject of the operation; "" if it has none
	page  string // address of the form's page; "" if it is that of the form, {id} and {name} as there
	here  string // the entry of the menu
	trail []string
}

// operations are those of all forms of signed-in users, by the pattern of the route.
var operations = func() map[string]operation {
	settings := func(words, field, page string) operation {
		return operation{words: words, field: field, page: page, here: "/settings/authentication", trail: []string{"Configuration", "Settings", "Authentication"}}
	}
	user := func(words string) operation {
		return operation{words: words, page: "/users/{id}", here: "/users", trail: []string{"Configuration", "Users"}}
	}
	users := func(words, field, page string) operation {
		return operation{words: words, field: field, page: page, here: "/users", trail: []string{"Configuration", "Users"}}
	}
	many := func(words string) operation {
		return operation{words: words, page: "/revocations/new", here: "/revocations", trail: []string{"Configuration", "Revocations"}}
	}
	keys := func(words, field string) operation {
		return operation{words: words, field: field, page: "/keys", here: "/keys", trail: []string{"Configuration", "Signing keys"}}
	}
	services := func(words, field string) operation {
		return operation{words: words, field: field, page: "/services", here: "/services", trail: []string{"Configuration", "Services"}}
	}
	own := func(words string) operation {
		return operation{words: words, page: "/profile", here: "/profile", trail: []string{"Account menu", "Profile"}}
	}
	return map[string]operation{
		"POST /settings/authentication":                         settings("change the settings of authentication", "", ""),
		"POST /settings/authentication/providers":               settings("add the identity provider", "name", "/settings/authentication"),
		"POST /settings/authentication/providers/{name}":        settings("change this identity provider", "", ""),
		"POST /settings/authentication/providers/{name}/remove": settings("remove this identity provider", "", "/settings/authentication/providers/{name}"),
		"POST /settings/authentication/passwords/off":           settings("switch signing in with a password off", "", "/settings/authentication"),
		"POST /settings/authentication/passwords/on":            settings("switch signing in with a password on", "", "/settings/authentication"),

		"POST /users":                            users("add the user", "name", "/new-user"),
		"POST /users/selected":                   users("revoke the sessions of the selected users", "", "/users"),
		"POST /users/{id}":                       user("change the name or the email of this user"),
		"POST /users/{id}/permissions":           user("change the permissions of this user"),
		"POST /users/{id}/groups":                user("change the groups of this user"),
		"POST /users/{id}/password":              user("set a new password for this user"),
		"POST /users/{id}/enable":                user("enable this user"),
		"POST /users/{id}/disable":               user("disable this user"),
		"POST /users/{id}/delete":                user("delete this user"),
		"POST /users/{id}/unlink":                user("unlink this user from an identity provider"),
		"POST /users/{id}/revoke":                user("revoke all sessions of this user"),
		"POST /users/{id}/sessions/{sid}/revoke": user("revoke a session of this user"),
		"POST /revocations":                      many("revoke the sessions of many users"),
		"POST /revocations/confirmed":            many("revoke the sessions of many users"),
		"POST /keys/rotate":                      keys("rotate the signing keys", ""),
		"POST /keys/retire":                      keys("retire the signing key", "kid"),
		"POST /services":                         services("add the service", "name"),
		"POST /services/{id}/secret":             services("create a new secret for a service", ""),
		"POST /services/{id}/remove":             services("remove a service", ""),
		"POST /profile/session":                  own("continue your session"),
		"POST /profile/password":                 own("change your password"),
		"POST /profile/revoke":                   own("revoke all your sessions"),
		"POST /profile/elsewhere":                own("sign out everywhere else"),
	}
}()

// confirmation returns the page "Confirm it is you" for the request. within is how old
// the authentication may be; zero if that is not known.
func (x *exchange) confirmation(within time.Duration) reauthenticateView {
	if x.rt.confirming != nil {
		return x.rt.confirming(x)
	}
	o := operations[x.rt.pattern]
	view := reauthenticateView{frame: x.frame("Confirm it is you", o.here, o.trail...), Cancel: start}
	if o.page != "" {
		view.Cancel = strings.NewReplacer("{id}", url.PathEscape(x.r.PathValue("id")), "{name}", url.PathEscape(x.r.PathValue("name"))).Replace(o.page)
	} else if len(o.trail) > 0 {
		view.Cancel = x.r.URL.EscapedPath()
	}
	if o.page == "/users/{id}" {
		name := "User"
		if u, err := x.callers.User(x.ctx, x.caller, x.r.PathValue("id")); err == nil {
			name = clip(u.Name, 80)
			o.words = strings.Replace(o.words, "this user", "“"+name+"”", 1)
		}
		view.Trail = append(view.Trail, crumb{name, view.Cancel})
	}
	if o.words != "" {
		subject := ""
		if text := x.text(o.field); o.field != "" && text != "" {
			subject = " “" + clip(text, 80) + "”"
		}
		view.Lines = append(view.Lines, "You are about to "+o.words+subject+".")
	}
	when := "recently"
	if within > 0 {
		when = "in the last " + duration(within)
	}
	view.Lines = append(view.Lines, "This changes much at once, so it requires that you have authenticated "+when+". Nothing was changed yet, and your input is kept.")
	return view
}

// reauthenticated sends the browser back after confirm has renewed the session.
func (p *signInPages) reauthenticated(x *exchange) error {
	if x.posted().Get(confirmPassword) == "" {
		return x.redirect(confirmPath, "return", p.returnTo(x))
	}
	return x.goOn(p.returnTo(x))
}

// askAgain answers with the page that asks the user to authenticate again. to is where
// the browser goes after that; "" for the form of another page, which the page keeps: the
// provider then opens in another tab.
func (x *exchange) askAgain(status int, view reauthenticateView, to string) error {
	ways, err := x.own.WaysAgain(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view.Sends = to == ""
	if view.Sends {
		to = "/signed-in"
	}
	view.Passwords = ways.Passwords
	for _, name := range ways.Providers {
		view.Providers = append(view.Providers, link{
			address("/sign-in/"+name, url.Values{"prompt": {"login"}, "max_age": {"0"}, "return": {to}, "user": {x.session.Subject}}), "Authenticate with " + name, view.Sends,
		})
	}
	view.Notice = ""
	return x.render(status, "reauthenticate", view)
}

// confirmFirst asks the user to authenticate in place of what the request would have done.
// The page keeps the form, without its passwords, and sends it again.
func (x *exchange) confirmFirst(old *token.AuthenticationError) {
	inbound.Of(x.r).Code = string(token.ErrInsufficientAuthentication)
	held := x.pendingForm()
	if held == nil {
		_ = x.redirect(confirmPath, "return", back(x.r.URL.RequestURI()))
		return
	}
	view := x.confirmation(old.MaxAge)
	view.Held, view.NotYet = held, x.value(sentAgain) != ""
	if err := x.askAgain(http.StatusUnauthorized, view, ""); err != nil {
		x.fail(err)
	}
}

// confirm checks the password of the page "Confirm it is you", and renews the session.
// If that fails it answers with the page again, or returns the error.
func (x *exchange) confirm() (answered bool, err error) {
	issued, err := x.own.Reauthenticate(x.ctx, x.caller, x.value(confirmPassword), x.origin)
	limited := (*account.RateLimited)(nil)
	view := x.confirmation(0)
	view.Held = x.pendingForm()
	status := http.StatusUnauthorized
	code := wire.CodeBadCredentials
	switch {
	case err == nil:
		x.keep(issued.Token, issued.Session)
		x.session = &issued.Session
		x.caller, err = x.callers.UserCaller(x.ctx, x.session, x.origin)
		return false, err
	case errors.Is(err, account.ErrBadCredentials):
		view.Error = "This is not your password."
	case errors.Is(err, account.ErrPasswordsOff):
		status, code = http.StatusForbidden, wire.CodeForbidden
		view.Error = "Signing in with a password is switched off."
	case errors.Is(err, account.ErrPasswordChangeRequired):
		status, code = http.StatusForbidden, wire.CodePasswordChangeRequired
		view.MustChange = true
	case errors.As(err, &limited):
		status, code = http.StatusTooManyRequests, wire.CodeRateLimited
		x.retryAfter(limited.RetryAfter)
		view.Error = "Too many attempts. Try again in " + duration(limited.RetryAfter.Round(time.Second)+time.Second) + "."
	case errors.Is(err, account.ErrBusy):
		status, code = http.StatusServiceUnavailable, string(token.ErrUnavailable)
		x.retryAfter(time.Second)
		view.Error = "Too many sign-ins at once. Try again in a second."
	default:
		return false, err
	}
	inbound.Of(x.r).Code = code
	to := ""
	if x.r.URL.Path == confirmPath {
		to = cmp.Or(x.value("return"), start)
	}
	return true, x.askAgain(status, view, to)
}
