// Package peers holds Curfew and the libraries that it is measured beside behind
// one pair of interfaces, so that each is asked for the same: the same token in,
// the same claims out, and a refusal of the same bad ones.
//
// Every adapter is used as its documentation says, at its fastest: parsers,
// keys and options are made once, and nothing is asked for that Curfew does not
// do as well. That an adapter works is tested before anything is timed.
package peers

import (
	"errors"
	"net/http"
)

// Claims is what every parser must read from a token.
type Claims struct {
	Subject     string
	Session     string
	IssuedAt    int64
	LastRefresh int64
	ExpiresAt   int64
	Epoch       int64
	RememberMe  bool
}

// Parser validates one token.
type Parser interface {
	Name() string
	Parse(raw string) (Claims, error)
}

// Guard is a middleware in front of a handler.
type Guard interface {
	Name() string
	// Wrap lets through only requests with a good credential. [Guard.User] then
	// accepts the request that the next handler gets.
	Wrap(next http.Handler) http.Handler
	// User returns the subject of a request that was let through.
	User(r *http.Request) string
}

// errRefused is for guards that have no words of their own.
var errRefused = errors.New("refused")
