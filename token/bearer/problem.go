package bearer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"example.com/curfew/token"
)

// A sentence explains a reason: what happened, and what to do about it.
type sentence struct{ happened, remedy string }

// sentences explain the reasons, for all who show one to people. They appear in
// challenges, so they contain neither quotes nor backslashes (RFC 6750, section 3).
// They are fixed: they never repeat the client's input.
var sentences = map[token.Reason]sentence{
	token.ErrMissing:         {"No token was sent.", "Sign in and send the token in the Authorization header."},
	token.ErrMalformed:       {"The token is malformed.", "Sign in again."},
	token.ErrUnknownKey:      {"The token was signed with a key that is unknown or no longer trusted.", "Sign in again."},
	token.ErrBadSignature:    {"The token's signature is wrong.", "Sign in again."},
	token.ErrWrongIssuer:     {"The token is from another issuer.", "Sign in to this one."},
	token.ErrWrongAudience:   {"The token is for another audience.", "Sign in to this service."},
	token.ErrNotYetValid:     {"The session is dated in the future: a server's clock is wrong.", "Check that all clocks are synchronized."},
	token.ErrExpired:         {"The session has expired.", "Refresh it in time, or sign in again."},
	token.ErrIdleTimeout:     {"The session timed out for lack of activity.", "Sign in again."},
	token.ErrMaximumDuration: {"The session reached the maximum session duration.", "Sign in again."},
	token.ErrRevoked:         {"The session was revoked.", "Sign in again."},
	token.ErrUnavailable:     {"The session's status can't be determined right now.", "Try again."},

	token.ErrInsufficientAuthentication: {"The user authenticated too long ago for this request.", "Authenticate again, then repeat the request with the new token."},
}

// sentenceFor returns the sentence of a reason; an unknown reason counts as
// [token.ErrUnavailable].
func sentenceFor(reason token.Reason) sentence {
	if s, known := sentences[reason]; known {
		return s
	}
	return sentences[token.ErrUnavailable]
}

// Describe returns a text for display that explains reason: what happened, and what
// to do. An unknown reason is described as [token.ErrUnavailable].
func Describe(reason token.Reason) string {
	s := sentenceFor(reason)
	return s.happened + " " + s.remedy
}

// Summary returns the first sentence of [Describe]: what happened, without what to
// do.
func Summary(reason token.Reason) string { return sentenceFor(reason).happened }

// Status returns the HTTP status for a reason: 401, or 503 for
// [token.ErrUnavailable], which proves nothing about the token. An unknown reason
// counts as [token.ErrUnavailable].
func Status(reason token.Reason) int {
	if _, known := sentences[reason]; !known || reason == token.ErrUnavailable {
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// Challenge returns the WWW-Authenticate header of a 401 (RFC 6750, section 3). For
// [token.ErrMissing] it names only the realm, so that the client learns that it
// must send a token and does not take this for an error of its own. For
// [token.ErrInsufficientAuthentication] use [ChallengeOf], which adds max_age.
func Challenge(realm string, reason token.Reason) string {
	challenge := "Bearer realm=" + quoted(realm)
	if reason == token.ErrMissing {
		return challenge
	}
	code := "invalid_token"
	if reason == token.ErrInsufficientAuthentication {
		code = string(reason) // the token is valid
	}
	return challenge + `, error="` + code + `", error_description=` + quoted(Describe(reason))
}

// ChallengeOf is [Challenge] for the reason that err wraps. For a
// [*token.AuthenticationError] it adds max_age, in seconds (RFC 9470, section 3).
func ChallengeOf(realm string, err error) string {
	challenge := Challenge(realm, token.ReasonOf(err))
	if old, ok := errors.AsType[*token.AuthenticationError](err); ok {
		challenge += `, max_age="` + strconv.FormatInt(old.Seconds(), 10) + `"`
	}
	return challenge
}

// quoted returns a quoted-string (RFC 9110, section 5.6.4) of the printable ASCII
// in s.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case ' ' <= c && c <= '~':
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// problem is a problem details object (RFC 9457). Code is the reason.
type problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Code   token.Reason `json:"code"`
}

// WriteError answers a request whose token was refused with err. It writes problem
// details, with a challenge on 401 and Retry-After on 503. It does not send the
// text of err, which is for the log. An empty realm means [DefaultRealm].
func WriteError(w http.ResponseWriter, realm string, err error) {
	reason := token.ReasonOf(err)
	if _, known := sentences[reason]; !known {
		reason = token.ErrUnavailable
	}
	if realm == "" {
		realm = DefaultRealm
	}
	status := Status(reason)
	body, _ := json.Marshal(problem{"about:blank", http.StatusText(status), status, Describe(reason), reason}) //nolint:errchkjson // strings and an int cannot fail
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", ChallengeOf(realm, err))
	} else {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone if this fails
}
