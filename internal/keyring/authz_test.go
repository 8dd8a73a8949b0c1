package keyring_test

import (
	"context"
	"errors"
	"testing"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// user begins a session of a user, as a sign-in does, and returns it as a caller.
func (w *testDatabase) user(n *node, id string, permissions ...string) authz.Caller {
	w.t.Helper()
	ctx := context.Background()
	sess := token.Session{Subject: id, ID: token.NewSessionID(), IssuedAt: token.UnixTime(w.now().Unix()), KeyID: n.signing()}
	sess = sess.Refreshed(w.now(), settings.Default())
	noErr(w.t, n.store.Update(ctx, func(tx store.Tx) (err error) {
		if sess.Epoch, err = tx.Clock(ctx); err != nil {
			return err
		}
		return errors.Join(
			tx.InsertUser(ctx, store.User{ID: id, NameKey: id, Permissions: permissions}),
			tx.InsertSession(ctx, store.Session{ID: sess.ID, UserID: id, Epoch: sess.Epoch, BegunBy: store.ActorUser}))
	}))
	c, err := authz.New(n.store, w.now).UserCaller(ctx, &sess, authz.Origin{})
	noErr(w.t, err)
	return c
}

// Signing keys are changed and listed by administrators alone, whose session has not
// ended by the time of the commit; a refusal leaves the keys as they are.
func TestWhoMayChangeKeys(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.installed()
		ctx := t.Context()
		forbidden := &authz.ErrForbidden{Permission: store.AdministerSystem}
		admin, demoted, revoked := w.user(n, "admin", store.AdministerSystem), w.user(n, "demoted", store.AdministerSystem), w.user(n, "revoked", store.AdministerSystem)
		noErr(t, n.store.Update(ctx, func(tx store.Tx) error {
			epoch, err := tx.Advance(ctx, w.now())
			return errors.Join(err,
				tx.UpdateUser(ctx, store.User{ID: "demoted", NameKey: "demoted"}),
				tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User("revoked"), Epoch: epoch}))
		}))
		calls := map[string]func(c authz.Caller) error{
			"Rotate": func(c authz.Caller) error { _, _, err := n.Rotate(ctx, c, "", ""); return err },
			"Import": func(c authz.Caller) error { _, err := n.Import(ctx, c, "", pkcs8(t, newKey(t))); return err },
			"Retire": func(c authz.Caller) error { _, err := n.Retire(ctx, c, n.in(store.KeyNext)[0].ID, ""); return err },
		}
		for who, c := range map[string]struct {
			caller authz.Caller
			want   error
		}{
			"nobody":    {authz.Caller{}, forbidden},
			"a user":    {w.user(n, "user"), forbidden},
			"an editor": {w.user(n, "editor", store.UserEdit), forbidden},
			"demoted":   {demoted, forbidden},
			"revoked":   {revoked, token.ErrRevoked},
			"made up":   {authz.Caller{User: admin.User}, forbidden},
			"a client":  {authz.Caller{Client: &store.Client{ID: "shop", Capabilities: store.Capabilities()}}, authz.ErrBadClient},
		} {
			before := n.rows()
			for what, call := range calls {
				err := call(c.caller)
				if got := (*authz.ErrForbidden)(nil); c.want == error(forbidden) && (!errors.As(err, &got) || *got != *forbidden) || c.want != error(forbidden) && !errors.Is(err, c.want) {
					t.Errorf("%s: %s: error %v, want %v", who, what, err, c.want)
				}
			}
			if after := n.rows(); len(after) != len(before) || after[len(after)-1] != before[len(before)-1] {
				t.Errorf("%s has changed the keys", who)
			}
		}
		_, err := n.List(ctx, w.user(n, "another", store.UserEdit))
		if got := (*authz.ErrForbidden)(nil); !errors.As(err, &got) {
			t.Errorf("an editor lists: error %v", err)
		}
		for what, call := range calls {
			if err := call(admin); err != nil {
				t.Errorf("an administrator: %s: %v", what, err)
			}
		}
		// Retiring the key that signed the session ends it.
		_, err = n.Retire(ctx, admin, admin.Session.KeyID, "it leaked")
		noErr(t, err)
		is(t, "after the key of the session was retired", calls["Import"](admin), token.ErrUnknownKey)
	})
}
