package token_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// used is a call of OnUse.
type used struct {
	session string
	at      time.Time
}

func newUseValidator(t *testing.T, remembered int) (*tokentest.Issuer, *token.Validator, *[]used) {
	t.Helper()
	issuer := tokentest.New(t)
	config := issuer.Config()
	config.RememberedBytes = remembered
	calls := &[]used{}
	config.OnUse = func(s *token.Session, at time.Time) { *calls = append(*calls, used{s.ID, at}) }
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return issuer, v, calls
}

// OnUse is called for the first accepted token, and not again within the interval.
func TestOnUse(t *testing.T) {
	const every = 5*time.Minute + 10*time.Second
	for _, way := range []string{"Validate", "the fast path"} {
		t.Run(way, func(t *testing.T) {
			issuer, v, calls := newUseValidator(t, 0)
			start := issuer.Now()
			raw := issuer.Token("ann")
			s, err := v.Validate(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if len(*calls) != 1 || (*calls)[0] != (used{s.ID, start}) {
				t.Fatalf("calls %v, want one at %v", *calls, start)
			}
			want := 1
			for _, step := range []struct {
				at  time.Duration
				due bool
			}{
				{0, false}, {time.Second, false},
				{every - 1, false}, {every, true}, {every + 1, false},
				{every - time.Second, false}, // the clock was set back
				{2*every - 1, false}, {2 * every, true},
				{every + 1, false}, {every, true}, // and by more
			} {
				issuer.SetNow(start.Add(step.at))
				if way == "Validate" {
					if _, err := v.Validate(t.Context(), raw); err != nil {
						t.Fatal(err)
					}
				} else if v.ValidateRemembered(t.Context(), raw) == nil {
					t.Fatal("not remembered")
				}
				if step.due {
					want++
				}
				if len(*calls) != want {
					t.Fatalf("%v after the first: %d calls, want %d", step.at, len(*calls), want)
				}
				if last := (*calls)[want-1]; step.due && !last.at.Equal(start.Add(step.at)) {
					t.Errorf("called with %v, want %v", last.at, start.Add(step.at))
				}
			}
		})
	}
}

// Each token of a session is noted by itself, and each check of a token that is not
// cached.
func TestOnUseOfSeveralTokens(t *testing.T) {
	issuer, v, calls := newUseValidator(t, -1)
	raw := issuer.Token("ann")
	for range 3 {
		if _, err := v.Validate(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	if len(*calls) != 3 {
		t.Errorf("not cached: %d calls, want 3", len(*calls))
	}
}

// A refused token is no use: neither is a request that only ends the session.
func TestOnUseOfRefusedTokens(t *testing.T) {
	issuer, v, calls := newUseValidator(t, 0)
	raw := issuer.Token("ann")
	if _, err := v.Ending(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Validate(t.Context(), raw[:len(raw)-4]+"AAAA"); !errors.Is(err, token.ErrBadSignature) {
		t.Fatalf("error %v, want %v", err, token.ErrBadSignature)
	}
	issuer.Revoke(revocation.User("ann"))
	if _, err := v.Validate(t.Context(), raw); !errors.Is(err, token.ErrRevoked) {
		t.Fatalf("error %v, want %v", err, token.ErrRevoked)
	}
	if v.ValidateRemembered(context.Background(), raw) != nil {
		t.Fatal("a revoked token is accepted")
	}
	if len(*calls) > 0 {
		t.Errorf("calls %v, want none", *calls)
	}
}

// Of many checks at once, one calls OnUse.
func TestOnUseAtOnce(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	var calls atomic.Int64
	config.OnUse = func(*token.Session, time.Time) { calls.Add(1) }
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	raw := issuer.Token("ann")
	if _, err := v.Validate(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	issuer.SetNow(issuer.Now().Add(6 * time.Minute))
	var checks sync.WaitGroup
	for range 16 {
		checks.Go(func() {
			for range 100 {
				if _, err := v.Validate(t.Context(), raw); err != nil {
					t.Error(err)
				}
			}
		})
	}
	checks.Wait()
	if calls.Load() != 2 {
		t.Errorf("%d calls, want 2", calls.Load())
	}
}
