package console

import (
	"errors"
	"net/http"
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

// A reauthenticateView is the page that asks for the password during a session.
type reauthenticateView struct {
	frame
	Lines      []string
	Error      string // what was wrong with the attempt before
	MustChange bool   // the password must be changed first
	For        string // host of the proxied service that the user returns to, or ""
	Held       *pendingForm
}

// reauthenticatePage asks for the password on behalf of a proxied service: forward auth
// with max_age sends browsers here. A session that is recent enough goes on at once.
func (p *signInPages) reauthenticatePage(x *exchange) error {
	to := p.returnTo(x)
	seconds, err := strconv.ParseUint(x.r.FormValue("max_age"), 10, 32)
	if err == nil && seconds > 0 && x.session.CheckAuthTime(time.Duration(seconds)*time.Second, x.now()) == nil { // #nosec G115 -- 32 bits
		return x.continueTo(to)
	}
	view := reauthenticateView{Lines: []string{"This page asks that you have entered your password recently."}}
	view.Held = &pendingForm{Action: "/reauthenticate", Fields: []heldField{{Name: "return", Value: to}}}
	if isElsewhere(to) {
		view.For = webcookie.Host(to)
	}
	return x.askPassword(http.StatusOK, view)
}

// reauthenticated sends the browser back after confirm has renewed the session.
func (p *signInPages) reauthenticated(x *exchange) error {
	if !x.posted().Has(confirmPassword) {
		return x.redirect("/reauthenticate", "return", p.returnTo(x))
	}
	return x.goOn(p.returnTo(x))
}

// askPassword answers with the page that asks for the password.
func (x *exchange) askPassword(status int, view reauthenticateView) error {
	view.frame = x.frame("Confirm it is you", "")
	view.Notice = ""
	return x.render(status, "reauthenticate", view)
}

// confirmFirst asks for the password in place of what the request would have done. The
// page keeps the form, without its passwords, and sends it again with the user's.
func (x *exchange) confirmFirst(old *token.AuthenticationError) {
	inbound.Of(x.r).Code = string(token.ErrInsufficientAuthentication)
	held := x.pendingForm()
	if held == nil {
		_ = x.redirect("/reauthenticate", "return", back(x.r.URL.RequestURI()))
		return
	}
	view := reauthenticateView{Held: held, Lines: []string{
		"This changes much at once, so it requires that you have entered your password in the last " + duration(old.MaxAge) + ". Nothing was changed yet, and your input is kept."}}
	if err := x.askPassword(http.StatusUnauthorized, view); err != nil {
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
	return true, x.askPassword(status, view)
}
