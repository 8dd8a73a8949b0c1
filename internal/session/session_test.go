package session_test

import (
	"errors"
	"testing"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/token"
)

func TestRevokedAtOnceAndSignInAfterWorks(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		for range 200 {
			old := n.mustBegin("alice", false)
			if got := n.check(old.Token); got != "" {
				t.Fatalf("a new session is refused: %s", got)
			}
			if _, err := n.sessions.RevokeUser(t.Context(), cli, "alice", "test", false, 0); err != nil {
				t.Fatal(err)
			}
			if got := n.check(old.Token); got != token.ErrRevoked {
				t.Fatalf("the old session: got %q, want %q", got, token.ErrRevoked)
			}
			if _, err := n.sessions.Refresh(t.Context(), &old.Session); token.ReasonOf(err) != token.ErrRevoked {
				t.Fatalf("refreshing the old session: got %v, want %q", err, token.ErrRevoked)
			}
			if got := n.check(n.mustBegin("alice", false).Token); got != "" {
				t.Fatalf("a session begun right after the revocation is refused: %s", got)
			}
		}
	})
}

// A key that one node has retired in an emergency begins no session on another,
// however late that hears of it.
func TestSignInAfterEmergencyRetire(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		a, b := w.start(0, 0), w.start(0, 0)
		old := a.mustBegin("ann", false)
		if _, err := a.ring.Retire(t.Context(), cli, old.Session.KeyID, "leaked"); err != nil {
			t.Fatal(err)
		}
		// The key that stands by is too young to sign: sign-ins fail for some
		// seconds, and no user gets a session that is over.
		if i, err := b.begin("ann", false); !errors.Is(err, keyring.ErrNoKey) {
			t.Fatalf("got a session signed with %q and %v, want %v", i.Session.KeyID, err, keyring.ErrNoKey)
		}
		if err := a.feed.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := a.check(old.Token); got != token.ErrUnknownKey {
			t.Fatalf("a token of the retired key: %q, want %q", got, token.ErrUnknownKey)
		}
	})
}
