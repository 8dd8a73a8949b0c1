package peers

import (
	"errors"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// JWX is github.com/lestrrat-go/jwx/v3.
type JWX struct {
	options []jwt.ParseOption
}

// NewJWX returns a parser of the kit's tokens.
func NewJWX(k *Kit) (*JWX, error) {
	key, err := jwk.Import(k.Private.Public())
	if err != nil {
		return nil, err
	}
	return &JWX{options: []jwt.ParseOption{
		jwt.WithKey(jwa.ES256(), key), jwt.WithIssuer(k.Issuer), jwt.WithAudience(k.Audience),
		jwt.WithRequiredClaim("exp"),
	}}, nil
}

// Name implements [Parser].
func (*JWX) Name() string { return "jwx v3" }

// Parse implements [Parser].
func (j *JWX) Parse(raw string) (Claims, error) {
	t, err := jwt.Parse([]byte(raw), j.options...)
	if err != nil {
		return Claims{}, err
	}
	var c Claims
	var refresh, epoch float64 // its numbers, unless it is told of each claim beforehand
	err = errors.Join(t.Get("sid", &c.Session), t.Get("last_refresh", &refresh), t.Get("epoch", &epoch), t.Get("remember_me", &c.RememberMe))
	c.Subject, _ = t.Subject()
	issued, _ := t.IssuedAt()
	expires, _ := t.Expiration()
	c.IssuedAt, c.ExpiresAt, c.LastRefresh, c.Epoch = issued.Unix(), expires.Unix(), int64(refresh), int64(epoch)
	return c, err
}
