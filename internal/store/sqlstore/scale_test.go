package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// fill makes rows without the trouble of a million calls. %d stands for how many.
var fill = map[string]string{
	"users": `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO users (id, name, name_key, email, email_key, permissions, administrator, disabled, password_hash, created_at, last_sign_in_at,
				name_skeleton, id_skeleton, skeleton_of, words_of)
			SELECT 'id-' || i, 'User ' || i, 'user-' || i, 'mail-' || i || '@example.com', 'mail-' || i || '@example.com',
			'[]', 0, 0, '', 1, 0, 'name-' || i, 'id-' || i, 'user-' || i, 'user-' || i || '/mail-' || i || '@example.com' FROM n`,
	"words": `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO user_words SELECT CAST(i AS text), 'id-' || i FROM n UNION ALL SELECT 'mail-' || i || '@example.com', 'id-' || i FROM n`,
	"revocations": `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO revocations SELECT 'user', 'id-' || i, 1000000 + i FROM n`,
	"sessions": `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO sessions (id, user_id, remember_me, epoch, key_id, device, address, began_at, last_seen_at, expires_at, ended_at, begun_by)
			SELECT 'session-' || i, 'id-' || i, i %% 2, 2000000, 'k1', 'Firefox', '10.0.0.1',
			1795435200000000 + i, 1795435200000000 + i, 1797000000000000, 0, 'user' FROM n`,
	"clock": `UPDATE clock SET epoch = 3000000 + 0 * %d`,
}

// filled returns a store with so many rows, and the time that it takes to open it.
func filled(tb testing.TB, url string, rows map[string]int) store.Store {
	tb.Helper()
	noErr(tb, open(tb, url).Close())
	var db *sql.DB
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		db = raw(tb, path)
		_, err := db.ExecContext(tb.Context(), `PRAGMA synchronous = OFF`)
		noErr(tb, err)
	} else {
		var err error
		db, err = sql.Open("postgres", url)
		noErr(tb, err)
	}
	rows["clock"], rows["words"] = 1, rows["users"]
	for table, n := range rows {
		_, err := db.ExecContext(tb.Context(), fmt.Sprintf(fill[table], n))
		noErr(tb, err)
	}
	if strings.HasPrefix(url, "postgres") {
		_, err := db.ExecContext(tb.Context(), `ANALYZE`) // autovacuum does it within a minute
		noErr(tb, err)
	}
	noErr(tb, db.Close())
	return open(tb, url)
}

var manyLive = store.Live{
	Now:      1795435200000000 + 600_000_000,
	Settings: settings.InForce{Settings: settings.Default()},
}

// search looks for users, and at least so many must be found.
func search(s store.Store, text, after string, least int) func() error {
	return func() error {
		users, _, err := s.Users(context.Background(), store.UserSearch{Prefix: text}, after, 100)
		if err == nil && len(users) < least {
			err = fmt.Errorf("%d users found, want %d", len(users), least)
		}
		return err
	}
}

func forEngines(b *testing.B, run func(b *testing.B, url string)) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) { run(b, engine.migrated(b)) })
	}
}

// BenchmarkRevoke is one revoking transaction for each call, with 32 callers: what
// a group commit improves on. PostgreSQL runs with fsync off here.
func BenchmarkRevoke(b *testing.B) {
	forEngines(b, func(b *testing.B, url string) {
		s := open(b, url)
		s.Watch(b.Context())
		var n atomic.Int64
		b.SetParallelism(16) // on two processors
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := revokeAt(context.Background(), s, noon, revocation.User(fmt.Sprint("user-", n.Add(1)))); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "revocations/s")
	})
}

// BenchmarkRevokeMany is 10 000 users in one call.
func BenchmarkRevokeMany(b *testing.B) {
	forEngines(b, func(b *testing.B, url string) {
		s := open(b, url)
		rs := make([]revocation.Revocation, 10_000)
		for b.Loop() {
			noErr(b, s.Update(b.Context(), func(tx store.Tx) error {
				e, err := tx.Advance(b.Context(), noon)
				if err != nil {
					return err
				}
				for i := range rs {
					rs[i] = revocation.Revocation{Scope: revocation.User(fmt.Sprint("user-", i)), Epoch: e}
				}
				return tx.PutRevocations(b.Context(), rs...)
			}))
		}
	})
}

// BenchmarkSnapshot reads a million revocations in pages of 10 000.
func BenchmarkSnapshot(b *testing.B) {
	const million = 1_000_000
	forEngines(b, func(b *testing.B, url string) {
		s := filled(b, url, map[string]int{"revocations": million})
		for b.Loop() {
			n := 0
			for after := revocation.Epoch(0); ; {
				changes, err := s.ChangesAfter(b.Context(), after, 10_000)
				noErr(b, err)
				n += len(changes.Revocations)
				after = changes.Epoch
				if !changes.More {
					break
				}
			}
			if n != million {
				b.Fatalf("%d revocations", n)
			}
		}
		b.ReportMetric(million/(b.Elapsed().Seconds()/float64(b.N)), "revocations/s")
	})
}

// BenchmarkSearch looks for users among a million.
func BenchmarkSearch(b *testing.B) {
	forEngines(b, func(b *testing.B, url string) {
		s := filled(b, url, map[string]int{"users": 1_000_000})
		for _, c := range []struct{ name, text, after string }{
			{"all", "", ""}, {"name", "user-77", ""}, {"mails-many", "mail-", ""}, {"mails-many-later", "mail-", "user-9"},
			{"mails-some", "mail-123", ""}, {"mail", "mail-123456@", ""}, {"nobody", "zed", ""},
		} {
			b.Run(c.name, func(b *testing.B) {
				do := search(s, c.text, c.after, 0)
				for b.Loop() {
					noErr(b, do())
				}
			})
		}
	})
}

// BenchmarkLive counts 100 000 live sessions beside a million revocations.
func BenchmarkLive(b *testing.B) {
	forEngines(b, func(b *testing.B, url string) {
		s := filled(b, url, map[string]int{"revocations": 1_000_000, "sessions": 100_000})
		next := manyLive
		next.Settings.SessionTimeout = time.Minute
		for name, do := range map[string]func() error{
			"all":    func() error { _, err := s.CountLive(b.Context(), manyLive, "", ""); return err },
			"user":   func() error { _, err := s.CountLive(b.Context(), manyLive, "id-77", ""); return err },
			"key":    func() error { _, err := s.CountLive(b.Context(), manyLive, "", "k1"); return err },
			"ending": func() error { _, err := s.CountEnding(b.Context(), manyLive, next); return err },
			"count":  func() error { _, err := s.CountRevocations(b.Context()); return err },
			"start":  func() error { _, err := s.ChangesAfter(b.Context(), 3_000_000, 1); return err },
		} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					noErr(b, do())
				}
			})
		}
	})
}
