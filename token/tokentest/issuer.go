// Package tokentest is a throw-away issuer of sessions for the tests of programs
// that accept Curfew's tokens: keys, a clock, settings, revocations and a view
// that a test can move as it likes. It does no I/O.
//
//	issuer := tokentest.New(t)
//	handler := bearer.Require(issuer.Validator())(myHandler)
//	token := issuer.Token("ann")
//	issuer.Revoke(revocation.User("ann")) // from now on it is refused
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

// TB is what is needed of a testing.TB. An issuer may be used in a fuzz target too.
type TB interface {
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start is the time on the clock of a new issuer.
var Start = time.Date(2030, time.January, 2, 3, 4, 5, 0, time.UTC)

// Issuer issues sessions and knows everything that a validator has to know. Its
// methods are safe for concurrent use; the fields Name, Audience and Revocations
// may be set before anything is made with them.
type Issuer struct {
	Name     string // iss; "https://curfew.example" unless set
	Audience string // aud; "tests" unless set

	Keys        token.Keys        // those of Key, once asked for; ES256 from the start
	Settings    settings.Value    // settings.Default until changed
	Revocations *revocation.Cache // closed when the test ends
	View        *View             // current and trusted until changed

	tb      TB
	clock   sync.Mutex // guards now; taken last, since validators read the clock
	now     time.Time
	mu      sync.Mutex // guards what follows
	epoch   revocation.Epoch
	signing map[string]*token.SigningKey
}

// New returns an issuer whose clock stands at [Start].
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

// Key returns the signing key of an algorithm. It is made, and trusted, when it is
// asked for the first time.
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

// UseKey signs with k instead of the issuer's own key of that algorithm, and
// trusts it.
func (i *Issuer) UseKey(k *token.SigningKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signing[k.Algorithm()] = k
	i.trustLocked(&k.Key)
}

// Trust adds a key to those that are trusted.
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

// NewKey makes a signing key for one of the algorithms of package token, with a
// random key ID. It belongs to no issuer.
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

// Now returns the time on the issuer's clock.
func (i *Issuer) Now() time.Time {
	i.clock.Lock()
	defer i.clock.Unlock()
	return i.now
}

// SetNow sets the clock, forwards or back. The epoch clock does not go back.
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

// Epoch returns what the epoch clock shows: the epoch of the last change.
func (i *Issuer) Epoch() revocation.Epoch {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.epoch
}

// Tick advances the epoch clock, as every change does, and returns what it shows.
// The view does not learn of it.
func (i *Issuer) Tick() revocation.Epoch {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch = i.epoch.Next(i.Now())
	return i.epoch
}

// Revoke revokes a scope now, in the cache and in the view, and returns the epoch
// of the revocation: sessions that began before are over, those that begin later
// are good, be it in the same microsecond.
func (i *Issuer) Revoke(scope revocation.Scope) revocation.Epoch {
	epoch := i.Tick()
	i.Revocations.Apply(revocation.Revocation{Scope: scope, Epoch: epoch})
	i.View.SetEpoch(epoch)
	return epoch
}

// ChangeSettings replaces the settings in force as an administrator would: what
// the old ones have ended stays ended.
func (i *Issuer) ChangeSettings(next settings.Settings) {
	epoch := i.Tick()
	i.Settings.Set(i.Settings.Current().Change(next, i.Now(), int64(epoch)))
	i.View.SetEpoch(epoch)
}

// Session returns a session of subject that begins now. The functions may change
// it; a LastRefresh and an ExpiresAt that they leave zero are filled in as a
// sign-in or a refresh would, so that it is enough to set RememberMe or to move
// IssuedAt into the past.
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

// MintWith signs a session with the key of the algorithm given.
func (i *Issuer) MintWith(alg string, s token.Session) string {
	raw, err := token.Mint(i.Key(alg), s)
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	return raw
}

// Token returns a token of a session of subject that begins now.
func (i *Issuer) Token(subject string, change ...func(*token.Session)) string {
	return i.Mint(i.Session(subject, change...))
}

// Sign signs any two texts as header and payload with the key of the algorithm
// given, whatever the header says.
func (i *Issuer) Sign(alg, header, payload string) string {
	return sign(i.tb, i.Key(alg), encode(header)+"."+encode(payload))
}

// sign appends the signature to what it is for.
func sign(tb TB, key *token.SigningKey, signed string) string {
	signature, err := jwt.GetSigningMethod(key.Algorithm()).Sign(signed, key.Private())
	if err != nil {
		tb.Fatalf("tokentest: signing: %v", err)
	}
	return signed + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Config returns the configuration of a validator of this issuer's tokens.
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

// Validator returns a validator of this issuer's tokens. It is closed when the test
// ends. What it watches, it compares with the issuer's clock and the view at least
// every tenth of a second.
func (i *Issuer) Validator() *token.Validator {
	v, err := token.NewValidator(i.Config())
	if err != nil {
		i.tb.Fatalf("tokentest: %v", err)
	}
	i.tb.Cleanup(v.Close)
	return v
}
