package token_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// Ending accepts tokens that grant no access any more, but none that are not
// verified.
func TestEnding(t *testing.T) {
	for _, tt := range []struct {
		name   string
		then   func(*tokentest.Issuer, token.Session) // after the token was minted
		reason token.Reason                           // that Validate gives
		want   token.Reason                           // that Ending gives; "" for a session
	}{
		{"good", func(*tokentest.Issuer, token.Session) {}, "", ""},
		{"idle", func(i *tokentest.Issuer, _ token.Session) { i.Advance(settings.DefaultSessionTimeout) }, token.ErrIdleTimeout, ""},
		{"expired", func(i *tokentest.Issuer, _ token.Session) {
			in := settings.Default()
			in.SessionTimeout *= 2
			i.ChangeSettings(in)
			i.Advance(settings.DefaultSessionTimeout)
		}, token.ErrExpired, ""},
		{"from a clock that is ahead", func(i *tokentest.Issuer, _ token.Session) { i.Advance(-2 * time.Minute) }, token.ErrNotYetValid, ""},
		{"at its maximum duration", func(i *tokentest.Issuer, _ token.Session) { i.Advance(settings.DefaultMaximumSessionDuration) }, token.ErrMaximumDuration, token.ErrMaximumDuration},
		{"revoked, and at its maximum duration", func(i *tokentest.Issuer, s token.Session) {
			i.Revoke(revocation.User(s.Subject))
			i.Advance(settings.DefaultMaximumSessionDuration)
		}, token.ErrMaximumDuration, token.ErrMaximumDuration},
		{"revoked", func(i *tokentest.Issuer, s token.Session) { i.Revoke(revocation.Session(s.ID)) }, token.ErrRevoked, token.ErrRevoked},
		{"idle and revoked", func(i *tokentest.Issuer, s token.Session) {
			i.Revoke(revocation.User(s.Subject))
			i.Advance(settings.DefaultSessionTimeout)
		}, token.ErrIdleTimeout, token.ErrRevoked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := tokentest.New(t)
			s := issuer.Session("ann")
			raw := issuer.Mint(s)
			v := issuer.Validator()
			tt.then(issuer, s)
			if _, err := v.Validate(context.Background(), raw); token.ReasonOf(err) != tt.reason {
				t.Fatalf("Validate: %v, want %q", err, tt.reason)
			}
			got, err := v.Ending(context.Background(), raw)
			if token.ReasonOf(err) != tt.want {
				t.Fatalf("Ending: %v, want %q", err, tt.want)
			}
			// A newer token of a revoked session may be good: the session is returned.
			switch left := tt.want == "" || tt.want == token.ErrRevoked; {
			case left && (got == nil || got.ID != s.ID):
				t.Errorf("Ending returned %+v, want session %q", got, s.ID)
			case !left && got != nil:
				t.Errorf("Ending returned session %q, want none", got.ID)
			}
		})
	}
}

func TestEndingProvesTheToken(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for _, h := range hostile.Tokens(issuer) {
		switch h.Want {
		case token.ErrNotYetValid, token.ErrExpired, token.ErrIdleTimeout:
			continue // these are proven
		}
		if strings.Contains(h.Name, "ahead of the store's clock") {
			continue // so is this; that it cannot have happened does not matter where it ends
		}
		if _, err := v.Ending(context.Background(), h.Raw); !errors.Is(err, h.Want) {
			t.Errorf("%s: %v, want %v", h.Name, err, h.Want)
		}
	}
}
