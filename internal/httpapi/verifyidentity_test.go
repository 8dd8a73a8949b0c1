package httpapi

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// Services take the name, the email address and the groups from headers. They are
// those of the token or, where it has none, of the store; an edge has no store.
func TestVerifyIdentity(t *testing.T) {
	s := start(t)
	edge := s.edge()
	zoe := s.member("Zoë 日本", "zoe@example.org", "ops", "Größe & Co", "admins")
	plain := s.user("plain")
	bare := func(sess *token.Session) { *sess = sess.WithIdentity("", "", nil) }
	for _, tt := range []struct {
		name   string
		user   store.User
		change func(*token.Session)
		server store.User // what the headers say
		edge   store.User
	}{
		{"in the token", zoe, func(*token.Session) {}, zoe, zoe},
		{"nothing but a name", plain, func(*token.Session) {}, plain, plain},
		{"not in the token", zoe, bare, zoe, store.User{ID: zoe.ID}},
		{"not in the token, and nothing but a name", plain, bare, plain, store.User{ID: plain.ID}},
		{"groups left out", zoe, func(sess *token.Session) { sess.Groups = nil }, zoe, store.User{ID: zoe.ID, Name: zoe.Name, Email: zoe.Email}},
		{"left out for want of room", zoe, func(sess *token.Session) { sess.Email, sess.IdentityOmitted = "", true },
			zoe, store.User{ID: zoe.ID, Name: zoe.Name, Groups: zoe.Groups}},
		{"renamed since", zoe, func(sess *token.Session) { *sess = sess.WithIdentity("Zoe", "", []string{}) },
			store.User{ID: zoe.ID, Name: "Zoe"}, store.User{ID: zoe.ID, Name: "Zoe"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := s.mint(tt.user, tt.change)
			for _, at := range []struct {
				s    *server
				want store.User
			}{{s.on(t), tt.server}, {edge.on(t), tt.edge}} {
				for range 2 { // the short way comes second
					for _, with := range []credential{bearerToken(raw), cookie(raw)} {
						at.s.identity(at.s.do("GET", "/v1/verify", nil, with).must(200, nil), at.want, claims(t, raw).ID)
					}
				}
			}
		})
	}
}

// Where --identity-claims leaves the email address out of tokens, it is that of the
// store; else a token without one is that of a user without one.
func TestVerifyWithoutEmailInTokens(t *testing.T) {
	for _, lack := range []bool{false, true} {
		s := start(t, quiet, func(c *Config, _ *setup) { c.TokensLackEmail = lack })
		ann := s.member("ann", "ann@example.org", "ops")
		raw := s.mint(ann, func(sess *token.Session) { sess.Email = "" })
		if !lack {
			ann.Email = ""
		}
		for range 2 {
			s.identity(s.do("GET", "/v1/verify", nil, bearerToken(raw)).must(200, nil), ann, claims(t, raw).ID)
		}
	}
}

// edge returns an edge of the server.
func (s *server) edge() *server {
	s.Helper()
	handler, err := NewEdge(Config{
		Clients: s.accounts, Feed: s.node, Validator: s.validator, Keys: s.node.Keys(), Settings: s.node.Settings(), Issuer: issuer,
	})
	if err != nil {
		s.Fatal(err)
	}
	return s.at(s.T, handler)
}

// What the store says is remembered for the token that it was asked about, no longer
// than a minute.
func TestVerifyLooksUp(t *testing.T) {
	s := start(t)
	ann := s.member("ann", "ann@example.org", "ops")
	raw := s.mint(ann, func(sess *token.Session) { *sess = sess.WithIdentity("", "", nil) })
	sid := claims(t, raw).ID
	s.identity(s.do("GET", "/v1/verify", nil, bearerToken(raw)).must(200, nil), ann, sid)
	name := "anna"
	changed, _, err := s.accounts.ChangeUser(t.Context(), trusted, ann.ID, account.UserChange{Name: &name}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.identity(s.do("GET", "/v1/verify", nil, bearerToken(raw)).must(200, nil), ann, sid)
	again := s.mint(ann, func(sess *token.Session) { *sess = sess.WithIdentity("", "", nil) })
	s.identity(s.do("GET", "/v1/verify", nil, bearerToken(again)).must(200, nil), changed, claims(t, again).ID)
	disabled := true
	if _, _, err := s.accounts.ChangeUser(t.Context(), trusted, ann.ID, account.UserChange{Disabled: &disabled}, ""); err != nil {
		t.Fatal(err)
	}
	s.noIdentity(s.do("GET", "/v1/verify", nil, bearerToken(raw)).must(401, nil))
}

// A header carries what every reader reads alike, or nothing.
func TestIdentityHeaders(t *testing.T) {
	for _, tt := range []struct {
		who                identity
		user, email, group string
	}{
		{identity{}, "", "", ""},
		{identity{"ann", "ann@example.org", []string{"a", "b c"}}, "ann", "ann@example.org", "a,b c"},
		{identity{"Zoë", "ü@example.org", []string{"日本", "~!\"'<>;="}}, "Zoë", "ü@example.org", "日本,~!\"'<>;="},
		{identity{"a\r\nSet-Cookie: x=y", "a\x00", []string{"a\nb"}}, "", "", ""},
		{identity{"a\tb", "a\x7f", []string{"ops", "a\u0085b", "x"}}, "", "", "ops,x"},
		{identity{" ann", "ann ", []string{" admins", "admins\u00a0", "ops"}}, "", "", "ops"},
		{identity{"\xff", "é\xc3", []string{"ops,admins", "ops"}}, "", "", "ops"},
		{identity{"é ", "\u2003é", []string{"", "é\t"}}, "", "", ""},
	} {
		h := http.Header{}
		introduce(h, &token.Session{Subject: "u", ID: "s"}, tt.who, "")
		for name, want := range map[string]string{
			"Remote-User": tt.user, "Remote-Name": tt.user, "Remote-Email": tt.email, "Remote-Groups": tt.group,
			"Curfew-User-Id": "u", "Curfew-Session": "s",
		} {
			if got := h[name]; !slices.Equal(got, []string{want}) {
				t.Errorf("%q: %s is %q, want %q", tt.who, name, got, want)
			}
		}
		if len(h) != len(identityHeaders) {
			t.Errorf("%d headers, want %d", len(h), len(identityHeaders))
		}
	}
}

// group= lets only the members through, on every way that an answer takes.
func TestVerifyGroups(t *testing.T) {
	s := start(t, quiet)
	edge := s.edge()
	ann := s.member("ann", "", "ops", "Zoë", "a b")
	bare := func(sess *token.Session) { *sess = sess.WithIdentity("", "", nil) }
	in, out := s.mint(ann, func(*token.Session) {}), s.mint(s.user("bob"), func(*token.Session) {})
	for _, tt := range []struct {
		name  string
		query string
		with  string
		want  int
		edge  int
	}{
		{"member", "group=ops", in, 200, 200},
		{"of the second", "group=admins&group=ops", in, 200, 200},
		{"of neither", "group=admins&group=root", in, 403, 403},
		{"encoded", "group=Zo%C3%AB", in, 200, 200},
		{"encoded in another normal form", "group=Zoe%CC%88", in, 200, 200},
		{"with a space", "group=a+b", in, 200, 200},
		{"the name encoded", "%67roup=admins", in, 403, 403},
		{"letter case", "group=OPS", in, 403, 403},
		{"a list is a name", "group=ops,admins", in, 403, 403},
		{"a semicolon separates nothing", "group=admins;group=ops", in, 403, 403},
		{"empty", "group=", in, 403, 403},
		{"without a value", "group", in, 403, 403},
		{"broken", "group=%zz", in, 403, 403},
		{"broken, and a good one", "group=%zz&group=ops", in, 200, 200},
		{"beside a broken parameter", "a=%zz&group=admins", in, 403, 403},
		{"a user without groups", "group=ops", out, 403, 403},
		{"a user without groups, empty", "group=", out, 403, 403},
		{"the store knows", "group=ops", s.mint(ann, bare), 200, 403},
		{"the store knows that not", "group=admins", s.mint(ann, bare), 403, 403},
		{"joined since", "group=ops", s.mint(ann, func(sess *token.Session) { sess.Groups = []string{"a b"} }), 200, 403},
		{"no session", "group=ops", "x.y.z", 401, 401},
		{"other parameters", "groups=admins&q=group%3Dadmins", in, 200, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []struct {
				s    *server
				want int
			}{{s.on(t), tt.want}, {edge.on(t), tt.edge}} {
				for range 2 {
					for _, with := range []credential{bearerToken(tt.with), cookie(tt.with)} {
						a := at.s.do("GET", "/v1/verify?"+tt.query, nil, with).must(at.want, nil)
						if at.want != 200 {
							at.s.noIdentity(a)
						} else if a.Header.Get("Remote-User") != "ann" {
							t.Errorf("Remote-User: %q", a.Header.Get("Remote-User"))
						}
						if at.want == 403 {
							a.problem(403, "forbidden")
						}
					}
				}
			}
		})
	}
	for query, says := range map[string]string{
		"group=admins":                          "This page requires membership in the group admins.",
		"group=%3Cscript%3E&group=r%26d&group=": "one of the groups &lt;script&gt;, r&amp;d, (not a valid name).",
	} {
		a := s.do("GET", "/v1/verify?"+query, nil, cookie(in), header{"Accept", "text/html"}).must(403, nil)
		s.noIdentity(a)
		if !strings.Contains(string(a.body), says) || !strings.Contains(string(a.body), "signed in as ann") || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%q: %s", query, a.body)
		}
	}
	// A user who leaves the group is refused at once: that revokes the session.
	groups := []string{"a b"}
	if _, _, err := s.accounts.ChangeUser(t.Context(), trusted, ann.ID, account.UserChange{Groups: &groups}, ""); err != nil {
		t.Fatal(err)
	}
	s.do("GET", "/v1/verify?group=ops", nil, cookie(in)).problem(401, "revoked")
}

// With credentials=cookie the cookie decides. A token of ours that is over is
// refused, however it is spelt; what else is in Authorization is the service's.
func TestVerifyByCookieAlone(t *testing.T) {
	s := start(t, quiet)
	ann, bob := s.user("ann"), s.user("bob")
	good, other := s.token(ann), s.token(bob)
	revoked, timedOut := s.token(bob), s.mint(bob, func(sess *token.Session) { sess.IssuedAt -= 1300; sess.LastRefresh -= 1300; sess.ExpiresAt -= 1300 })
	s.do("DELETE", "/v1/session", nil, bearerToken(revoked)).must(204, nil)
	const foreign = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhcHAifQ.c2ln"
	for _, tt := range []struct {
		authorization []string
		cookie        string
		code          string // "" for 200 as ann
	}{
		{nil, good, ""},
		{[]string{"Token 0123456789abcdef"}, good, ""},
		{[]string{"Basic dTpw"}, good, ""},
		{[]string{"Bearer ghp_0123456789abcdef"}, good, ""},
		{[]string{"Bearer " + foreign}, good, ""},
		{[]string{"Bearer " + good[:len(good)-4] + "AAAA"}, good, ""}, // none of our keys signed it
		{[]string{"Bearer "}, good, ""},
		{[]string{"Bearer null"}, good, ""},
		{[]string{"Bearer undefined"}, good, ""},
		{[]string{"Bearer a b c"}, good, ""},
		{[]string{"Bearer x", "Bearer y"}, good, ""},
		{[]string{"Bearer " + other}, good, ""},
		{[]string{"Bearer " + good}, "", "missing"},
		{[]string{"Bearer " + foreign}, "", "missing"},
		{[]string{"Bearer " + good}, revoked, "revoked"},
		{[]string{"Bearer " + foreign}, timedOut, "idle_timeout"},
		{[]string{"Bearer " + revoked}, good, "revoked"},
		{[]string{"Bearer " + timedOut}, good, "idle_timeout"},
		{[]string{"bearer  " + revoked}, good, "revoked"},
		{[]string{"Bearer:" + revoked}, good, "revoked"},
		{[]string{"Bearer \"" + revoked + "\""}, good, "revoked"},
		{[]string{"Bearer x, Bearer " + revoked}, good, "revoked"},
		{[]string{"Bearer x", "Bearer " + revoked}, good, "revoked"},
		{[]string{"JWT " + revoked}, good, "revoked"},
		{[]string{strings.Repeat(foreign+" ", maxForeign)}, good, ""},
		{[]string{strings.Repeat(foreign+" ", maxForeign+1)}, good, "malformed"},
	} {
		var with []credential
		for _, line := range tt.authorization {
			with = append(with, header{"Authorization", line})
		}
		if tt.cookie != "" {
			with = append(with, cookie(tt.cookie))
		}
		for range 2 {
			a := s.do("GET", "/v1/verify?credentials=cookie", nil, with...)
			if tt.code != "" {
				s.noIdentity(a)
				a.problem(401, tt.code)
				continue
			}
			s.identity(a.must(200, nil), ann, claims(t, good).ID)
		}
	}
	// A browser is sent to sign in whatever the service has it send.
	a := s.do("GET", "/v1/verify?credentials=cookie&sign_in=1", nil, header{"Authorization", "Bearer app"}, header{"Accept", "text/html"})
	if a.must(302, nil); a.Header.Get("Location") != issuer+"/sign-in" {
		t.Errorf("Location: %q", a.Header.Get("Location"))
	}
}

// Envoy appends the path and the query of the user's request: neither means anything,
// whatever its form.
func TestVerifyBelowItsPath(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	raw := s.token(ann)
	for _, path := range []string{
		"/", "/invoices/7?x=1", "//", "/a//b", "/../../livez", "/./x", "/..%2f..%2fv1%2fusers", "/a%2Fb", "/%00%0d%0aX:y", "/%ff", "/a;b=c", "/日本",
		"/?group=admins&sign_in=1&preflight=1&credentials=cookie", "/?;&%zz", "/users/me", "/" + strings.Repeat("x", 8000), "/{path}", "/x/",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT", "M-SEARCH"} {
			for want, with := range map[int][]credential{200: {bearerToken(raw)}, 401: {header{"Accept", "text/html"}}} {
				r := httptest.NewRequest("GET", "/v1/verify", strings.NewReader("a body"))
				r.RequestURI = "/v1/verify" + path
				u, err := r.URL.Parse("http://curfew.test")
				if err != nil {
					t.Fatal(err)
				}
				if u, err = u.Parse(r.RequestURI); err != nil && !strings.Contains(path, "..") {
					t.Fatal(err)
				}
				r.Method = method
				if strings.Contains(path, "..") || strings.Contains(path, "./") || strings.Contains(path, "//") {
					u.Path, u.RawPath = "/v1/verify"+path, "" // as a server reads it; Parse resolves it
				}
				r.URL = u
				r.URL.Scheme, r.URL.Host = "", ""
				for _, c := range append(with, header{"Origin", "https://a.test"}, header{"Access-Control-Request-Method", "PUT"}) {
					c.put(r)
				}
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				a := &answer{t, w.Result(), method + " " + path, w.Body.Bytes()}
				if a.must(want, nil); want == 200 {
					s.identity(a, ann, claims(t, raw).ID)
				} else {
					s.noIdentity(a)
				}
			}
		}
	}
	for _, path := range []string{"/v1/verifying", "/v1/verify%2Fx", "/v1%2Fverify", "//v1/verify", "/v1/../v1/verify"} {
		s.doWith(plainClient, "GET", path, nil, bearerToken(raw)).must(404, nil)
	}
}

// preflight=1 lets preflights through, and names no user to the service.
func TestVerifyPreflight(t *testing.T) {
	proxied, direct := start(t, behindProxy), start(t)
	origin, asks := header{"Origin", "https://spa.test"}, header{"Access-Control-Request-Method", "PUT"}
	forwarded := func(method string) header { return header{"X-Forwarded-Method", method} }
	original := func(method string) header { return header{"X-Original-Method", method} }
	good := proxied.token(proxied.user("ann"))
	for _, tt := range []struct {
		name   string
		s      *server
		method string
		query  string
		with   []credential
		want   int
	}{
		{"Caddy, Traefik", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS")}, 200},
		{"nginx", proxied, "GET", "preflight=1", []credential{origin, asks, original("OPTIONS")}, 200},
		{"the method of the question", proxied, "OPTIONS", "preflight=1", []credential{origin, asks}, 200},
		{"the same from anywhere", direct, "OPTIONS", "preflight=1", []credential{origin, asks}, 200},
		{"with a session", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS"), bearerToken(good), cookie(good)}, 200},
		{"with more in the query", proxied, "GET", "group=ops&preflight=1&sign_in=1", []credential{origin, asks, original("OPTIONS")}, 200},

		{"not asked for", proxied, "OPTIONS", "", []credential{origin, asks, forwarded("OPTIONS")}, 401},
		{"another value", proxied, "OPTIONS", "preflight=0", []credential{origin, asks}, 401},
		{"no Origin", proxied, "OPTIONS", "preflight=1", []credential{asks}, 401},
		{"an empty Origin", proxied, "OPTIONS", "preflight=1", []credential{header{"Origin", ""}, asks}, 401},
		{"two Origins", proxied, "OPTIONS", "preflight=1", []credential{origin, origin, asks}, 401},
		{"no method asked for", proxied, "OPTIONS", "preflight=1", []credential{origin}, 401},
		{"two methods asked for", proxied, "OPTIONS", "preflight=1", []credential{origin, asks, asks}, 401},
		{"a GET", proxied, "GET", "preflight=1", []credential{origin, asks}, 401},
		{"the proxy says PUT", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("PUT")}, 401},
		{"the proxy says PUT, the question is OPTIONS", proxied, "OPTIONS", "preflight=1", []credential{origin, asks, forwarded("PUT")}, 401},
		{"nginx says PUT, the client OPTIONS", proxied, "GET", "preflight=1", []credential{origin, asks, original("PUT"), forwarded("OPTIONS")}, 401},
		{"Caddy says PUT, the client OPTIONS", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("PUT"), original("OPTIONS")}, 401},
		{"the client says it twice", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS"), forwarded("PUT")}, 401},
		{"a list", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS, PUT")}, 401},
		{"letter case", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("options")}, 401},
		{"the question is PUT, the client says OPTIONS", proxied, "PUT", "preflight=1", []credential{origin, asks, forwarded("OPTIONS")}, 401},
		{"not a trusted proxy", direct, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS")}, 401},
		{"the parameter is the user's", proxied, "GET", "preflight=1", []credential{origin, asks, forwarded("OPTIONS"), header{"X-Forwarded-Uri", "/a?preflight=1"}}, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.s.on(t)
			a := s.do(tt.method, "/v1/verify?"+tt.query, nil, tt.with...).must(tt.want, nil)
			s.noIdentity(a)
			if tt.want == 200 && (len(a.body) != 0 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Set-Cookie") != "") {
				t.Errorf("%v %q", a.Header, a.body)
			}
		})
	}
}

// The questions that are remembered are bounded, and each is still read right.
func TestQuestionsAreBounded(t *testing.T) {
	var q questions
	for i := range 3 * maxQuestions {
		query := "group=" + strings.Repeat("x", i+1)
		for range 2 {
			r := httptest.NewRequest("GET", "/v1/verify?"+query, nil)
			if got := q.of(r); len(got.groups) != 1 || "group="+got.groups[0] != query && i < 64 {
				t.Fatalf("%s is read as %+v", query, got)
			}
		}
	}
	n := 0
	q.known.Range(func(any, any) bool { n++; return true })
	if n != maxQuestions {
		t.Errorf("%d questions are remembered, want %d", n, maxQuestions)
	}
}
