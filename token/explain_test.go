package token_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// rules are all there are, in the order in which they are explained.
var rules = []string{
	"form", "header", "key", "signature", "issuer", "audience", "claims",
	"not_yet_valid", "maximum_duration", "idle_timeout", "expired",
	"revoked everyone", "revoked remembered", "revoked user", "revoked session", "view",
}

// consistent checks what must hold of any explanation.
func consistent(t *testing.T, name string, x token.Explanation, want token.Reason) {
	t.Helper()
	if x.Verdict != want || token.ReasonOf(x.Err) != want {
		t.Errorf("%s: the verdict is %q (%v), Validate says %q", name, x.Verdict, x.Err, want)
	}
	var got []string
	named := want == ""
	for _, f := range x.Findings {
		got = append(got, f.Rule)
		named = named || f.Reason == want
		if want == "" && f.Outcome != token.Holds && f.Outcome != token.DoesNotApply {
			t.Errorf("%s: the token is good, but %+v", name, f)
		}
		if fails := f.Outcome == token.Fails || f.Outcome == token.Unknown; fails != (f.Reason != "") {
			t.Errorf("%s: %+v", name, f)
		}
		if f.Outcome != token.NotChecked && f.Detail == "" {
			t.Errorf("%s: no detail in %+v", name, f)
		}
		if f.Left < 0 || f.Left > 0 && f.Outcome != token.Holds {
			t.Errorf("%s: time left in %+v", name, f)
		}
	}
	if !slices.Equal(got, rules) {
		t.Errorf("%s: the rules are %q", name, got)
	}
	if !named {
		t.Errorf("%s: no finding says %q: %+v", name, want, x.Findings)
	}
	if (x.Left() > 0) != (want == "") {
		t.Errorf("%s: %v left, but the verdict is %q", name, x.Left(), want)
	}
}

func TestExplainAgreesWithValidate(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	_, err := v.Validate(t.Context(), issuer.Token("ann"))
	consistent(t, "a good token", v.Explain(t.Context(), issuer.Token("ann")), token.ReasonOf(err))
	for _, h := range hostile.Tokens(issuer) {
		consistent(t, h.Name, v.Explain(t.Context(), h.Raw), h.Want)
	}
}

// outcomes returns the outcome of each rule, those that hold left out.
func outcomes(x token.Explanation) string {
	var out []string
	for _, f := range x.Findings {
		if f.Outcome != token.Holds {
			out = append(out, f.Rule+" "+string(f.Outcome))
		}
	}
	return strings.Join(out, ", ")
}

// All rules are looked at, not only the first that fails.
func TestExplainShowsEverything(t *testing.T) {
	const ordinary = "revoked remembered does not apply"
	const nothingRead = "issuer not checked, audience not checked, claims "
	const nothingDecided = "not_yet_valid not checked, maximum_duration not checked, idle_timeout not checked, expired not checked, " +
		"revoked everyone not checked, revoked remembered not checked, revoked user not checked, revoked session not checked"
	for _, test := range []struct {
		name   string
		raw    func(*tokentest.Issuer) string
		proven bool
		want   string
	}{
		{"good", func(i *tokentest.Issuer) string { return i.Token("ann") }, true, ordinary},
		{"remember me", func(i *tokentest.Issuer) string {
			return i.Token("ann", func(s *token.Session) { s.RememberMe = true })
		}, true, "idle_timeout does not apply"},
		{"idle, expired and revoked in three ways", func(i *tokentest.Issuer) string {
			s := i.Session("ann")
			i.Advance(time.Hour)
			i.Revoke(revocation.User("ann"))
			i.Revoke(revocation.Session(s.ID))
			i.Revoke(revocation.Everyone())
			return i.Mint(s)
		}, true, "idle_timeout fails, expired fails, revoked everyone fails, revoked remembered does not apply, revoked user fails, revoked session fails"},
		{"remembered revoked, and over", func(i *tokentest.Issuer) string {
			s := i.Session("ann", func(s *token.Session) { s.RememberMe = true })
			i.Revoke(revocation.Remembered())
			i.Advance(settings.DefaultMaximumSessionDuration)
			return i.Mint(s)
		}, true, "maximum_duration fails, idle_timeout does not apply, expired fails, revoked remembered fails"},
		{"from the future, for another audience", func(i *tokentest.Issuer) string {
			return i.Token("ann", func(s *token.Session) { s.IssuedAt += 61; s.Audience = []string{"others"} })
		}, false, "audience fails, not_yet_valid fails, " + ordinary},
		{"an unknown key's, revoked", func(i *tokentest.Issuer) string {
			raw := must(token.Mint(must(tokentest.NewKey(token.ES256)), i.Session("ann")))
			i.Revoke(revocation.User("ann"))
			return raw
		}, false, "key fails, signature not checked, revoked remembered does not apply, revoked user fails"},
		{"an unknown key's, ahead of the store's clock", func(i *tokentest.Issuer) string {
			return must(token.Mint(must(tokentest.NewKey(token.ES256)), i.Session("ann", func(s *token.Session) { s.Epoch++ })))
		}, false, "key fails, signature not checked, " + ordinary + ", view not checked"},
		{"tampered with, of another issuer", func(i *tokentest.Issuer) string {
			return i.Token("ann", func(s *token.Session) { s.Issuer += "/" }) + "AAAA"
		}, false, "signature fails, issuer fails, " + ordinary},
		{"typ JWT, expired", func(i *tokentest.Issuer) string {
			return i.Sign(token.ES256, `{"alg":"ES256","kid":"k","typ":"JWT"}`, string(must(token.WriteClaims(i.Session("ann", func(s *token.Session) { s.ExpiresAt = 1 })))))
		}, false, "header fails, key not checked, signature not checked, expired fails, " + ordinary},
		{"alg of another key", func(i *tokentest.Issuer) string {
			return i.Sign(token.ES256, `{"alg":"EdDSA","kid":"`+i.Key(token.ES256).ID()+`","typ":"session+jwt"}`, string(must(token.WriteClaims(i.Session("ann")))))
		}, false, "key fails, signature not checked, " + ordinary},
		{"a claim out of range", func(i *tokentest.Issuer) string {
			return i.Sign(token.ES256, string(token.WriteHeader(&i.Key(token.ES256).Key)), strings.Replace(string(must(token.WriteClaims(i.Session("ann")))), `"ann"`, `"me"`, 1))
		}, false, "claims fails, " + nothingDecided},
		{"claims that cannot be read", func(i *tokentest.Issuer) string {
			return i.Sign(token.ES256, string(token.WriteHeader(&i.Key(token.ES256).Key)), `{"iss":1}`)
		}, false, nothingRead + "fails, " + nothingDecided},
		{"no token", func(*tokentest.Issuer) string { return "x" }, false,
			"form fails, header not checked, key not checked, signature not checked, " + nothingRead + "not checked, " + nothingDecided},
		{"ahead of the store's clock", func(i *tokentest.Issuer) string {
			return i.Token("ann", func(s *token.Session) { s.Epoch++ })
		}, true, ordinary + ", view fails"},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := tokentest.New(t)
			v := issuer.Validator()
			raw := test.raw(issuer)
			_, err := v.Validate(t.Context(), raw)
			x := v.Explain(t.Context(), raw)
			consistent(t, test.name, x, token.ReasonOf(err))
			if got := outcomes(x); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			// Proven is what the signature, issuer and audience say, and the rest of the form.
			if x.Proven != test.proven {
				t.Errorf("proven %v, want %v", x.Proven, test.proven)
			}
		})
	}
}

func TestExplainWhatIsLeft(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raw := issuer.Token("ann")
	issuer.Advance(5*time.Minute + 500*time.Millisecond)
	want := map[string]time.Duration{
		"maximum_duration": 20*24*time.Hour - 5*time.Minute - 500*time.Millisecond,
		"idle_timeout":     15*time.Minute - 500*time.Millisecond,
		"expired":          15*time.Minute - 500*time.Millisecond,
	}
	x := v.Explain(t.Context(), raw)
	for _, f := range x.Findings {
		if f.Left != want[f.Rule] {
			t.Errorf("%s: %v left, want %v", f.Rule, f.Left, want[f.Rule])
		}
	}
	if got := x.Left(); got != 15*time.Minute-500*time.Millisecond {
		t.Errorf("%v left", got)
	}
	if x.Session == nil || x.Session.Subject != "ann" || x.KeyID != issuer.Key(token.ES256).ID() || x.Algorithm != token.ES256 || !x.At.Equal(issuer.Now()) {
		t.Errorf("%+v", x)
	}
	// An earlier setting that has ended the session is named as such.
	in := settings.Default()
	in.SessionTimeout = time.Minute
	issuer.ChangeSettings(in)
	issuer.ChangeSettings(settings.Default())
	x = v.Explain(t.Context(), raw)
	if x.Verdict != token.ErrIdleTimeout || !strings.Contains(x.Err.Error(), "earlier session timeout") {
		t.Errorf("%v, want that an earlier session timeout has ended it", x.Err)
	}
}

// A store that forgets revocations raises that of everyone, long after the last
// session from before it has ended. No user did that, and the explanation does not say
// so. The boundary is the maximum session duration before now.
func TestExplainTellsForgottenFromRevoked(t *testing.T) {
	const forgotten, revoked = "older than any session can be", "are revoked"
	for _, tt := range []struct {
		name string
		ago  time.Duration // of the revocation
		want string
	}{
		{"just within", settings.DefaultMaximumSessionDuration - time.Second, revoked},
		{"at the boundary", settings.DefaultMaximumSessionDuration, revoked},
		{"just beyond", settings.DefaultMaximumSessionDuration + time.Second, forgotten},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := tokentest.New(t)
			raw := issuer.Token("ann")
			before := issuer.Revoke(revocation.Everyone())
			issuer.SetNow(before.Time().Add(tt.ago))
			for _, f := range issuer.Validator().Explain(t.Context(), raw).Findings {
				if f.Rule == "revoked everyone" && (f.Outcome != token.Fails || !strings.Contains(f.Detail, tt.want)) {
					t.Errorf("%+v, want a failure that says %q", f, tt.want)
				}
			}
		})
	}
}

// With a partial cache, the source is asked for a token that is proven, and for no
// other.
func TestExplainWithAPartialCache(t *testing.T) {
	issuer := tokentest.New(t)
	var answer revocation.Answer
	var failure error
	asked := 0
	partial := func(capacity int) {
		issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: capacity, Source: source(func(string, string) (revocation.Answer, error) {
			asked++
			answer.AsOf = issuer.Epoch()
			return answer, failure
		})})
		t.Cleanup(issuer.Revocations.Close)
		for _, user := range []string{"u1", "u2", "u3", "u4", "u5"} {
			issuer.Revoke(revocation.User(user))
		}
	}
	for _, capacity := range []int{4, 1} { // with one there is no room for any session
		asked, failure, answer = 0, nil, revocation.Answer{}
		partial(capacity)
		v := issuer.Validator()
		forged := must(token.Mint(must(tokentest.NewKey(token.ES256)), issuer.Session("ann")))
		x := v.Explain(t.Context(), forged)
		consistent(t, "forged", x, token.ErrUnknownKey)
		if got := outcomes(x); !strings.Contains(got, "revoked user not checked") || asked != 0 {
			t.Errorf("forged: asked %d times; %s", asked, got)
		}
		x = v.Explain(t.Context(), issuer.Token("ann"))
		consistent(t, "good", x, "")
		if asked == 0 {
			t.Error("the source was not asked about a good token")
		}
		answer.Session = issuer.Epoch() + 1
		issuer.Tick()
		s := issuer.Session("ann")
		s.Epoch--
		x = v.Explain(t.Context(), issuer.Mint(s))
		consistent(t, "revoked", x, token.ErrRevoked)
		if got := outcomes(x); !strings.Contains(got, "revoked session fails") {
			t.Errorf("revoked: %s", got)
		}
		failure = errors.New("the store is gone")
		x = v.Explain(t.Context(), issuer.Token("bob"))
		consistent(t, "no server to ask", x, token.ErrUnavailable)
		if got := outcomes(x); !strings.Contains(got, "revoked user unknown") {
			t.Errorf("no server to ask: %s", got)
		}
	}
}

// A scope that decides does not hide the others, and a forged token never makes a
// partial cache ask its source, revoked or not.
func TestExplainWithAPartialCacheAndARevocation(t *testing.T) {
	issuer := tokentest.New(t)
	asked := 0
	issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 1, Source: source(func(string, string) (revocation.Answer, error) {
		asked++
		return revocation.Answer{AsOf: issuer.Epoch()}, nil
	})})
	t.Cleanup(issuer.Revocations.Close)
	remembered := func(s *token.Session) { s.RememberMe = true }
	raw := issuer.Token("ann", remembered)
	forged := must(token.Mint(must(tokentest.NewKey(token.ES256)), issuer.Session("ann", remembered)))
	for _, user := range []string{"u1", "u2", "u3"} {
		issuer.Revoke(revocation.User(user))
	}
	issuer.Revoke(revocation.Remembered())
	v := issuer.Validator()
	x := v.Explain(t.Context(), forged)
	consistent(t, "forged", x, token.ErrUnknownKey)
	if got, want := outcomes(x), "key fails, signature not checked, idle_timeout does not apply, revoked remembered fails, revoked user not checked, revoked session not checked"; got != want || asked != 0 {
		t.Errorf("forged: asked %d times; %s, want %s", asked, got, want)
	}
	x = v.Explain(t.Context(), raw)
	consistent(t, "revoked", x, token.ErrRevoked)
	if got, want := outcomes(x), "idle_timeout does not apply, revoked remembered fails"; got != want || asked == 0 {
		t.Errorf("revoked: asked %d times; %s, want %s", asked, got, want)
	}
}

func TestExplainWithoutALease(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	issuer.View.SetTrusted(false)
	issuer.View.SetCatchUp(func(context.Context) error { return errors.New("the store is gone") })
	x := v.Explain(t.Context(), issuer.Token("ann"))
	consistent(t, "no lease", x, token.ErrUnavailable)
	if got, want := outcomes(x), "revoked remembered does not apply, view unknown"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	x = v.Explain(t.Context(), must(token.Mint(must(tokentest.NewKey(token.ES256)), issuer.Session("ann"))))
	consistent(t, "no lease, unknown key", x, token.ErrUnavailable)
	if got := outcomes(x); !strings.HasPrefix(got, "key unknown, signature not checked") {
		t.Errorf("%s", got)
	}
}

// The lease runs, but what the token needs cannot be asked for.
func TestExplainWhileTheStoreIsGone(t *testing.T) {
	for name, raw := range map[string]func(*tokentest.Issuer) string{
		"view": func(i *tokentest.Issuer) string { i.Tick(); return i.Token("ann") },
		"key": func(i *tokentest.Issuer) string {
			return must(token.Mint(must(tokentest.NewKey(token.ES256)), i.Session("ann")))
		},
	} {
		issuer := tokentest.New(t)
		issuer.View.SetCatchUp(func(context.Context) error { return errors.New("the store is gone") })
		x := issuer.Validator().Explain(t.Context(), raw(issuer))
		consistent(t, name, x, token.ErrUnavailable)
		if got := outcomes(x); !strings.Contains(got, name+" unknown") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
