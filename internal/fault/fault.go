// Package fault is the one table of errors: error ↔ code word ↔ status ↔ challenge.
// API and console answer from it, so that an error has the same name everywhere.
package fault

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// Errors of HTTP itself.
var (
	ErrInvalid      = errors.New("invalid request")                   // 400
	ErrNoClient     = errors.New("client authentication is required") // 401, challenges with Basic
	ErrNotFound     = errors.New("not found")                         // 404: no such path
	ErrBadMethod    = errors.New("method not allowed")                // 405
	ErrTooLarge     = errors.New("the request body is too large")     // 413
	ErrMediaType    = errors.New("unsupported media type")            // 415
	ErrTooMany      = errors.New("too many at once")                  // 429
	ErrNotInGroup   = errors.New("not in a required group")           // 403
	ErrNeedsIfMatch = errors.New("If-Match is required")              // 428
	ErrInternal     = errors.New("internal error")                    // 500: a defect of ours
	ErrNotReady     = errors.New("not ready")                         // 503
)

// The challenges of a 401.
type challenge int

const (
	noChallenge     challenge = iota
	bareChallenge             // Bearer realm="curfew"
	bearerChallenge           // with error and error_description
	basicChallenge            // Basic realm="curfew"
)

// A Fault is an error as it stands on the wire.
type Fault struct {
	Status int
	Code   string
	// Detail is for people. Of faults of ours (5xx) it is a fixed sentence: what
	// lies behind them is for the log.
	Detail string
	// Errors are all faults of the request's members, or nil.
	Errors []wire.FieldError
	// RetryAfter is when to try again, in whole seconds; zero if that would not
	// help.
	RetryAfter time.Duration
	// Location is where a browser can do something about it, or "".
	Location string

	challenge challenge
	old       *token.AuthenticationError // nil unless the fault is that
}

// row is one row of the table.
type row struct {
	is        error
	status    int
	code      string
	challenge challenge
}

// table is in order: for an error that wraps several sentinels the first row
// counts. The reasons of package token stand at its end, with package bearer's
// statuses.
var table = append([]row{
	{is: account.ErrBadCredentials, status: 401, code: wire.CodeBadCredentials, challenge: bareChallenge},
	{is: account.ErrPasswordChangeRequired, status: 403, code: wire.CodePasswordChangeRequired},
	{is: account.ErrPasswordsOff, status: 403, code: wire.CodeForbidden},
	{is: authz.ErrBadClient, status: 401, code: wire.CodeBadCredentials, challenge: basicChallenge},
	{is: ErrNoClient, status: 401, code: string(token.ErrMissing), challenge: basicChallenge},
	{is: account.ErrBusy, status: 503, code: string(token.ErrUnavailable)},
	{is: account.ErrLastAdministrator, status: 409, code: wire.CodeConflict},
	{is: settings.ErrInvalid, status: 400, code: wire.CodeInvalidSettings},
	{is: session.ErrLostRace, status: 412, code: wire.CodeLostRace},
	{is: feed.ErrStartOver, status: 410, code: wire.CodeStartOver},
	{is: feed.ErrLimited, status: 429, code: wire.CodeRateLimited},
	{is: feed.ErrBadQuery, status: 400, code: wire.CodeInvalidRequest},
	{is: ErrInvalid, status: 400, code: wire.CodeInvalidRequest},
	{is: ErrNotFound, status: 404, code: wire.CodeNotFound},
	{is: ErrBadMethod, status: 405, code: wire.CodeBadMethod},
	{is: ErrTooLarge, status: 413, code: wire.CodeTooLarge},
	{is: ErrMediaType, status: 415, code: wire.CodeMediaType},
	{is: account.ErrAmbiguous, status: 422, code: wire.CodeAmbiguous},
	{is: ErrTooMany, status: 429, code: wire.CodeRateLimited},
	{is: ErrNotInGroup, status: 403, code: wire.CodeForbidden},
	{is: ErrNeedsIfMatch, status: 428, code: wire.CodeNeedsIfMatch},
	{is: ErrInternal, status: 500, code: wire.CodeInternal},
	{is: ErrNotReady, status: 503, code: string(token.ErrUnavailable)},
	{is: store.ErrNotFound, status: 404, code: wire.CodeNotFound},
	{is: store.ErrConflict, status: 409, code: wire.CodeConflict},
	{is: keyring.ErrNoKey, status: 503, code: string(token.ErrUnavailable)},
	{is: store.ErrUnavailable, status: 503, code: string(token.ErrUnavailable)},
	{is: store.ErrLocked, status: 503, code: string(token.ErrUnavailable)},
	{is: store.ErrDisk, status: 503, code: string(token.ErrUnavailable)},
	{is: store.ErrCorrupt, status: 503, code: string(token.ErrUnavailable)},
}, reasons()...)

func reasons() []row {
	var rows []row
	for _, r := range token.Reasons() {
		rows = append(rows, row{is: r, status: bearer.Status(r), code: string(r), challenge: bearerChallenge})
	}
	return append(rows,
		row{is: context.DeadlineExceeded, status: 503, code: string(token.ErrUnavailable)},
		row{is: context.Canceled, status: 503, code: string(token.ErrUnavailable)})
}

// Of returns the answer for err. An error that is not in the table is a defect of
// Curfew: 500. It never reveals the cause of a 5xx.
func Of(err error) Fault {
	if f, ok := ofType(err); ok {
		return f
	}
	for _, row := range table {
		if errors.Is(err, row.is) {
			f := Fault{Status: row.status, Code: row.code, challenge: row.challenge, Detail: err.Error()}
			f.Errors = violations(err)
			f = f.complete()
			if own, ok := errors.AsType[interface {
				error
				Detail() string
			}](err); ok && f.Status < 500 {
				f.Detail = own.Detail()
			}
			return f
		}
	}
	return Fault{Status: http.StatusInternalServerError, Code: wire.CodeInternal}.complete()
}

// ofType finds the errors that carry data.
func ofType(err error) (Fault, bool) {
	var forbidden *authz.ErrForbidden
	var limited *account.RateLimited
	var invalid *account.Invalid
	var old *token.AuthenticationError
	switch {
	case errors.As(err, &old):
		return Fault{Status: http.StatusUnauthorized, Code: string(token.ErrInsufficientAuthentication), challenge: bearerChallenge, old: old}.complete(), true
	case errors.As(err, &forbidden):
		return Fault{Status: http.StatusForbidden, Code: wire.CodeForbidden, Detail: err.Error()}, true
	case errors.As(err, &limited):
		return Fault{
			Status: http.StatusTooManyRequests, Code: wire.CodeRateLimited, RetryAfter: limited.RetryAfter,
			Detail: limited.Text(),
		}.complete(), true
	case errors.As(err, &invalid):
		return Fault{Status: http.StatusBadRequest, Code: wire.CodeInvalidRequest, Detail: err.Error(), Errors: invalid.Fields}, true
	}
	return Fault{}, false
}

// violations returns all violations of the settings that err is about.
func violations(err error) []wire.FieldError {
	var found []wire.FieldError
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // it walks the tree itself, to find all
		case settings.Violation:
			found = append(found, wire.FieldError{Field: e.Field, Detail: e.Problem})
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return found
}

// complete replaces internal details with fixed sentences, and sets Retry-After.
func (f Fault) complete() Fault {
	switch {
	case f.challenge == bearerChallenge:
		f.Detail = bearer.Describe(token.Reason(f.Code))
	case f.Status == http.StatusServiceUnavailable:
		f.Detail = "Temporarily unavailable. Try again."
	case f.Status >= 500:
		f.Detail = "Internal error. The cause is in the server's log, under the id in X-Request-Id."
	case f.Code == wire.CodeBadCredentials && f.challenge == bareChallenge:
		f.Detail = "The name or password is wrong."
	case f.Code == wire.CodePasswordChangeRequired:
		f.Detail = "You must choose a new password. Sign in again with new_password, or on the sign-in page."
	}
	if f.Status == http.StatusServiceUnavailable || f.Status == http.StatusTooManyRequests {
		f.RetryAfter = max(time.Second, time.Duration(math.Ceil(f.RetryAfter.Seconds()))*time.Second)
	}
	return f
}
