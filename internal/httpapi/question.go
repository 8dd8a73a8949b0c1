package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/curfew/internal/account"
)

// A question holds the requirements that a proxy's configuration passes to
// /v1/verify, by the query of the address. The zero question is that of /v1/verify
// alone.
type question struct {
	// signIn says what browsers without a session get: signInRedirects,
	// signInLocates or "", which is 401.
	signIn string
	// provider is the name of the identity provider that signIn leads to; "" leads to the
	// sign-in page.
	provider string
	// cookieOnly ignores an Authorization header, unless one of our keys signed it.
	cookieOnly bool
	// preflight lets a CORS preflight through.
	preflight bool
	// groups are those of which the user must be in one. Nil: no group is required.
	groups []string
	// maxAge is the maximum age of the user's authentication; zero for no limit. A value
	// that can't be read is in wrongAge, and refuses every request.
	maxAge   time.Duration
	wrongAge error
}

// maxMaxAge is the maximum of max_age in seconds: 400 days, the longest session.
const maxMaxAge = 34_560_000

// readMaxAge reads max_age. Of several values the smallest counts, so that a user who
// adds one to an address gets no longer limit.
func (q *question) readMaxAge(value string) {
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err != nil || seconds == 0 || seconds > maxMaxAge {
		q.wrongAge = account.InvalidField("max_age", "must be a whole number of seconds from 1 to %d", maxMaxAge)
		return
	}
	age := time.Duration(seconds) * time.Second // #nosec G115 -- at most maxMaxAge
	if q.maxAge == 0 || age < q.maxAge {
		q.maxAge = age
	}
}

// The values of the parameter sign_in.
const (
	signInRedirects = "1"        // 302 to the sign-in page
	signInLocates   = "location" // 401, with the sign-in page in Location
)

// readQuestion reads a query. Proxies may add parameters of their own, so unknown
// ones are ignored, and so are unknown values. A group is never ignored: if no group
// can have the name, no user is in it. Neither is max_age.
func readQuestion(query string) *question {
	q := &question{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		value, err = url.QueryUnescape(value)
		switch {
		case name == "group":
			if err == nil {
				value, _, err = account.NormalizeName(value)
			}
			if err != nil {
				value = "" // no user is in it
			}
			q.groups = append(q.groups, value)
		case name == "max_age":
			if err != nil {
				value = ""
			}
			q.readMaxAge(value)
		case name == "sign_in" && (value == signInRedirects || value == signInLocates):
			q.signIn = value
		case name == "provider" && account.IsProviderName(value):
			q.provider = value
		case name == "credentials" && value == "cookie":
			q.cookieOnly = true
		case name == "preflight" && value == "1":
			q.preflight = true
		}
	}
	return q
}

// questions remembers the questions that were read. A proxy asks the same one each
// time, but some pass on the query of the user's request, so their number is
// bounded.
type questions struct {
	known sync.Map // of query to *question
	mu    sync.Mutex
	n     int // guarded by mu: how many are known
}

const maxQuestions = 64

// of returns the question that a request for /v1/verify asks. Below /v1/verify/ the
// query is part of the user's request, as is the path, and asks nothing.
func (q *questions) of(r *http.Request) *question {
	if r.URL.RawQuery == "" || r.URL.Path != verifyPath {
		return &noQuestion
	}
	if known, ok := q.known.Load(r.URL.RawQuery); ok {
		return known.(*question) //nolint:errcheck // nothing else is stored
	}
	read := readQuestion(r.URL.RawQuery)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n < maxQuestions {
		if _, known := q.known.LoadOrStore(strings.Clone(r.URL.RawQuery), read); !known {
			q.n++
		}
	}
	return read
}

var noQuestion question

// isVerify reports whether a request is for forward auth: /v1/verify, or any path
// below it, since Envoy appends the path of the user's request. That path is never
// resolved or decoded, so "..", "//" and "%2F" in it mean nothing.
func isVerify(u *url.URL) bool {
	return isVerifyPath(u.Path) && (u.RawPath == "" || isVerifyPath(u.RawPath))
}

func isVerifyPath(path string) bool {
	rest, ok := strings.CutPrefix(path, verifyPath)
	return ok && (rest == "" || rest[0] == '/')
}

// isPreflight reports whether the request that a proxy asks about is a CORS
// preflight (Fetch, section 4.8): OPTIONS with Origin and
// Access-Control-Request-Method. Browsers send no credentials with it, and the
// service behind the proxy answers it. The method is that of the question, or the
// method that a trusted proxy names. All headers that name a method must agree: a
// proxy sets one of them, and a client may have made up the other.
func (c *call) isPreflight() bool {
	h := c.r.Header
	if !single(h["Origin"]) || !single(h["Access-Control-Request-Method"]) {
		return false
	}
	if uri := h["X-Forwarded-Uri"]; len(uri) > 0 && strings.HasSuffix(uri[0], "?"+c.r.URL.RawQuery) {
		return false // the proxy passes on the user's query: preflight=1 is not its own
	}
	named := append(slices.Clip(h["X-Forwarded-Method"]), h["X-Original-Method"]...)
	if len(named) == 0 {
		return c.r.Method == http.MethodOptions
	}
	for _, method := range named {
		if method != http.MethodOptions {
			return false
		}
	}
	return c.r.Method == http.MethodOptions || c.r.Method == http.MethodGet && c.inbound.Trusted
}

// single reports whether a header was sent once, with a value.
func single(values []string) bool { return len(values) == 1 && values[0] != "" }
