package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverConfig is that of a server with a database of its own.
func serverConfig(t *testing.T) config.Server {
	t.Helper()
	return config.Server{
		Listener: config.Listener{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", ShutdownTimeout: await.Limit},
		Store:    config.Store{Database: config.Database(migrated.SQLite(t))},
		Lease:    2 * time.Second, AuditRetention: time.Hour,
	}
}

// runApp opens a server and runs it until the end of the test.
func runApp(t *testing.T, cfg config.Server, options Options) (*App, func() error) {
	t.Helper()
	a, err := Open(t.Context(), cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- errors.Join(a.Run(ctx), a.Close()) }() // ends with cancel
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return a, stop
}

func get(t *testing.T, url, bearer string) (status int, body string) {
	t.Helper()
	return send(t, http.MethodGet, url, bearer, "")
}

func send(t *testing.T, method, url, bearer, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(data)
}

// A server from its first breath to its last leaves nothing behind: no goroutine,
// no listener, no lock.
func TestAppFromBeginningToEnd(t *testing.T) {
	cfg := serverConfig(t)
	cfg.AdminPassword = "correct horse battery"
	a, stop := runApp(t, cfg, Options{})
	url := "http://" + a.Addr().String()
	status, body := send(t, http.MethodPost, url+"/v1/sessions", "", `{"username":"admin","password":"correct horse battery"}`)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	var issued struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &issued); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, url+"/v1/session", issued.Token); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get(t, url+"/sign-in", ""); status != http.StatusOK {
		t.Errorf("the console answers %d", status)
	}
	if status, _ := get(t, url+"/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz answers %d", status)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	path, _ := cfg.Database.SQLitePath()
	for _, file := range []string{path + ".lock", path + "-wal"} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", file, err)
		}
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", a.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("the address is still in use")
	}
	if err := a.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// What cannot be opened leaves nothing open, however far it came.
func TestOpenFails(t *testing.T) {
	cfg := serverConfig(t)
	_, stop := runApp(t, cfg, Options{})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*config.Server)
		want   error
	}{
		{"address", func(c *config.Server) { c.Listen = "192.0.2.1:1" }, nil},
		{"metrics address", func(c *config.Server) { c.MetricsListen = "192.0.2.1:1" }, nil},
		{"certificate", func(c *config.Server) { c.TLSCert, c.TLSKey = "none", "none" }, config.ErrInvalid},
		{"directory", func(c *config.Server) { c.Database = "sqlite:none/curfew.db" }, nil},
		{"issuer", func(c *config.Server) { c.Issuer = "https://other.example" }, nil},
		{"key", func(c *config.Server) { c.KeyEncryptionKey = bytes.Repeat([]byte{1}, 32) }, keyring.ErrWrongKEK},
		{"postgres", func(c *config.Server) { c.Database = "postgres://127.0.0.1:1/curfew" }, store.ErrUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bad := cfg
			test.change(&bad)
			a, err := Open(t.Context(), bad, Options{})
			if err == nil {
				_ = a.Close()
				t.Fatal("it was opened")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
			path, _ := cfg.Database.SQLitePath()
			if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the lock is left behind: %v", err)
			}
		})
	}
	// After all that it starts as usual.
	a, _ := runApp(t, cfg, Options{})
	if status, _ := get(t, "http://"+a.Addr().String()+"/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz answers %d", status)
	}
}

// A server that is about to end says so to load balancers, while requests under way
// go on.
func TestReady(t *testing.T) {
	a, _ := runApp(t, serverConfig(t), Options{})
	url := "http://" + a.Addr().String()
	if status, _ := get(t, url+"/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz answers %d, want 200", status)
	}
	a.readiness.draining.Store(true)
	if status, _ := get(t, url+"/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("readyz answers %d, want 503", status)
	}
	if status, _ := get(t, url+"/livez", ""); status != http.StatusOK {
		t.Errorf("livez answers %d, want 200", status)
	}
}

// Metrics speak of everything that an operator has to watch, and are not to be had
// at the server's own address.
func TestMetrics(t *testing.T) {
	a, _ := runApp(t, serverConfig(t), Options{})
	url := "http://" + a.Addr().String()
	get(t, url+"/v1/session", "nonsense")
	_, body := get(t, "http://"+a.MetricsAddr().String()+"/metrics", "")
	for _, name := range []string{
		`curfew_validations_total\{reason="malformed"\} 1`, `curfew_validation_duration_seconds_count 1`,
		`curfew_view_trusted 1`, `curfew_store_reachable 1`, `curfew_store_notifications 1`, `curfew_view_lease_seconds [0-2]`, `curfew_view_clock_ahead_seconds 0`,
		`curfew_revocation_cache_complete 1`, `curfew_revocation_cache_entries 0`, `curfew_revocation_cache_lookups_total 0`,
		`curfew_followers 0`, `curfew_followers_overdue 0`, `curfew_feed_polls_pending 0`, `curfew_feed_polls_refused_total 0`, `curfew_nodes 1`, `curfew_feed_reads_total\{outcome="good"\} [1-9]`, `curfew_feed_lag_seconds_count`,
		`curfew_password_hashes_running 0`, `curfew_password_hashes_waiting 0`, `curfew_connections [1-9]`,
		`curfew_session_uses_reported_total 0`, `curfew_session_uses_dropped_total 0`,
		`curfew_build_info\{version=".+"\} 1`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !regexp.MustCompile("(?m)^" + name).MatchString(body) {
			t.Errorf("no %s", name)
		}
	}
	if status, _ := get(t, url+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("the server itself answers /metrics with %d", status)
	}
}

// Actions in the console are counted like those through the API.
func TestWhatIsDoneIsCounted(t *testing.T) {
	cfg := serverConfig(t)
	cfg.AdminPassword = "correct horse battery"
	a, _ := runApp(t, cfg, Options{})
	url := "http://" + a.Addr().String()
	if status, body := send(t, http.MethodPost, url+"/v1/sessions", "", `{"username":"admin","password":"wrong"}`); status != http.StatusUnauthorized {
		t.Fatalf("%d %s", status, body)
	}
	browser := &http.Client{
		Transport:     http.DefaultTransport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	form := neturl.Values{"username": {"admin"}, "password": {"correct horse battery"}}
	in, err := browser.PostForm(url+"/sign-in", form)
	if err != nil {
		t.Fatal(err)
	}
	in.Body.Close()
	if in.StatusCode != http.StatusSeeOther || len(in.Cookies()) != 1 {
		t.Fatalf("the console answers %d with %d cookies", in.StatusCode, len(in.Cookies()))
	}
	token := in.Cookies()[0].Value
	if status, body := send(t, http.MethodPost, url+"/v1/users", token, `{"name":"ann","password":"correct horse battery"}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := send(t, http.MethodPost, url+"/v1/revocations", token, `{"scope":"remembered","reason":"test"}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	var users struct{ Users []struct{ ID, Name string } }
	_, body := get(t, url+"/v1/users?search=ann", token)
	if err := json.Unmarshal([]byte(body), &users); err != nil || len(users.Users) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	if status, body := send(t, http.MethodPatch, url+"/v1/users/"+users.Users[0].ID, token, `{"disabled":true}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := send(t, http.MethodDelete, url+"/v1/session", token, ""); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, body)
	}
	_, body = get(t, "http://"+a.MetricsAddr().String()+"/metrics", "")
	for _, line := range []string{
		`curfew_sign_ins_total{outcome="bad_credentials"} 1`, `curfew_sign_ins_total{outcome="good"} 1`,
		`curfew_revocations_total{scope="remembered"} 1`, `curfew_revocations_total{scope="user"} 1`, `curfew_revocations_total{scope="session"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}

// Clocks that are off are said to be, once a minute at most.
func TestClocksThatAreOff(t *testing.T) {
	var log bytes.Buffer
	cfg := serverConfig(t)
	ahead := time.Now().Add(time.Hour)
	a, err := Open(t.Context(), cfg, Options{Now: func() time.Time { return ahead }})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a, err = Open(t.Context(), cfg, Options{Logger: NewLogger(&log, "json", slog.LevelWarn)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	if text := log.String(); strings.Count(text, "this machine's clock is behind") != 1 || !regexp.MustCompile(`"behind":"(1h0|5[0-9])m`).MatchString(text) {
		t.Errorf("no warning, or more than one:\n%s", text)
	}
	log.Reset()
	now := time.Now()
	o := &observer{host: &host{metrics: a.metrics, log: a.log, now: func() time.Time { return now }}}
	for range 3 {
		o.observe(token.ErrNotYetValid, 0)
		o.observe(token.ErrExpired, 0)
	}
	if n := strings.Count(log.String(), "dated in the future"); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, log.String())
	}
	now = now.Add(warnEvery)
	o.observe(token.ErrNotYetValid, 0)
	if n := strings.Count(log.String(), "dated in the future"); n != 2 {
		t.Errorf("warned %d times a minute later, want twice", n)
	}
	now = now.Add(-time.Hour) // which is what makes tokens look as if from the future
	o.observe(token.ErrNotYetValid, 0)
	if n := strings.Count(log.String(), "dated in the future"); n != 3 {
		t.Errorf("warned %d times once the clock had been set back, want three times", n)
	}
}

// What may not have been meant is said at the start.
func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	cfg := serverConfig(t)
	cfg.InsecureShortTimeouts = true
	cfg.Listen = "0.0.0.0:0"
	a, _ := runApp(t, cfg, Options{Logger: NewLogger(&log, "json", slog.LevelWarn)})
	for _, want := range []string{"--insecure-short-timeouts is on", "listening on a public address without TLS", "curfew issuer set URL"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no warning %q in\n%s", want, log.String())
		}
	}
	_, port, err := net.SplitHostPort(a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("http://localhost:%s", port); a.installed.Issuer != want {
		t.Errorf("issuer %s, want %s", a.installed.Issuer, want)
	}
}
