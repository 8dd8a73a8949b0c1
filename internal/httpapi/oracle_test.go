package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// A client that may introspect learns only that a token is not active, and nothing
// else: not whether it ever was, which user it belonged to, or how it ended (RFC
// 7662, section 2.2). The answers are the same to the byte, headers included.
func TestIntrospectionIsNoOracle(t *testing.T) {
	s := start(t)
	issuer := s.hostile()
	issuer.SetNow(time.Now())
	s.advanceTo(issuer.Epoch())
	client := s.service("resource", store.Introspect)
	ctx := context.Background()
	ann, gone := s.user("ann"), s.user("gone")

	foreign := tokentest.New(t)
	foreign.Name, foreign.Audience = issuer.Name, issuer.Audience
	foreign.SetNow(time.Now())
	ago := func(seconds int64) func(*token.Session) {
		return func(sess *token.Session) {
			sess.IssuedAt -= token.UnixTime(seconds)
			sess.LastRefresh -= token.UnixTime(seconds)
			sess.ExpiresAt -= token.UnixTime(seconds)
		}
	}
	tokens := map[string]string{
		"garbage": "garbage", "three parts of garbage": "a.b.c", "long": strings.Repeat("a", 9000), "binary": "\x00\xff\r\n",
		"idle":             s.mint(ann, ago(1201)),
		"expired":          s.mint(ann, func(sess *token.Session) { ago(60)(sess); sess.ExpiresAt = sess.LastRefresh + 59 }),
		"over":             s.mint(ann, ago(1728001)),
		"from the future":  s.mint(ann, ago(-3600)),
		"another issuer":   s.mint(ann, func(sess *token.Session) { sess.Issuer = "https://other.example" }),
		"another audience": s.mint(ann, func(sess *token.Session) { sess.Audience = []string{"https://other.example"} }),
		"another server's": foreign.Token(ann.ID),
		"revoked":          s.token(ann), "signed out": s.token(ann), "disabled": s.token(gone), "remembered": s.token(ann, true),
	}
	good := s.token(ann)
	tokens["half of a good one"], tokens["a good one and more"] = good[:len(good)/2], good+"A"
	tokens["a good one with another signature"] = good[:len(good)-10] + strings.Repeat("A", 10)
	s.do("DELETE", "/v1/session", nil, bearerToken(tokens["signed out"])).must(204, nil)
	s.do("DELETE", "/v1/users/"+ann.ID+"/sessions/"+claims(t, tokens["revoked"]).ID, nil, bearerToken(s.token(s.admin))).must(204, nil)
	if _, err := s.sessions.RevokeMany(ctx, trusted, session.Many{Scope: "remembered"}, 0); err != nil {
		t.Fatal(err)
	}
	yes := true
	if _, _, err := s.accounts.ChangeUser(ctx, trusted, gone.ID, account.UserChange{Disabled: &yes}, ""); err != nil {
		t.Fatal(err)
	}
	for _, h := range hostile.Tokens(issuer) {
		if h.Raw != "" && len(h.Raw) < 10_000 { // others are no request that introspection takes
			tokens["hostile: "+h.Name] = h.Raw
		}
	}

	shown := func(raw string) string {
		t.Helper()
		a := s.do("POST", "/oauth/introspect", form("token", raw), client).must(http.StatusOK, nil)
		for _, own := range []string{"Date", "X-Request-Id"} { // each answer has its own
			a.Header.Del(own)
		}
		return fmt.Sprint(a.Status, a.Header, string(a.body))
	}
	want := shown("nothing of ours")
	if !strings.Contains(want, `{"active":false}`) {
		t.Fatalf("the answer is %s", want)
	}
	for name, raw := range tokens {
		if got := shown(raw); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	if got := shown(good); got == want || len(tokens) < 150 {
		t.Errorf("%d tokens, and a good one is answered with %s: this proves nothing", len(tokens), got)
	}
}
