package oidc_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
)

// now is a whole second, as tokens have them.
var now = time.Unix(1_800_000_000, 0)

func TestVerifyLogout(t *testing.T) {
	p, other := oidctest.New(t), oidctest.New(t)
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	typ := func(typ string) func(map[string]any) string {
		return func(claims map[string]any) string { return p.Sign(typ, claims) }
	}
	for name, test := range map[string]struct {
		edit map[string]any // members that are nil are left out
		sign func(map[string]any) string
		want error
	}{
		"a session":                  {map[string]any{"sub": nil}, nil, nil},
		"a subject":                  {map[string]any{"sid": nil}, nil, nil},
		"both":                       {nil, nil, nil},
		"of type JWT":                {nil, typ("JWT"), nil},
		"without a type":             {nil, typ(""), nil},
		"several audiences":          {map[string]any{"aud": []string{"other", oidctest.ClientID}}, nil, nil},
		"issued just recently":       {map[string]any{"iat": at(-5 * time.Minute)}, nil, nil},
		"issued just too early":      {map[string]any{"iat": at(-5*time.Minute - time.Second)}, nil, oidc.ErrClock},
		"issued just not too late":   {map[string]any{"iat": at(5 * time.Minute)}, nil, nil},
		"issued just too late":       {map[string]any{"iat": at(5*time.Minute + time.Second)}, nil, oidc.ErrClock},
		"just not expired":           {map[string]any{"exp": at(-time.Minute + time.Second)}, nil, nil},
		"just expired":               {map[string]any{"exp": at(-time.Minute)}, nil, oidc.ErrToken},
		"valid just now":             {map[string]any{"nbf": at(time.Minute)}, nil, nil},
		"not valid yet":              {map[string]any{"nbf": at(time.Minute + time.Second)}, nil, oidc.ErrToken},
		"an empty subject":           {map[string]any{"sub": ""}, nil, oidc.ErrToken},
		"a session of 255 bytes":     {map[string]any{"sid": strings.Repeat("a", 255)}, nil, nil},
		"a session of 256 bytes":     {map[string]any{"sid": strings.Repeat("a", 256)}, nil, oidc.ErrToken},
		"an empty jti":               {map[string]any{"jti": ""}, nil, oidc.ErrToken},
		"neither":                    {map[string]any{"sid": nil, "sub": nil}, nil, oidc.ErrToken},
		"an empty session":           {map[string]any{"sid": "", "sub": "s"}, nil, oidc.ErrToken},
		"a session that is no text":  {map[string]any{"sid": 7}, nil, oidc.ErrToken},
		"without iat":                {map[string]any{"iat": nil}, nil, oidc.ErrToken},
		"without exp":                {map[string]any{"exp": nil}, nil, oidc.ErrToken},
		"without jti":                {map[string]any{"jti": nil}, nil, oidc.ErrToken},
		"without events":             {map[string]any{"events": nil}, nil, oidc.ErrToken},
		"another event":              {map[string]any{"events": map[string]any{"x": map[string]any{}}}, nil, oidc.ErrToken},
		"another event besides":      {map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}, "revoke_offline_access": true}}, nil, nil},
		"an event that is no object": {map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": true}}, nil, oidc.ErrToken},
		"a nonce":                    {map[string]any{"nonce": "x"}, nil, oidc.ErrToken},
		"another client's":           {map[string]any{"aud": "other"}, nil, oidc.ErrToken},
		"another issuer's":           {map[string]any{"iss": "https://other.test"}, nil, oidc.ErrToken},
		"an access token":            {nil, typ("at+jwt"), oidc.ErrToken},
		"signed by another":          {nil, func(claims map[string]any) string { return other.Sign("logout+jwt", claims) }, oidc.ErrToken},
		"signed with the client secret": {nil, func(claims map[string]any) string {
			return oidctest.SignWith([]byte(oidctest.Secret), jose.HS256, "x", "logout+jwt", oidctest.Encode(claims))
		}, oidc.ErrToken},
		"not signed": {nil, func(map[string]any) string { return "eyJhbGciOiJub25lIn0.e30." }, oidc.ErrToken},
	} {
		t.Run(name, func(t *testing.T) {
			claims := map[string]any{
				"iss": p.Issuer, "aud": oidctest.ClientID, "sid": "session-1", "sub": "subject-1", "jti": "token-1",
				"iat": at(0), "exp": at(2 * time.Minute), "events": event,
			}
			maps.Copy(claims, test.edit)
			maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
			sign := test.sign
			if sign == nil {
				sign = typ("logout+jwt")
			}
			c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
			got, err := c.VerifyLogout(t.Context(), registration(p), sign(claims))
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			sid, _ := claims["sid"].(string)
			sub, _ := claims["sub"].(string)
			if want := (oidc.Logout{Issuer: p.Issuer, SessionID: sid, Subject: sub, TokenID: "token-1"}); err == nil && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestVerifyLogoutWithoutKeys(t *testing.T) {
	p := oidctest.New(t)
	p.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/keys" {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	c := oidc.New(oidc.Config{})
	if _, err := c.VerifyLogout(t.Context(), registration(p), p.Sign("logout+jwt", map[string]any{"iss": p.Issuer})); !errors.Is(err, oidc.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

// A logout token that names a key which is not known yet may be valid: it is not refused
// before the keys were asked for again.
func TestVerifyLogoutWithANewKey(t *testing.T) {
	p := oidctest.New(t)
	at := now
	c := oidc.New(oidc.Config{Now: func() time.Time { return at }})
	sign := func() string {
		return p.Sign("logout+jwt", map[string]any{
			"iss": p.Issuer, "aud": oidctest.ClientID, "sid": "s", "jti": "j", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		})
	}
	if _, err := c.VerifyLogout(t.Context(), registration(p), sign()); err != nil {
		t.Fatal(err)
	}
	p.Rotate()
	raw := sign()
	for _, tt := range []struct {
		after time.Duration
		want  error
	}{{0, oidc.ErrUnreachable}, {10*time.Second - 1, oidc.ErrUnreachable}, {10 * time.Second, nil}} {
		at = now.Add(tt.after)
		if _, err := c.VerifyLogout(t.Context(), registration(p), raw); !errors.Is(err, tt.want) {
			t.Errorf("after %v: %v, want %v", tt.after, err, tt.want)
		}
	}
}

func TestLogoutIssuer(t *testing.T) {
	p := oidctest.New(t)
	issuer, audiences, err := oidc.LogoutIssuer(p.Sign("logout+jwt", map[string]any{"iss": p.Issuer, "aud": []string{"a", "b"}}))
	if err != nil || issuer != p.Issuer || len(audiences) != 2 {
		t.Errorf("%q, %q, %v", issuer, audiences, err)
	}
	for _, raw := range []string{"", "a.b", "a.b.c.d", "a.!.c", p.Sign("", map[string]any{"iss": 7, "aud": "a"}), strings.Repeat("a", 128<<10) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"a","aud":"a"}`)) + ".a", p.Sign("", map[string]any{"iss": "a"}), p.Sign("", map[string]any{"iss": "a", "aud": 7})} {
		if _, _, err := oidc.LogoutIssuer(raw); !errors.Is(err, oidc.ErrToken) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}
