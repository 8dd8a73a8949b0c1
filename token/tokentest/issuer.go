// Package tokentest provides a test issuer of sessions for programs that accept
// Curfew's tokens: keys, a clock, settings, revocations and a view, all under the
// control of the test. It does no I/O.
//
//	issuer := tokentest.New(t)
//	handler := bearer.Require(issuer.Validator())(myHandler)
//	token := issuer.Token("ann")
//	issuer.Revoke(revocation.User("ann")) // from now on the token is refused
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// TB is the part of testing.TB that an issuer needs. It also allows use in a fuzz
// target.
type TB interface {
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start is the initial time of an issuer's clock.
var Start = time.Date(2030, time.January, 2, 3, 4, 5, 0, time.UTC)

// Issuer issues sessions and holds everything that a validator needs. Its methods
// are safe for concurrent use. Set the fields Name, Audience and Revocations only
// before the first use.
type Issuer struct {
	Name     string // iss; New sets "https://curfew.example"
	Audience string // aud; New sets "tests"

	Keys        token.Keys        // the keys that Key has returned; ES256 from the start
	Settings    settings.Value    // settings.Default until changed
	Revocations *revocation.Cache // closed when the test ends
	View        *View             // current and trusted until changed

	tb      TB
	clock   sync.Mutex // guards now; locked last, because validators read the clock
	now     time.Time
	mu      sync.Mutex // guards the fields below
	epoch   revocation.Epoch
	signing map[string]*token.SigningKey
}

// New returns an issuer whose clock is at [Start].
func New(tb TB) *Issuer {
	i := &Issuer{
		Name:        "https://curfew.example",
		Audience:    "tests",
		Revocations: revocation.NewCache(revocation.CacheConfig{}),
		tb:          tb,
		now:         Start,
		epoch:       revocation.Epoch(Start.UnixMicro()),
		signing:     map[string]*token.SigningKey{},
	}
	tb.Cleanup(i.Revocations.Close)
	i.View = &View{store: i.Epoch}
	i.View.SetEpoch(i.epoch)
	i.Key(token.ES256)
	return i
}

// Key returns the signing key of an algorithm. The first call creates the key and
// adds it to the trusted keys.
func (i *Issuer) Key(alg string) *token.SigningKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	if k := i.signing[alg]; k != nil {
		return k
	}
	k, err := NewKey(alg)
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	i.signing[alg] = k
	i.trustLocked(&k.Key)
	return k
}

// UseKey makes k the signing key of its algorithm, in place of the issuer's own,
// and trusts it.
func (i *Issuer) UseKey(k *token.SigningKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signing[k.Algorithm()] = k
	i.trustLocked(&k.Key)
}

// Trust adds a key to the trusted keys.
func (i *Issuer) Trust(k *token.Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.trustLocked(k)
}

func (i *Issuer) trustLocked(k *token.Key) {
	set, err := token.NewKeySet(append(i.Keys.Current().All(), k)...)
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	i.Keys.Set(set)
}

// NewKey returns a new signing key for one of the algorithms of package token, with
// a random key ID. It belongs to no issuer.
func NewKey(alg string) (*token.SigningKey, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case token.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case token.RS256:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("no key has the algorithm %q", alg)
	}
	if err != nil {
		return nil, err
	}
	return token.NewSigningKey("test-"+alg+"-"+token.NewSessionID(), private)
}

// Now returns the time of the issuer's clock.
func (i *Issuer) Now() time.Time {
	i.clock.Lock()
	defer i.clock.Unlock()
	return i.now
}

// SetNow sets the clock, forwards or back. The epoch clock never goes back.
func (i *Issuer) SetNow(now time.Time) {
	i.clock.Lock()
	i.now = now
	i.clock.Unlock()
}

// Advance moves the clock by d.
func (i *Issuer) Advance(d time.Duration) {
	i.clock.Lock()
	i.now = i.now.Add(d)
	i.clock.Unlock()
}

// Epoch returns the current value of the epoch clock: the epoch of the last change.
func (i *Issuer) Epoch() revocation.Epoch {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.epoch
}

// Tick advances the epoch clock, as every change does, and returns its value. The
// view does not see the change.
func (i *Issuer) Tick() revocation.Epoch {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch = i.epoch.Next(i.Now())
	return i.epoch
}

// Revoke revokes a scope now, in the cache and in the view, and returns the epoch
// of the revocation. Sessions that began before are revoked. Sessions that begin
// later are valid, even in the same microsecond.
func (i *Issuer) Revoke(scope revocation.Scope) revocation.Epoch {
	epoch := i.Tick()
	i.Revocations.Apply(revocation.Revocation{Scope: scope, Epoch: epoch})
	i.View.SetEpoch(epoch)
	return epoch
}

// ChangeSettings replaces the settings in force, like an administrator. Sessions
// that the old settings have ended stay ended.
func (i *Issuer) ChangeSettings(next settings.Settings) {
	epoch := i.Tick()
	i.Settings.Set(i.Settings.Current().Change(next, i.Now(), epoch))
	i.View.SetEpoch(epoch)
}

// Session returns a session of subject that begins now. The functions may change
// it. A zero LastRefresh or ExpiresAt is then set as by a sign-in or a refresh, so
// it is enough to set RememberMe or to move IssuedAt into the past.
func (i *Issuer) Session(subject string, change ...func(*token.Session)) token.Session {
	now := i.Now()
	s := token.Session{
		Issuer:   i.Name,
		Audience: []string{i.Audience},
		Subject:  subject,
		ID:       token.NewSessionID(),
		IssuedAt: token.UnixTime(now.Unix()),
		Epoch:    i.Epoch(),
	}
	for _, f := range change {
		f(&s)
	}
	if s.LastRefresh != 0 {
		now = s.LastRefresh.Time()
	}
	refreshed := s.Refreshed(now, i.Settings.Current().Settings)
	if s.LastRefresh == 0 {
		s.LastRefresh = refreshed.LastRefresh
	}
	if s.ExpiresAt == 0 {
		s.ExpiresAt = refreshed.ExpiresAt
	}
	return s
}

// Mint signs a session with the ES256 key.
func (i *Issuer) Mint(s token.Session) string {
	return i.MintWith(token.ES256, s)
}

// MintWith signs a session with the key of the given algorithm.
func (i *Issuer) MintWith(alg string, s token.Session) string {
	raw, err := token.Mint(i.Key(alg), s)
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	return raw
}

// Token returns a token for a session of subject that begins now.
func (i *Issuer) Token(subject string, change ...func(*token.Session)) string {
	return i.Mint(i.Session(subject, change...))
}

// Sign signs any two texts as header and payload with the key of the given
// algorithm, whatever the header says.
func (i *Issuer) Sign(alg, header, payload string) string {
	return sign(i.tb, i.Key(alg), encode(header)+"."+encode(payload))
}

// sign returns signed with its signature appended.
func sign(tb TB, key *token.SigningKey, signed string) string {
	signature, err := jwt.GetSigningMethod(key.Algorithm()).Sign(signed, key.Private())
	if err != nil {
		tb.Fatalf("tokentest: signing: %v", err)
	}
	return signed + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Config returns the configuration of a validator for this issuer's tokens.
func (i *Issuer) Config() token.Config {
	return token.Config{
		Issuer:      i.Name,
		Audience:    i.Audience,
		Keys:        &i.Keys,
		Settings:    &i.Settings,
		Revocations: i.Revocations,
		View:        i.View,
		Now:         i.Now,
	}
}

// Validator returns a validator for this issuer's tokens. It is closed when the
// test ends. It compares watched sessions with the issuer's clock and the view at
// least every tenth of a second.
func (i *Issuer) Validator() *token.Validator {
	v, err := token.NewValidator(i.Config())
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	i.tb.Cleanup(v.Close)
	return v
}
