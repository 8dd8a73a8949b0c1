package app

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
)

func openEmpty(t *testing.T) store.Store {
	t.Helper()
	s, err := openStore(t.Context(), config.Store{Database: config.Database("sqlite:" + t.TempDir() + "/curfew.db")}, true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestInstall(t *testing.T) {
	s := openEmpty(t)
	now := time.Now()
	installed, first, err := install(t.Context(), s, now, config.Server{}, "127.0.0.1:8420")
	if err != nil || !first {
		t.Fatalf("first %v, %v; want the first start", first, err)
	}
	if installed.Issuer != "http://127.0.0.1:8420" || !slices.Equal(installed.Audience, []string{"http://127.0.0.1:8420"}) {
		t.Errorf("%+v, want what follows from the address", installed)
	}
	row, err := s.Settings(t.Context())
	if err != nil || row.Settings != settings.Default() || row.LongestMaximum != 1_728_000 || row.Epoch == 0 {
		t.Errorf("settings %+v, %v; want the defaults", row, err)
	}
	before, err := s.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// A later start at another address changes nothing but the clock.
	again, first, err := install(t.Context(), s, now, config.Server{}, "127.0.0.1:9999")
	if err != nil || first || again.Issuer != installed.Issuer {
		t.Errorf("%+v, first %v, %v; want the stored values", again, first, err)
	}
	if after, err := s.Clock(t.Context()); err != nil || after <= before {
		t.Errorf("the clock stands at %d, %v; every start advances it from %d", after, err, before)
	}

	same := config.Server{Issuer: installed.Issuer, Audience: installed.Audience}
	if _, _, err := install(t.Context(), s, now, same, "x"); err != nil {
		t.Errorf("the stored values are refused: %v", err)
	}
	other := config.Server{Issuer: "https://a.example", Audience: []string{"b", "c"}}
	_, _, err = install(t.Context(), s, now, other, "x")
	if err == nil {
		t.Fatal("another issuer and audience were taken")
	}
	for _, want := range []string{`--issuer is "https://a.example"`, `--audience is "b", "c"`, `created with "http://127.0.0.1:8420"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v should say %s", err, want)
		}
	}
}

// A password that the first account cannot have is refused before anything is made.
func TestInstallWithAnUnusablePassword(t *testing.T) {
	s := openEmpty(t)
	for _, n := range []int{1, 11, 1025} {
		cfg := config.Server{AdminPassword: strings.Repeat("correct horse battery ", 50)[:n]}
		if _, _, err := install(t.Context(), s, time.Now(), cfg, "127.0.0.1:1"); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%d bytes: %v, want ErrInvalid", n, err)
		}
		if _, err := s.Installation(t.Context()); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%d bytes: there is an installation: %v", n, err)
		}
	}
	for _, password := range []string{"password1234", "curfew-admin"} {
		if _, _, err := install(t.Context(), s, time.Now(), config.Server{AdminPassword: password}, "127.0.0.1:1"); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", password, err)
		}
	}
	for _, n := range []int{12, 1024} {
		s := openEmpty(t)
		cfg := config.Server{AdminPassword: strings.Repeat("correct horse battery ", 50)[:n]}
		if _, _, err := install(t.Context(), s, time.Now(), cfg, "127.0.0.1:1"); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		// Later starts make no account, and have no use for it.
		if _, _, err := install(t.Context(), s, time.Now(), config.Server{AdminPassword: "x"}, "127.0.0.1:1"); err != nil {
			t.Errorf("a later start: %v", err)
		}
	}
}

func TestDefaultIssuer(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8420": "http://127.0.0.1:8420", "[::1]:1": "http://[::1]:1", "host:1": "http://host:1",
		"0.0.0.0:8420": "http://localhost:8420", "[::]:8420": "http://localhost:8420", ":8420": "http://localhost:8420",
	} {
		if got := defaultIssuer(address, false); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := defaultIssuer("127.0.0.1:443", true); got != "https://127.0.0.1:443" {
		t.Errorf("with TLS: %s", got)
	}
}

func TestGreeting(t *testing.T) {
	var b bytes.Buffer
	if err := greet(&b, greeting{URL: "http://a", First: true, Password: firstPassword{password: "secret-1"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "open       http://a\n") || strings.Count(b.String(), "secret-1") != 1 {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := greet(&b, greeting{URL: "http://a", First: true, Password: firstPassword{"secret-1", "/a/file"}}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "secret-1") || !strings.Contains(b.String(), "in the file /a/file\n") {
		t.Errorf("with a file: %s", b.String())
	}
	b.Reset()
	if err := greet(&b, greeting{URL: "http://a", First: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "CURFEW_ADMIN_PASSWORD") {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := greet(&b, greeting{URL: "http://a"}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "account") {
		t.Errorf("a later start speaks of an account: %s", b.String())
	}
}

func TestLogFormat(t *testing.T) {
	for format, want := range map[string]string{"text": "level=INFO msg=hello", "json": `"msg":"hello"`, "": `"msg":"hello"`} {
		var b bytes.Buffer
		NewLogger(&b, format, slog.LevelInfo).Info("hello")
		if !strings.Contains(b.String(), want) {
			t.Errorf("format %q: %s", format, b.String())
		}
		NewLogger(&b, format, slog.LevelWarn).Info("too low")
		if strings.Contains(b.String(), "too low") {
			t.Errorf("format %q: the level is not kept", format)
		}
	}
	// Input that reaches a log cannot control the terminal that shows it.
	var b bytes.Buffer
	NewLogger(&b, "text", slog.LevelInfo).Info("hello", "name", "\x1b[31mred\nnew line")
	if strings.ContainsAny(b.String(), "\x1b") || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("%q", b.String())
	}
}

func TestPrefixOf(t *testing.T) {
	for _, tt := range []struct {
		issuer, want string
		fails        bool
	}{
		{"https://curfew.example", "", false},
		{"https://curfew.example/curfew/", "/curfew", false},
		{"https://curfew.example/auth/users", "/auth/users", false},
		{"https://curfew.example/v1", "", true},
		{"https://curfew.example/users/x", "", true},
		{"https://curfew.example/sign-in", "", true},
		{"https://curfew.example/assets", "", true},
		{"https://curfew.example/.well-known", "", true},
		{"https://curfew.example/livez", "", true},
		{"https://curfew.example/a//b", "", true},
	} {
		if got, err := prefixOf(tt.issuer); got != tt.want || (err != nil) != tt.fails {
			t.Errorf("prefixOf(%q) = %q, %v; want %q, error: %v", tt.issuer, got, err, tt.want, tt.fails)
		}
	}
}

// An issuer whose path can't be served is refused before anything is made; if it is
// stored already, the server starts, at the root.
func TestInstallWithAnUnusablePath(t *testing.T) {
	s := openEmpty(t)
	for _, issuer := range []string{"https://curfew.example/users", "https://curfew.example/a//b"} {
		_, _, err := install(t.Context(), s, time.Now(), config.Server{Issuer: issuer}, "127.0.0.1:1")
		if problem := (*config.OptionError)(nil); !errors.As(err, &problem) || problem.Option != "--issuer" {
			t.Errorf("%s: %v, want a problem with --issuer", issuer, err)
		}
	}
	if _, err := s.Installation(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want nothing to be installed", err)
	}
	var log bytes.Buffer
	d := host{log: slog.New(slog.NewTextHandler(&log, nil))}
	if d.serveBelow(t.Context(), "https://curfew.example/users"); d.prefix != "" || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("prefix %q, log: %s", d.prefix, &log)
	}
	log.Reset()
	if d.serveBelow(t.Context(), "https://curfew.example/curfew/"); d.prefix != "/curfew" || log.Len() > 0 {
		t.Errorf("prefix %q, log: %s", d.prefix, &log)
	}
}
