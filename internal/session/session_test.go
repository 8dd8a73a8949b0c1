package session_test

import (
	"testing"

	"example.com/curfew/token"
)

func TestRevokedAtOnceAndSignInAfterWorks(t *testing.T) {
	engines(t, func(t *testing.T, w *world) {
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
