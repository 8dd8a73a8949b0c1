package pgtest

import (
	"os"
	"testing"
)

func TestBouncer(t *testing.T) {
	server := Start(t, Options{})
	for mode, found := range map[PoolMode]string{PoolSessions: "0", PoolTransactions: "7s"} {
		t.Run(string(mode), func(t *testing.T) {
			var home string
			t.Run("pools", func(t *testing.T) {
				bouncer := server.Bouncer(t, mode)
				home = bouncer.home
				through := func(sql string) string {
					t.Helper()
					got, err := server.psql(bouncer.DSN("postgres"), sql)
					must(t, err)
					return got
				}
				if got := through("SELECT count(*) FROM pg_stat_activity WHERE client_port = -1 AND pid = pg_backend_pid()"); got != "1" {
					t.Errorf("through the pooler, a backend is counted as %s", got)
				}
				// PgBouncer cleans up between sessions, and not between transactions.
				through("SET lock_timeout = '7s'")
				if got := through("SHOW lock_timeout"); got != found {
					t.Errorf("after another client's SET, lock_timeout is %s, want %s", got, found)
				}
			})
			if _, err := os.Stat(home); !os.IsNotExist(err) {
				t.Errorf("the directory of PgBouncer is left behind (%v)", err)
			}
		})
	}
}
