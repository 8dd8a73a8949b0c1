package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// stepStore is a store that calls interrupt before one of the calls of a sign-in that come
// before its transaction, and notes whether the epoch was read by then.
type stepStore struct {
	store.Store
	at        int // the call to interrupt, from 0
	interrupt func(epochRead bool)

	calls     []string
	epochRead bool
}

func (s *stepStore) step(name string) {
	if len(s.calls) == s.at {
		s.interrupt(s.epochRead)
	}
	s.calls = append(s.calls, name)
}

func (s *stepStore) SignInMethods(ctx context.Context) (store.SignInMethods, error) {
	s.step("methods")
	return s.Store.SignInMethods(ctx)
}

func (s *stepStore) Clock(ctx context.Context) (revocation.Epoch, error) {
	s.step("clock")
	s.epochRead = true
	return s.Store.Clock(ctx)
}

func (s *stepStore) UserByName(ctx context.Context, key string) (store.User, error) {
	s.step("user")
	return s.Store.UserByName(ctx, key)
}

func (s *stepStore) Streak(ctx context.Context, key string) (store.Streak, error) {
	s.step("streak")
	return s.Store.Streak(ctx, key)
}

func (s *stepStore) Settings(ctx context.Context) (store.Settings, error) {
	s.step("settings")
	return s.Store.Settings(ctx)
}

func (s *stepStore) Keys(ctx context.Context) ([]store.Key, error) {
	s.step("keys")
	return s.Store.Keys(ctx)
}

func (s *stepStore) Update(ctx context.Context, write func(store.Tx) error) error {
	s.step("update")
	return s.Store.Update(ctx, write)
}

// What ends sessions or sign-ins, before each call of a sign-in with a password to the
// store: no session is alive afterwards that began under what has ended.
func TestPasswordSignInIsInterrupted(t *testing.T) {
	yes, no := true, false
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		disabled := func(to *bool) func(store.User) error {
			return func(u store.User) error {
				_, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{Disabled: to}, "")
				return err
			}
		}
		revokeUser := func(u store.User) error {
			_, err := n.sessions.RevokeUser(ctx, cli, u.ID, "", false, 0)
			return err
		}
		revokeEveryone := func(store.User) error {
			_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "everyone"}, 0)
			return err
		}
		passwordsOff := func(store.User) error { return n.accounts.ChangeSignInMethods(ctx, cli, store.SignInMethods{}) }
		password := func(u store.User) error {
			_, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{Password: ptr("meadow-copper-58-sparrow")}, "")
			return err
		}
		for name, tt := range map[string]struct {
			writes []func(store.User) error
			// always means that a sign-in whose epoch is later dies as well.
			always bool
		}{
			"the user is revoked":                    {[]func(store.User) error{revokeUser}, false},
			"everyone is revoked":                    {[]func(store.User) error{revokeEveryone}, false},
			"the user is disabled":                   {[]func(store.User) error{disabled(&yes)}, true},
			"the user is disabled and enabled":       {[]func(store.User) error{disabled(&yes), disabled(&no)}, false},
			"the user has another password":          {[]func(store.User) error{password}, true},
			"the user is deleted":                    {[]func(store.User) error{func(u store.User) error { _, err := n.sessions.DeleteUser(ctx, cli, u.ID, "", 0); return err }}, true},
			"passwords are off":                      {[]func(store.User) error{passwordsOff}, true},
			"passwords are off, everyone is revoked": {[]func(store.User) error{passwordsOff, revokeEveryone}, true},
		} {
			for at, done := 0, false; !done; at++ {
				u := n.createUser("ann")
				during := &stepStore{Store: n.store, at: at}
				interrupted, epochRead := false, false
				during.interrupt = func(read bool) {
					interrupted, epochRead = true, read
					for _, write := range tt.writes {
						if err := write(u); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
					}
				}
				accounts, err := account.New(account.Config{Store: during, Now: n.now, Applied: n.feed.Applied, HashMemoryKiB: cheapHash})
				if err != nil {
					t.Fatal(err)
				}
				service := session.New(session.Config{
					Store: during, Accounts: accounts, Ring: n.ring, View: n.feed, Now: n.now,
					Installation: store.Installation{Issuer: issuer, Audience: []string{issuer}},
				})
				issued, err := service.SignIn(ctx, "ann", goodPassword, false, authz.Origin{})
				service.Close()
				done = !interrupted
				lives := err == nil && n.check(issued.Token) == ""
				if want := !interrupted || !tt.always && !epochRead; lives != want {
					t.Errorf("%s, interrupted at %d after the calls %q: alive %v, want %v (%v)", name, at, during.calls, lives, want, err)
				}
				if done && (!slices.Contains(during.calls, "update") || !slices.Contains(during.calls, "keys") || len(during.calls) < 6) {
					t.Errorf("%s: a sign-in makes the calls %q", name, during.calls)
				}
				// For the next row.
				if err := n.accounts.ChangeSignInMethods(ctx, cli, store.SignInMethods{Passwords: true}); err != nil {
					t.Fatal(err)
				}
				if _, err := n.sessions.DeleteUser(ctx, cli, u.ID, "", 0); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
			}
		}
	})
}
