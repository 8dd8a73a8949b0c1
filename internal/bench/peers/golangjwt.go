package peers

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// GolangJWT is github.com/golang-jwt/jwt/v5. It has no middleware of its own; the
// one here is what its users write: header, Parse, context.
type GolangJWT struct {
	parser *jwt.Parser
	find   jwt.Keyfunc
}

type golangJWTClaims struct {
	jwt.RegisteredClaims
	Session     string `json:"sid"`
	LastRefresh int64  `json:"last_refresh"`
	RememberMe  bool   `json:"remember_me"`
	Epoch       int64  `json:"epoch"`
}

// NewGolangJWT returns a parser of the kit's tokens.
func NewGolangJWT(k *Kit) *GolangJWT {
	public, kid := k.Private.Public(), k.Key.ID()
	return &GolangJWT{
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(k.Issuer),
			jwt.WithAudience(k.Audience), jwt.WithExpirationRequired()),
		find: func(t *jwt.Token) (any, error) {
			if t.Header["kid"] != kid {
				return nil, fmt.Errorf("unknown key %v", t.Header["kid"])
			}
			return public, nil
		},
	}
}

// Name implements [Parser].
func (*GolangJWT) Name() string { return "golang-jwt v5" }

// Parse implements [Parser].
func (g *GolangJWT) Parse(raw string) (Claims, error) {
	var c golangJWTClaims
	if _, err := g.parser.ParseWithClaims(raw, &c, g.find); err != nil {
		return Claims{}, err
	}
	return Claims{
		Subject: c.Subject, Session: c.Session, IssuedAt: c.IssuedAt.Unix(), LastRefresh: c.LastRefresh,
		ExpiresAt: c.ExpiresAt.Unix(), Epoch: c.Epoch, RememberMe: c.RememberMe,
	}, nil
}

type subjectKey struct{}

// Wrap implements [Guard].
func (g *GolangJWT) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		c, err := g.Parse(raw)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), subjectKey{}, c.Subject)))
	})
}

// User implements [Guard].
func (*GolangJWT) User(r *http.Request) string {
	subject, _ := r.Context().Value(subjectKey{}).(string)
	return subject
}
