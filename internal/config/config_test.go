package config_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/curfew/internal/config"
)

var key = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// source is a command line, an environment and files.
func source(flags map[string][]string, env, files map[string]string) config.Source {
	return config.Source{
		Flags: flags,
		Lookup: func(name string) (string, bool) {
			value, ok := env[name]
			return value, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	}
}

func TestServerWithoutConfiguration(t *testing.T) {
	s, err := config.ResolveServer(source(nil, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Server{
		Listener: config.Listener{
			Listen: "127.0.0.1:8420", MetricsListen: "127.0.0.1:8421",
			RevocationCache: 1_000_000, ShutdownDelay: -1, ShutdownTimeout: 30 * time.Second,
		},
		Store:          config.Store{Database: "sqlite:curfew.db"},
		Lease:          15 * time.Second,
		DatabaseWait:   time.Minute,
		AuditRetention: 400 * 24 * time.Hour,
		MaxSessions:    100,
		IdentityClaims: []string{"name", "email", "groups"},

		ReauthenticateWithin: 15 * time.Minute,
	}
	if diff := cmp.Diff(want, s, cmp.Comparer(func(a, b []string) bool { return slices.Equal(a, b) })); diff != "" {
		t.Error(diff)
	}
	if s.MinimumTimeout() != time.Minute {
		t.Errorf("shortest timeout %v, want a minute", s.MinimumTimeout())
	}
}

func TestFlagsThenEnvironmentThenDefault(t *testing.T) {
	env := map[string]string{"CURFEW_LISTEN": "127.0.0.1:2", "CURFEW_LEASE": "3s", "CURFEW_AUDIENCE": "a, b"}
	flags := map[string][]string{"listen": {"127.0.0.1:0", "127.0.0.1:1"}, "audience": {"c,d", "e"}}
	s, err := config.ResolveServer(source(flags, env, nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != "127.0.0.1:1" {
		t.Errorf("listen at %s, want what the last flag said", s.Listen)
	}
	if s.Lease != 3*time.Second {
		t.Errorf("lease %v, want the environment's", s.Lease)
	}
	if s.LogLevel != 0 || s.AuditRetention != 400*24*time.Hour {
		t.Errorf("level %v, retention %v: want the defaults", s.LogLevel, s.AuditRetention)
	}
	if want := []string{"c", "d", "e"}; !slices.Equal(s.Audience, want) {
		t.Errorf("audience %q, want %q: a flag's value is a list, like the environment's", s.Audience, want)
	}
	delete(flags, "audience")
	if s, err = config.ResolveServer(source(flags, env, nil)); err != nil || !slices.Equal(s.Audience, []string{"a", "b"}) {
		t.Errorf("audience %q, %v; want the environment's two", s.Audience, err)
	}
}

// An empty flag is a value, so that an address can be taken away again.
func TestEmptyTurnsMetricsOff(t *testing.T) {
	s, err := config.ResolveServer(source(map[string][]string{"metrics-listen": {""}}, map[string]string{"CURFEW_METRICS_LISTEN": "127.0.0.1:9"}, nil))
	if err != nil || s.MetricsListen != "" {
		t.Errorf("metrics at %q, %v; want none", s.MetricsListen, err)
	}
	s, err = config.ResolveServer(source(nil, map[string]string{"CURFEW_METRICS_LISTEN": ""}, nil))
	if err != nil || s.MetricsListen != "" {
		t.Errorf("metrics at %q, %v; want none", s.MetricsListen, err)
	}
}

// Others are as if they were not set: an empty variable is how many programs unset
// one.
func TestEmptyVariables(t *testing.T) {
	env := map[string]string{}
	for _, o := range config.ServerOptions() {
		if !o.Blank {
			env[o.Env()], env[o.Env()+"_FILE"] = "", ""
		}
	}
	want, err := config.ResolveServer(source(nil, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.ResolveServer(source(nil, env, nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	files := map[string]string{"/run/kek": key + "\n", "/run/db": "postgres://u:p@h/d\r\n", "/run/empty": "\n"}
	s, err := config.ResolveServer(source(nil, map[string]string{
		"CURFEW_KEY_ENCRYPTION_KEY_FILE": "/run/kek", "CURFEW_DATABASE_FILE": "/run/db",
	}, files))
	if err != nil {
		t.Fatal(err)
	}
	if string(s.KeyEncryptionKey) != "0123456789abcdef0123456789abcdef" {
		t.Error("the key is not the file's")
	}
	if s.Database != "postgres://u:p@h/d" {
		t.Errorf("database %q is not the file's", s.Database)
	}

	for name, env := range map[string]map[string]string{
		"both":    {"CURFEW_KEY_ENCRYPTION_KEY": key, "CURFEW_KEY_ENCRYPTION_KEY_FILE": "/run/kek"},
		"missing": {"CURFEW_KEY_ENCRYPTION_KEY_FILE": "/run/none"},
		"empty":   {"CURFEW_ADMIN_PASSWORD_FILE": "/run/empty"},
	} {
		_, err := config.ResolveServer(source(nil, env, files))
		if !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	// A variable that was made from a file ends as the file does.
	s, err = config.ResolveServer(source(nil, map[string]string{"CURFEW_ADMIN_PASSWORD": "correct horse\r\n", "CURFEW_DATABASE": "\n"}, nil))
	if err != nil || s.AdminPassword != "correct horse" || s.Database != config.DefaultDatabase {
		t.Errorf("password %q, database %s, %v", s.AdminPassword, s.Database, err)
	}
	// Only secrets may be in files.
	s, err = config.ResolveServer(source(nil, map[string]string{"CURFEW_LISTEN_FILE": "/run/db"}, files))
	if err != nil || s.Listen != config.DefaultListen {
		t.Errorf("listen at %q, %v; want the default", s.Listen, err)
	}
}

func TestAdminPasswordHasNoFlag(t *testing.T) {
	s, err := config.ResolveServer(source(map[string][]string{"admin-password": {"from the command line"}}, nil, nil))
	if err != nil || s.AdminPassword != "" {
		t.Errorf("password %q, %v; want none", s.AdminPassword, err)
	}
	s, err = config.ResolveServer(source(nil, map[string]string{"CURFEW_ADMIN_PASSWORD": " kept as it is "}, nil))
	if err != nil || s.AdminPassword != " kept as it is " {
		t.Errorf("password %q, %v; want the environment's, spaces and all", s.AdminPassword, err)
	}
}

func TestAllViolationsAtOnce(t *testing.T) {
	flags := map[string][]string{
		"listen": {"8420"}, "lease": {"1s"}, "log-level": {"loud"}, "issuer": {"curfew"},
		"database": {"mysql:x"}, "tls-cert": {"cert.pem"}, "trusted-proxies": {"10.0.0.1/8"},
	}
	_, err := config.ResolveServer(source(flags, map[string]string{"CURFEW_AUDIT_RETENTION": "soon"}, nil))
	if !errors.Is(err, config.ErrInvalid) {
		t.Fatalf("%v, want ErrInvalid", err)
	}
	for _, want := range append(slices.Collect(maps.Keys(flags)), "CURFEW_AUDIT_RETENTION") {
		if !strings.Contains(err.Error(), want+": ") {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(flags)+1 {
		t.Errorf("%d lines for %d violations:\n%v", lines, len(flags)+1, err)
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		flag string
		good []string
		bad  []string
	}{
		{"listen", []string{"127.0.0.1:0", ":8420", "[::1]:65535", "localhost:1"},
			[]string{"", "8420", "127.0.0.1", "h:65536", "h:-1", "h:http", "h:01", "::1:80"}},
		{"metrics-listen", []string{"", "127.0.0.1:9"}, []string{"off"}},
		{"lease", []string{"2s", "15", "1h", "60m"}, []string{"", "1999ms", "1", "3601s", "1h1s", "-5s", "2d", "x"}},
		{"audit-retention", []string{"1d", "24h", "36500d"}, []string{"23h", "36501d", "-1d", "99999999999999999999d", "d"}},
		{"max-sessions-per-user", []string{"0", "1", "1000000"}, []string{"", "-1", "1000001", "many"}},
		{"reauthenticate-within", []string{"0", "1s", "15m", "400d"}, []string{"", "-1s", "401d", "1500ms", "never"}},
		{"shutdown-delay", []string{"auto", "0", "5s", "29s"}, []string{"", "-1s", "30s", "1h1s", "Auto"}},
		{"shutdown-timeout", []string{"1s", "1h"}, []string{"0", "999ms", "3601"}},
		{"revocation-cache", []string{"1", "100000000"}, []string{"0", "-1", "100000001", "many", "1e6"}},
		{"log-format", []string{"", "text", "json"}, []string{"xml", "JSON"}},
		{"log-level", []string{"debug", "INFO", "warn", "warning", "error"}, []string{"", "trace"}},
		{"issuer", []string{"https://curfew.example", "http://127.0.0.1:8420", "https://a/b"},
			[]string{"", "curfew.example", "ftp://a", "https://", "https://a?b", "https://a?", "https://a#b", "https://a#", "https://u:p@a", "https://" + strings.Repeat("a", 1020)}},
		{"audience", []string{"billing", "https://x", strings.Repeat("a", 512)}, []string{"", "a\nb", "\xff", strings.Repeat("a", 513)}},
		{"database", []string{"sqlite:a.db", "sqlite:///var/lib/curfew.db", "postgres://u:p@h/d", "postgresql:///d?host=/run", "sqlite:C.db", "postgres://u:p@h1:1,h2:2/d", "postgres://h1,[::1]:3/d?sslmode=disable"},
			[]string{"", "curfew.db", "mysql:x", "sqlite:", "sqlite::memory:", "sqlite:a?b", "sqlite:dir/", "postgres://h", "postgres:d", "postgres://u:%zz@h/d", "postgres://h1:1,h2:x/d", "postgres://h1:1,h2:0/d", "postgres://h1,,h2/d", "postgres://h1:1,h2/d?host=h3", "postgres://h1:1,h2/d?port=3", "postgres://h1:1,h2:2", "host=db user=u password=geheim dbname=d", "Host=db;Password=geheim"}},
		{"key-encryption-key", []string{key, strings.TrimRight(key, "="), base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 32)))},
			[]string{"", "secret!", base64.StdEncoding.EncodeToString(make([]byte, 31)), base64.StdEncoding.EncodeToString(make([]byte, 33))}},
		{"trusted-proxies", []string{"10.0.0.0/8", "192.0.2.7", "::1", "fd00::/8", "10.0.0.0/8,::1"},
			[]string{"10.0.0.1/8", "proxy", "fe80::1%eth0", "10.0.0.0/33"}},
		{"cookie-domain", []string{"", "example.com", ".a.example.com"}, []string{"com", "127.0.0.1", "a..b", "a b.c", "exa_mple.com"}},
		{"cors-origins", []string{"https://app.example", "http://localhost:5173", "https://app.example:8443,http://[::1]:1", "https://xn--bcher-kva.example"},
			[]string{"*", "null", "app.example", "https://app.example/", "https://app.example/x", "https://*.app.example", "https://App.example", "HTTPS://app.example",
				"https://app.example:443", "http://app.example:80", "https://app.example:", "https://u@app.example", "https://app.example?", "https://app.example#", "ftp://app.example",
				"https://bücher.example", "https://", "https://a.example https://b.example", "https://a.example;https://b.example"}},
		{"cookie-name", []string{"", "corp_session", "__Host-x", "__Secure-x", "!#$%&'*+-.^_`|~09azAZ", strings.Repeat("a", 128)},
			[]string{"a b", "a=b", "a;b", "a,b", `"a"`, "ä", "a\x00", "a/b", "(a)", "a\tb", strings.Repeat("a", 129)}},
		{"return-hosts", []string{"a.example,b.example:8443", "a.example, b.example", "app.example", "app.example:8443", "[::1]:1"}, []string{"a;b", "*.example", "https://a", "a/b", "a b", "u@h", ""}},
		{"identity-claims", []string{"none", "name", "email,name", "groups, name ,email"},
			[]string{"", ",", "name,", "Name", "sub", "none,name", "name,name", "permissions"}},
		{"insecure-short-timeouts", []string{"true", "false", "1", "off", ""}, []string{"perhaps"}},
	}
	for _, test := range tests {
		env := map[string]string{"CURFEW_KEY_ENCRYPTION_KEY": key}
		for _, value := range test.good {
			if _, err := config.ResolveServer(source(map[string][]string{test.flag: {value}}, env, nil)); err != nil {
				t.Errorf("--%s %q: %v", test.flag, value, err)
			}
		}
		for _, value := range test.bad {
			_, err := config.ResolveServer(source(map[string][]string{test.flag: {value}}, env, nil))
			var problem *config.OptionError
			if !errors.As(err, &problem) || problem.Option != "--"+test.flag {
				t.Errorf("--%s %q: %v, want a problem with it", test.flag, value, err)
			}
		}
	}
}

// A secret is never quoted: not the key, and not the password in an address.
func TestErrorsKeepSecrets(t *testing.T) {
	flags := map[string][]string{
		"key-encryption-key": {"hunter2!"},
		"database":           {"postgres://user:hunter2@host:x y/"},
	}
	_, err := config.ResolveServer(source(flags, nil, nil))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error quotes a secret: %v", err)
	}
	for _, address := range []string{"postgres://user:hunter2@host/db", "postgres://user@host/db?password=hunter2"} {
		if text := config.Database(address).String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "host/db") {
			t.Errorf("%q should name the database and not the password", text)
		}
	}
}

func TestPostgresNeedsAKey(t *testing.T) {
	flags := map[string][]string{"database": {"postgres://h/d"}}
	_, err := config.ResolveServer(source(flags, nil, nil))
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), config.HowToMakeKey) {
		t.Errorf("%v, want an error that shows how to make a key", err)
	}
	if _, err := config.ResolveTools(source(flags, nil, nil)); err != nil {
		t.Errorf("the tools need no key before they use one: %v", err)
	}
}

func TestDatabaseListen(t *testing.T) {
	env := map[string]string{"CURFEW_KEY_ENCRYPTION_KEY": key}
	for _, test := range []struct {
		database, listen string
		problem          string // "" if there is none
	}{
		{"postgres://h/d", "postgres://u:hunter2@direct/d", ""},
		{"postgres://h/d", "postgresql:///d?host=/run", ""},
		{"postgres://h/d", "", "is empty"},
		{"postgres://h/d", "sqlite:a.db", "PostgreSQL"},
		{"postgres://h/d", "postgres://u:hunter2@direct/", "names no database"},
		{"postgres://h/d", "postgres://u:%zzhunter2@direct/d", "not a URL"},
		{"sqlite:a.db", "postgres://u:hunter2@direct/d", "SQLite"},
	} {
		s, err := config.ResolveServer(source(map[string][]string{"database": {test.database}, "database-listen": {test.listen}}, env, nil))
		switch {
		case test.problem == "" && (err != nil || string(s.DatabaseListen) != test.listen):
			t.Errorf("%s, listening at %s: %q, %v", test.database, test.listen, s.DatabaseListen, err)
		case test.problem == "":
		case !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "--database-listen") ||
			!strings.Contains(err.Error(), test.problem) || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s, listening at %s: error %v, want one about --database-listen that says %q and no password", test.database, test.listen, err, test.problem)
		}
	}
	files := map[string]string{"/run/listen": "postgres://u:p@direct/d\n"}
	env["CURFEW_DATABASE"], env["CURFEW_DATABASE_LISTEN_FILE"] = "postgres://h/d", "/run/listen"
	if s, err := config.ResolveTools(source(nil, env, files)); err != nil || s.DatabaseListen != "postgres://u:p@direct/d" {
		t.Errorf("%q, %v; want the address in the file", s.DatabaseListen, err)
	}
}

// A cookie for a domain can't have the prefix that binds it to one host.
func TestCookieNameAndDomain(t *testing.T) {
	for _, tt := range []struct {
		name, domain string
		good         bool
	}{
		{"", "example.com", true}, {"__Host-x", "", true}, {"__Secure-x", "example.com", true}, {"x", "example.com", true},
		{"__Host-x", "example.com", false}, {"__HOST-x", "example.com", false}, {"__Host-Http-x", "example.com", false},
	} {
		env := map[string]string{"CURFEW_COOKIE_NAME": tt.name, "CURFEW_COOKIE_DOMAIN": tt.domain}
		s, err := config.ResolveServer(source(nil, env, nil))
		if (err == nil) != tt.good || tt.good && s.CookieName != tt.name || !tt.good && !strings.Contains(err.Error(), "--cookie-name") {
			t.Errorf("%q for %q: %q, %v", tt.name, tt.domain, s.CookieName, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	if got := config.Database("sqlite:a/curfew.db").KeyFile(); got != "a/curfew.db.key" {
		t.Errorf("%q, want the file beside the database", got)
	}
	if got := config.Database("postgres://h/d").KeyFile(); got != "" {
		t.Errorf("%q, want none", got)
	}
}

func TestExposed(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:8420": false, "[::1]:1": false, "localhost:1": false, "[::ffff:127.0.0.1]:1": false,
		":8420": true, "0.0.0.0:1": true, "192.0.2.1:1": true, "host:1": true,
	} {
		l := config.Listener{Listen: listen}
		if l.Exposed() != want {
			t.Errorf("%s: exposed %v, want %v", listen, !want, want)
		}
		l.TLSCert = "cert.pem"
		if l.Exposed() {
			t.Errorf("%s with TLS is exposed", listen)
		}
	}
}

func TestEdge(t *testing.T) {
	flags := map[string][]string{"upstream": {"https://a", "https://b:8420"}, "client-id": {"c"}}
	e, err := config.ResolveEdge(source(flags, map[string]string{"CURFEW_CLIENT_SECRET": "s"}, nil))
	if err != nil || len(e.Upstream) != 2 || e.ClientID != "c" || e.ClientSecret != "s" || e.Listen != config.DefaultListen {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = config.ResolveEdge(source(nil, nil, nil))
	for _, want := range []string{"--upstream", "--client-id", "CURFEW_CLIENT_SECRET"} {
		if err == nil || !strings.Contains(err.Error(), want+": is required") {
			t.Errorf("%v: want %s among the missing options", err, want)
		}
	}
	for _, bad := range []string{"curfew.example", "ftp://a", "https://u:p@a", "https://a?b", "http://curfew.example", "http://10.0.0.1:8420", "http://localhost.example"} {
		flags["upstream"] = []string{"https://a", bad}
		if _, err := config.ResolveEdge(source(flags, map[string]string{"CURFEW_CLIENT_SECRET": "s"}, nil)); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("--upstream %q: %v, want ErrInvalid", bad, err)
		}
	}
	for upstream, insecure := range map[string]string{"http://127.0.0.1:8420": "", "http://localhost:1": "", "http://[::1]:1": "", "http://curfew.example": "true"} {
		flags["upstream"] = []string{upstream}
		env := map[string]string{"CURFEW_CLIENT_SECRET": "s", "CURFEW_INSECURE_UPSTREAM_HTTP": insecure}
		if _, err := config.ResolveEdge(source(flags, env, nil)); err != nil {
			t.Errorf("--upstream %q: %v", upstream, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "90s": 90 * time.Second, "20m": 20 * time.Minute, "1h30m": 90 * time.Minute,
		"20d": 480 * time.Hour, "400d": 9600 * time.Hour, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := config.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "106752d", "-1", "9223372037", "1w", "20 m", "+-1s"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 20 * time.Minute: "20m", time.Hour: "1h", 12*time.Hour + time.Second: "12h0m1s",
		24 * time.Hour: "1d", 480 * time.Hour: "20d", 25 * time.Hour: "25h",
	} {
		got := config.FormatDuration(d)
		if got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
		if back, err := config.ParseDuration(got); err != nil || back != d {
			t.Errorf("%q comes back as %v, %v", got, back, err)
		}
	}
}

// Several hosts, each with its port, are no URL, though libpq documents them.
func TestDatabaseHosts(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://u:p@h/d":                                 "postgres://u:p@h/d",
		"postgres://u:p@h:1/d?host=a,b":                      "postgres://u:p@h:1/d?host=a,b",
		"postgres://u:p%40x@h1:1,h2:2/d?sslmode=require":     "postgres://u:p%40x@/d?host=h1%2Ch2&port=1%2C2&sslmode=require",
		"postgres://h1,h2/d":                                 "postgres:///d?host=h1%2Ch2&port=5432%2C5432",
		"postgresql://[::1]:1,[fe80::2],h/d":                 "postgresql:///d?host=%3A%3A1%2Cfe80%3A%3A2%2Ch&port=1%2C5432%2C5432",
		"postgres://u@%2Frun%2Fpostgresql/d?sslmode=disable": "postgres://u@/d?host=%2Frun%2Fpostgresql&port=5432&sslmode=disable",
		"postgres://h1,h2/d?port=1,2":                        "postgres:///d?host=h1%2Ch2&port=1%2C2",
		"postgres://a,b@h1:1,h2:2/d":                         "postgres://a,b@/d?host=h1%2Ch2&port=1%2C2",
	} {
		got, err := config.ParseDatabase(text)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}
