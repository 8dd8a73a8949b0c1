package httpapi

import (
	"net/url"
	"testing"

	"example.com/curfew/token"
)

// Forward auth with max_age refuses a session whose user authenticated too long ago,
// with the challenge of RFC 9470; 403 for a group comes before it.
func TestVerifyMaxAge(t *testing.T) {
	t.Run("the short way", func(t *testing.T) { verifyMaxAge(t, start(t)) })
	t.Run("the long way", func(t *testing.T) { verifyMaxAge(t, start(t, inDetail)) })
	t.Run("on an edge", func(t *testing.T) {
		s := start(t)
		verifyMaxAgeAt(t, s, s.edge())
	})
}

func verifyMaxAge(t *testing.T, s *server) { verifyMaxAgeAt(t, s, s) }

func verifyMaxAgeAt(t *testing.T, s, asked *server) {
	ann := s.user("ann")
	aged := func(age token.UnixTime) string {
		return s.mint(ann, func(sess *token.Session) {
			sess.IssuedAt -= 1000
			sess.AuthTime = sess.LastRefresh - age
		})
	}
	recent, old := aged(290), aged(302)
	unknown := s.mint(ann, func(*token.Session) {})
	const challenge = `Bearer realm="curfew", error="insufficient_user_authentication", error_description="The user authenticated too long ago for this request. ` +
		`Authenticate again, then repeat the request with the new token.", max_age="300"`
	for _, tt := range []struct {
		query, raw string
		status     int
		code       string
	}{
		{"max_age=300", recent, 200, ""},
		{"max_age=300", old, 401, "insufficient_user_authentication"},
		{"max_age=300", unknown, 401, "insufficient_user_authentication"},
		{"", old, 200, ""},
		{"", unknown, 200, ""},
		{"max_age=34560000", old, 200, ""},
		{"max_age=300&max_age=100000", old, 401, "insufficient_user_authentication"},
		{"max_age=100000&max_age=300", old, 401, "insufficient_user_authentication"},
		{"max%5Fage=300", old, 401, "insufficient_user_authentication"},
		{"max_age=%33%30%30", old, 401, "insufficient_user_authentication"},
		{"max_age=300&group=ops", old, 403, "forbidden"},
		{"max_age=300&group=ops", recent, 403, "forbidden"},
		{"max_age=", recent, 400, "invalid_request"},
		{"max_age=0", recent, 400, "invalid_request"},
		{"max_age=-1", recent, 400, "invalid_request"},
		{"max_age=300s", recent, 400, "invalid_request"},
		{"max_age=3e2", recent, 400, "invalid_request"},
		{"max_age=34560001", recent, 400, "invalid_request"},
		{"max_age=4294967596", recent, 400, "invalid_request"}, // 300 more than 32 bits
		{"max_age=99999999999999999999", recent, 400, "invalid_request"},
		{"max_age=300&max_age=x", recent, 400, "invalid_request"},
		{"max_age=%zz", recent, 400, "invalid_request"},
	} {
		for _, with := range []credential{bearerToken(tt.raw), cookie(tt.raw)} {
			a := asked.do("GET", "/v1/verify?"+tt.query, nil, with)
			if tt.status == 200 {
				asked.identity(a.must(200, nil), ann, claims(t, tt.raw).ID)
				continue
			}
			asked.noIdentity(a)
			a.problem(tt.status, tt.code)
			if got := a.Header.Get("WWW-Authenticate"); tt.status == 401 && got != challenge || tt.status != 401 && got != "" {
				t.Errorf("%s: challenge %q", tt.query, got)
			}
		}
	}
	// A session that is over is over, whatever its age; and Envoy's path asks nothing.
	asked.do("GET", "/v1/verify?max_age=300", nil).problem(401, "missing")
	asked.do("GET", "/v1/verify/x?max_age=300", nil, bearerToken(old)).must(200, nil)
}

// A browser goes to the page that asks for the password, and back.
func TestVerifyMaxAgeSendsToThePage(t *testing.T) {
	const app = "http://app.curfew.test/invoices?page=2,3"
	s := start(t, behindProxy)
	ann := s.user("ann")
	old := s.mint(ann, func(sess *token.Session) { sess.IssuedAt -= 1000; sess.AuthTime = sess.IssuedAt })
	browser := []credential{header{"X-Forwarded-Proto", "http"}, header{"X-Forwarded-Host", "app.curfew.test"},
		header{"X-Forwarded-Uri", "/invoices?page=2,3"}, header{"Accept", "text/html"}}
	from := func(more ...credential) []credential { return append(browser[:4:4], more...) }
	page := issuer + "/reauthenticate?" + url.Values{"return": {app}, "max_age": {"300"}}.Encode()
	for _, tt := range []struct {
		name, method, query string
		with                []credential
		status              int
		to                  string
	}{
		{"redirected", "GET", "?sign_in=1&max_age=300", from(cookie(old)), 302, page},
		{"located", "GET", "?sign_in=location&max_age=300", from(cookie(old)), 401, page},
		{"not asked to", "GET", "?max_age=300", from(cookie(old)), 401, ""},
		{"a POST", "GET", "?sign_in=1&max_age=300", from(cookie(old), header{"X-Forwarded-Method", "POST"}), 401, ""},
		{"a program", "GET", "?sign_in=1&max_age=300", from(bearerToken(old)), 401, ""},
		{"old enough", "GET", "?sign_in=1&max_age=3000", from(cookie(old)), 200, ""},
		{"no session", "GET", "?sign_in=1&max_age=300", from(), 302, issuer + "/sign-in?" + url.Values{"return": {app}}.Encode()},
	} {
		a := s.do(tt.method, "/v1/verify"+tt.query, nil, tt.with...).must(tt.status, nil)
		if to := a.Header.Get("Location"); to != tt.to {
			t.Errorf("%s: Location %q, want %q", tt.name, to, tt.to)
		}
		if c := a.Header.Get("WWW-Authenticate"); (tt.status == 401) != (c != "") {
			t.Errorf("%s: challenge %q", tt.name, c)
		}
	}
}
