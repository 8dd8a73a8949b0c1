//go:build torture

package sqlstore_test

import (
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// TestScale: no question that people wait for becomes a walk through all users,
// revocations or sessions. A walk in the same run is what they are held against,
// since how long anything takes is the machine's affair.
func TestScale(t *testing.T) {
	const revocations, sessions = 20_000, 5_000
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			users := 40_000
			if engine.name == "postgres" {
				users = 300_000 // it walks fast
			}
			s := filled(t, engine.migrated(t), map[string]int{"users": users, "revocations": revocations, "sessions": sessions})
			ctx := t.Context()
			best := func(do func() error) time.Duration {
				t.Helper()
				least := time.Hour
				for range 4 {
					began := time.Now()
					noErr(t, do())
					least = min(least, time.Since(began))
				}
				return least
			}
			walk := best(func() error { return sqlstore.Walk(ctx, s) })
			for name, do := range map[string]func() error{
				"users named like user-5":     search(s, "user-5", "", 100),
				"mails like mail-":            search(s, "mail-", "", 100),
				"mails like mail-, later":     search(s, "mail-", "word:mail-9\n", 100),
				"words like 9":                search(s, "9", "", 100),
				"words like 3999, later":      search(s, "3", "word:3999\n", 1),
				"mails like mail-4242":        search(s, "mail-4242", "", 1),
				"nobody":                      search(s, "zed", "", 0),
				"all, a page in the middle":   search(s, "", "name:user-5", 100),
				"what concerns one session":   func() error { _, err := s.RevokedBefore(ctx, "id-7", "x"); return err },
				"changes when there are none": func() error { _, err := s.ChangesAfter(ctx, 3_000_000, 100); return err },
				"the last of the changes":     func() error { _, err := s.ChangesAfter(ctx, 1_000_000+revocations-10, 100); return err },
				"the sessions of one":         func() error { _, err := s.LiveSessions(ctx, "id-7", manyLive); return err },
			} {
				if d := best(do); d > walk {
					t.Errorf("%s: %v, and a walk through all users takes %v", name, d, walk)
				}
			}
			n, err := s.CountLive(ctx, manyLive, "", "")
			noErr(t, err)
			if want := (store.Counts{Sessions: sessions, Users: sessions}); n != want {
				t.Errorf("live: %+v, want %+v", n, want)
			}
		})
	}
}
