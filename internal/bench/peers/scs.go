package peers

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	_ "github.com/lib/pq"  // the driver "postgres"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// SCS is github.com/alexedwards/scs/v2 with a store that outlives the process:
// the classic server-side session, whose credential is a random cookie. With an
// idle timeout each request reads its row and writes it back.
type SCS struct {
	name     string
	manager  *scs.SessionManager
	audience string
	database *sql.DB
}

// NewSCSWithSQLite keeps its sessions in file: WAL, and synchronous=NORMAL, the
// faster of the two settings that people use.
func NewSCSWithSQLite(file, audience string) (*SCS, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX sessions_expiry_idx ON sessions(expiry)`)
	return newSCS("scs + SQLite", db, sqlite3store.NewWithCleanupInterval(db, 0), audience), err
}

// NewSCSWithPostgres keeps its sessions in the database that dsn names.
func NewSCSWithPostgres(dsn, audience string) (*SCS, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(16)
	_, err = db.Exec(`CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
		CREATE INDEX sessions_expiry_idx ON sessions (expiry)`)
	return newSCS("scs + PostgreSQL", db, postgresstore.NewWithCleanupInterval(db, 0), audience), err
}

func newSCS(name string, db *sql.DB, store scs.Store, audience string) *SCS {
	m := scs.New()
	m.Store = store
	m.IdleTimeout = 20 * time.Minute
	m.Lifetime = 20 * 24 * time.Hour
	return &SCS{name: name, manager: m, audience: audience, database: db}
}

// Close closes the database.
func (s *SCS) Close() error { return s.database.Close() }

// Name implements [Guard].
func (s *SCS) Name() string { return s.name }

// SignIn stores a session that ends at expires if nothing happens before, and
// returns the value of its cookie.
func (s *SCS) SignIn(subject, audience string, expires time.Time) (string, error) {
	data, err := s.manager.Codec.Encode(time.Now().Add(s.manager.Lifetime), map[string]any{"sub": subject, "aud": audience})
	if err != nil {
		return "", err
	}
	cookie := rand.Text()
	return cookie, s.manager.Store.Commit(cookie, data, expires)
}

// Cookie returns the header that carries a cookie of SignIn.
func (s *SCS) Cookie(value string) string { return fmt.Sprintf("%s=%s", s.manager.Cookie.Name, value) }

// Wrap implements [Guard].
func (s *SCS) Wrap(next http.Handler) http.Handler {
	return s.manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.User(r) == "" || s.get(r.Context(), "aud") != s.audience {
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

func (s *SCS) get(ctx context.Context, key string) string { return s.manager.GetString(ctx, key) }

// User implements [Guard].
func (s *SCS) User(r *http.Request) string { return s.get(r.Context(), "sub") }
