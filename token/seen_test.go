package token_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// A token dies at the same instant whether its signature is remembered or not: each
// way to die, just before, at and after it, on a validator that has seen the token
// and on a validator that remembers nothing.
func TestDiesAtTheSameInstantRememberedOrNot(t *testing.T) {
	at := func(d time.Duration) func(*tokentest.Issuer, token.Session) {
		return func(i *tokentest.Issuer, _ token.Session) { i.Advance(d) }
	}
	shorten := func(i *tokentest.Issuer, _ token.Session) {
		i.Advance(10 * time.Minute)
		next := settings.Default()
		next.SessionTimeout = 10 * time.Minute
		i.ChangeSettings(next)
	}
	for name, test := range map[string]struct {
		happens func(*tokentest.Issuer, token.Session)
		want    token.Reason
	}{
		"just before the timeout": {at(20*time.Minute - time.Second), ""},
		"the timeout":             {at(20 * time.Minute), token.ErrIdleTimeout},
		"after the timeout":       {at(20*time.Minute + time.Second), token.ErrIdleTimeout},
		"maximum duration":        {at(20 * 24 * time.Hour), token.ErrMaximumDuration},
		"a shorter setting":       {shorten, token.ErrIdleTimeout},
		"everyone revoked":        {func(i *tokentest.Issuer, _ token.Session) { i.Revoke(revocation.Everyone()) }, token.ErrRevoked},
		"the user revoked":        {func(i *tokentest.Issuer, s token.Session) { i.Revoke(revocation.User(s.Subject)) }, token.ErrRevoked},
		"the session revoked":     {func(i *tokentest.Issuer, s token.Session) { i.Revoke(revocation.Session(s.ID)) }, token.ErrRevoked},
		"another user revoked":    {func(i *tokentest.Issuer, _ token.Session) { i.Revoke(revocation.User("bob")) }, ""},
		"the key gone":            {func(i *tokentest.Issuer, _ token.Session) { i.Keys.Set(nil) }, token.ErrUnknownKey},
		"the key replaced by another with its ID": {func(i *tokentest.Issuer, _ token.Session) {
			other, err := tokentest.NewKey(token.ES256)
			if err != nil {
				panic(err)
			}
			same, err := token.NewKey(i.Key(token.ES256).ID(), other.Public())
			if err != nil {
				panic(err)
			}
			set, err := token.NewKeySet(same)
			if err != nil {
				panic(err)
			}
			i.Keys.Set(set)
		}, ""}, // two reasons, see below
		"the lease run out": {func(i *tokentest.Issuer, _ token.Session) {
			i.View.SetTrusted(false)
			i.View.SetCatchUp(func(context.Context) error { return fmt.Errorf("no answer") })
		}, token.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := tokentest.New(t)
			warm := issuer.Validator()
			config := issuer.Config()
			config.RememberedBytes = -1
			cold, err := token.NewValidator(config)
			if err != nil {
				t.Fatal(err)
			}
			session := issuer.Session("ann")
			raw := issuer.Mint(session)
			for range 3 {
				check(t, warm, raw, "")
				check(t, cold, raw, "")
			}
			test.happens(issuer, session)
			if name == "the key replaced by another with its ID" {
				check(t, warm, raw, token.ErrUnknownKey) // was proven by a key that is gone
				check(t, warm, raw, token.ErrBadSignature)
				check(t, cold, raw, token.ErrBadSignature)
				return
			}
			for range 3 {
				check(t, warm, raw, test.want)
				check(t, cold, raw, test.want)
			}
		})
	}
}

// A remembered token lends nothing to a similar token.
func TestRememberedTokenLendsNothing(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raw := issuer.Token("ann")
	check(t, v, raw, "")
	for i := range len(raw) {
		if raw[i] == '.' {
			continue
		}
		other := byte('A')
		if raw[i] == other {
			other = 'B'
		}
		changed := raw[:i] + string(other) + raw[i+1:]
		if s, err := v.Validate(t.Context(), changed); err == nil {
			t.Fatalf("accepted with byte %d changed: %+v", i, s)
		}
	}
	for _, changed := range []string{raw + "A", raw[:len(raw)-1], raw + ".", "A" + raw, raw + raw} {
		if _, err := v.Validate(t.Context(), changed); err == nil {
			t.Fatalf("accepted: %.20s…", changed)
		}
	}
	check(t, v, raw, "")
}

// The hostile table again, each token many times, beside good ones that are
// remembered, with hardly any room and with partial revocations.
func TestHostileTokensBesideRememberedOnes(t *testing.T) {
	issuer := tokentest.New(t)
	issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 2, Source: source(func(string, string) (revocation.Answer, error) {
		return revocation.Answer{AsOf: issuer.Epoch()}, nil
	})})
	t.Cleanup(issuer.Revocations.Close)
	for i := range 5 {
		issuer.Revoke(revocation.User(fmt.Sprintf("somebody%d", i)))
	}
	config := issuer.Config()
	config.RememberedBytes = 64 << 10
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	good := issuer.Token("victim")
	table := hostile.Tokens(issuer)
	for range 2 {
		for _, h := range table {
			check(t, v, good, "")
			if _, err := v.Validate(t.Context(), h.Raw); token.ReasonOf(err) != h.Want {
				t.Errorf("%s: %v, want %v", h.Name, err, h.Want)
			}
		}
	}
}

// However many tokens come, of whatever length, the memory stays within bounds.
func TestRememberedBytes(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	config.RememberedBytes = 1 << 20
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		raw := issuer.Token(fmt.Sprintf("user%d", i), func(s *token.Session) {
			if i%100 == 0 {
				s.Audience = append(s.Audience, strings.Repeat("x", 5000))
			}
		})
		check(t, v, raw, "")
		check(t, v, raw, "")
		if bytes := v.Remembered(); bytes > config.RememberedBytes {
			t.Fatalf("after %d tokens: %d bytes, allowed are %d", i+1, bytes, config.RememberedBytes)
		}
	}
	if bytes := v.Remembered(); bytes < config.RememberedBytes/2 {
		t.Errorf("only %d bytes of %d are used after 4000 tokens: nothing is remembered", bytes, config.RememberedBytes)
	}
}

// Readers, writers, revocations and changes of keys at once: a token whose user
// was revoked before a check began is never accepted.
func TestRememberedTokensUnderFire(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	config.RememberedBytes = 64 << 10
	v, err := token.NewValidator(config)
	if err != nil {
		t.Fatal(err)
	}
	const users = 40
	raws := make([]string, users)
	for i := range raws {
		raws[i] = issuer.Token(fmt.Sprintf("user%d", i))
	}
	set := issuer.Keys.Current()
	var revoked [users]struct {
		sync.Mutex
		done bool
	}
	var work sync.WaitGroup
	var validated atomic.Int64
	stop := make(chan struct{})
	for range 3 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				u := i % users
				revoked[u].Lock()
				dead := revoked[u].done
				revoked[u].Unlock()
				_, err := v.Validate(context.Background(), raws[u])
				validated.Add(1)
				if got := token.ReasonOf(err); dead && got != token.ErrRevoked || got != "" && got != token.ErrRevoked {
					t.Errorf("user %d, revoked %v: %v", u, dead, err)
					return
				}
			}
		})
	}
	for u := range users / 2 {
		issuer.Revoke(revocation.User(fmt.Sprintf("user%d", u)))
		revoked[u].Lock()
		revoked[u].done = true
		revoked[u].Unlock()
		again, err := token.NewKeySet(set.All()...)
		if err != nil {
			t.Fatal(err)
		}
		issuer.Keys.Set(again)
		after := validated.Load() + users
		await.Until(t, "each token is validated once more", func() bool { return t.Failed() || validated.Load() >= after })
	}
	close(stop)
	work.Wait()
}

// A hash only selects where to look. The token found there is compared as a whole,
// so two tokens with the same hash are of no use to an attacker.
func TestRememberedTokensAreComparedWhole(t *testing.T) {
	for raw, want := range map[string]bool{
		"head.rest": true, "head.resT": false, "heaD.rest": false, "Head.rest": false, "head.res": false, "ead.rest": false,
		"head.rest.": false, "head_rest": false, "": false, ".rest": false, "head": false,
	} {
		if got := token.IsRemembered("head", ".rest", raw); got != want {
			t.Errorf("%q is taken for head.rest: %v", raw, got)
		}
	}
}
