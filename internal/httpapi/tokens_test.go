package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest/hostile"
)

// A door is a way in that takes a token. enter reports whether it lets the token
// in, and the code word if not.
type door struct {
	name  string
	enter func(s *server, raw string) (in bool, code string)
}

// doors are all of them. A test holds them against the table of routes.
func doors(clients basic) []door {
	bearerDoor := func(method, path string, body any) func(*server, string) (bool, string) {
		return func(s *server, raw string) (bool, string) {
			a := s.do(method, path, body, bearerToken(raw))
			return a.StatusCode != 401 && a.StatusCode != 503, a.code()
		}
	}
	all := []door{
		{"verify by cookie", func(s *server, raw string) (bool, string) {
			a := s.do("GET", "/v1/verify", nil, cookie(raw))
			if in := a.StatusCode == 200; in != (a.Header.Get("Remote-User") != "") {
				s.Errorf("%d with Remote-User %q", a.StatusCode, a.Header.Get("Remote-User"))
			}
			return a.StatusCode == 200, a.code()
		}},
		{"POST /oauth/introspect", func(s *server, raw string) (bool, string) {
			var active struct{ Active bool }
			a := s.do("POST", "/oauth/introspect", "token="+raw, clients).must(200, &active)
			if !active.Active && strings.TrimSpace(string(a.body)) != `{"active":false}` {
				s.Errorf("inactive, and more: %s", a.body)
			}
			return active.Active, ""
		}},
	}
	for _, r := range Routes() {
		// Signing out and RFC 7009 answer success; see TestEndingWhatHasEnded.
		if r.Who != Bearer && r.Who != BearerOrCookie || r.Method == "DELETE" && r.Pattern == "/v1/session" {
			continue
		}
		method := r.Method
		if method == "" {
			method = "GET"
		}
		// Paths and bodies that do no harm if they are let through.
		path := strings.NewReplacer("{id}", "nobody", "{sid}", "none", "{epoch}", "1").Replace(r.Pattern)
		all = append(all, door{method + " " + r.Pattern, bearerDoor(method, path, nil)})
	}
	return all
}

// A revoked token opens none of the doors, of which there are as many as routes
// that take one.
func TestRevokedTokenFailsEverywhere(t *testing.T) {
	s := start(t)
	ann := s.user("ann", store.AdministerSystem)
	clients := s.service("resource", store.Introspect)
	raw := s.token(ann)
	for _, d := range doors(clients) {
		if in, code := d.enter(s, raw); !in {
			t.Errorf("%s: a good token is refused: %s", d.name, code)
		}
	}
	if _, err := s.sessions.RevokeUser(context.Background(), trusted, ann.ID, "", false, 0); err != nil {
		t.Fatal(err)
	}
	for _, d := range doors(clients) {
		if in, code := d.enter(s, raw); in || code != "" && code != "revoked" {
			t.Errorf("%s: in: %v, code %q", d.name, in, code)
		}
	}
}

// The 3×3×3 matrix at every door: everyone, the user and the session, each never
// revoked, revoked before the sign-in, or after it; and remembered as well.
func TestMatrix(t *testing.T) {
	for name, options := range engines(t) {
		t.Run(name, func(t *testing.T) { matrix(t, start(t, options(t)...)) })
	}
}

func matrix(t *testing.T, s *server) {
	const never, before, after = 0, 1, 2
	when := []string{"never", "before", "after"}
	ctx := context.Background()
	clients := s.service("resource", store.Introspect)
	all := doors(clients)
	put := func(scope revocation.Scope) {
		t.Helper()
		var revoked revocation.Revocation
		err := s.store.Update(ctx, func(tx store.Tx) error {
			epoch, err := tx.Advance(ctx, time.Now())
			if err != nil {
				return err
			}
			revoked = revocation.Revocation{Scope: scope, Epoch: epoch}
			return tx.PutRevocations(ctx, revoked)
		})
		if err != nil {
			t.Fatal(err)
		}
		s.node.Applied(revoked)
	}
	// Everyone cannot be "never" once it has been revoked, so those come first.
	for everyone := range 3 {
		for user := range 3 {
			for one := range 3 {
				for _, remember := range []bool{false, true} {
					name := fmt.Sprintf("everyone %s, user %s, session %s, remember me %v", when[everyone], when[user], when[one], remember)
					u := s.user("u " + token.NewSessionID())
					sid := token.NewSessionID()
					scopes := map[revocation.Scope]int{revocation.Everyone(): everyone, revocation.User(u.ID): user, revocation.Session(sid): one}
					for scope, w := range scopes {
						if w == before {
							put(scope)
						}
					}
					raw := s.mint(u, func(sess *token.Session) {
						sess.ID = sid
						if sess.RememberMe = remember; remember {
							sess.ExpiresAt = sess.MaximumEnd(settings.Default())
						}
					})
					for scope, w := range scopes {
						if w == after {
							put(scope)
						}
					}
					good := everyone != after && user != after && one != after
					for _, d := range all {
						in, code := d.enter(s.on(t), raw)
						if in != good || !good && code != "revoked" && code != "" {
							t.Errorf("%s: %s: in: %v, code %q", name, d.name, in, code)
						}
					}
				}
			}
		}
	}
	// Remembered binds remember-me sessions and no others.
	u := s.user("r")
	ordinary, remembered := s.token(u), s.token(u, true)
	put(revocation.Remembered())
	later := s.token(u, true)
	for _, d := range all {
		for raw, good := range map[string]bool{ordinary: true, remembered: false, later: true} {
			if in, code := d.enter(s.on(t), raw); in != good {
				t.Errorf("remembered: %s: in: %v, code %q", d.name, in, code)
			}
		}
	}
}

// Signing out and revoking a token answer success, be there a session to end or
// not, and whatever they were called with is dead afterwards.
func TestEndingWhatHasEnded(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	client := s.service("gateway", store.Introspect)
	tokens := map[string]func() string{
		"good": func() string { return s.token(ann) },
		"revoked": func() string {
			raw := s.token(ann)
			if _, err := s.sessions.RevokeUser(context.Background(), trusted, ann.ID, "", false, 0); err != nil {
				t.Fatal(err)
			}
			return raw
		},
		"timed out": func() string {
			return s.mint(ann, func(sess *token.Session) {
				sess.IssuedAt -= 1300
				sess.LastRefresh -= 1300
				sess.ExpiresAt -= 1300
			})
		},
		"over": func() string {
			return s.mint(ann, func(sess *token.Session) {
				sess.IssuedAt -= token.UnixTime(settings.Seconds(settings.DefaultMaximumSessionDuration))
			})
		},
	}
	for name, one := range tokens {
		s.do("DELETE", "/v1/session", nil, bearerToken(one())).must(204, nil)
		for _, who := range [][]credential{nil, {client}} {
			s.do("POST", "/oauth/revoke", "token="+one()+"&token_type_hint=access_token", who...).must(200, nil)
		}
		raw := one()
		s.do("POST", "/oauth/revoke", "token="+raw, bearerToken(raw)).must(200, nil)
		s.do("DELETE", "/v1/session", nil, bearerToken(raw)).must(204, nil)
		if a := s.do("GET", "/v1/session", nil, bearerToken(raw)); a.StatusCode != 401 {
			t.Errorf("%s: %d after it was revoked", name, a.StatusCode)
		}
	}
	for name, raw := range map[string]string{"none": "", "no token": "x", "forged": s.token(ann)[:200] + ".x.y"} {
		if raw != "" {
			s.do("POST", "/oauth/revoke", "token="+raw).must(200, nil)
			s.do("POST", "/oauth/revoke", "token="+raw, client).must(200, nil)
			s.do("DELETE", "/v1/session", nil, bearerToken(raw)).problem(401, "malformed")
			continue
		}
		s.do("DELETE", "/v1/session", nil).problem(401, "missing")
		if p := s.do("POST", "/oauth/revoke", "token=").problem(400, "invalid_request"); p.Error != "invalid_request" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// An old token that has timed out ends its session all the same, which lives on
// with a newer token.
func TestSigningOutWithAnOldToken(t *testing.T) {
	for name, end := range map[string]func(s *server, raw string){
		"DELETE /v1/session": func(s *server, raw string) { s.do("DELETE", "/v1/session", nil, bearerToken(raw)).must(204, nil) },
		"POST /oauth/revoke": func(s *server, raw string) { s.do("POST", "/oauth/revoke", "token="+raw).must(200, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			var old, fresh string
			sid := token.NewSessionID()
			old = s.mint(s.admin, func(sess *token.Session) {
				sess.ID, sess.IssuedAt, sess.LastRefresh, sess.ExpiresAt = sid, sess.IssuedAt-1300, sess.LastRefresh-1300, sess.ExpiresAt-1300
			})
			fresh = s.mint(s.admin, func(sess *token.Session) { sess.ID, sess.IssuedAt = sid, sess.IssuedAt-1300 })
			s.do("GET", "/v1/session", nil, bearerToken(old)).problem(401, "idle_timeout")
			s.do("GET", "/v1/session", nil, bearerToken(fresh)).must(200, nil)
			end(s, old)
			s.do("GET", "/v1/session", nil, bearerToken(fresh)).problem(401, "revoked")
		})
	}
}

// A hostile token gets its reason on every interface, never a 5xx, and is never echoed.
func TestHostileTokens(t *testing.T) {
	s := start(t)
	issuer := s.hostile()
	client := s.service("resource", store.Introspect)
	issuer.SetNow(time.Now())
	s.advanceTo(issuer.Epoch())
	all := hostile.Tokens(issuer)
	if len(all) < 150 {
		t.Fatalf("%d hostile tokens, want 150", len(all))
	}
	for _, h := range all {
		t.Run(h.Name, func(t *testing.T) {
			s := s.on(t)
			for _, where := range []struct {
				name string
				send func() (*answer, error)
			}{
				{"bearer", func() (*answer, error) { return s.try("GET", "/v1/session", "Authorization", "Bearer "+h.Raw) }},
				{"refresh", func() (*answer, error) {
					return s.try("POST", "/v1/session/refresh", "Authorization", "Bearer "+h.Raw)
				}},
				{"verify", func() (*answer, error) { return s.try("GET", "/v1/verify", "Authorization", "Bearer "+h.Raw) }},
				{"cookie", func() (*answer, error) {
					return s.try("GET", "/v1/verify", "Cookie", "__Host-curfew_session="+h.Raw)
				}},
			} {
				a, err := where.send()
				if err != nil {
					continue // net/http would not even send it
				}
				s.unharmed(h, where.name, a)
				// A header loses spaces at its ends and a cookie ends at a semicolon,
				// so the server sees another token than this; and net/http does not
				// read headers that are too long.
				if !plain(h.Raw) || a.StatusCode == 431 {
					continue
				}
				if a.StatusCode != 401 || a.code() != string(h.Want) {
					s.Errorf("%s: %d %q, want 401 %q", where.name, a.StatusCode, a.code(), h.Want)
				}
			}
			for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
				a := s.do("POST", path, form("token", h.Raw), client, header{"Content-Type", "application/x-www-form-urlencoded"})
				s.unharmed(h, path, a)
				if len(h.Raw) > 20_000 || h.Raw == "" {
					continue // 413, 400
				}
				if a.StatusCode != 200 || path == "/oauth/introspect" && strings.TrimSpace(string(a.body)) != `{"active":false}` {
					s.Errorf("%s: %d %s", path, a.StatusCode, a.body)
				}
			}
		})
	}
	if logged := s.logged.String(); strings.Contains(logged, "eyJhbGci") || strings.Contains(logged, "panic") {
		t.Error("the log has a token in it, or a panic")
	}
}

// advanceTo puts the server's epoch clock where the issuer's stands, so that its
// tokens are not taken for some from the future, and those that are for nothing
// else.
func (s *server) advanceTo(epoch revocation.Epoch) {
	s.Helper()
	ctx := context.Background()
	err := s.store.Update(ctx, func(tx store.Tx) error {
		at, err := tx.Advance(ctx, epoch.Time())
		if err == nil && at != epoch {
			err = fmt.Errorf("the clock stands at %d, want %d", at, epoch)
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
}

// unharmed checks that a hostile token neither breaks the server nor is echoed.
func (s *server) unharmed(h hostile.Token, where string, a *answer) {
	s.Helper()
	if a.StatusCode >= 500 {
		s.Errorf("%s: %d %s", where, a.StatusCode, a.body)
	}
	text := string(a.body)
	for name, values := range a.Header {
		text += "\n" + name + ": " + strings.Join(values, ",")
	}
	if len(h.Raw) > 8 && strings.Contains(text, h.Raw) {
		s.Errorf("%s: the token comes back: %.200s", where, text)
	}
	for part := range strings.SplitSeq(h.Raw, ".") {
		if len(part) > 16 && strings.Contains(text, part) {
			s.Errorf("%s: a part of the token comes back: %.200s", where, text)
		}
	}
}

// plain reports whether a token arrives in a header as it is.
func plain(raw string) bool {
	return raw != "" && !strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`",;\`, c) })
}

// Refreshing keeps what must be kept, and does not revive.
func TestRefresh(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	old := s.mint(ann, func(sess *token.Session) {
		sess.IssuedAt -= 600
		sess.LastRefresh -= 600
		sess.ExpiresAt -= 600
	})
	var issued wire.Issued
	s.do("POST", "/v1/session/refresh", `{}`, bearerToken(old)).must(200, &issued)
	was, is := claims(t, old), claims(t, issued.Token)
	if was.ID != is.ID || was.Epoch != is.Epoch || !issued.Session.IssuedAt.Before(issued.Session.LastRefresh) {
		t.Errorf("%+v became %+v", was, issued.Session)
	}
	s.do("POST", "/v1/session/refresh", `{"remember_me":true}`, bearerToken(old)).problem(400, "invalid_request")
	if _, err := s.sessions.RevokeUser(context.Background(), trusted, ann.ID, "", false, 0); err != nil {
		t.Fatal(err)
	}
	s.do("POST", "/v1/session/refresh", nil, bearerToken(issued.Token)).problem(401, "revoked")
}

// A client that has authenticated a user gets a session for them, who need not
// exist yet.
func TestIssue(t *testing.T) {
	s := start(t)
	issuer := s.service("gateway", store.Issue)
	var issued wire.Issued
	s.do("POST", "/v1/users/ldap:ann@example.com/sessions", `{"remember_me":true}`, issuer).must(201, &issued)
	if issued.Session.User.ID != "ldap:ann@example.com" || !issued.Session.RememberMe {
		t.Errorf("%+v", issued.Session)
	}
	s.do("GET", "/v1/session", nil, bearerToken(issued.Token)).must(200, nil)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "ldap:ann@example.com", Password: ""}).problem(401, "bad_credentials")
	for _, id := range []string{"me", "..", "a%2Fb", "a%20b", "%C3%A9", "a%00b", strings.Repeat("a", 129)} {
		a := s.do("POST", "/v1/users/"+id+"/sessions", nil, issuer)
		if a.StatusCode != 400 && a.StatusCode != 404 {
			t.Errorf("%s: %d %s", id, a.StatusCode, a.body)
		}
	}
	disabled := s.user("disabled")
	yes := true
	if _, _, err := s.accounts.ChangeUser(context.Background(), trusted, disabled.ID, account.UserChange{Disabled: &yes}, ""); err != nil {
		t.Fatal(err)
	}
	s.do("POST", "/v1/users/"+disabled.ID+"/sessions", nil, issuer).problem(409, "conflict")
}
