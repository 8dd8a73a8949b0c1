package session_test

import (
	"errors"
	"fmt"
	"testing"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// A logout at the provider ends the sessions of its session or of its subject, and a
// sign-in that is under way, on every node.
func TestEndByProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n, other := w.start(0, 0), w.start(0, 0)
		ctx := t.Context()
		p := corp()
		n.putProvider(&p)
		jti := 0
		end := func(sid, subject string) {
			t.Helper()
			jti++
			l := session.ProviderLogout{Provider: "corp", Issuer: corpIssuer, SID: sid, Subject: subject, TokenID: fmt.Sprint("t", jti)}
			if err := n.sessions.EndByProvider(ctx, l, authz.Origin{}); err != nil {
				t.Fatal(err)
			}
			if err := n.sessions.EndByProvider(ctx, l, authz.Origin{}); !errors.Is(err, session.ErrLogoutSeen) {
				t.Errorf("the same token again: %v", err)
			}
			if err := other.feed.CatchUp(ctx); err != nil {
				t.Fatal(err)
			}
		}
		with := func(who, sid string) session.ProviderSignIn {
			a := n.attempt(who)
			a.SID = sid
			return a
		}
		check := func(what string, i session.Issued, want token.Reason) {
			t.Helper()
			for _, node := range []*node{n, other} {
				if got := node.check(i.Token); got != want {
					t.Errorf("%s: the session is %q, want %q", what, got, want)
				}
			}
		}
		one, again, two, ben := n.mustThrough(with("ann", "s1")), n.mustThrough(with("ann", "s1")), n.mustThrough(with("ann", "s2")), n.mustThrough(with("ben", "s3"))
		byPassword := n.mustBegin(one.User.ID, false)

		end("s1", "ben") // of another subject: nothing
		check("another subject's", one, "")
		end("S1", "") // another letter case
		check("another spelling", one, "")
		pending := with("ann", "s4")
		withoutSID, bens := n.mustThrough(with("ann", "")), n.mustThrough(with("ben", ""))
		pendingWithoutSID, bensPending := with("ann", ""), with("ben", "")
		end("s1", "ann")
		check("the subject's session without sid", withoutSID, token.ErrRevoked)
		check("another subject's session without sid", bens, "")
		if _, err := n.through(pendingWithoutSID); !errors.Is(err, session.ErrEndedByProvider) {
			t.Errorf("a sign-in of the subject without sid: %v", err)
		}
		n.mustThrough(bensPending)
		n.mustThrough(with("ann", ""))
		check("the provider session", one, token.ErrRevoked)
		check("the provider session", again, token.ErrRevoked)
		check("another provider session", two, "")
		check("another user", ben, "")
		check("without a provider", byPassword, "")
		if r, err := n.store.Receipts(ctx, store.ReceiptFilter{User: one.User.ID}, 1); err != nil || len(r) != 1 || r[0].Sessions != 3 || r[0].Reason != "signed out at corp" {
			t.Errorf("receipts %+v, %v", r, err)
		}
		n.mustThrough(pending)

		pending = with("ann", "s5")
		end("s5", "")
		if _, err := n.through(pending); !errors.Is(err, session.ErrEndedByProvider) {
			t.Errorf("a sign-in with a provider session that has ended: %v", err)
		}

		pending = with("ann", "s6")
		end("", "ann")
		check("the subject", two, token.ErrRevoked)
		check("the subject, without a provider", byPassword, token.ErrRevoked)
		check("another subject", ben, "")
		if _, err := n.through(pending); err == nil {
			t.Error("a sign-in of a subject whose sessions have ended has begun a session")
		}
		n.mustThrough(with("ann", "s7"))
		end("", "unknown")
	})
}
