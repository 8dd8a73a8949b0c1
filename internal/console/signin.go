package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/servertoken"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

var errPasswordsDiffer = errors.New("the two new passwords differ")

// signInPages begin sessions.
type signInPages struct {
	sessions  *session.Service
	accounts  *account.Service
	providers *oidc.Client
	attempts  attempts
	signedIn  func(provider, outcome string) // see [Config]
	issuer    string                         // see [Config]
	mayReturn func(address string) bool      // see [Config]; nil: to no other host

	toldPlain sync.Once // see warnPlain
}

type signInView struct {
	frame
	Why        string // why one is here; "" if one came by oneself
	Error      string // what was wrong with the attempt before
	Username   string // as typed
	RememberMe bool
	Return     string
	For        string // host of the proxied service that the user returns to; "" if it is the console
	Changing   bool   // the form asks for a new password as well

	// Passwords and Providers are the ways to sign in.
	Passwords bool
	Providers []providerLinks

	Plain      *plainView // the browser does not keep the cookie at this address; nil if it does
	CookieLost bool       // it did not keep the one of the sign-in before

	RememberMeOffered bool
	Timeout           time.Duration
	Maximum           time.Duration
}

// providerLinks begin a sign-in through a provider. They are links, since form-action also
// binds where the answer to a form redirects to.
type providerLinks struct{ Name, Path, Remember string } // Remember is "" if it is not offered

func (p *signInPages) view(x *exchange) signInView {
	in := x.inForce()
	view := signInView{
		frame:             x.frame("Sign in", ""),
		Return:            p.returnTo(x),
		Plain:             p.plain(x),
		RememberMeOffered: in.RememberMeEnabled,
		Timeout:           in.SessionTimeout,
		Maximum:           in.MaximumSessionDuration,
	}
	if view.Plain != nil {
		p.warnPlain(x)
	}
	view.Passwords, view.Providers = p.ways(x, view.Return)
	if isElsewhere(view.Return) {
		view.For = webcookie.Host(view.Return)
	}
	view.Menu, view.Clocks = nil, nil // of a session that is about to be left
	return view
}

// ways returns the ways to sign in. While the store can't be asked it is the password,
// whose form then says so.
func (p *signInPages) ways(x *exchange, to string) (passwords bool, providers []providerLinks) {
	ways, err := p.sessions.Ways(x.ctx)
	if err != nil {
		x.log.WarnContext(x.ctx, "sign-in page: the identity providers are not known", "request_id", x.origin.RequestID, "error", err)
		return true, nil
	}
	for _, name := range ways.Providers {
		links := providerLinks{Name: name, Path: p.startAddress(attempt{Provider: name, Return: to})}
		if x.inForce().RememberMeEnabled {
			links.Remember = p.startAddress(attempt{Provider: name, Return: to, Remember: true})
		}
		providers = append(providers, links)
	}
	return ways.Passwords, providers
}

// returnTo returns where to go afterwards: a path of this host, or an address
// that forward auth has been told to trust.
func (p *signInPages) returnTo(x *exchange) string { return p.checkedReturn(x.r.FormValue("return")) }

// checkedReturn returns an address if returnTo may return it, else the start page.
func (p *signInPages) checkedReturn(raw string) string {
	address := webcookie.Escape(raw)
	if p.mayReturn == nil || !p.mayReturn(address) {
		return back(raw)
	}
	if own, ok := strings.CutPrefix(address, strings.TrimSuffix(p.issuer, "/")); ok && p.issuer != "" && back(own) != own && own != "" {
		return start // a page of this server that only leads to another sign-in
	}
	return address
}

// isElsewhere reports whether an address that returnTo returned is one of another
// host, and not a path of this one.
func isElsewhere(to string) bool { return !strings.HasPrefix(to, "/") }

func (p *signInPages) page(x *exchange) error {
	view := p.view(x)
	why := x.r.FormValue("why")
	if x.r.FormValue("state") == oidc.PostLogoutState { // back from the provider, see signOut
		why = "signed_out_at_provider"
	}
	if x.session != nil && why != "" {
		// Sent here with a cookie that has been replaced in the meantime, by another
		// answer to a request of the same moment.
		return x.continueTo(view.Return)
	}
	view.Why = whyEnded(why)
	return x.ok("sign-in", view)
}

// signIn begins a new session. It ends the browser's previous session, so that no
// session stays behind on a shared machine.
func (p *signInPages) signIn(x *exchange) error {
	name, password := x.value("username"), x.value("password")
	remember := x.value("remember_me") != ""
	from := x.origin
	from.Presented = x.presented()
	var issued session.Issued
	var err error
	to := p.returnTo(x)
	if x.posted().Has("new") {
		if x.value("new") != x.value("again") {
			return p.failed(x, errPasswordsDiffer, name, remember)
		}
		issued, err = p.sessions.SignInChanging(x.ctx, name, password, x.value("new"), remember, from)
		to = withNotice(to, "required")
	} else {
		issued, err = p.sessions.SignIn(x.ctx, name, password, remember, from)
	}
	if err != nil {
		return p.failed(x, err, name, remember)
	}
	return p.began(x, issued, to)
}

// withNotice returns the address to with a key of notices; to of another host stays as
// it is.
func withNotice(to, key string) string {
	u, err := url.Parse(to)
	if err != nil || isElsewhere(to) {
		return to
	}
	q := u.Query()
	q.Set("done", key)
	u.RawQuery = q.Encode()
	return u.String()
}

// presented returns the session of the cookie that the browser still has, if it is
// not revoked; it may have timed out.
func (x *exchange) presented() *token.Session {
	raw, err := x.jar.Read(x.ctx, x.r, servertoken.EndingOf(x.validator))
	if err != nil {
		return nil
	}
	s, err := servertoken.Ending(x.ctx, x.validator, raw)
	if err != nil {
		return nil
	}
	return s
}

// askNew shows the form that asks for a new password, and for the old one again: no
// page repeats a password.
func (p *signInPages) askNew(x *exchange, status int, view signInView, wrong map[string]string) error {
	view.Title, view.Changing, view.Errors = "Choose a new password", true, wrong
	return x.render(status, "sign-in", view)
}

// failed shows the form again with the values typed, except the passwords.
func (p *signInPages) failed(x *exchange, err error, name string, remember bool) error {
	view := p.view(x)
	view.Username, view.RememberMe = name, remember
	limited, invalid := (*account.RateLimited)(nil), (*account.Invalid)(nil)
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, account.ErrPasswordChangeRequired):
		inbound.Of(x.r).Code = wire.CodePasswordChangeRequired
		return p.askNew(x, http.StatusForbidden, view, nil)
	case errors.Is(err, errPasswordsDiffer):
		return p.askNew(x, http.StatusUnprocessableEntity, view, map[string]string{"again": "The two new passwords differ."})
	case errors.As(err, &invalid):
		inbound.Of(x.r).Code = wire.CodeInvalidRequest
		return p.askNew(x, http.StatusUnprocessableEntity, view, map[string]string{"new": aboutField(invalid.Fields[0].Detail)})
	case errors.Is(err, store.ErrConflict):
		inbound.Of(x.r).Code = wire.CodeConflict
		status = http.StatusConflict
		view.Error = "The account was changed at the same time. Sign in again."
	case errors.Is(err, account.ErrPasswordsOff):
		inbound.Of(x.r).Code = wire.CodeForbidden
		status = http.StatusForbidden
		view.Error = "Signing in with a password is switched off."
	case errors.Is(err, account.ErrBadCredentials):
		inbound.Of(x.r).Code = wire.CodeBadCredentials
		view.Error = "The name or password is wrong."
	case errors.As(err, &limited):
		inbound.Of(x.r).Code = wire.CodeRateLimited
		status = http.StatusTooManyRequests
		x.retryAfter(limited.RetryAfter)
		view.Error = "Too many attempts. Try again in " + duration(limited.RetryAfter.Round(time.Second)+time.Second) + "."
	case errors.Is(err, account.ErrBusy):
		status = http.StatusServiceUnavailable
		x.retryAfter(time.Second)
		view.Error = "Too many sign-ins at once. Try again in a second."
	default:
		return err
	}
	if x.posted().Has("new") && status != http.StatusConflict {
		return p.askNew(x, status, view, nil)
	}
	return x.render(status, "sign-in", view)
}

// goOn sends the browser back after a sign-in. To another host it goes by way of a
// page with a Refresh header: form-action binds what a form's answer redirects to as
// well, but no refresh (HTML, section 7.4.2; CSP 3, section 6.4.1).
func (x *exchange) goOn(to string) error {
	if isElsewhere(to) {
		// Everything behind url= is the address if it begins with no quote (HTML, section
		// 4.2.5.3, shared declarative refresh steps): ";", "," and "'" in it are its own.
		x.w.Header().Set("Refresh", "0; url="+to)
	}
	return x.continueTo(to)
}

// continueTo sends a user with a session on. To another host there is a link only:
// if that host does not accept the session and sends the browser back here, a
// refresh would never end.
func (x *exchange) continueTo(to string) error {
	if !isElsewhere(to) {
		return x.redirect(to)
	}
	host := webcookie.Host(to)
	x.message("", messageView{
		frame:  frame{Title: "You are signed in"},
		Status: http.StatusOK,
		Lines:  []string{"Continue to " + host + ", the site that you came from."},
		Links:  []link{{to, "Continue to " + host, false}},
	})
	return nil
}

// signedInAgain is where one arrives who has signed in again beside a page that
// is still open.
func signedInAgain(x *exchange) error {
	x.message("", messageView{
		frame:  frame{Title: "You are signed in again"},
		Status: http.StatusOK,
		Lines:  []string{"Close this tab and continue in the previous one. Your input there is kept."},
		Links:  []link{{"/", "Open the start page", false}},
	})
	return nil
}

// whyRefused returns the word for the reason that the sign-in page shows. For a
// revocation it includes who made it, as in the audit: a caller with a token of
// good signature may know that.
func (x *exchange) whyRefused(err error) string {
	reason := token.ReasonOf(err)
	if two := (*webcookie.TwoSessions)(nil); errors.As(err, &two) {
		return "two_sessions"
	}
	revoked := (*token.RevokedError)(nil)
	if !errors.As(err, &revoked) {
		return string(reason)
	}
	by, lookupErr := x.own.RevokedBy(x.ctx, revoked.Before)
	if lookupErr != nil {
		return string(reason) // the page is worth more than the detail
	}
	if by == "" {
		return string(reason)
	}
	return "revoked_by_" + by
}
