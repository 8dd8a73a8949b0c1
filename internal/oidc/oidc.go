// Package oidc is an OpenID Connect relying party. It discovers providers, builds
// authorization requests, exchanges codes and validates ID tokens. It has no store: its
// caller keeps what a sign-in attempt needs between its two requests.
//
// go-oidc checks signatures, golang.org/x/oauth2 builds the requests. go-oidc's Provider is
// not used: it fetches the metadata once and does not check its addresses. Here they are
// fetched again when they are old, and used while the provider is down. See keySet for the
// keys.
//
// The specifications are OpenID Connect Core 1.0 (authorization code flow, section
// 3.1), Discovery 1.0, RFC 7636 (PKCE, always S256) and RFC 9207 (iss in the response).
package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

var (
	// ErrUnreachable means that the provider could not be asked, did not answer in
	// time or answered with a server error. The same call may succeed later.
	ErrUnreachable = errors.New("the identity provider can't be reached")
	// ErrMisconfigured means that the provider, or its configuration here, has to be
	// changed: wrong metadata, a wrong client secret, a missing claim.
	ErrMisconfigured = errors.New("the identity provider is not configured correctly")
	// ErrMixUp means that a response did not come from the provider that the attempt
	// was sent to (RFC 9207, section 2.4).
	ErrMixUp = errors.New("the response is from another identity provider")
	// ErrCode means that the provider did not accept the authorization code: it was
	// used before, has expired or belongs to another attempt.
	ErrCode = errors.New("the identity provider did not accept the authorization code")
	// ErrToken means that the ID token is not valid (Core, section 3.1.3.7).
	ErrToken = errors.New("the ID token is not valid")
	// ErrClock means that the clocks of the provider and of this server differ by more
	// than a minute. It wraps ErrToken.
	ErrClock = fmt.Errorf("%w: the clocks of the identity provider and of this server differ", ErrToken)
)

// A Refusal is the error response of a provider to an authorization request (Core,
// section 3.1.2.6).
type Refusal struct {
	Code        string // such as access_denied
	Description string // for developers; "" if there is none
}

func (r *Refusal) Error() string {
	text := "the identity provider answered " + r.Code
	if r.Description != "" {
		text += ": " + r.Description
	}
	return text
}

// Config configures a [Client].
type Config struct {
	// Timeout is how long one request to a provider may take. Zero means 4 s.
	Timeout time.Duration
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return 4 * time.Second
	}
	return c.Timeout
}

// Client asks providers. It keeps the metadata and the keys of each issuer. It is safe
// for concurrent use.
type Client struct {
	http *http.Client
	now  func() time.Time
	log  *slog.Logger

	fetches singleflight.Group

	mu       sync.Mutex // guards the fields below
	issuers  map[string]*known
	failures map[string]failure // of requests for metadata, by issuer
}

// New returns a client.
func New(config Config) *Client {
	c := &Client{http: newHTTPClient(config.timeout()), now: config.Now, log: config.Logger, issuers: map[string]*known{}, failures: map[string]failure{}}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Close closes the connections that are idle. Requests under way end by themselves, at
// the latest after the timeout.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Registration is how this server is registered at a provider.
type Registration struct {
	Issuer       string
	ClientID     string
	ClientSecret string // "" for a client without a secret
	RedirectURI  string // see [RedirectURI]
	Scopes       []string
	ACRValues    []string
	// Changed counts the changes of the provider here. Metadata and keys that were fetched
	// for an earlier one are not used any more: so an administrator can drop keys that the
	// provider has withdrawn. Zero uses any.
	Changed int64
}

// RedirectURI returns the redirect URI to register at a provider. base is the URL at
// which browsers reach this server, name the provider's name here.
func RedirectURI(base, name string) string {
	return strings.TrimSuffix(base, "/") + "/sign-in/" + name + "/callback"
}

// LogoutURI returns the back-channel logout URI to register at a provider. It is the
// same for all providers.
func LogoutURI(base string) string {
	return strings.TrimSuffix(base, "/") + "/oauth/backchannel-logout"
}
