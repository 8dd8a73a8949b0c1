package token

import (
	"errors"

	"example.com/curfew/revocation"
)

// Reason is the reason for which a token was refused. Go errors, problem details,
// logs and metrics use the same word. Each Reason is its own sentinel:
// errors.Is(err, token.ErrRevoked).
type Reason string

// The reasons. Each means that the token is not valid (401), except ErrUnavailable:
// it means that the status is unknown (503, never 401).
const (
	ErrMissing         Reason = "missing"          // the request has no token
	ErrMalformed       Reason = "malformed"        // not a Curfew token: form, JSON, header or claims
	ErrUnknownKey      Reason = "unknown_key"      // no trusted key has the token's key ID
	ErrBadSignature    Reason = "bad_signature"    // the signature does not verify
	ErrWrongIssuer     Reason = "wrong_issuer"     // iss is not the configured issuer
	ErrWrongAudience   Reason = "wrong_audience"   // aud does not contain the validator's audience
	ErrNotYetValid     Reason = "not_yet_valid"    // issued or refreshed in the future: a clock is wrong
	ErrExpired         Reason = "expired"          // exp has passed
	ErrIdleTimeout     Reason = "idle_timeout"     // not refreshed within the session timeout
	ErrMaximumDuration Reason = "maximum_duration" // older than the maximum session duration
	ErrRevoked         Reason = "revoked"          // revoked: everyone, remembered, the user or the session
	ErrUnavailable     Reason = "unavailable"      // unknown: the view's lease has run out and the store could not be asked
)

// ErrInsufficientAuthentication means that the token is valid, but that its user
// authenticated too long ago for what was requested (RFC 9470, section 3): 401. No
// [Validator] returns it, so [Reasons] does not contain it: see
// [Session.CheckAuthTime].
const ErrInsufficientAuthentication Reason = "insufficient_user_authentication"

// Reasons returns all reasons in the order in which they are checked.
func Reasons() []Reason {
	return []Reason{ErrMissing, ErrMalformed, ErrUnknownKey, ErrBadSignature, ErrWrongIssuer,
		ErrWrongAudience, ErrUnavailable, ErrNotYetValid, ErrMaximumDuration, ErrIdleTimeout, ErrExpired, ErrRevoked}
}

// Error returns the reason as text.
func (r Reason) Error() string { return string(r) }

// Unavailable reports whether r means that the status of the token is unknown.
func (r Reason) Unavailable() bool { return r == ErrUnavailable }

// Is makes [ErrUnavailable] and [revocation.ErrUnavailable] one error for
// [errors.Is].
func (r Reason) Is(target error) bool {
	return r == ErrUnavailable && target == revocation.ErrUnavailable // of target itself
}

// ReasonOf returns the reason that err wraps; "" for nil. It returns ErrUnavailable
// for an error without a reason, because such an error proves nothing about the
// token.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	switch err := err.(type) { //nolint:errorlint // what comes most often, without a search
	case Reason:
		return err
	case *RevokedError:
		return ErrRevoked
	}
	if r, ok := errors.AsType[Reason](err); ok {
		return r
	}
	return ErrUnavailable
}
