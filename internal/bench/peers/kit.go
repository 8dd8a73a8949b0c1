package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Kit is an ES256 key and whom it signs for.
type Kit struct {
	Issuer, Audience string
	Private          *ecdsa.PrivateKey
	Key              *token.SigningKey
	Epoch            revocation.Epoch // that the tokens carry
	now              time.Time
}

// NewKit makes a kit with a new key, whose tokens begin now.
func NewKit() (*Kit, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := token.NewSigningKey("bench-1", private)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &Kit{
		Issuer: "https://curfew.example", Audience: "https://curfew.example",
		Private: private, Key: key, Epoch: revocation.Epoch(now.UnixMicro()), now: now,
	}, nil
}

// Settings are those that the kit's sessions are made for: nothing ends while a
// measurement runs.
func (k *Kit) Settings() settings.Settings {
	s := settings.Default()
	s.SessionTimeout = 10 * time.Hour
	return s
}

// Session returns a session of subject that began when the kit was made.
func (k *Kit) Session(subject string) token.Session {
	return token.Session{
		Issuer: k.Issuer, Audience: []string{k.Audience}, Subject: subject, ID: token.NewSessionID(),
		IssuedAt: token.UnixTime(k.now.Unix()), Epoch: k.Epoch,
	}.Refreshed(k.now, k.Settings())
}

// User returns the id of user number n, as long as those that Curfew makes: 22
// characters.
func User(n int) string { return fmt.Sprintf("user-%017x", n) }

// Mint signs a session.
func (k *Kit) Mint(s token.Session) (string, error) { return token.Mint(k.Key, s) }

// Tokens mints one token for each of the users from first on.
func (k *Kit) Tokens(first, n int) ([]string, error) {
	tokens := make([]string, n)
	for i := range tokens {
		var err error
		if tokens[i], err = k.Mint(k.Session(User(first + i))); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// Forge returns raw with a bit of its signature flipped.
func Forge(raw string) string {
	at := strings.LastIndexByte(raw, '.') + 10
	other := byte('A')
	if raw[at] == 'A' {
		other = 'B'
	}
	return raw[:at] + string(other) + raw[at+1:]
}

// Samples are the tokens that every adapter is tried with.
type Samples struct {
	Good                            string
	Claims                          Claims // of Good
	Flipped, Expired, WrongAudience string
}

// Samples mints them.
func (k *Kit) Samples() (Samples, error) {
	good := k.Session(User(1))
	expired := k.Session(User(2))
	expired.IssuedAt -= 3600 * 24 * 21
	expired.LastRefresh = expired.IssuedAt
	expired.ExpiresAt = expired.IssuedAt + 3600
	foreign := k.Session(User(3))
	foreign.Audience = []string{"https://elsewhere.example"}
	var raw [3]string
	for i, s := range []token.Session{good, expired, foreign} {
		var err error
		if raw[i], err = k.Mint(s); err != nil {
			return Samples{}, err
		}
	}
	return Samples{
		Good: raw[0],
		Claims: Claims{
			Subject: good.Subject, Session: good.ID, IssuedAt: int64(good.IssuedAt), LastRefresh: int64(good.LastRefresh),
			ExpiresAt: int64(good.ExpiresAt), Epoch: int64(good.Epoch), RememberMe: good.RememberMe,
		},
		Flipped: Forge(raw[0]), Expired: raw[1], WrongAudience: raw[2],
	}, nil
}
