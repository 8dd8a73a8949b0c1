package session_test

import (
	"errors"
	"testing"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// The record of a session says whether it is live, and what ended it first: a revocation,
// a sign-out, a key, or the time.
func TestRecord(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		u, other := n.person("ann"), n.person("bob")
		record := func(n *node, i session.Issued) session.Record {
			t.Helper()
			r, err := n.sessions.Record(ctx, cli, u.ID, i.Session.ID)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		revoke := func() revocation.Epoch {
			t.Helper()
			r, err := n.sessions.RevokeUser(ctx, cli, u.ID, "lost", false, 0)
			if err != nil {
				t.Fatal(err)
			}
			return r.Epoch
		}
		ended := func(what string, i session.Issued, want session.End) {
			t.Helper()
			end := record(n, i).End
			if end == nil {
				t.Fatalf("%s: the session is live", what)
			}
			if want.At == 0 {
				want.At = end.At
			}
			if *end != want || end.At < i.Session.IssuedAt.Time().UnixMicro() || end.At > n.now().UnixMicro() {
				t.Errorf("%s: %+v, want %+v", what, *end, want)
			}
		}

		twice := n.mustBegin(u.ID, true)
		if r := record(n, twice); r.End != nil || r.Current || r.BegunBy != store.ActorCLI {
			t.Errorf("a live session: %+v", r)
		}
		first := revoke()
		alone, kept := n.mustBegin(u.ID, false), n.mustBegin(u.ID, false)
		receipt, err := n.sessions.RevokeSession(ctx, cli, u.ID, alone.Session.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		if r := record(n, kept); r.End != nil {
			t.Errorf("another session of the user: %+v", *r.End)
		}
		if err := n.sessions.SignOut(ctx, &kept.Session, authz.Origin{}); err != nil {
			t.Fatal(err)
		}
		remembered := n.mustBegin(u.ID, true)
		second, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "remembered", Reason: "all"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		many := n.mustBegin(u.ID, true)
		of, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: session.ScopeUsers, Users: []string{other.ID, u.ID}, Reason: "both"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		revoke()
		ended("revoked twice", twice, session.End{Reason: token.ErrRevoked, Epoch: first, Action: wire.ActionRevokeUser})
		ended("revoked alone", alone, session.End{Reason: token.ErrRevoked, Epoch: receipt.Epoch, Action: wire.ActionRevokeSession})
		ended("remember me revoked", remembered, session.End{Reason: token.ErrRevoked, Epoch: second.Epoch, Action: wire.ActionRevokeRemembered})
		ended("one of many", many, session.End{Reason: token.ErrRevoked, Epoch: of.Epoch, Action: wire.ActionRevokeUser})
		if r := record(n, kept); r.End == nil || r.End.Action != wire.ActionSignOut || r.End.Epoch == 0 {
			t.Errorf("signed out: %+v", r.End)
		}
		// The clean-up refuses tokens older than any session can be, and has ended none.
		old := n.mustBegin(u.ID, true)
		// The time, on a node whose clock is ahead.
		idle, long := n.mustBegin(u.ID, false), n.mustBegin(u.ID, true)
		later := w.start(0, time.Hour)
		if end := record(later, idle).End; end == nil || end.Reason != token.ErrIdleTimeout || end.At != idle.Session.LastRefresh.Add(20*time.Minute).Time().UnixMicro() {
			t.Errorf("timed out: %+v", end)
		}
		if end := record(later, long).End; end != nil {
			t.Errorf("a remember-me session, after an hour: %+v", *end)
		}
		if end := record(later, twice).End; end == nil || end.Epoch != first {
			t.Errorf("revoked and later past its time: %+v", end)
		}
		much := w.start(0, 21*24*time.Hour)
		if end := record(much, long).End; end == nil || end.Reason != token.ErrMaximumDuration || end.At != long.Session.IssuedAt.Add(20*24*time.Hour).Time().UnixMicro() {
			t.Errorf("over: %+v", end)
		}
		past := w.start(0, 25*24*time.Hour)
		if err := past.sessions.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if end := record(past, old).End; end == nil || end.Reason != token.ErrMaximumDuration {
			t.Errorf("over, and cleaned up: %+v", end)
		}

		key := n.mustBegin(u.ID, true)
		if _, err := n.ring.Retire(ctx, cli, key.Session.KeyID, "leaked"); err != nil {
			t.Fatal(err)
		}
		if end := record(n, key).End; end == nil || end.Reason != token.ErrUnknownKey || n.receiptAt(end.Epoch).Scope != store.ScopeKey {
			t.Errorf("a key retired: %+v", end)
		}
	})
}

// Users read the records of their own sessions, and holders of UserEdit those of others.
func TestWhoReadsRecords(t *testing.T) {
	w := newTestDatabase(t, "sqlite:"+t.TempDir()+"/curfew.db")
	n := w.start(0, 0)
	ann, bob, editor := n.caller("ann"), n.caller("bob"), n.caller("editor", store.UserEdit)
	for _, tt := range []struct {
		what string
		by   authz.Caller
		user authz.Caller
		id   string
		want error
	}{
		{"one's own", ann, ann, ann.Session.ID, nil},
		{"another user's", bob, ann, ann.Session.ID, authz.Forbidden(store.UserEdit)},
		{"another user's, as one's own", bob, bob, ann.Session.ID, store.ErrNotFound},
		{"another user's, with UserEdit", editor, ann, ann.Session.ID, nil},
		{"another user's, under a third", editor, bob, ann.Session.ID, store.ErrNotFound},
		{"an unknown one", ann, ann, token.NewSessionID(), store.ErrNotFound},
		{"no id", ann, ann, "x' OR ''='", store.ErrNotFound},
	} {
		r, err := n.sessions.Record(t.Context(), tt.by, tt.user.User.ID, tt.id)
		forbidden, want := (*authz.ErrForbidden)(nil), (*authz.ErrForbidden)(nil)
		if errors.As(tt.want, &want) != errors.As(err, &forbidden) || want == nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
		if err == nil && (r.ID != tt.id || r.Current != (tt.by.Session.ID == tt.id)) {
			t.Errorf("%s: %+v", tt.what, r)
		}
	}
}
