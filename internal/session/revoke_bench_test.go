package session_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/store/migrated"
)

// BenchmarkRevokeOne measures revocations of one user, one after the other: with and
// without waiting until the receipt is closed.
func BenchmarkRevokeOne(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, nodes := range []int{1, 3} {
			if engine == "sqlite" && nodes > 1 {
				continue
			}
			for _, wait := range []time.Duration{0, 5 * time.Second} {
				b.Run(fmt.Sprintf("%s/nodes=%d/wait=%v", engine, nodes, wait > 0), func(b *testing.B) {
					url := migrated.SQLite(b)
					if engine == "postgres" {
						url = migrated.Postgres(b)
					}
					db := newTestDatabase(b, url)
					n := db.start(0, 0)
					for range nodes - 1 {
						db.start(0, 0)
					}
					if _, err := n.accounts.EnsureUser(b.Context(), cli, "ann"); err != nil {
						b.Fatal(err)
					}
					for b.Loop() {
						if _, err := n.sessions.RevokeUser(b.Context(), cli, "ann", "bench", false, wait); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
