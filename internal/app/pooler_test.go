package app

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store/pgtest"
)

// TestBehindPooler: two nodes on PostgreSQL by way of PgBouncer in transaction mode
// enforce each other's revocations. Without a direct address to listen at they say
// that changes come by polling: in the log, in a metric, and at /readyz, where they
// stay ready. With it there is nothing to say.
func TestBehindPooler(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	bouncer := server.Bouncer(t, pgtest.PoolTransactions)
	for _, c := range []struct {
		name   string
		listen bool
	}{{"listening through it", false}, {"listening directly", true}} {
		t.Run(c.name, func(t *testing.T) {
			name := "curfew_" + strings.ReplaceAll(c.name, " ", "_")
			if err := server.CreateDatabase(name); err != nil {
				t.Fatal(err)
			}
			cfg := serverConfig(t)
			cfg.Store = config.Store{Database: config.Database(bouncer.DSN(name)), KeyEncryptionKey: make([]byte, 32)}
			if c.listen {
				cfg.DatabaseListen = config.Database(server.DSN(name))
			}
			cfg.AdminPassword, cfg.Issuer = "correct horse battery", "https://curfew.example"
			var log lockedBuffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			one, _ := runApp(t, cfg, Options{Logger: logger})
			two, _ := runApp(t, cfg, Options{})

			ready := func() (warnings []string) {
				t.Helper()
				status, body := get(t, "http://"+one.Addr().String()+"/readyz", "")
				var health struct {
					Status   string
					Warnings []string
				}
				if err := json.Unmarshal([]byte(body), &health); err != nil || status != http.StatusOK || health.Status != "ready" {
					t.Fatalf("readyz answers %d %s (%v), want that it is ready", status, body, err)
				}
				return health.Warnings
			}
			metric := "curfew_store_notifications 1\n"
			if c.listen {
				await.Until(t, "a notification comes back", func() bool { return strings.Contains(log.String(), "came back") })
				if warnings := ready(); warnings != nil {
					t.Errorf("readyz warns: %q", warnings)
				}
			} else {
				metric = "curfew_store_notifications 0\n"
				await.Until(t, "two notifications are missed", func() bool { return len(ready()) > 0 })
				if warnings := ready(); len(warnings) != 1 || !strings.Contains(warnings[0], "polls") {
					t.Errorf("readyz warns %q, want once, that it polls", warnings)
				}
			}
			if warned := strings.Contains(log.String(), "set --database-listen"); warned == c.listen {
				t.Errorf("the log says what to set: %v, want %v", warned, !c.listen)
			}
			if _, body := get(t, "http://"+one.MetricsAddr().String()+"/metrics", ""); !strings.Contains(body, metric) {
				t.Errorf("the metrics do not say %q", metric)
			}

			var took []time.Duration
			for range 5 {
				_, body := send(t, http.MethodPost, "http://"+one.Addr().String()+"/v1/sessions", "", `{"username":"admin","password":"correct horse battery"}`)
				var issued struct{ Token string }
				if err := json.Unmarshal([]byte(body), &issued); err != nil || issued.Token == "" {
					t.Fatalf("signing in: %s (%v)", body, err)
				}
				if status, body := get(t, "http://"+two.Addr().String()+"/v1/session", issued.Token); status != http.StatusOK {
					t.Fatalf("the other node: %d %s", status, body)
				}
				began := time.Now()
				if status, body := send(t, http.MethodDelete, "http://"+one.Addr().String()+"/v1/session", issued.Token, ""); status != http.StatusNoContent {
					t.Fatalf("signing out: %d %s", status, body)
				}
				for {
					status, body := get(t, "http://"+two.Addr().String()+"/v1/session", issued.Token)
					if status == http.StatusUnauthorized {
						break
					}
					if status != http.StatusOK || time.Since(began) > 10*time.Second {
						t.Fatalf("the other node, after %v: %d %s", time.Since(began), status, body)
					}
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("refused at the other node after %v (median of %d), at most %v", took[len(took)/2], len(took), took[len(took)-1])
		})
	}
}
