package oidc

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Secrets are the random values of one attempt. Their JSON, which a cookie holds, is short.
type Secrets struct {
	State    string `json:"-"` // binds the response to the browser; the response has it
	Nonce    string `json:"n"` // binds the ID token to the attempt
	Verifier string `json:"v"` // PKCE: binds the code to the attempt
}

// NewSecrets returns fresh secrets, of at least 128 random bits each.
func NewSecrets() Secrets {
	return Secrets{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
}

// Demand is what an authorization request demands of the authentication.
type Demand struct {
	// MaxAge is the maximum time since the user has last authenticated, in whole seconds.
	// The provider then returns auth_time (Core, section 3.1.2.1). Zero demands a new
	// authentication. Negative: any.
	MaxAge time.Duration
	// Fresh demands a new authentication: max_age=0 and prompt=login, whatever MaxAge
	// is. Providers differ in which of the two they obey.
	Fresh bool
}

// AuthorizationURL returns the address of the provider's form for one attempt. Errors
// are those of [Client.Metadata].
func (c *Client) AuthorizationURL(ctx context.Context, r Registration, s Secrets, d Demand) (string, error) {
	k, err := c.known(ctx, r.Issuer, r.Changed)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)}
	set := func(name, value string) { options = append(options, oauth2.SetAuthURLParam(name, value)) }
	switch {
	case d.Fresh:
		set("max_age", "0")
		set("prompt", "login")
	case d.MaxAge >= 0:
		set("max_age", strconv.FormatInt(int64(d.MaxAge/time.Second), 10))
	}
	if len(r.ACRValues) > 0 {
		set("acr_values", strings.Join(r.ACRValues, " "))
	}
	return r.oauth2(k.metadata).AuthCodeURL(s.State, options...), nil
}

func (r Registration) oauth2(m Metadata) *oauth2.Config {
	scopes := r.Scopes
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return &oauth2.Config{
		ClientID: r.ClientID, ClientSecret: r.ClientSecret, RedirectURL: r.RedirectURI, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, AuthStyle: r.authStyle(m)},
	}
}

// authStyle returns how the client authenticates. It is never found out by trying: a
// second request with the same code looks like an attack to a provider.
func (r Registration) authStyle(m Metadata) oauth2.AuthStyle {
	if r.ClientSecret == "" || len(m.TokenAuthMethods) > 0 && !slices.Contains(m.TokenAuthMethods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}
