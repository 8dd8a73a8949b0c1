package peers

import (
	"context"
	"net/http"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/validator"
)

// Auth0 is github.com/auth0/go-jwt-middleware/v2.
type Auth0 struct {
	validator  *validator.Validator
	middleware *jwtmiddleware.JWTMiddleware
}

type auth0Claims struct {
	Session     string `json:"sid"`
	LastRefresh int64  `json:"last_refresh"`
	RememberMe  bool   `json:"remember_me"`
	Epoch       int64  `json:"epoch"`
}

// Validate implements validator.CustomClaims.
func (*auth0Claims) Validate(context.Context) error { return nil }

// NewAuth0 returns a middleware for the kit's tokens.
func NewAuth0(k *Kit) (*Auth0, error) {
	public := k.Private.Public()
	v, err := validator.New(func(context.Context) (any, error) { return public, nil }, validator.ES256,
		k.Issuer, []string{k.Audience}, validator.WithCustomClaims(func() validator.CustomClaims { return &auth0Claims{} }))
	if err != nil {
		return nil, err
	}
	return &Auth0{validator: v, middleware: jwtmiddleware.New(v.ValidateToken)}, nil
}

// Name implements [Parser].
func (*Auth0) Name() string { return "auth0 v2" }

// Parse implements [Parser].
func (a *Auth0) Parse(raw string) (Claims, error) {
	validated, err := a.validator.ValidateToken(context.Background(), raw)
	if err != nil {
		return Claims{}, err
	}
	v, ok := validated.(*validator.ValidatedClaims)
	if !ok {
		return Claims{}, errRefused
	}
	c, ok := v.CustomClaims.(*auth0Claims)
	if !ok {
		return Claims{}, errRefused
	}
	return Claims{
		Subject: v.RegisteredClaims.Subject, Session: c.Session, IssuedAt: v.RegisteredClaims.IssuedAt,
		LastRefresh: c.LastRefresh, ExpiresAt: v.RegisteredClaims.Expiry, Epoch: c.Epoch, RememberMe: c.RememberMe,
	}, nil
}

// Wrap implements [Guard].
func (a *Auth0) Wrap(next http.Handler) http.Handler { return a.middleware.CheckJWT(next) }

// User implements [Guard].
func (*Auth0) User(r *http.Request) string {
	v, ok := r.Context().Value(jwtmiddleware.ContextKey{}).(*validator.ValidatedClaims)
	if !ok {
		return ""
	}
	return v.RegisteredClaims.Subject
}
