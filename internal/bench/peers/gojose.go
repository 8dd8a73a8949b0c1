package peers

import (
	"crypto"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// GoJose is github.com/go-jose/go-jose/v4.
type GoJose struct {
	public     crypto.PublicKey
	algorithms []jose.SignatureAlgorithm
	expected   jwt.Expected
}

type joseClaims struct {
	jwt.Claims
	Session     string `json:"sid"`
	LastRefresh int64  `json:"last_refresh"`
	RememberMe  bool   `json:"remember_me"`
	Epoch       int64  `json:"epoch"`
}

// NewGoJose returns a parser of the kit's tokens.
func NewGoJose(k *Kit) *GoJose {
	return &GoJose{
		public: k.Private.Public(), algorithms: []jose.SignatureAlgorithm{jose.ES256},
		expected: jwt.Expected{Issuer: k.Issuer, AnyAudience: jwt.Audience{k.Audience}},
	}
}

// Name implements [Parser].
func (*GoJose) Name() string { return "go-jose v4" }

// Parse implements [Parser].
func (g *GoJose) Parse(raw string) (Claims, error) {
	t, err := jwt.ParseSigned(raw, g.algorithms)
	if err != nil {
		return Claims{}, err
	}
	var c joseClaims
	if err := t.Claims(g.public, &c); err != nil {
		return Claims{}, err
	}
	if err := c.ValidateWithLeeway(g.expected, 0); err != nil {
		return Claims{}, err
	}
	return Claims{
		Subject: c.Subject, Session: c.Session, IssuedAt: c.IssuedAt.Time().Unix(), LastRefresh: c.LastRefresh,
		ExpiresAt: c.Expiry.Time().Unix(), Epoch: c.Epoch, RememberMe: c.RememberMe,
	}, nil
}
