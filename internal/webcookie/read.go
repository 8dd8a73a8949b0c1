package webcookie

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"example.com/curfew/token"
)

// maxValues is the maximum number of cookies of the name in a request: each may cost
// a signature check.
const maxValues = 8

// Validate decides whether a token is accepted; a [token.Validator] has one.
type Validate func(ctx context.Context, raw string) (*token.Session, error)

// TwoSessions is the error of a request with cookies of two accepted sessions. It
// wraps [token.ErrMalformed]. Choosing one would let an attacker who can set a
// cookie for the domain choose the session.
type TwoSessions struct {
	// Cookie is the name of the cookies.
	Cookie string
}

// Error implements error.
func (e *TwoSessions) Error() string {
	return fmt.Sprintf("%v: cookies named %s of two sessions", token.ErrMalformed, e.Cookie)
}

// Unwrap returns the reason.
func (e *TwoSessions) Unwrap() error { return token.ErrMalformed }

// Detail returns the remedy for the user.
func (e *TwoSessions) Detail() string {
	return fmt.Sprintf("The browser sent two sessions in cookies named %s. Sign in again, which ends both, or delete the cookies of this site and its parent domains.", e.Cookie)
}

// Read returns the token in the cookie of r. The error wraps [token.ErrMissing] if
// there is none. If there are several cookies of the name, as with two installations
// on nested domains, validate decides which of them counts:
//   - values that are no token of ours are ignored;
//   - a token that is accepted wins over tokens that have ended;
//   - of two accepted tokens of one session the newer one counts;
//   - accepted tokens of two sessions are refused with [TwoSessions].
//
// A single cookie is returned as it is: validate is not called.
func (j Jar) Read(ctx context.Context, r *http.Request, validate Validate) (raw string, err error) {
	if raw, ok := j.Single(r); ok && isToken(raw) {
		return raw, nil
	}
	found := r.CookiesNamed(j.Name())
	switch {
	case len(found) == 0 || len(found) == 1 && found[0].Value == "":
		return "", fmt.Errorf("%w: no cookie %s", token.ErrMissing, j.Name())
	case len(found) == 1 && found[0].Quoted:
		return "", fmt.Errorf("%w: cookie %s is in quotes, but Curfew sets it without", token.ErrMalformed, j.Name())
	case len(found) == 1:
		return found[0].Value, nil
	}
	accepted, err := j.choose(ctx, found, validate)
	switch {
	case err != nil:
		return "", err
	case len(accepted) > 1:
		return "", &TwoSessions{j.Name()}
	}
	return accepted[0].raw, nil
}

// Sessions returns the accepted sessions of all cookies of the name in r, each once.
// A sign-in ends them, and so does a sign-out. The error wraps
// [token.ErrUnavailable] if they can't be determined.
func (j Jar) Sessions(ctx context.Context, r *http.Request, validate Validate) ([]*token.Session, error) {
	accepted, err := j.choose(ctx, r.CookiesNamed(j.Name()), validate)
	if token.ReasonOf(err) == token.ErrUnavailable {
		return nil, err
	}
	sessions := make([]*token.Session, len(accepted))
	for i, a := range accepted {
		sessions[i] = a.session
	}
	return sessions, nil
}

type accepted struct {
	raw     string
	session *token.Session
}

// choose returns the newest accepted token of each session among the cookies. The
// error says why there is none; it is that of a token of ours if there is one.
func (j Jar) choose(ctx context.Context, found []*http.Cookie, validate Validate) ([]accepted, error) {
	if len(found) > maxValues {
		return nil, fmt.Errorf("%w: %d cookies %s", token.ErrMalformed, len(found), j.Name())
	}
	var all []accepted
	var ended, foreign error
	for _, c := range found {
		if c.Value == "" || c.Quoted { // not as Curfew sets it
			continue
		}
		s, err := validate(ctx, c.Value)
		switch token.ReasonOf(err) {
		case "":
			all = add(all, accepted{c.Value, s})
		case token.ErrUnavailable:
			return nil, err
		case token.ErrMalformed, token.ErrUnknownKey, token.ErrBadSignature, token.ErrWrongIssuer, token.ErrWrongAudience:
			foreign = err
		default:
			ended = err
		}
	}
	switch {
	case len(all) > 0:
		return all, nil
	case ended != nil:
		return nil, ended
	case foreign != nil:
		return nil, foreign
	}
	return nil, fmt.Errorf("%w: no cookie %s with a value", token.ErrMissing, j.Name())
}

// add adds a token, unless there is one of the same session: then the newer stays.
func add(all []accepted, a accepted) []accepted {
	for i, other := range all {
		if other.session.ID != a.session.ID {
			continue
		}
		if newer := a.session; newer.LastRefresh > other.session.LastRefresh ||
			newer.LastRefresh == other.session.LastRefresh && newer.Epoch > other.session.Epoch {
			all[i] = a
		}
		return all
	}
	return append(all, a)
}

// maxCookies is how many cookies of a request net/http reads; of more it reads none.
const maxCookies = 3000

// Single returns the value of the cookie if r has exactly one of the name. A value
// with other characters than those of a token is not always the value that net/http
// finds: it is for callers that compare it with tokens. It allocates nothing.
func (j Jar) Single(r *http.Request) (raw string, ok bool) {
	const space = " \t\r\n" // that net/http trims
	name, n := j.Name(), 0
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if n++; n > maxCookies {
				return "", false
			}
			key, value, _ := strings.Cut(strings.Trim(part, space), "=")
			if strings.Trim(key, space) != name {
				continue
			}
			if raw != "" {
				return "", false
			}
			if raw = value; raw == "" {
				return "", false
			}
		}
	}
	return raw, raw != ""
}

// isToken reports whether text is not empty and has only the characters of a token.
func isToken(text string) bool {
	for i := range len(text) {
		if c := text[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return text != ""
}
