package token

import "errors"

// Reason says why a token was refused. It is the same word in Go errors, in
// problem details, in logs and in metrics, and each Reason is the sentinel for
// itself: errors.Is(err, token.ErrRevoked).
type Reason string

// The reasons. A token is over for all of them but ErrUnavailable, which means
// that nobody can tell at the moment (503, never 401).
const (
	ErrMissing         Reason = "missing"          // there was no token
	ErrMalformed       Reason = "malformed"        // not a token of ours: form, JSON, header or claims
	ErrUnknownKey      Reason = "unknown_key"      // no trusted key has the token's key ID
	ErrBadSignature    Reason = "bad_signature"    // the signature does not verify
	ErrWrongIssuer     Reason = "wrong_issuer"     // iss is not the configured issuer
	ErrWrongAudience   Reason = "wrong_audience"   // aud does not contain the validator's audience
	ErrNotYetValid     Reason = "not_yet_valid"    // issued or refreshed in the future: somebody's clock is off
	ErrExpired         Reason = "expired"          // exp has passed
	ErrIdleTimeout     Reason = "idle_timeout"     // not refreshed within the session timeout
	ErrMaximumDuration Reason = "maximum_duration" // older than the maximum session duration
	ErrRevoked         Reason = "revoked"          // revoked: everyone, remembered, the user or the session
	ErrUnavailable     Reason = "unavailable"      // cannot tell: the view's lease ran out and nobody could be asked
)

// Reasons returns all reasons in the order in which they are decided.
func Reasons() []Reason {
	return []Reason{ErrMissing, ErrMalformed, ErrUnknownKey, ErrBadSignature, ErrWrongIssuer,
		ErrWrongAudience, ErrUnavailable, ErrNotYetValid, ErrMaximumDuration, ErrIdleTimeout, ErrExpired, ErrRevoked}
}

// Error returns the reason's word.
func (r Reason) Error() string { return string(r) }

// ReasonOf returns the reason that err wraps; "" for nil. An error without a
// reason is ErrUnavailable: whatever went wrong, it proves nothing about the
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
	var r Reason
	if errors.As(err, &r) {
		return r
	}
	return ErrUnavailable
}
