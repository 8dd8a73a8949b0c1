package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"
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

// A reauthenticateView is the page that asks the user of a session to authenticate again.
type reauthenticateView struct {
	frame
	Lines      []string
	Error      string // what was wrong with the attempt before
	MustChange bool   // the password must be changed first
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
	view := reauthenticateView{Lines: []string{"This page asks that you have authenticated recently."}}
	view.Held = &pendingForm{Action: confirmPath, Fields: []heldField{{Name: "return", Value: to}}}
	if isElsewhere(to) {
		view.For = webcookie.Host(to)
	}
	return x.askAgain(http.StatusOK, view, to)
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
			address("/sign-in/"+name, url.Values{"prompt": {"login"}, "max_age": {"0"}, "return": {to}}), "Authenticate with " + name, view.Sends,
		})
	}
	view.frame = x.frame("Confirm it is you", "")
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
	view := reauthenticateView{Held: held, Lines: []string{
		"This changes much at once, so it requires that you have authenticated in the last " + duration(old.MaxAge) + ". Nothing was changed yet, and your input is kept."}}
	if err := x.askAgain(http.StatusUnauthorized, view, ""); err != nil {
		x.fail(err)
	}
}

// confirm checks the password of the page "Confirm it is you", and renews the session.
// If that fails it answers with the page again, or returns the error.
func (x *exchange) confirm() (answered bool, err error) {
	issued, err := x.own.Reauthenticate(x.ctx, x.caller, x.value(confirmPassword), x.origin)
	limited := (*account.RateLimited)(nil)
	view := reauthenticateView{Held: x.pendingForm()}
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
