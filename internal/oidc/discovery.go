package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// Metadata is what a provider's discovery document says, as far as it is used
// (Discovery, section 3).
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserInfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"` // those of them that are accepted here
	ResponseTypes         []string `json:"response_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	Claims                []string `json:"claims_supported"`
	ACRValues             []string `json:"acr_values_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	// ResponseIssuer says that every authorization response carries iss (RFC 9207).
	ResponseIssuer    bool `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogout bool `json:"backchannel_logout_supported"`
}

// algorithms returns the algorithms of ID tokens that are accepted: signatures with a
// private key. Never none, and never HMAC, whose key every holder of the client secret
// has.
func algorithms() []string {
	return []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
	}
}

// How long metadata and keys are used.
const (
	freshFor  = 15 * time.Minute // without asking again
	usableFor = time.Hour        // if the provider can't be asked again
	// failedFor is how long a failed request is not repeated: the sign-ins of all users, and
	// logout tokens that an attacker sends, would else each cost a request to a provider
	// that is in trouble.
	failedFor = time.Second
)

// failure is the error of the last request for something, and when that ended.
type failure struct {
	err error
	at  time.Time
}

// recent returns the error while the request is not to be repeated, else nil.
func (f failure) recent(now time.Time) error {
	if since := now.Sub(f.at); f.err == nil || since < 0 || since >= failedFor {
		return nil
	}
	return f.err
}

// known is what the client knows of an issuer.
type known struct {
	metadata Metadata
	keys     *keySet
	at       time.Time // of the request for the metadata
	changed  int64     // see Registration.Changed
	forms    formSupport
}

// Discover fetches and checks the metadata of a provider. It does not use what the
// client has kept. Errors wrap [ErrUnreachable] or [ErrMisconfigured], and name the
// fault.
func (c *Client) Discover(ctx context.Context, issuer string) (Metadata, error) {
	if err := checkIssuer(issuer); err != nil {
		return Metadata{}, err
	}
	body, err := c.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return Metadata{}, err
	}
	var m Metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return Metadata{}, fmt.Errorf("%w: the discovery document of %s is not valid: %w", ErrMisconfigured, issuer, err)
	}
	return m, m.check(issuer)
}

// checkIssuer returns an error that wraps [ErrMisconfigured] if a text cannot be an
// issuer: a URL with https, or with http on this machine, without query and fragment
// (Core, section 1.2).
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("%w: the issuer is not a URL", ErrMisconfigured)
	}
	if strings.ContainsAny(issuer, "?#") {
		return fmt.Errorf("%w: the issuer must not have a query or a fragment", ErrMisconfigured)
	}
	if err := checkAddress(u); err != nil {
		return fmt.Errorf("%w: the issuer %w", ErrMisconfigured, err)
	}
	return nil
}

// check checks a discovery document, and reduces Algorithms to those accepted.
func (m *Metadata) check(issuer string) error {
	if m.Issuer != issuer {
		hint := ""
		if strings.TrimSuffix(m.Issuer, "/") == strings.TrimSuffix(issuer, "/") {
			hint = "; only the slash at the end differs"
		}
		// Section 4.3: the value must be the issuer that the document was found by. Else
		// one provider could answer for another.
		return fmt.Errorf("%w: the provider at %q calls itself %q%s; use exactly that as the issuer", ErrMisconfigured, issuer, m.Issuer, hint)
	}
	loopback := strings.HasPrefix(issuer, "http:")
	for _, endpoint := range []struct {
		name, address string
		required      bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, true},
		{"token_endpoint", m.TokenEndpoint, true},
		{"jwks_uri", m.JWKSURI, true},
		{"userinfo_endpoint", m.UserInfoEndpoint, false},
		{"end_session_endpoint", m.EndSessionEndpoint, false},
	} {
		if endpoint.address == "" && !endpoint.required {
			continue
		}
		u, err := url.Parse(endpoint.address)
		if err == nil {
			err = checkAddress(u)
		}
		if err == nil && u.Scheme != "https" && !loopback {
			err = errors.New("it is not encrypted")
		}
		if err != nil {
			return fmt.Errorf("%w: %s of %s: %w", ErrMisconfigured, endpoint.name, issuer, err)
		}
	}
	if len(m.ResponseTypes) > 0 && !slices.Contains(m.ResponseTypes, "code") {
		return fmt.Errorf("%w: %s does not offer the authorization code flow", ErrMisconfigured, issuer)
	}
	if len(m.ChallengeMethods) > 0 && !slices.Contains(m.ChallengeMethods, "S256") {
		return fmt.Errorf("%w: %s does not offer PKCE with S256", ErrMisconfigured, issuer)
	}
	if len(m.Algorithms) == 0 {
		m.Algorithms = []string{oidc.RS256} // the default of Core, section 3.1.3.7
	}
	offered := m.Algorithms
	m.Algorithms = slices.DeleteFunc(slices.Clone(offered), func(algorithm string) bool { return !slices.Contains(algorithms(), algorithm) })
	if len(m.Algorithms) == 0 {
		return fmt.Errorf("%w: %s signs ID tokens with %s only; use one of %s", ErrMisconfigured, issuer, strings.Join(offered, ", "), strings.Join(algorithms(), ", "))
	}
	return nil
}

// Metadata returns the metadata of a provider, from a response that is at most an
// hour old. Errors are those of [Client.Discover].
func (c *Client) Metadata(ctx context.Context, issuer string) (Metadata, error) {
	k, err := c.known(ctx, issuer, 0)
	if err != nil {
		return Metadata{}, err
	}
	return k.metadata, nil
}

// known returns metadata and keys of an issuer, fetched for a registration changed at
// least so often. After freshFor it asks again in the background; until usableFor callers
// do not wait for the answer.
func (c *Client) known(ctx context.Context, issuer string, changed int64) (*known, error) {
	c.mu.Lock()
	k, failed := c.issuers[issuer], c.failures[issuer]
	c.mu.Unlock()
	if k != nil && k.changed < changed {
		k = nil
	} else if k != nil {
		changed = k.changed
	}
	age := usableFor
	if k != nil {
		age = c.now().Sub(k.at)
	}
	if 0 <= age && age < freshFor {
		return k, nil
	}
	if err := failed.recent(c.now()); err != nil {
		if 0 <= age && age < usableFor {
			return k, nil
		}
		return nil, err
	}
	fetched := c.fetches.DoChan(fmt.Sprintf("metadata %d %s", changed, issuer), func() (any, error) {
		// The request serves all callers, so it does not end with the first of them. The
		// HTTP client's timeout ends it.
		k, err := c.fetch(context.WithoutCancel(ctx), issuer, changed)
		if err != nil {
			c.log.Warn("identity provider: fetch metadata failed", "issuer", issuer, "error", err)
		}
		return k, err
	})
	if 0 <= age && age < usableFor {
		return k, nil
	}
	return await[*known](ctx, issuer, fetched)
}

// await returns the result of a shared request to an address, which is a T. The error
// wraps [ErrUnreachable] if the caller's context ends first; the request then goes on for
// the others.
func await[T any](ctx context.Context, address string, fetched <-chan singleflight.Result) (T, error) {
	var none T
	select {
	case <-ctx.Done():
		return none, unreachable(address, ctx.Err())
	case result := <-fetched:
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(T), nil //nolint:errcheck // the type of the request's result
	}
}

// fetch asks for the metadata and keeps them. The keys stay if they are at the same
// address and the registration is as it was.
func (c *Client) fetch(ctx context.Context, issuer string, changed int64) (*known, error) {
	k := &known{at: c.now(), changed: changed}
	var err error
	k.metadata, err = c.Discover(ctx, issuer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if len(c.failures) >= maxIssuers {
			clear(c.failures)
		}
		c.failures[issuer] = failure{err, c.now()}
		return nil, err
	}
	delete(c.failures, issuer)
	before := c.issuers[issuer]
	if before != nil && before.changed > changed {
		return before, nil // which was asked for after a later change
	}
	if before != nil && before.changed == changed && before.keys.address == k.metadata.JWKSURI {
		k.keys = before.keys
	} else {
		k.keys = &keySet{client: c, address: k.metadata.JWKSURI}
	}
	if len(c.issuers) >= maxIssuers {
		clear(c.issuers)
	}
	c.issuers[issuer] = k
	return k, nil
}

// maxIssuers bounds what a client keeps. Administrators add providers; there are few.
const maxIssuers = 256

// get fetches a JSON document, with an access token unless it is nil.
func (c *Client) get(ctx context.Context, address string, access *oauth2.Token) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMisconfigured, err)
	}
	r.Header.Set("Accept", "application/json")
	if access != nil {
		access.SetAuthHeader(r)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(address, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, unreachable(address, err)
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s answered %s", ErrUnreachable, address, statusText(response.StatusCode))
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answered %s", ErrMisconfigured, address, statusText(response.StatusCode))
	}
	return body, nil
}
