package fault

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// Write answers a request with the fault: problem details (RFC 9457), and the headers that
// belong to its status. Headers that were set for a successful answer are removed.
func (f Fault) Write(w http.ResponseWriter, r *http.Request) {
	problem := wire.Problem{
		Type:   "about:blank", // code says what it is
		Title:  http.StatusText(f.Status),
		Status: f.Status,
		Detail: f.Detail,
		Code:   f.Code,
		Errors: f.Errors,
	}
	if strings.HasPrefix(r.URL.Path, "/oauth/") {
		problem.Error = f.oauthError()
	}
	body, err := json.Marshal(problem)
	if err != nil {
		panic(err) // strings and an int
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "ETag", "Location", "Set-Cookie", "Preference-Applied"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if value := f.authenticate(); value != "" {
		h.Set("WWW-Authenticate", value)
	}
	if f.Location != "" {
		h.Set("Location", f.Location)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(f.RetryAfter/time.Second), 10))
	}
	if f.Status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body is not read
	}
	body = append(body, '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.Status)
	_, _ = w.Write(body) // the caller is gone if this fails
}

// authenticate returns the WWW-Authenticate header of a 401.
func (f Fault) authenticate() string {
	if f.Status != http.StatusUnauthorized {
		return ""
	}
	switch {
	case f.old != nil:
		return bearer.ChallengeOf(bearer.DefaultRealm, f.old)
	case f.challenge == basicChallenge:
		return `Basic realm="` + bearer.DefaultRealm + `", charset="UTF-8"`
	case f.challenge == bearerChallenge:
		return bearer.Challenge(bearer.DefaultRealm, token.Reason(f.Code))
	default:
		return bearer.Challenge(bearer.DefaultRealm, token.ErrMissing) // the bare one
	}
}

// oauthError returns the code word of RFC 6749, section 5.2 (and 4.1.2.1), that
// comes nearest.
func (f Fault) oauthError() string {
	switch {
	case f.Status == http.StatusUnauthorized && f.challenge == basicChallenge:
		return "invalid_client"
	case f.Status == http.StatusUnauthorized:
		return "invalid_token"
	case f.Status == http.StatusForbidden:
		return "unauthorized_client"
	case f.Status == http.StatusServiceUnavailable:
		return "temporarily_unavailable"
	case f.Status >= 500:
		return "server_error"
	}
	return "invalid_request"
}
