package app

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
)

// waitingConfig is that of a server that waits for a PostgreSQL server.
func waitingConfig(t *testing.T, dsn string) config.Server {
	cfg := serverConfig(t)
	cfg.Listen = testnet.Address(t)
	cfg.Database, cfg.KeyEncryptionKey = config.Database(dsn), make([]byte, 32)
	cfg.DatabaseWait = await.Limit
	return cfg
}

// opening is a server that opens.
type opening struct {
	log  *lockedBuffer
	done chan struct{}
	app  *App
	err  error
}

func startOpening(ctx context.Context, t *testing.T, cfg config.Server) *opening {
	o := &opening{log: &lockedBuffer{}, done: make(chan struct{})}
	go func() { // ends with Open
		defer close(o.done)
		o.app, o.err = Open(ctx, cfg, Options{Logger: NewLogger(o.log, "json", slog.LevelInfo)})
	}()
	t.Cleanup(func() {
		<-o.done
		if o.app != nil {
			if err := o.app.Close(); err != nil {
				t.Error(err)
			}
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return o
}

func (o *opening) waitFor(t *testing.T, text string) {
	t.Helper()
	await.Until(t, "the log says "+text, func() bool {
		select {
		case <-o.done:
			t.Fatalf("Open returned: %v\n%s", o.err, o.log)
		default:
		}
		return strings.Contains(o.log.String(), text)
	})
}

// A node that starts before PostgreSQL is alive and not ready, and opens as soon as
// PostgreSQL takes connections.
func TestStartWaitsForPostgres(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	if err := server.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	cfg := waitingConfig(t, server.DSNVia(server.Addr(), "curfew"))
	o := startOpening(t.Context(), t, cfg)
	o.waitFor(t, "waiting for it")
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/curfew/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable,
		"/v1/session": http.StatusServiceUnavailable, "/": http.StatusServiceUnavailable,
	} {
		if status, body := get(t, "http://"+cfg.Listen+path, ""); status != want {
			t.Errorf("%s answers %d, want %d: %s", path, status, want, body)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	<-o.done
	if o.err != nil {
		t.Fatalf("%v\n%s", o.err, o.log)
	}
	// The connection that was opened while it waited is served by what came after.
	if status, _ := get(t, "http://"+cfg.Listen+"/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz answers %d", status)
	}
	if !strings.Contains(o.log.String(), "the database is available") {
		t.Errorf("the log does not tell of the end of the wait:\n%s", o.log)
	}
}

// A node whose database takes long to open, as for a migration, is alive and not ready.
// Here another node seems to migrate: it holds the lock of the schema.
func TestAliveWhileTheDatabaseOpens(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	if err := server.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("postgres", server.DSN("curfew"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	migration, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const schemaLock = 0x4375726665770001 // of package sqlstore
	if _, err := migration.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		t.Fatal(err)
	}
	cfg := waitingConfig(t, server.DSN("curfew"))
	o := startOpening(t.Context(), t, cfg)
	// The connection is accepted as soon as the server listens, and answered later.
	await.Until(t, "the server listens", func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", cfg.Listen)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		if status, body := get(t, "http://"+cfg.Listen+path, ""); status != want {
			t.Errorf("%s answers %d, want %d: %s", path, status, want, body)
		}
	}
	if strings.Contains(o.log.String(), "waiting for it") {
		t.Errorf("an attempt has failed, which is another case:\n%s", o.log)
	}
	if err := migration.Rollback(); err != nil {
		t.Fatal(err)
	}
	if <-o.done; o.err != nil {
		t.Errorf("%v\n%s", o.err, o.log)
	}
}

// The setup of a container makes the database when its server is up. A node that has
// waited for the server goes on waiting for the database.
func TestStartWaitsForADatabaseThatIsBeingMade(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	o := startOpening(t.Context(), t, waitingConfig(t, server.DSN("later")))
	o.waitFor(t, "waiting for it")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	o.waitFor(t, "does not exist")
	if err := server.CreateDatabase("later"); err != nil {
		t.Fatal(err)
	}
	if <-o.done; o.err != nil {
		t.Errorf("%v\n%s", o.err, o.log)
	}
}

// What an operator must mend is reported at once, and a wait has an end.
func TestStartDoesNotWait(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	for _, name := range []string{"curfew", "foreign"} {
		if err := server.CreateDatabase(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.ExecIn("foreign", `CREATE TABLE users (id text)`); err != nil {
		t.Fatal(err)
	}
	good := server.DSNVia(server.Addr(), "curfew")
	before, _, _ := strings.Cut(good, "@")
	wrong := before + "wrong" + strings.TrimPrefix(good, before)
	nothing := "postgres://127.0.0.1:1/curfew?sslmode=disable"
	tests := []struct {
		name, dsn string
		wait      time.Duration
		want      error
		says      string
	}{
		{"password", wrong, await.Limit, store.ErrUnavailable, "password authentication failed"},
		{"no such database", server.DSN("none"), await.Limit, store.ErrNoDatabase, "createdb NAME"},
		{"schema", server.DSN("foreign"), await.Limit, store.ErrForeign, "another program"},
		{"encryption", strings.Replace(good, "sslmode=disable", "sslmode=require", 1), await.Limit, store.ErrUnavailable, "does not encrypt"},
		{"no wait", nothing, 0, store.ErrNotReady, "connection refused"},
		{"the end of the wait", nothing, time.Nanosecond, store.ErrNotReady, "gave up after"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := waitingConfig(t, test.dsn)
			cfg.DatabaseWait = test.wait
			o := startOpening(t.Context(), t, cfg)
			if <-o.done; !errors.Is(o.err, test.want) || !strings.Contains(o.err.Error(), test.says) {
				t.Errorf("%v, want %v and %q", o.err, test.want, test.says)
			}
			if strings.Contains(o.log.String(), "waiting for it") {
				t.Errorf("it waited:\n%s", o.log)
			}
		})
	}
}

// A stop ends the wait.
func TestStopWhileWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := startOpening(ctx, t, waitingConfig(t, "postgres://127.0.0.1:1/curfew?sslmode=disable"))
	o.waitFor(t, "waiting for it")
	cancel()
	if <-o.done; !errors.Is(o.err, ErrStopped) {
		t.Errorf("%v, want ErrStopped", o.err)
	}
}
