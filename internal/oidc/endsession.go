package oidc

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// PostLogoutURI returns the address to which a provider sends the browser back after a
// sign-out there, to register at the provider. It is the same for all providers.
func PostLogoutURI(base string) string { return strings.TrimSuffix(base, "/") + "/sign-in" }

// PostLogoutState is the parameter state of [PostLogoutURI]. It is no secret and decides
// nothing: it selects the sentence that the page shows.
const PostLogoutState = "signed_out"

// EndSession is a request for the browser to send to a provider, which ends the provider's
// own session with the user (OpenID Connect RP-Initiated Logout 1.0, section 2).
type EndSession struct {
	Address string // "" if the provider has no such endpoint
	// Fields are those of a form to send with POST. Nil: Address is a link. The ID token is
	// only ever in a form: an address is in logs and in the browser's history.
	Fields url.Values
}

// EndSession returns the request that ends the session of the provider that an ID token
// is of. base is the URL at which browsers reach this server. Without an ID token, and at a
// provider that does not take forms, the request names the client alone, and the
// provider asks the user. Errors are those of [Client.Metadata].
func (c *Client) EndSession(ctx context.Context, issuer, clientID, idToken, base string) (EndSession, error) {
	k, err := c.known(ctx, issuer, 0)
	if err != nil || k.metadata.EndSessionEndpoint == "" {
		return EndSession{}, err
	}
	to, err := url.Parse(k.metadata.EndSessionEndpoint)
	if err != nil {
		return EndSession{}, err // was checked with the metadata
	}
	fields := url.Values{"client_id": {clientID}, "post_logout_redirect_uri": {PostLogoutURI(base)}, "state": {PostLogoutState}}
	if idToken != "" && c.takesForms(ctx, k) {
		fields.Set("id_token_hint", idToken)
		return EndSession{to.String(), fields}, nil
	}
	query := to.Query()
	maps.Copy(query, fields)
	to.RawQuery = query.Encode()
	return EndSession{Address: to.String()}, nil
}

// formSupport is whether an end_session_endpoint takes forms; zero if not known.
type formSupport struct{ atomic.Int32 }

const (
	formsTaken = 1 + iota
	formsRefused
)

// takesForms reports whether the end_session_endpoint takes POST, as the specification
// demands: some providers do not (oidc-provider, unless it is told to). It finds out with an
// empty form, which names no session. The answer is kept as long as the metadata. A
// provider that can't be asked counts as refusing them.
func (c *Client) takesForms(ctx context.Context, k *known) bool {
	if known := k.forms.Load(); known != 0 {
		return known == formsTaken
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.metadata.EndSessionEndpoint, http.NoBody)
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	asking := *c.http
	asking.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := asking.Do(r)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	switch status := response.StatusCode; {
	case status < 400 || status == http.StatusBadRequest: // which names the missing fields
		k.forms.Store(formsTaken)
	case status < 500 && status != http.StatusTooManyRequests:
		k.forms.Store(formsRefused)
	}
	return k.forms.Load() == formsTaken
}
