package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/inbound"
)

// forPages are the calls that pages of Config.CORSOrigins may make: those that a
// single-page application needs for its user's own sessions, and the documents that
// are public anyway. A page reads the answers of no others.
var forPages = map[string]bool{
	"POST /v1/sessions":                           true,
	"GET /v1/session":                             true,
	"DELETE /v1/session":                          true,
	"POST /v1/session/refresh":                    true,
	"POST /v1/session/reauthenticate":             true,
	"GET /v1/session/events":                      true,
	"GET /v1/users/{id}/sessions":                 true,
	"DELETE /v1/users/{id}/sessions/{sid}":        true,
	"POST /v1/users/{id}/revocations":             true,
	"PUT /v1/users/{id}/password":                 true,
	"GET /v1/revocations/{epoch}":                 true,
	"POST /oauth/revoke":                          true,
	"GET /.well-known/jwks.json":                  true,
	"GET /.well-known/oauth-authorization-server": true,
}

const (
	// requestHeaders are those that a page may send beyond the ones that need no
	// permission; the last three are what tracing adds by itself.
	requestHeaders = "Authorization, Content-Type, Prefer, Cache-Control, If-None-Match, Last-Event-ID, X-Request-Id, Traceparent, Tracestate, Baggage"
	// answerHeaders are those that a page may read beyond the ones that need no
	// permission.
	answerHeaders = "WWW-Authenticate, Retry-After, ETag, Location, Preference-Applied, X-Request-Id"
	// preflightAge is how long a browser may remember a preflight, in seconds. Chromium
	// takes two hours at most.
	preflightAge = "7200"
)

// crossOrigin speaks the CORS protocol (Fetch, section 3.3) for the routes of a
// pattern, and passes everything but preflights on to next. Only pages of listed
// origins get its headers, on refusals too.
//
// The calls take a token in the Authorization header, which no browser adds by
// itself. The event stream takes the cookie as well, and changes nothing; browsers
// send the cookie along only to pages of the same site, since it is SameSite=Lax.
func (a *api) crossOrigin(pattern string, routes []*Route, next http.HandlerFunc) http.HandlerFunc {
	var methods []string
	for _, r := range routes {
		if forPages[r.Method+" "+pattern] {
			methods = append(methods, r.Method)
		}
	}
	if len(a.CORSOrigins) == 0 || len(methods) == 0 {
		return next
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin") // on answers to others too: caches keep both
		origin := r.Header["Origin"]
		listed := len(origin) == 1 && slices.Contains(a.CORSOrigins, origin[0])
		method := r.Method
		asked := r.Header.Get("Access-Control-Request-Method")
		preflight := method == http.MethodOptions && asked != ""
		if preflight {
			h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
			method = asked
		}
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if !listed || !slices.Contains(methods, method) {
			next(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin[0])
		h.Set("Access-Control-Allow-Credentials", "true")
		if !preflight {
			h.Set("Access-Control-Expose-Headers", answerHeaders)
			next(w, r)
			return
		}
		q := inbound.Of(r)
		q.Route, q.Quiet = pattern, true
		h.Set("Access-Control-Allow-Methods", allow)
		h.Set("Access-Control-Allow-Headers", requestHeaders)
		h.Set("Access-Control-Max-Age", preflightAge)
		w.WriteHeader(http.StatusNoContent)
	}
}
