package app

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
)

// makeFixture is the name of the databases to make:
//
//	make fixture NAME=v1.4
//
// writes testdata/databases/NAME.…, which every later version has to open. They are
// made once, with the release, and never again.
var makeFixture = flag.String("fixture", "", "make the databases of a release, under this name")

const fixtures = "testdata/databases"

// fixture holds the facts about a database of an earlier release. Its SQLite database
// is in NAME.db.gz, that of PostgreSQL in NAME.sql.
type fixture struct {
	Now      time.Time `json:"now"` // when it was made
	KEK      []byte    `json:"kek"`
	User     string    `json:"user"` // may sign in with Password
	Password string    `json:"password"`
	Client   string    `json:"client"` // with Secret
	Secret   string    `json:"secret"`
	Admin    string    `json:"admin"` // a token that reads everything
	// Tokens are tokens of every kind, and what GET /v1/session answers to them.
	Tokens []fixtureToken `json:"tokens"`
	// Answers are answers of the API, by path: later versions may add to them.
	Answers map[string]any `json:"answers"`
}

type fixtureToken struct {
	Name   string `json:"name"`
	Token  string `json:"token"`
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
}

// fixtureClock is a clock that starts at an instant and can be advanced.
type fixtureClock struct {
	start, began time.Time
	ahead        atomic.Int64
}

func newFixtureClock(start time.Time) *fixtureClock {
	return &fixtureClock{start: start, began: time.Now()}
}

func (c *fixtureClock) now() time.Time {
	return c.start.Add(time.Since(c.began) + time.Duration(c.ahead.Load()))
}

// fixtureServer is a server on a database of an earlier release, or on a database that
// becomes a fixture.
type fixtureServer struct {
	*testing.T
	url  string
	app  *App
	stop func() error
}

func runFixture(t *testing.T, database string, kek []byte, clock *fixtureClock) *fixtureServer {
	t.Helper()
	cfg := serverConfig(t)
	cfg.Database, cfg.KeyEncryptionKey = config.Database(database), kek
	cfg.AdminPassword, cfg.AuditRetention = fixturePassword, 400*24*time.Hour
	a, stop := runApp(t, cfg, Options{Now: clock.now})
	s := &fixtureServer{T: t, url: "http://" + a.Addr().String(), app: a, stop: stop}
	s.waitReady()
	return s
}

func (s *fixtureServer) waitReady() {
	s.Helper()
	await.Until(s.T, "the server is ready", func() bool {
		status, _ := get(s.T, s.url+"/readyz", "")
		return status == http.StatusOK
	})
}

const fixturePassword = "violet-anchor-73-lantern"

// call sends a request, as a client if credentials has a colon, and returns the
// answer, which must have the status.
func (s *fixtureServer) call(method, path, credentials, body string, status int) map[string]any {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPut {
		r.Header.Set("If-Match", "*")
	}
	if id, secret, ok := strings.Cut(credentials, ":"); ok {
		r.SetBasicAuth(id, secret)
	} else if credentials != "" {
		r.Header.Set("Authorization", "Bearer "+credentials)
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		s.Fatal(err)
	}
	if got.StatusCode != status {
		s.Fatalf("%s %s answers %d, want %d: %s", method, path, got.StatusCode, status, data)
	}
	answer := map[string]any{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &answer); err != nil {
			s.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return answer
}

func (s *fixtureServer) signIn(name string, remember bool) string {
	s.Helper()
	body := fmt.Sprintf(`{"username":%q,"password":%q,"remember_me":%v}`, name, fixturePassword, remember)
	return s.call("POST", "/v1/sessions", "", body, http.StatusCreated)["token"].(string)
}

// TestMakeFixture makes the databases of a release. Without -fixture it makes them
// for nothing, so that the recipe stays in order.
func TestMakeFixture(t *testing.T) {
	name, dir := *makeFixture, fixtures
	if name == "" {
		name, dir = "trial", t.TempDir()
	}
	path := t.TempDir() + "/curfew.db"
	f := fillFixture(t, "sqlite:"+path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFixture(t, filepath.Join(dir, name+".sqlite"), f, ".db.gz", packed.Bytes())

	dsn := pgtest.DSN(t)
	f = fillFixture(t, dsn)
	writeFixture(t, filepath.Join(dir, name+".postgres"), f, ".sql", []byte(pgtest.Dump(t, dsn)))
}

func writeFixture(t *testing.T, base string, f fixture, suffix string, content []byte) {
	t.Helper()
	known, err := json.MarshalIndent(f, "", "\t") // #nosec G117 -- the password of a fixture
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{base + suffix: content, base + ".json": append(known, '\n')} {
		if _, err := os.Lstat(file); err == nil {
			t.Fatalf("%s exists: the databases of a release are made once", file)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// fillFixture fills a new database with something of everything.
func fillFixture(t *testing.T, database string) fixture {
	start := time.Date(2026, time.November, 28, 12, 0, 0, 0, time.UTC)
	f := fixture{KEK: bytes.Repeat([]byte("fixture."), 4), User: "alice", Password: fixturePassword}
	clock := newFixtureClock(start)
	s := runFixture(t, database, f.KEK, clock)
	keep := func(name, token string, status int, code string) {
		f.Tokens = append(f.Tokens, fixtureToken{name, token, status, code})
	}
	const dead = http.StatusUnauthorized
	f.Admin = s.signIn("admin", true)
	keep("administrator", f.Admin, http.StatusOK, "")
	user := func(body string) string {
		return s.call("POST", "/v1/users", f.Admin, body, http.StatusCreated)["id"].(string)
	}
	password := strconv.Quote(fixturePassword)
	alice := user(`{"name":"alice","email":"alice@example.com","permissions":["UserEdit"],"groups":["staff","audit"],"password":` + password + `}`)
	bob := user(`{"name":"bob","email":"Bob@Example.com","password":` + password + `}`)
	carol := user(`{"name":"carol","password":` + password + `}`)
	user(`{"name":"Zoë Übel"}`)

	client := func(name, capabilities string) (id, secret string) {
		made := s.call("POST", "/v1/clients", f.Admin, fmt.Sprintf(`{"name":%q,"capabilities":[%s]}`, name, capabilities), http.StatusCreated)
		return made["id"].(string), made["secret"].(string)
	}
	f.Client, f.Secret = client("billing", `"follow","introspect","issue"`)
	deleted, _ := client("old", `"revoke"`)
	s.call("DELETE", "/v1/clients/"+deleted, f.Admin, "", http.StatusNoContent)
	s.call("POST", "/v1/providers", f.Admin, `{"name":"corp","issuer":"https://login.example.com/realms/Zoë","client_id":"curfew"}`, http.StatusBadRequest)
	s.call("POST", "/v1/providers", f.Admin, `{"name":"corp","issuer":"https://login.example.com","client_id":"curfew","client_secret":"fixture-client-secret",`+
		`"groups_claim":"groups","group_permissions":{"Zoë’s team":["AdministerSystem","UserEdit"]},"allowed_groups":["staff","Zoë’s team"],"create_users":true}`, http.StatusCreated)
	linked := store.Identity{Issuer: "https://login.example.com", Subject: "Zoë|1", UserID: alice, Provider: "corp", LinkedAt: start.UnixMicro(), LastSignInAt: start.UnixMicro()}
	if err := s.app.store.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.PutIdentity(t.Context(), linked),
			tx.EndProviderSession(t.Context(), linked.Issuer, "sid", "", 1),
			tx.RecordLogoutToken(t.Context(), linked.Issuer, "jti", start.UnixMicro()))
	}); err != nil {
		t.Fatal(err)
	}
	s.call("PATCH", "/v1/sign-in-methods", f.Admin, `{"passwords":true}`, http.StatusOK)
	begun := s.call("POST", "/v1/users/ext-1/sessions", f.Client+":"+f.Secret, `{"remember_me":true}`, http.StatusCreated)["token"].(string)
	keep("begun by a client", begun, http.StatusOK, "")

	keep("idle for too long, before the timeout was lengthened", s.signIn("alice", false), dead, "idle_timeout")
	keep("remembered", s.signIn("alice", true), http.StatusOK, "")
	out := s.signIn("alice", true)
	keep("signed out", out, dead, "revoked")
	s.call("DELETE", "/v1/session", out, "", http.StatusNoContent)
	keep("user revoked", s.signIn("bob", true), dead, "revoked")
	receipt := s.call("POST", "/v1/users/"+bob+"/revocations", f.Admin, `{"reason":"lost phone"}`, http.StatusCreated)
	keep("user disabled", s.signIn("carol", true), dead, "revoked")
	s.call("PATCH", "/v1/users/"+carol, f.Admin, `{"disabled":true}`, http.StatusOK)
	s.call("POST", "/v1/sessions", "", `{"username":"bob","password":"wrong"}`, dead)
	before := s.app.ring
	next, _, err := before.Rotate(t.Context(), authz.Caller{Actor: system, Trusted: true}, "", "yearly")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	clock = newFixtureClock(start.Add(time.Hour))
	s = runFixture(t, database, f.KEK, clock)
	clock.ahead.Store(int64(time.Minute)) // the next key has been published long enough
	await.Until(t, "the next key signs", func() bool {
		if err := s.app.ring.Maintain(t.Context()); err != nil {
			t.Log(err)
		}
		key, err := s.app.ring.Signing(t.Context())
		return err == nil && key.ID() == next.ID
	})
	s.waitReady()
	s.call("PUT", "/v1/settings/authentication", f.Admin,
		`{"session_timeout_seconds":7200,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`, http.StatusOK)
	keep("signed by the next key", s.signIn("bob", false), http.StatusOK, "")

	f.Answers = map[string]any{}
	epoch := strconv.FormatInt(int64(receipt["epoch"].(float64)), 10)
	for _, path := range []string{
		"/v1/users?limit=500", "/v1/users/" + bob, "/v1/users/" + alice, "/v1/users/" + alice + "/sessions", "/v1/providers", "/v1/sign-in-methods", "/v1/clients", "/v1/settings/authentication",
		"/v1/audit?limit=500", "/v1/revocations/" + epoch, "/.well-known/jwks.json",
	} {
		answer := s.call("GET", path, f.Admin, "", http.StatusOK)
		delete(answer, "enforcement") // of a receipt: present state
		f.Answers[path] = answer
	}
	f.Now = clock.now().UTC().Truncate(time.Second)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFixtures opens the databases of earlier releases, as an upgrade does. Nothing
// in them is lost: sessions that were live are live, those that had ended are over
// for the same reason, and the API answers what it answered.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob(fixtures + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no fixtures: %v", err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(base), func(t *testing.T) {
			var f fixture
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(content, &f); err != nil {
				t.Fatal(err)
			}
			s := runFixture(t, loadFixture(t, base), f.KEK, newFixtureClock(f.Now.Add(time.Minute)))
			checkFixture(s, f)
		})
	}
}

// loadFixture makes a database of a fixture and returns its address.
func loadFixture(t *testing.T, base string) string {
	t.Helper()
	if dump, err := os.ReadFile(base + ".sql"); err == nil {
		dsn := pgtest.DSN(t)
		pgtest.Load(t, dsn, string(dump))
		return dsn
	}
	packed, err := os.Open(base + ".db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/curfew.db"
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

func checkFixture(s *fixtureServer, f fixture) {
	check := func(name, token string, status int, code string) {
		s.Helper()
		got, body := get(s.T, s.url+"/v1/session", token)
		if got != status || code != "" && !strings.Contains(body, `"code":"`+code+`"`) {
			s.Errorf("%s: %d %s, want %d %s", name, got, body, status, code)
		}
	}
	// Before the tokens are used, which some of the answers tell soon after.
	for path, want := range f.Answers {
		if got := s.call("GET", path, f.Admin, "", http.StatusOK); !contains(got, want) {
			s.Errorf("%s answers\n%v\nwhich lacks something of\n%v", path, got, want)
		}
	}
	for _, token := range f.Tokens {
		check(token.Name, token.Token, token.Status, token.Code)
	}
	s.call("GET", "/v1/clients/me", f.Client+":"+f.Secret, "", http.StatusOK)

	// And everything goes on.
	token := s.signIn(f.User, false)
	check("signed in", token, http.StatusOK, "")
	s.call("POST", "/v1/session/refresh", token, "{}", http.StatusOK)
	s.call("POST", "/v1/users/me/revocations", token, `{"reason":"upgrade"}`, http.StatusCreated)
	check("revoked", token, http.StatusUnauthorized, "revoked")
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || !bytes.Contains(claims, []byte(`"iss"`)) {
		s.Errorf("%s: %v", claims, err)
	}
	keys, err := s.app.store.Keys(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	states := map[string]int{}
	for _, key := range keys {
		states[key.State]++
	}
	if states[store.KeyActive] != 1 || states[store.KeyRetiring] != 1 {
		s.Errorf("the keys are %v, want one active and one retiring", states)
	}
}

// contains reports whether an answer has all members of an earlier one, with the
// same values. A list must end as the earlier one does: what is newer comes first.
func contains(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range want {
			if !contains(got[name], value) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) < len(want) {
			return false
		}
		got = got[len(got)-len(want):]
		for i := range want {
			if !contains(got[i], want[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(got, want)
}
