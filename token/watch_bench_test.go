package token_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// A flood of one token: a revoked token costs no more than a good one, and neither
// does a good one whose use is noted every few minutes.
func BenchmarkValidateAgain(b *testing.B) {
	issuer := tokentest.New(b)
	good, revoked := issuer.Token("ann"), issuer.Token("ben")
	issuer.Revoke(revocation.User("ben"))
	v := issuer.Validator()
	config := issuer.Config()
	config.OnUse = func(*token.Session, time.Time) {}
	noting, err := token.NewValidator(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(noting.Close)
	for _, bench := range []struct {
		name, raw string
		v         *token.Validator
		want      error
	}{{"good", good, v, nil}, {"noted", good, noting, nil}, {"revoked", revoked, v, token.ErrRevoked}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.v.Validate(context.Background(), bench.raw); err != bench.want && !errors.Is(err, bench.want) {
					b.Fatal(err)
				}
			}
		})
	}
}

// What watching adds to a validation: nothing looks at the context, or something does.
func BenchmarkWatch(b *testing.B) {
	issuer := tokentest.New(b)
	v := issuer.Validator()
	raw := issuer.Token("ann")
	for _, looks := range []bool{false, true} {
		b.Run(fmt.Sprintf("looks=%v", looks), func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				w, err := v.Watch(ctx, raw, 0)
				if err != nil {
					b.Fatal(err)
				}
				if looks {
					_ = w.Context().Done()
				}
				w.Stop()
			}
		})
	}
}

// openWatches opens n watches of n/2 users.
func openWatches(b *testing.B, issuer *tokentest.Issuer, v *token.Validator, n int) {
	b.Helper()
	for i := range n {
		watch(b, v, issuer.Token(fmt.Sprint("user", i/2)), 0)
	}
}

// The work of a revocation grows with the streams that it ends, not with those that
// are open: here it ends none.
func BenchmarkRevokeAnother(b *testing.B) {
	for _, open := range []int{0, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			issuer := tokentest.New(b)
			openWatches(b, issuer, issuer.Validator(), open)
			for b.Loop() {
				issuer.Revoke(revocation.User("ann"))
			}
		})
	}
}

func BenchmarkRevokeEveryone(b *testing.B) {
	const open = 10_000
	issuer := tokentest.New(b)
	v := issuer.Validator()
	for b.Loop() {
		b.StopTimer()
		openWatches(b, issuer, v, open)
		b.StartTimer()
		issuer.Revoke(revocation.Everyone())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/open, "ns/stream")
}

// What 10 000 open streams cost while nothing happens: ten looks a second.
func BenchmarkIdleWatches(b *testing.B) {
	issuer := tokentest.New(b)
	v := issuer.Validator()
	openWatches(b, issuer, v, 10_000)
	for b.Loop() {
		token.Look(v)
	}
}
