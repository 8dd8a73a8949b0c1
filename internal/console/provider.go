package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// askedAge is the max_age of an attempt that any authentication satisfies: as long as the
// longest session. A provider returns auth_time if it is asked for a maximum age.
const askedAge = 400 * 24 * time.Hour

// start begins an attempt to sign in through a provider.
func (p *signInPages) start(x *exchange) error {
	name := x.r.PathValue("provider")
	if to := p.atIssuer(x); to != "" {
		return x.leave(to)
	}
	if x.session != nil && x.r.URL.Query().Has("why") {
		return x.continueTo(p.returnTo(x)) // as in page
	}
	if x.session != nil && fromElsewhere(x.r) {
		// A provider that remembers a user asks nothing, and a sign-in replaces the
		// session: a page of another site must not do that by a link.
		return x.redirect(withReturn("/sign-in", p.returnTo(x)))
	}
	a := attempt{Provider: name, Return: p.returnTo(x), Remember: x.value("remember_me") != "" && !fromElsewhere(x.r), Prompt: x.value("prompt") != ""}
	a.Confirm = a.Prompt && x.value("max_age") == "0"
	a.Fresh = a.Confirm
	if a.Confirm {
		a.User = x.value("user")
		if x.session != nil {
			a.User, a.Remember = cmp.Or(a.User, x.session.Subject), x.session.RememberMe
		}
	}
	err := p.begin(x, &a)
	if errors.Is(err, store.ErrNotFound) {
		return p.noProvider(x, name)
	}
	if err == nil || a.Issuer == "" { // without an issuer the name may be of no provider
		return err
	}
	return p.refuse(x, a, err)
}

// noProvider answers the start at a provider that does not exist with the other ways to
// sign in. Usually a proxy has sent the browser there.
func (p *signInPages) noProvider(x *exchange, name string) error {
	name = clip(name, 40)
	x.log.WarnContext(x.ctx, "sign-in page: no such identity provider; if a proxy asks for it with provider=, correct its configuration",
		"provider", name, "return", p.returnTo(x), "request_id", x.origin.RequestID)
	inbound.Of(x.r).Code = wire.CodeNotFound
	view := p.view(x)
	view.Error = "There is no identity provider “" + name + "” here. Sign in another way."
	return x.render(http.StatusNotFound, "sign-in", view)
}

// from is the origin of the request with the session that the browser has, also if it
// has timed out: a known browser has limits of its own.
func (x *exchange) from() authz.Origin {
	from := x.origin
	from.Presented = x.presented()
	return from
}

// fromElsewhere reports whether a page of another origin has led to a request, as the
// browser says.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// begin sends the browser to the provider, and fills the attempt in.
func (p *signInPages) begin(x *exchange, a *attempt) error {
	// The epoch comes first: whatever is revoked from here on ends the attempt.
	provider, epoch, err := p.sessions.BeginThrough(x.ctx, a.Provider)
	if err != nil {
		return err
	}
	a.Issuer, a.ClientID, a.Epoch, a.Began = provider.Issuer, provider.ClientID, epoch, x.now().UnixMicro()
	if err := p.accounts.MayTryCode(x.from()); err != nil {
		return err
	}
	a.Secrets = oidc.NewSecrets()
	a.Secrets.State = p.attempts.carry(*a)
	to, err := p.providers.AuthorizationURL(x.ctx, p.registration(provider), a.Secrets, oidc.Demand{MaxAge: askedAge, Fresh: a.Fresh || a.Prompt})
	if err != nil {
		return err
	}
	if err := p.attempts.keep(x, *a); err != nil {
		return err
	}
	return x.leave(to)
}

// registration returns how this server is registered at a provider, without the secret.
func (p *signInPages) registration(provider store.Provider) oidc.Registration {
	return oidc.Registration{
		Issuer: provider.Issuer, ClientID: provider.ClientID, RedirectURI: oidc.RedirectURI(p.issuer, provider.Name),
		Scopes: provider.Scopes, ACRValues: provider.ACRValues, Changed: provider.UpdatedAt,
	}
}

// atIssuer returns the address at which an attempt must begin, if it is another than that
// of the request: the provider sends the browser to the issuer's host, which must have
// set the cookie. It is returned once, since a proxy may hide the host.
func (p *signInPages) atIssuer(x *exchange) string {
	origin, host := originOf(p.issuer), x.host()
	if origin == "" || x.r.URL.Query().Has(moved) || strings.EqualFold(host, strings.SplitN(origin, "://", 2)[1]) ||
		strings.EqualFold(originOf("https://"+host), origin) || strings.EqualFold(originOf("http://"+host), origin) {
		return ""
	}
	query := x.r.URL.Query()
	query.Set(moved, "1")
	return strings.TrimSuffix(p.issuer, "/") + "/sign-in/" + url.PathEscape(x.r.PathValue("provider")) + "?" + query.Encode()
}

// moved marks an address that the browser was sent to from another host.
const moved = "moved"

// leave sends the browser to another host.
func (x *exchange) leave(to string) error {
	x.begin()
	x.w.Header().Set("Location", to)
	x.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// callback takes the response of a provider.
func (p *signInPages) callback(x *exchange) error {
	a, err := p.respond(x)
	if err == nil {
		return nil
	}
	if a.Provider == "" {
		return p.unknownAttempt(x)
	}
	return p.refuse(x, a, err)
}

// respond signs the user in to whom a response belongs, or returns the attempt and why it
// is over. The zero attempt means that the browser has none.
func (p *signInPages) respond(x *exchange) (attempt, error) {
	response := x.r.URL.Query()
	states := response["state"]
	if len(states) != 1 {
		return attempt{}, errNoAttempt
	}
	a, err := p.attempts.take(x, states[0])
	if err != nil {
		return attempt{}, err
	}
	if a.Provider != x.r.PathValue("provider") {
		return a, oidc.ErrMixUp // each provider has an address of its own (RFC 9700, section 4.4.2)
	}
	provider, err := p.sessions.ProviderOf(x.ctx, a.Provider, a.Epoch)
	if err != nil {
		return a, err
	}
	a.Issuer, a.ClientID = provider.Issuer, provider.ClientID
	registration := p.registration(provider)
	if registration.ClientSecret, err = p.accounts.ClientSecret(x.ctx, provider); err != nil {
		return a, err
	}
	tried, err := p.accounts.TryCode(x.ctx, x.from())
	if err != nil {
		return a, err
	}
	id, err := p.providers.Exchange(x.ctx, registration, a.Secrets, response, wanted(provider)...)
	if err := tried(errors.Is(err, oidc.ErrCode) || errors.Is(err, oidc.ErrMisconfigured)); err != nil {
		return a, err
	}
	if err != nil {
		return a, err
	}
	issued, err := p.sessions.SignInThrough(x.ctx, session.ProviderSignIn{
		Attempt: attemptName(a.Secrets.State), Provider: a.Provider, Issuer: a.Issuer, ClientID: a.ClientID, Subject: id.Subject, SID: id.SessionID, Claims: id.Claims,
		AuthTime: id.AuthTime, ACR: id.ACR, SessionExpiry: id.SessionExpiry, IDToken: id.Raw,
		Began: time.UnixMicro(a.Began), Epoch: a.Epoch, Fresh: a.Fresh, UserID: a.User, RememberMe: a.Remember,
	}, x.origin)
	if errors.Is(err, session.ErrAttemptUsed) {
		return attempt{}, err
	}
	if errors.Is(err, session.ErrNotFresh) && !a.Fresh {
		p.count(a.Provider, err)
		a.Fresh = true
		return a, p.begin(x, &a) // a second attempt is never followed by a third
	}
	if err != nil {
		return a, err
	}
	p.count(a.Provider, nil)
	return a, p.began(x, issued, p.checkedReturn(a.Return))
}

// wanted returns the claims that a sign-in through a provider uses.
func wanted(p store.Provider) []string {
	claims := []string{p.NameClaim}
	if slices.Contains(p.Scopes, "email") || p.LinkByEmail || len(p.AllowedEmailDomains) > 0 {
		claims = append(claims, "email", "email_verified")
	}
	if p.GroupsClaim != "" {
		claims = append(claims, p.GroupsClaim)
	}
	return claims
}

// The outcomes of sign-ins through a provider, for the metrics and the log.
const (
	outcomeGood        = "good"
	outcomeAgain       = "authenticate_again" // a second attempt was started
	outcomeUnknown     = "unknown_attempt"
	outcomeUnreachable = "provider_unreachable"
	outcomeConfig      = "provider_misconfigured"
	outcomeClock       = "clock"
	outcomeToken       = "invalid_id_token"
	outcomeMixUp       = "mix_up"
	outcomeCode        = "invalid_code"
	outcomeDenied      = "denied"
	outcomeRefused     = "provider_refused"
	outcomeNotAdmitted = "not_admitted"
	outcomeRevoked     = "revoked"
	outcomeChanged     = "provider_changed"
	outcomeNotFresh    = "not_authenticated_again"
	outcomeAnotherUser = "another_user" // than the one who had to confirm
	outcomeLimited     = "rate_limited"
	outcomeUnavailable = "unavailable"
	outcomeInternal    = "internal"
)

// outcomes has the outcome of each error. The first row that matches counts.
var outcomes = []struct {
	is      error
	outcome string
}{
	{session.ErrNotFresh, outcomeAgain},
	{session.ErrNoAuthTime, outcomeNotFresh},
	{session.ErrStale, outcomeNotFresh},
	{session.ErrAnotherUser, outcomeAnotherUser},
	{session.ErrProviderChanged, outcomeChanged},
	{session.ErrEndedByProvider, outcomeRevoked},
	{token.ErrRevoked, outcomeRevoked},
	{token.ErrMaximumDuration, outcomeToken},
	{oidc.ErrUnreachable, outcomeUnreachable},
	{oidc.ErrMisconfigured, outcomeConfig},
	{keyring.ErrUnsealed, outcomeConfig}, // the client secret
	{oidc.ErrClock, outcomeClock},
	{oidc.ErrToken, outcomeToken},
	{oidc.ErrMixUp, outcomeMixUp},
	{oidc.ErrCode, outcomeCode},
	{errNoAttempt, outcomeUnknown},
	{session.ErrAttemptUsed, outcomeUnknown},
	{account.ErrBusy, outcomeUnavailable},
	{store.ErrUnavailable, outcomeUnavailable},
}

// outcomeOf returns the outcome of a sign-in with an error.
func outcomeOf(err error) string {
	if err == nil {
		return outcomeGood
	}
	refusal, refused, limited := (*oidc.Refusal)(nil), (*account.NotAdmitted)(nil), (*account.RateLimited)(nil)
	switch {
	case errors.As(err, &limited):
		return outcomeLimited
	case errors.As(err, &refusal):
		switch refusal.Code {
		case "access_denied":
			return outcomeDenied
		case "server_error", "temporarily_unavailable":
			return outcomeUnreachable
		}
		return outcomeRefused
	case errors.As(err, &refused):
		return outcomeNotAdmitted
	}
	for _, row := range outcomes {
		if errors.Is(err, row.is) {
			return row.outcome
		}
	}
	return outcomeInternal
}

// count counts a sign-in by provider and outcome.
func (p *signInPages) count(provider string, err error) {
	if p.signedIn != nil {
		p.signedIn(provider, outcomeOf(err))
	}
}

// refuse answers with the page of an attempt that is over: what happened and what to try.
func (p *signInPages) refuse(x *exchange, a attempt, err error) error {
	outcome := outcomeOf(err)
	p.count(a.Provider, err)
	if outcome == outcomeInternal || outcome == outcomeUnavailable {
		return err
	}
	x.log.WarnContext(x.ctx, "sign-in through an identity provider: refused",
		"provider", a.Provider, "outcome", outcome, "request_id", x.origin.RequestID, "error", err)
	view := messageView{frame: frame{Title: "Not signed in"}, Status: http.StatusForbidden, Request: x.origin.RequestID}
	name := a.Provider
	again := link{p.startAddress(a), "Try again", false}
	switch outcome {
	case outcomeUnreachable:
		view.Status, view.Title = http.StatusServiceUnavailable, "Identity provider unavailable"
		x.w.Header().Set("Retry-After", "5")
		view.Lines = []string{
			"Curfew can’t reach the identity provider " + name + ", or it does not answer in time, so you are not signed in. Try again in a moment.",
			"Sessions that have begun are not affected."}
	case outcomeConfig:
		view.Status, view.Title = http.StatusServiceUnavailable, "Identity provider not usable"
		view.Lines = []string{
			"Curfew and the identity provider " + name + " do not work together at the moment, so you are not signed in.",
			"For the administrator: the server’s log has the cause, under the request ID below; `curfew provider check " + name + "` checks the configuration."}
	case outcomeClock:
		view.Status, view.Title = http.StatusServiceUnavailable, "Clocks differ"
		view.Lines = []string{
			"The clocks of Curfew and of the identity provider " + name + " differ by more than a minute, so its answer can’t be checked and you are not signed in.",
			"For the administrator: synchronize both clocks (NTP). The server’s log has the times."}
	case outcomeToken:
		view.Status, view.Title = http.StatusServiceUnavailable, "Answer not valid"
		view.Lines = []string{
			"The answer of the identity provider " + name + " could not be verified, so you are not signed in. Try again.",
			"For the administrator: the server’s log has the cause, under the request ID below."}
	case outcomeMixUp:
		view.Status = http.StatusBadRequest
		view.Lines = []string{"The answer did not come from the identity provider " + name + ", which you were sent to. It was ignored. Try again."}
	case outcomeCode:
		view.Status = http.StatusBadRequest
		view.Lines = []string{"The identity provider " + name + " did not accept this sign-in: it took too long, or the page was loaded twice. Try again."}
	case outcomeDenied:
		view.Lines = []string{"You did not allow the sign-in at " + name + ", or " + name + " does not allow you to sign in here."}
	case outcomeRefused:
		view.Lines = []string{answered(name, err), "If trying again does not help, ask an administrator."}
	case outcomeNotAdmitted:
		view.Lines = []string{sentence(err)}
		a.Prompt = true
		again = link{p.startAddress(a), "Try again with another account", false}
	case outcomeLimited:
		limited, _ := errors.AsType[*account.RateLimited](err)
		view.Status, view.Title = http.StatusTooManyRequests, "Too many attempts"
		x.retryAfter(limited.RetryAfter)
		view.Lines = []string{"Identity providers have refused too many sign-ins from your network in a short time, so you are not signed in. Try again in " +
			duration(limited.RetryAfter.Round(time.Second)+time.Second) + "."}
	case outcomeRevoked:
		view.Status = http.StatusUnauthorized
		view.Lines = []string{"Your sessions were revoked while you were signing in, so this sign-in has ended as well. Sign in again."}
		again.Words = "Sign in again"
	case outcomeChanged:
		view.Lines = []string{"The identity provider " + name + " was changed or removed while you were signing in. Try again."}
	case outcomeNotFresh:
		why := "Your sessions were revoked, so you have to authenticate again."
		if a.Confirm {
			why = "You have to authenticate again to confirm that it is you."
		}
		view.Lines = []string{
			why + " The identity provider " + name + " did not ask you to, or does not say when you did, so you are not signed in.",
			"Sign out at " + name + ", then try again. For the administrator: " + name + " must support max_age and prompt=login, and return the claim auth_time."}
	case outcomeAnotherUser:
		view.Title = "Another account"
		view.Lines = []string{"You authenticated at " + name + " with an account that belongs to another user here, or to none. Nothing was changed."}
		if x.session != nil {
			view.Lines = append(view.Lines, "You are still signed in as "+clip(x.caller.Actor.Name, 80)+".")
			if x.session.Subject == a.User {
				view.Lines = append(view.Lines, "To confirm, authenticate with the account of that user.")
			}
		}
	}
	view.Links = []link{again, {withReturn("/sign-in", a.Return), "Other ways to sign in", false}}
	x.message("sign_in_"+outcome, view)
	return nil
}

// answered quotes the error response of a provider, marked as the provider's text: it may
// say anything. It is ASCII and bounded, so it does not end the quotation.
func answered(name string, err error) string {
	refusal, ok := errors.AsType[*oidc.Refusal](err)
	if !ok {
		return sentence(err)
	}
	text := refusal.Code
	if refusal.Description != "" {
		text += ": " + refusal.Description
	}
	return "The identity provider " + name + " refused the sign-in. Its answer: “" + text + "”"
}

// unknownAttempt answers a response to no attempt of the browser. If the state has the
// return address, the page leads there, or to another attempt.
func (p *signInPages) unknownAttempt(x *exchange) error {
	p.count("", errNoAttempt)
	view := messageView{
		frame: frame{Title: "Sign-in not found"}, Status: http.StatusBadRequest,
		Lines: []string{
			"This page belongs to no sign-in that this browser has started. It may have taken longer than 10 minutes, have ended already, or have begun in another browser.",
			"If it happens again, allow cookies for this site."},
		Links: []link{{"/sign-in", "Sign in", false}},
	}
	name, to := x.r.PathValue("provider"), ""
	if states := x.r.URL.Query()["state"]; len(states) == 1 {
		to, _ = p.attempts.carried(name, states[0])
		to = p.checkedReturn(to)
	}
	if to != "" && to != start {
		view.Links = []link{{p.startAddress(attempt{Provider: name, Return: to}), "Try again", false}, {withReturn("/sign-in", to), "Other ways to sign in", false}}
	}
	if p.plain(x) != nil {
		view.Lines[1] = "This page is not encrypted (http://). Browsers do not keep Curfew’s cookies here. Open it with https://."
	}
	if x.session != nil {
		view.Lines = append(view.Lines, "You are signed in in this browser.")
		view.Links = []link{{start, "Open the start page", false}, {"/sign-in", "Sign in again", false}}
		switch {
		case to == "" || to == start:
		case isElsewhere(to):
			view.Links[0] = link{to, "Continue to " + webcookie.Host(to), false}
		default:
			view.Links[0] = link{to, "Continue to the page that you wanted", false}
		}
	}
	x.message("sign_in_"+outcomeUnknown, view)
	return nil
}

// startAddress returns the address that starts an attempt like a.
func (p *signInPages) startAddress(a attempt) string {
	query := url.Values{}
	if a.Return != "" && a.Return != start {
		query.Set("return", a.Return)
	}
	if a.Remember {
		query.Set("remember_me", "on")
	}
	if a.Prompt || a.Confirm {
		query.Set("prompt", "login")
	}
	if a.Confirm {
		query.Set("max_age", "0")
	}
	if a.User != "" {
		query.Set("user", a.User)
	}
	return address("/sign-in/"+a.Provider, query)
}

// withReturn returns a path with an address to return to, unless that is the start page.
func withReturn(path, to string) string {
	if to == "" || to == start {
		return path
	}
	return withQuery(path, "return", to)
}

// began answers a sign-in that has begun a session. It ends the browser's previous
// session, so that no session stays behind on a shared machine.
func (p *signInPages) began(x *exchange, issued session.Issued, to string) error {
	if _, err := x.endPresented(); err != nil && token.ReasonOf(x.refused) != token.ErrUnavailable {
		// The user asked for one session, not two. The new token is not sent to the
		// browser, and the new session times out.
		return err
	}
	inbound.Of(x.r).User = issued.User.ID
	x.keepAlone(issued.Token, issued.Session)
	if p.plain(x) != nil {
		return x.redirect("/continue", "return", to)
	}
	return x.goOn(to)
}
