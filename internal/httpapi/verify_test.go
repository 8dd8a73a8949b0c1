package httpapi

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
)

// Forward auth: 200 with the identity, or 401 without.
func TestVerify(t *testing.T) {
	t.Run("the short way", func(t *testing.T) { forwardAuth(t, start(t)) })
	t.Run("the long way", func(t *testing.T) { forwardAuth(t, start(t, inDetail)) })
}

func forwardAuth(t *testing.T, s *server) {
	ann := s.user("ann")
	good, other := s.token(ann), s.token(s.user("bob"))
	for _, tt := range []struct {
		name string
		with []credential
		code string // "" for 200 as ann
	}{
		{"bearer", []credential{bearerToken(good)}, ""},
		{"cookie", []credential{cookie(good)}, ""},
		{"both", []credential{bearerToken(good), cookie(other)}, ""},
		{"a good bearer and a bad cookie", []credential{bearerToken(good), cookie("x")}, ""},
		{"a good cookie, and Basic for another service", []credential{basic{"a", "b"}, cookie(good)}, ""},
		{"among other cookies", []credential{header{"Cookie", "a=b; __Host-curfew_session=" + good + "; c=d"}}, ""},
		{"nothing", nil, "missing"},
		{"Basic only", []credential{basic{"a", "b"}}, "missing"},
		{"a bad bearer and a good cookie", []credential{bearerToken("x.y.z"), cookie(good)}, "malformed"},
		{"an empty bearer and a good cookie", []credential{header{"Authorization", "Bearer "}, cookie(good)}, "malformed"},
		{"two bearers", []credential{header{"Authorization", "Bearer " + good}, header{"Authorization", "Bearer " + good}}, "malformed"},
		{"the same cookie twice", []credential{cookie(good), cookie(good)}, ""},
		{"a cookie of ours and one of another", []credential{cookie("x.y.z"), cookie(good), cookie(good[:len(good)-4] + "AAAA")}, ""},
		{"cookies of two sessions", []credential{cookie(good), cookie(other)}, "malformed"},
		{"two cookies, none of ours", []credential{cookie("x.y.z"), cookie("a.b.c")}, "malformed"},
		{"a token in the query", []credential{}, "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.on(t)
			// Identity headers of the client must not survive.
			with := append([]credential{header{"Remote-User", "root"}, header{"Curfew-Session", "x"}}, tt.with...)
			query := "?access_token=" + good
			if tt.name != "a token in the query" {
				query = ""
			}
			a := s.do("GET", "/v1/verify"+query, nil, with...)
			if tt.code != "" {
				s.noIdentity(a)
				a.problem(401, tt.code)
				return
			}
			s.identity(a, ann, claims(t, good).ID)
			if a.must(200, nil); len(a.body) != 0 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("body %q, headers %v", a.body, a.Header)
			}
		})
	}
}

// identity fails the test unless the identity headers are on the answer once each:
// those of the user and the session, or empty for the zero user.
func (s *server) identity(a *answer, user store.User, session string) {
	s.Helper()
	for name, want := range map[string]string{
		"Remote-User": user.Name, "Remote-Name": user.Name, "Remote-Email": user.Email, "Remote-Groups": strings.Join(user.Groups, ","),
		"Curfew-User-Id": user.ID, "Curfew-Session": session,
	} {
		if got := a.Header[name]; len(got) != 1 || got[0] != want {
			s.Errorf("%s: %d with %s: %q, want %q once", a.what, a.StatusCode, name, got, want)
		}
	}
}

// noIdentity fails the test unless the identity headers are there and empty.
func (s *server) noIdentity(a *answer) {
	s.Helper()
	s.identity(a, store.User{}, "")
}

// A request with cookies of two sessions is refused, and the refusal says what to do.
// An ended session beside a good one is no second session.
func TestVerifyTwoCookies(t *testing.T) {
	s := start(t, quiet)
	ann, bob := s.user("ann"), s.user("bob")
	good, other := s.token(ann), s.token(bob)
	events := func(with ...credential) *answer { return s.do("GET", "/v1/session/events", nil, with...) }
	a := s.do("GET", "/v1/verify", nil, cookie(good), cookie(other))
	if p := a.problem(401, "malformed"); !strings.Contains(p.Detail, "Sign in again") || !strings.Contains(p.Detail, webcookie.Jar{}.Name()) {
		t.Errorf("detail %q", p.Detail)
	}
	s.noIdentity(a)
	events(cookie(good), cookie(other)).must(401, nil)
	a = s.do("GET", "/v1/verify?sign_in=1", nil, cookie(good), cookie(other), header{"Accept", "text/html"}).must(302, nil)
	if to := a.Header.Get("Location"); to != issuer+"/sign-in?why=two_sessions" {
		t.Errorf("Location %q", to)
	}
	s.do("DELETE", "/v1/session", nil, bearerToken(other)).must(204, nil)
	for _, with := range [][]credential{{cookie(good), cookie(other)}, {cookie(other), cookie(good)}} {
		s.identity(s.do("GET", "/v1/verify", nil, with...).must(200, nil), ann, claims(t, good).ID)
		events(with...).must(200, nil)
	}
	s.do("DELETE", "/v1/session", nil, bearerToken(good)).must(204, nil)
	s.do("GET", "/v1/verify", nil, cookie("x.y.z"), cookie(other), cookie(good)).problem(401, "revoked")
}

func TestVerifyTakesAnyMethod(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	raw := s.token(ann)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
		s.identity(s.do(method, "/v1/verify", nil, bearerToken(raw)).must(200, nil), ann, claims(t, raw).ID)
		s.noIdentity(s.do(method, "/v1/verify", nil).must(401, nil))
	}
	// Proxies may send the body along; it is not looked at, whatever its size.
	large := strings.Repeat("x", 1<<20)
	a := s.doWith(plainClient, "POST", "/v1/verify", large, bearerToken(raw)).must(200, nil)
	s.identity(a, ann, claims(t, raw).ID)
	a = s.doWith(plainClient, "PROPFIND", "/v1/verify", nil, bearerToken(raw)).must(200, nil)
	s.identity(a, ann, claims(t, raw).ID)
}

// A browser that asks for a page is sent to sign in, if the proxy has asked for
// that, and comes back only to where it may.
func TestVerifySendsToSignIn(t *testing.T) {
	const page = "text/html,application/xhtml+xml,*/*;q=0.8"
	const app = "http://app.curfew.test/invoices?page=2,3"
	forwarded := func(proto, host, uri string) []credential {
		return []credential{header{"X-Forwarded-Proto", proto}, header{"X-Forwarded-Host", host}, header{"X-Forwarded-Uri", uri}, header{"Accept", page}}
	}
	fromApp := forwarded("http", "app.curfew.test", "/invoices?page=2,3")
	proxied, direct := start(t, behindProxy), start(t)
	ann := proxied.user("ann")
	ended := proxied.mint(ann, func(s *token.Session) { s.IssuedAt -= 1300; s.LastRefresh -= 1300; s.ExpiresAt -= 1300 })
	for _, tt := range []struct {
		name   string
		s      *server
		method string
		query  string
		with   []credential
		to     string // Location's query; "-" for 401
	}{
		{"a browser", proxied, "GET", "?sign_in=1", fromApp, url.Values{"return": {app}}.Encode()},
		{"whose session has timed out", proxied, "GET", "?sign_in=1", append(fromApp[:4:4], cookie(ended)), url.Values{"return": {app}, "why": {"idle_timeout"}}.Encode()},
		{"HEAD", proxied, "HEAD", "?sign_in=1", fromApp, url.Values{"return": {app}}.Encode()},
		{"a POST that the proxy made a GET", proxied, "GET", "?sign_in=1", append(fromApp[:4:4], header{"X-Forwarded-Method", "POST"}), "-"},
		{"a GET that the proxy made a POST", proxied, "POST", "?sign_in=1", append(fromApp[:4:4], header{"X-Forwarded-Method", "GET"}), url.Values{"return": {app}}.Encode()},
		{"a POST", proxied, "POST", "?sign_in=1", fromApp, "-"},
		{"not configured", proxied, "GET", "", fromApp, "-"},
		{"configured otherwise", proxied, "GET", "?sign_in=0", fromApp, "-"},
		{"an API", proxied, "GET", "?sign_in=1", append(fromApp[:3:3], header{"Accept", "application/json"}), "-"},
		{"an API that takes anything", proxied, "GET", "?sign_in=1", append(fromApp[:3:3], header{"Accept", "*/*"}), "-"},
		{"an API with a token", proxied, "GET", "?sign_in=1", append(fromApp[:4:4], bearerToken(ended)), "-"},
		{"no header says where from", proxied, "GET", "?sign_in=1", []credential{header{"Accept", page}}, ""},
		{"another host", proxied, "GET", "?sign_in=1", forwarded("http", "evil.example", "/"), ""},
		{"a host with a user", proxied, "GET", "?sign_in=1", forwarded("http", "app.curfew.test@evil.example", "/"), ""},
		{"no path", proxied, "GET", "?sign_in=1", forwarded("http", "app.curfew.test", ".evil.example/"), ""},
		{"a path that is a user", proxied, "GET", "?sign_in=1", forwarded("http", "app.curfew.test", "@evil.example/"), ""},
		{"another scheme", proxied, "GET", "?sign_in=1", forwarded("javascript", "app.curfew.test", "/"), ""},
		{"two hosts", proxied, "GET", "?sign_in=1", append(forwarded("http", "app.curfew.test", "/"), header{"X-Forwarded-Host", "evil.example"}), ""},
		{"a list of hosts", proxied, "GET", "?sign_in=1", forwarded("http", "app.curfew.test, evil.example", "/"), ""},
		{"two paths", proxied, "GET", "?sign_in=1", append(forwarded("http", "app.curfew.test", "/"), header{"X-Forwarded-Uri", "//x"}), ""},
		{"directly, not through a proxy", direct, "GET", "?sign_in=1", fromApp, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.s.on(t)
			a := s.do(tt.method, "/v1/verify"+tt.query, nil, tt.with...)
			s.noIdentity(a)
			if tt.to == "-" {
				a.must(401, nil)
				return
			}
			want := issuer + "/sign-in"
			if tt.to != "" {
				want += "?" + tt.to
			}
			if a.must(302, nil); a.Header.Get("Location") != want || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Location %q, want %q", a.Header.Get("Location"), want)
			}
		})
	}
}

// A host that the list lacks is named in a warning, once, and only if a proxy that is
// trusted says it.
func TestVerifyWarnsOfUnlistedReturnHosts(t *testing.T) {
	s, direct := start(t, behindProxy), start(t)
	from := func(proto, host string) []credential {
		return []credential{header{"X-Forwarded-Proto", proto}, header{"X-Forwarded-Host", host}, header{"X-Forwarded-Uri", "/"}, header{"Accept", "text/html"}}
	}
	for _, query := range []string{"?sign_in=1", "?sign_in=location", "?sign_in=1"} {
		s.do("GET", "/v1/verify"+query, nil, from("http", "Forgotten.example:8080")...)
	}
	for _, host := range []string{"app.curfew.test", "user@evil.example", "a b", "", strings.Repeat("x", 300)} {
		s.do("GET", "/v1/verify?sign_in=1", nil, from("http", host)...)
	}
	s.do("GET", "/v1/verify?sign_in=1", nil, from("javascript", "evil.example")...)
	if log := s.logged.String(); strings.Count(log, "--return-hosts") != 2 || strings.Count(log, "host=forgotten.example:8080") != 1 {
		t.Errorf("the log has not one warning that names the host:\n%s", log)
	}
	direct.do("GET", "/v1/verify?sign_in=1", nil, from("http", "forgotten.example")...)
	if log := direct.logged.String(); strings.Contains(log, "--return-hosts") {
		t.Errorf("a client that is no proxy causes a warning:\n%s", log)
	}
}

// With sign_in=location the sign-in page is in Location of a 401. The address that
// the browser asked for arrives there whole, however the proxy names it.
func TestVerifyLocatesSignIn(t *testing.T) {
	const page = "text/html,application/xhtml+xml,*/*;q=0.8"
	proxied, direct := start(t, behindProxy), start(t)
	from := func(pairs ...string) []credential {
		with := []credential{header{"Accept", page}}
		for i := 0; i < len(pairs); i += 2 {
			with = append(with, header{pairs[i], pairs[i+1]})
		}
		return with
	}
	uri := func(target string) []credential {
		return from("X-Forwarded-Proto", "http", "X-Forwarded-Host", "app.curfew.test", "X-Forwarded-Uri", target)
	}
	const app = "http://app.curfew.test"
	for _, tt := range []struct {
		name string
		s    *server
		with []credential
		back string // "": no way back; "-": no Location
	}{
		{"several parameters", proxied, uri("/list?page=2&q=a%26b"), app + "/list?page=2&q=a%26b"},
		{"encoded number sign, plus, percent", proxied, uri("/a%23b/c+d?q=1%2B1+2&r=100%25"), app + "/a%23b/c+d?q=1%2B1+2&r=100%25"},
		{"semicolons and commas", proxied, uri("/a;v=1/b?x=1;y=2,3"), app + "/a;v=1/b?x=1;y=2,3"},
		{"an address in the address", proxied, uri("/go?to=https://x.test/?a=1&b=2&return=/&why=revoked"), app + "/go?to=https://x.test/?a=1&b=2&return=/&why=revoked"},
		{"raw number sign", proxied, uri("/a#b?c#d"), app + "/a%23b?c%23d"},
		{"raw UTF-8", proxied, uri("/bücher?q=Zoë&x=日"), app + "/b%C3%BCcher?q=Zo%C3%AB&x=%E6%97%A5"},
		{"encoded UTF-8", proxied, uri("/b%C3%BCcher"), app + "/b%C3%BCcher"},
		{"bytes that are no UTF-8", proxied, uri("/a\xff?b=\xfe"), app + "/a%FF?b=%FE"},
		{"quotes", proxied, uri(`/a"b'c?q="x"`), app + "/a%22b'c?q=%22x%22"},
		{"brackets, backslashes and the like", proxied, uri("/a\\b?q=<x>{y}|^`"), app + "/a%5Cb?q=%3Cx%3E%7By%7D%7C%5E%60"},
		{"a lone percent sign in the query", proxied, uri("/a?q=100%"), app + "/a?q=100%"},
		{"two slashes", proxied, uri("//evil.example/x"), app + "//evil.example/x"},
		{"a query without a path", proxied, from("X-Original-Url", app+"?a=1&b=2"), app + "/?a=1&b=2"},
		{"the whole address", proxied, from("X-Original-URL", app+"/list?page=2&q=a%26b"), app + "/list?page=2&q=a%26b"},
		{"the whole address, nothing but a host", proxied, from("X-Original-URL", app), app + "/"},
		{"the target by its other name", proxied, from("X-Forwarded-Proto", "http", "X-Forwarded-Host", "app.curfew.test", "X-Original-URI", "/a?b&c"), app + "/a?b&c"},
		{"both: the host is named once", proxied, append(uri("/a?b&c"), header{"X-Original-URL", "http://evil.example/"}), app + "/a?b&c"},
		{"a query that gets too long when it is encoded", proxied, uri("/list?" + strings.Repeat("&", 1900)), app + "/list"},
		{"a query that is too long", proxied, uri("/list?" + strings.Repeat("x", 2000)), app + "/list"},
		{"a path that is too long", proxied, uri("/" + strings.Repeat("x", 2000)), app + "/"},
		{"a path that gets too long when it is encoded", proxied, uri("/" + strings.Repeat("%C3", 640)), ""},

		{"another host", proxied, from("X-Original-URL", "http://evil.example/a"), ""},
		{"a user", proxied, from("X-Original-URL", "http://app.curfew.test@evil.example/a"), ""},
		{"a backslash for the end of the host", proxied, from("X-Original-URL", `http://evil.example\.app.curfew.test/`), ""},
		{"a number sign for the end of the host", proxied, from("X-Original-URL", "http://evil.example#.app.curfew.test/"), ""},
		{"another scheme", proxied, from("X-Original-URL", "javascript://app.curfew.test/%0aalert(1)"), ""},
		{"no scheme", proxied, from("X-Original-URL", "//app.curfew.test/"), ""},
		{"two addresses", proxied, append(from("X-Original-URL", app), header{"X-Original-URL", app}), ""},
		{"a tab", proxied, uri("/a\tb"), ""},
		{"a path that no program reads", proxied, uri("/a%zz"), ""},
		{"no proxy", direct, from("X-Original-URL", app), ""},
		{"an API", proxied, uri("/a")[1:], "-"},
		{"a form", proxied, append(uri("/a"), header{"X-Original-Method", "POST"}), "-"},
		{"a form by the other header", proxied, append(uri("/a"), header{"X-Forwarded-Method", "POST"}), "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.s.on(t)
			a := s.do("GET", "/v1/verify?sign_in=location", nil, tt.with...)
			s.noIdentity(a)
			a.problem(401, "missing")
			want := []string{issuer + "/sign-in"}
			switch tt.back {
			case "":
			case "-":
				want = nil
			default:
				want[0] += "?return=" + url.QueryEscape(tt.back)
			}
			if got := a.Header["Location"]; !slices.Equal(got, want) || a.Header.Get("WWW-Authenticate") == "" || len(a.Header.Get("Location")) > maxLocation {
				t.Errorf("Location\n got %q\nwant %q", got, want)
			}
		})
	}
}

// With provider the browser goes to where a sign-in through that provider starts. The
// name can't lead anywhere else.
func TestVerifyGoesToProvider(t *testing.T) {
	s := start(t, behindProxy)
	with := []credential{header{"Accept", "text/html"}, header{"X-Original-URL", "http://app.curfew.test/a?b&c"}}
	const back = "return=http%3A%2F%2Fapp.curfew.test%2Fa%3Fb%26c"
	for query, want := range map[string]string{
		"sign_in=1&provider=corp":                  "/sign-in/corp?" + back + "&why=missing",
		"provider=corp-2&sign_in=location":         "/sign-in/corp-2?" + back + "&why=missing",
		"sign_in=1&provider=":                      "/sign-in?" + back,
		"sign_in=1&provider=..":                    "/sign-in?" + back,
		"sign_in=1&provider=corp/callback":         "/sign-in?" + back,
		"sign_in=1&provider=//evil.example":        "/sign-in?" + back,
		"sign_in=1&provider=a%0d%0aSet-Cookie:%20": "/sign-in?" + back,
		"provider=corp":                            "",
	} {
		a := s.do("GET", "/v1/verify?"+query, nil, with...)
		s.noIdentity(a)
		if want != "" {
			want = issuer + want
		}
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("%s: Location\n got %q\nwant %q", query, got, want)
		}
	}
	a := s.do("GET", "/v1/verify?sign_in=1&provider=corp", nil, append(with, header{"Cookie", "__Host-curfew_session=x"})...)
	if got := a.Header.Get("Location"); !strings.HasSuffix(got, "&why=malformed") {
		t.Errorf("with a cookie that is not valid: %q", got)
	}
}

// A cookie that is due is renewed; a bearer token never, and nothing else is ever
// done to the cookie.
func TestVerifyRenewsTheCookie(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	ago := func(seconds int64, remember bool) string {
		return s.mint(ann, func(sess *token.Session) {
			sess.IssuedAt -= token.UnixTime(seconds)
			sess.LastRefresh -= token.UnixTime(seconds)
			sess.ExpiresAt -= token.UnixTime(seconds)
			if sess.RememberMe = remember; remember {
				sess.ExpiresAt = sess.IssuedAt + 1728000
			}
		})
	}
	fresh, due, remembered, over := ago(290, false), ago(310, false), ago(310, true), ago(1300, false)
	if a := s.do("GET", "/v1/verify", nil, cookie(fresh)).must(200, nil); a.Header.Get("Set-Cookie") != "" {
		t.Error("a cookie that is not due is renewed")
	}
	if a := s.do("GET", "/v1/verify", nil, bearerToken(due)).must(200, nil); a.Header.Get("Set-Cookie") != "" {
		t.Error("a bearer token became a cookie")
	}
	for raw, persistent := range map[string]bool{due: false, remembered: true} {
		a := s.do("GET", "/v1/verify", nil, cookie(raw)).must(200, nil)
		s.identity(a, ann, claims(t, raw).ID)
		cookies := a.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "__Host-curfew_session" || (cookies[0].MaxAge > 0) != persistent || !cookies[0].HttpOnly || !cookies[0].Secure {
			t.Fatalf("cookies %v", a.Header["Set-Cookie"])
		}
		if claims(t, cookies[0].Value).ID != claims(t, raw).ID {
			t.Error("another session")
		}
		if b := s.do("GET", "/v1/verify", nil, cookie(cookies[0].Value)).must(200, nil); b.Header.Get("Set-Cookie") != "" {
			t.Error("the renewed cookie is renewed once more")
		}
	}
	for _, raw := range []string{over, "x.y.z"} {
		if a := s.do("GET", "/v1/verify", nil, cookie(raw)).must(401, nil); a.Header.Get("Set-Cookie") != "" {
			t.Errorf("a refusal touches the cookie: %v", a.Header["Set-Cookie"])
		}
	}

	// A page makes many requests at once: each gets in, whatever becomes of the
	// renewal.
	due = ago(310, false)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if a := s.do("GET", "/v1/verify", nil, cookie(due)); a.StatusCode != 200 {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	all.Wait()

	// The store knows better than the cache: a session that was revoked a moment
	// ago elsewhere is not renewed.
	if _, err := s.sessions.RevokeUser(context.Background(), trusted, ann.ID, "", false, 0); err != nil {
		t.Fatal(err)
	}
	if a := s.do("GET", "/v1/verify", nil, cookie(due)).must(401, nil); a.Header.Get("Set-Cookie") != "" {
		t.Error("a revoked session gets a cookie")
	}
}

// An id that only just is one arrives in the header as it is.
func TestVerifyHeaderSafe(t *testing.T) {
	s := start(t)
	client := s.service("gateway", store.Issue)
	const id = "A-z0.9_~:@|" + "x"
	var issued struct{ Token string }
	s.do("POST", "/v1/users/"+url.PathEscape(id)+"/sessions", nil, client).must(201, &issued)
	a := s.do("GET", "/v1/verify", nil, bearerToken(issued.Token)).must(200, nil)
	if got := a.Header.Get("Remote-User"); got != id {
		t.Errorf("Remote-User: %q, want %q", got, id)
	}
}
