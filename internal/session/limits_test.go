package session_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/throttle"
)

func few(burst int) throttle.Limit { return throttle.Limit{Burst: burst, Every: time.Hour} }

// untilLimited calls do until it is refused and returns how often it was not.
func untilLimited(t *testing.T, what, limit string, do func() error) (n int) {
	t.Helper()
	for ; n < 100; n++ {
		err := do()
		if err == nil {
			continue
		}
		limited, ok := errors.AsType[*account.RateLimited](err)
		if !ok || limited.Limit != limit || limited.RetryAfter <= 0 || limited.RetryAfter > time.Hour {
			t.Fatalf("%s: call %d: %v, want *RateLimited by %s", what, n+1, err, limit)
		}
		return n
	}
	t.Fatalf("%s: is not limited", what)
	return n
}

func TestWritesAreLimited(t *testing.T) {
	w := newTestDatabase(t, migrated.SQLite(t))
	var log bytes.Buffer
	counts := map[string]int{}
	n := w.startWith(0, 0, func(c *session.Config) {
		c.Limits = session.Limits{
			Own: few(4), Password: few(1), Refresh: few(5), Others: few(2), OthersSession: few(3), Administrator: few(6), Many: few(2),
		}
		c.Limited = func(limit string) { counts[limit]++ }
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	admin, editor, ann := n.person("root", store.AdministerSystem), n.person("editor", store.UserEdit), n.person("ann")
	asEditor, asAnn := n.as(editor), n.as(ann)
	ctx := t.Context()

	refreshed := asAnn.Session
	if got := untilLimited(t, "refreshing", session.LimitRefresh, func() error {
		_, err := n.sessions.Refresh(ctx, refreshed)
		return err
	}); got != 5 {
		t.Errorf("%d refreshes, want 5", got)
	}

	// keep_current moves on, and each answer brings the session to go on with.
	if got := untilLimited(t, "keep_current", session.LimitOwn, func() error {
		r, err := n.sessions.RevokeUser(ctx, asAnn, ann.ID, "", true, 0)
		if err == nil {
			s, err := n.validator.Validate(ctx, r.Issued.Token)
			if err != nil {
				t.Fatal(err)
			}
			asAnn.Session = s
		}
		return err
	}); got != 4 {
		t.Errorf("%d revocations of one's own, want 4", got)
	}
	_, err := n.sessions.RevokeSession(ctx, asAnn, ann.ID, asAnn.Session.ID, "")
	if limited, ok := errors.AsType[*account.RateLimited](err); !ok || limited.Limit != session.LimitOwn {
		t.Errorf("a single session of one's own: %v", err)
	}
	wrong := "not the password"
	_, err = n.sessions.ChangePassword(ctx, asAnn, ann.ID, account.NewPassword{Current: &wrong, New: goodPassword + "!"}, authz.Origin{})
	if !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("the first change of a password: %v", err)
	}
	untilLimited(t, "password", session.LimitPassword, func() error {
		_, err := n.sessions.ChangePassword(ctx, asAnn, ann.ID, account.NewPassword{Current: &wrong, New: goodPassword + "!"}, authz.Origin{})
		return err
	})

	// One user by another: by actor and target.
	revoke := func(c authz.Caller, id string) func() error {
		return func() error { _, err := n.sessions.RevokeUser(ctx, c, id, "", false, 0); return err }
	}
	if got := untilLimited(t, "editor on root", session.LimitOthers, revoke(asEditor, admin.ID)); got != 2 {
		t.Errorf("%d revocations of root by the editor, want 2", got)
	}
	warnings := func() int { return strings.Count(log.String(), "level=WARN") }
	if warnings() != 1 || !strings.Contains(log.String(), "actor="+editor.ID) || !strings.Contains(log.String(), "target="+admin.ID) {
		t.Errorf("the log: %s", log.String())
	}
	for range 3 {
		if revoke(asEditor, admin.ID)() == nil {
			t.Error("the editor revokes root again")
		}
	}
	if warnings() != 1 {
		t.Errorf("%d warnings about one thing", warnings())
	}
	// Meanwhile root signs in, and takes the permission away.
	asAdmin := n.as(admin)
	asSecond := n.as(n.person("editor2", store.UserEdit))
	if err := revoke(asSecond, ann.ID)(); err != nil {
		t.Errorf("another actor, another target: %v", err)
	}
	if got := untilLimited(t, "root on ann", session.LimitOthers, revoke(asAdmin, ann.ID)); got != 6 {
		t.Errorf("%d revocations of ann by root, want 6", got)
	}
	if _, _, err := n.accounts.ChangeUser(ctx, asAdmin, editor.ID, account.UserChange{Permissions: &[]string{}}, ""); err != nil {
		t.Errorf("root cannot take the permission away: %v", err)
	}

	// A bulk call counts once, whatever it names.
	if got := untilLimited(t, "bulk", session.LimitMany, func() error {
		_, err := n.sessions.RevokeMany(ctx, asAdmin, session.Many{Scope: "users", Users: []string{ann.ID, editor.ID}}, 0)
		return err
	}); got != 2 {
		t.Errorf("%d bulk calls, want 2", got)
	}

	// A sign-out always works, and so does the command line.
	if err := n.sessions.SignOut(ctx, n.as(ann).Session, authz.Origin{}); err != nil {
		t.Errorf("signing out: %v", err)
	}
	for range 20 {
		if err := revoke(cli, admin.ID)(); err != nil {
			t.Errorf("the command line: %v", err)
		}
	}
	for _, limit := range []string{session.LimitOwn, session.LimitPassword, session.LimitRefresh, session.LimitOthers, session.LimitMany} {
		if counts[limit] == 0 {
			t.Errorf("%s is not counted", limit)
		}
	}
}

// Single sessions of another user are limited apart from all of them at once.
func TestSingleSessionsOfOthersAreLimited(t *testing.T) {
	w := newTestDatabase(t, migrated.SQLite(t))
	n := w.startWith(0, 0, func(c *session.Config) { c.Limits = session.Limits{Others: few(1), OthersSession: few(2)} })
	asEditor := n.as(n.person("editor", store.UserEdit))
	if got := untilLimited(t, "single sessions", session.LimitOthers, func() error {
		_, err := n.sessions.RevokeSession(t.Context(), asEditor, "ann", n.mustBegin("ann", false).Session.ID, "")
		return err
	}); got != 2 {
		t.Errorf("%d single sessions, want 2", got)
	}
	if _, err := n.sessions.RevokeUser(t.Context(), asEditor, "ann", "", false, 0); err != nil {
		t.Errorf("all of them at once: %v", err)
	}
}
