package session_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// Ten thousand users at once: all of them or, if one does not exist, none.
func TestRevokeTenThousand(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ids := make([]string, 10_000)
		if n.store.Engine() == "sqlite" {
			ids = ids[:2000] // under the race detector it is slow
		}
		err := n.store.Update(t.Context(), func(tx store.Tx) error { return nil })
		for at := 0; at < len(ids) && err == nil; at += 100 {
			err = n.store.Update(t.Context(), func(tx store.Tx) error {
				for i := at; i < at+100; i++ {
					ids[i] = fmt.Sprintf("user%d", i)
					if err := tx.InsertUser(t.Context(), store.User{ID: ids[i], Name: ids[i], NameKey: ids[i], Permissions: []string{}, CreatedAt: 1}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r, err := n.sessions.RevokeMany(t.Context(), cli, session.Many{Scope: "users", Users: ids, Reason: "test"}, 0)
		t.Logf("took %v", time.Since(began))
		if err != nil || r.Named != int64(len(ids)) || r.Scope != "users" {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}
