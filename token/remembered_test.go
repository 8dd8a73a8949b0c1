package token_test

import (
	"context"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func TestValidateRemembered(t *testing.T) {
	issuer := tokentest.New(t)
	observed := 0
	config := issuer.Config()
	config.Observe = func(token.Reason, time.Duration) { observed++ }
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	raw := issuer.Token("ann")
	ask := func(what string, want bool) {
		t.Helper()
		before := observed
		s := v.ValidateRemembered(context.Background(), raw)
		if (s != nil) != want || s != nil && s.Subject != "ann" {
			t.Errorf("%s: %+v", what, s)
		}
		if counted := observed - before; counted == 1 != want {
			t.Errorf("%s: observed %d times", what, counted)
		}
	}
	ask("never seen", false)
	ask("asking makes nothing remembered", false)
	if _, err := v.Validate(context.Background(), raw); err != nil {
		t.Fatal(err)
	}
	ask("seen", true)
	ask("seen", true)
	if s := v.ValidateRemembered(context.Background(), raw[:len(raw)-4]+"AAAA"); s != nil {
		t.Errorf("another signature is taken for it: %+v", s)
	}
	if s := v.ValidateRemembered(context.Background(), ""); s != nil {
		t.Errorf("nothing is taken for it: %+v", s)
	}
	issuer.Revoke(revocation.User("ben"))
	ask("another process revoked", true)
	issuer.Revoke(revocation.User("ann"))
	ask("revoked", false)
}

func TestValidateRememberedWithoutMemory(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	config.RememberedBytes = -1
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	raw := issuer.Token("ann")
	if _, err := v.Validate(context.Background(), raw); err != nil {
		t.Fatal(err)
	}
	if s := v.ValidateRemembered(context.Background(), raw); s != nil {
		t.Errorf("%+v", s)
	}
}
