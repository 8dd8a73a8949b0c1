// Package follower validates sessions in your own service. It follows a Curfew
// server, receives revocations, settings and keys within milliseconds, and provides
// a [token.Validator] that does no I/O.
//
//	curfew, err := follower.Open(ctx, follower.Config{
//		Server: "https://curfew.example", ClientID: "billing", ClientSecret: secret, Audience: "billing",
//	})
//	…
//	defer curfew.Close()
//	mux.Handle("/invoices/", bearer.Require(curfew.Validator())(invoices))
//
// If no server answers for the length of a lease, the validator refuses every token
// as "unavailable" (503). It never guesses.
//
// To end open connections with their sessions, use [token.Validator.Watch].
//
// The API of this package is stable: a later release of the same major version
// compiles and works with every program that uses it.
package follower

import (
	"context"
	"time"

	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Errors of [Open] and [Status]. They wrap these and say what to do.
var (
	// ErrCredentials means that the server does not know the client or the secret.
	ErrCredentials = upstream.ErrCredentials
	// ErrForbidden means that the client lacks the capability "follow".
	ErrForbidden = upstream.ErrForbidden
	// ErrAudience means that the installation does not have the audience.
	ErrAudience = upstream.ErrAudience
	// ErrIssuer means that the server's issuer is not the one of its first answer.
	ErrIssuer = upstream.ErrIssuer
	// ErrClosed means that the follower is closed.
	ErrClosed = upstream.ErrClosed
)

// Follower follows a server. It is safe for concurrent use.
type Follower struct{ up *upstream.Follower }

// Open follows the server and returns after the first complete transfer. It returns
// an error at once for problems that do not go away by themselves: wrong
// credentials, an audience that the server does not know, or a redirect. It retries
// an unreachable server until Config.StartTimeout or ctx ends.
//
// If the server refuses, the error wraps [ErrCredentials], [ErrForbidden] or
// [ErrAudience]. ctx limits only Open. Call Close to stop the follower.
func Open(ctx context.Context, config Config) (*Follower, error) {
	up, err := upstream.Open(ctx, config.upstream())
	if err != nil {
		return nil, err
	}
	return &Follower{up}, nil
}

// Close stops the follower. From then on every token is refused as unavailable, and
// the contexts of all watched sessions end. When Close returns, everything that
// Open started has ended. A second call does nothing. The error is that of writing
// SnapshotFile.
func (f *Follower) Close() error { return f.up.Close() }

// Validator returns the validator. Every call returns the same one.
func (f *Follower) Validator() *token.Validator { return f.up.Validator() }

// Status is the state of a follower at one instant, for example for a health page.
type Status struct {
	Server    string           // the host that answered last
	Epoch     revocation.Epoch // up to which every change is in force here
	Trusted   bool             // whether the validator can accept tokens
	LeaseLeft time.Duration    // how long Trusted lasts without another answer
	Cache     revocation.Stats
	Err       error // why the last request failed; nil if it succeeded
}

// Status returns the current state of the follower.
func (f *Follower) Status() Status { return Status(f.up.Status()) }
