// Package oidctest is an OpenID provider for tests. It signs every browser in without a
// form, follows the specifications, and can be made to break any of them.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The registration of the client at every provider.
const (
	ClientID = "curfew"
	Secret   = "secret-of-the-client/with:characters"
)

// Provider is a running provider. Set its fields before requests are made, or with
// [Provider.Set].
type Provider struct {
	Issuer string

	mu sync.Mutex
	Behavior
	codes  map[string]code
	rounds int
	logins int
	key    signer
}

// Behavior is what a test may change.
type Behavior struct {
	Subject string
	// AuthTime is when the user authenticated. A request for a fresh authentication sets
	// it to now.
	AuthTime time.Time
	// Extra are further claims of the ID token. A claim that is nil is left out.
	Extra map[string]any
	// UserInfo are the claims of the userinfo endpoint, besides sub.
	UserInfo map[string]any
	// Metadata are further members of the discovery document. A member that is nil is
	// left out.
	Metadata map[string]any
	// Response edits the parameters of an authorization response.
	Response func(url.Values)
	// IDToken makes the ID token instead. sign signs with the provider's key.
	IDToken func(claims map[string]any, sign func(typ string, payload []byte) string) string
	// Answer answers a request instead of the provider, if it returns true.
	Answer func(w http.ResponseWriter, r *http.Request) bool
	// Ignores says that the provider does not obey prompt and max_age.
	Ignores bool
	// KeepsCodes says that a code is accepted any number of times.
	KeepsCodes bool
	// NoLogoutForms says that the end_session_endpoint takes no POST.
	NoLogoutForms bool
	// Now is the provider's clock. Nil means time.Now.
	Now func() time.Time
}

type code struct{ nonce, challenge, redirect string }

type signer struct {
	private crypto.Signer
	id      string
}

// New starts a provider, which ends with the test.
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{codes: map[string]code{}, key: newSigner()}
	p.Subject = "subject-1"
	p.AuthTime = time.Now().Add(-time.Hour)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.Issuer = server.URL
	return p
}

func newSigner() signer {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer{private, rand.Text()}
}

// Set changes the behavior.
func (p *Provider) Set(change func(*Behavior)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.Behavior)
}

// Rotate replaces the signing key, and publishes only the new one. It returns a function
// that signs with the old one.
func (p *Provider) Rotate() (old func(typ string, payload []byte) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.key
	p.key = newSigner()
	return before.sign
}

// Logins returns how often the provider has authenticated the user anew: how often its
// form was shown.
func (p *Provider) Logins() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logins
}

// KeyRequests returns how often the keys were asked for.
func (p *Provider) KeyRequests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rounds
}

func (p *Provider) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// ServeHTTP answers.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	answer := p.Answer
	p.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		p.discovery(w)
	case "/keys":
		p.rounds++
		send(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.public()}})
	case "/auth":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	case "/end":
		if r.Method == http.MethodPost && p.NoLogoutForms {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, "Sign out?")
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		send(w, http.StatusOK, with(map[string]any{"sub": p.Subject}, p.UserInfo))
	default:
		http.NotFound(w, r)
	}
}

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// with returns base with the members of more; those that are nil are left out.
func with(base, more map[string]any) map[string]any {
	maps.Copy(base, more)
	maps.DeleteFunc(base, func(_ string, v any) bool { return v == nil })
	return base
}

func (p *Provider) discovery(w http.ResponseWriter) {
	send(w, http.StatusOK, with(map[string]any{
		"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/auth", "token_endpoint": p.Issuer + "/token",
		"jwks_uri": p.Issuer + "/keys", "userinfo_endpoint": p.Issuer + "/userinfo", "end_session_endpoint": p.Issuer + "/end",
		"response_types_supported": []string{"code"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
	}, p.Metadata))
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
		http.Error(w, "invalid_request", http.StatusBadRequest)
		return
	}
	if !p.Ignores && (q.Get("prompt") == "login" || q.Get("max_age") != "" && p.olderThan(q.Get("max_age"))) {
		p.AuthTime = p.now()
		p.logins++
	}
	id := rand.Text()
	p.codes[id] = code{q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
	response := url.Values{"code": {id}, "state": {q.Get("state")}, "iss": {p.Issuer}}
	if p.Response != nil {
		p.Response(response)
	}
	w.Header().Set("Location", q.Get("redirect_uri")+"?"+response.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

func (p *Provider) olderThan(seconds string) bool {
	age, err := time.ParseDuration(seconds + "s")
	return err == nil && p.now().Sub(p.AuthTime) > age
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if escaped, err := url.QueryUnescape(secret); !basic || err != nil || id != ClientID || escaped != Secret {
		send(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	c, ok := p.codes[r.PostFormValue("code")]
	if !p.KeepsCodes {
		delete(p.codes, r.PostFormValue("code"))
	}
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || c.challenge != base64.RawURLEncoding.EncodeToString(challenge[:]) || c.redirect != r.PostFormValue("redirect_uri") {
		send(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "the code is not valid"})
		return
	}
	now := p.now()
	claims := with(map[string]any{
		"iss": p.Issuer, "aud": ClientID, "sub": p.Subject, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"nonce": c.nonce, "auth_time": p.AuthTime.Unix(), "sid": "provider-session-of-" + p.Subject,
	}, p.Extra)
	var raw string
	if p.IDToken != nil {
		raw = p.IDToken(claims, p.key.sign)
	} else {
		raw = p.key.sign("JWT", Encode(claims))
	}
	send(w, http.StatusOK, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": raw})
}

// PublicKey returns the key that the provider publishes.
func (p *Provider) PublicKey() jose.JSONWebKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key.public()
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.Public(), KeyID: s.id, Algorithm: "ES256", Use: "sig"}
}

// Sign returns a token of any type, signed with the provider's key: a logout token, for
// one.
func (p *Provider) Sign(typ string, claims map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key.sign(typ, Encode(claims))
}

func (s signer) sign(typ string, payload []byte) string {
	return SignWith(s.private, jose.ES256, s.id, typ, payload)
}

// Encode returns claims as JSON.
func Encode(claims map[string]any) []byte {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return body
}

// SignWith returns a compact JWS of a payload.
func SignWith(key any, algorithm jose.SignatureAlgorithm, kid, typ string, payload []byte) string {
	options := (&jose.SignerOptions{}).WithHeader("kid", kid)
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		panic(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

// Authorize asks the provider as a browser does, and returns the parameters of its
// response.
func Authorize(t testing.TB, address string) url.Values {
	t.Helper()
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	to, err := response.Location()
	if err != nil || !slices.Contains([]int{http.StatusFound, http.StatusSeeOther}, response.StatusCode) {
		t.Fatal(fmt.Errorf("the provider answered %s: %w", response.Status, err))
	}
	return to.Query()
}
