package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
	curfewtoken "example.com/curfew/token"
)

// secret stands for what an error tells the log and must not tell the caller.
const secret = "dial tcp 10.1.2.3:5432: password=hunter2"

func TestOf(t *testing.T) {
	const (
		none   = ""
		bare   = `Bearer realm="curfew"`
		bearer = `Bearer realm="curfew", error="invalid_token"`
		basic  = `Basic realm="curfew"`
	)
	wrap := func(err error) error { return fmt.Errorf("%s: %w", secret, err) }
	tests := []struct {
		err       error
		status    int
		code      string
		challenge string // what WWW-Authenticate begins with
		hidden    bool   // the text of the error stays here
	}{
		{account.ErrBadCredentials, 401, "bad_credentials", bare, true},
		{account.ErrPasswordChangeRequired, 403, "password_change_required", "", true},
		{&curfewtoken.AuthenticationError{MaxAge: 90 * time.Second}, 401, "insufficient_user_authentication", `Bearer realm="curfew", error="insufficient_user_authentication"`, true},
		{account.ErrPasswordsOff, 403, "forbidden", none, false},
		{authz.ErrBadClient, 401, "bad_credentials", basic, false},
		{ErrNoClient, 401, "missing", basic, false},
		{&account.RateLimited{RetryAfter: time.Minute}, 429, "rate_limited", none, true},
		{account.ErrBusy, 503, "unavailable", none, true},
		{authz.Forbidden("UserEdit"), 403, "forbidden", none, false},
		{account.InvalidField("name", "is required"), 400, "invalid_request", none, false},
		{account.ErrLastAdministrator, 409, "conflict", none, false},
		{account.ErrNoAdministratorLeft, 409, "conflict", none, false},
		{account.ErrProviderExists, 409, "conflict", none, false},
		{account.ErrNameTaken, 409, "conflict", none, false},
		{settings.ErrInvalid, 400, "invalid_settings", none, false},
		{session.ErrLostRace, 412, "precondition_failed", none, false},
		{feed.ErrStartOver, 410, "start_over", none, false},
		{ErrTooMany, 429, "rate_limited", none, false},
		{feed.ErrLimited, 429, "rate_limited", none, false},
		{feed.ErrBadQuery, 400, "invalid_request", none, false},
		{keyring.ErrNoKey, 503, "unavailable", none, true},
		{keyring.ErrNotNow, 409, "conflict", none, false},
		{ErrInvalid, 400, "invalid_request", none, false},
		{ErrNotFound, 404, "not_found", none, false},
		{ErrBadMethod, 405, "method_not_allowed", none, false},
		{ErrTooLarge, 413, "too_large", none, false},
		{ErrMediaType, 415, "unsupported_media_type", none, false},
		{account.ErrAmbiguous, 422, "ambiguous", none, false},
		{ErrNotInGroup, 403, "forbidden", none, false},
		{ErrNeedsIfMatch, 428, "precondition_required", none, false},
		{ErrInternal, 500, "internal", none, true},
		{ErrNotReady, 503, "unavailable", none, true},
		{store.ErrNotFound, 404, "not_found", none, false},
		{store.ErrConflict, 409, "conflict", none, false},
		{store.ErrUnavailable, 503, "unavailable", none, true},
		{store.ErrLocked, 503, "unavailable", none, true},
		{store.ErrDisk, 503, "unavailable", none, true},
		{store.ErrCorrupt, 503, "unavailable", none, true},
		{curfewtoken.ErrMissing, 401, "missing", bare, true},
		{curfewtoken.ErrUnavailable, 503, "unavailable", none, true},
		{errors.New("an unknown error"), 500, "internal", none, true},
	}
	for _, r := range curfewtoken.Reasons() {
		if r != curfewtoken.ErrMissing && r != curfewtoken.ErrUnavailable {
			tests = append(tests, struct {
				err       error
				status    int
				code      string
				challenge string
				hidden    bool
			}{r, 401, string(r), bearer, true})
		}
	}
	tried := map[error]bool{}
	codes := map[string]bool{}
	for _, tt := range tests {
		tried[tt.err], codes[tt.code] = true, true
		t.Run(tt.code+" "+tt.err.Error(), func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Set-Cookie", "meant for a better answer")
			w.Header().Set("ETag", "meant for a better answer")
			Of(wrap(tt.err)).Write(w, httptest.NewRequest("GET", "/v1/session", nil))
			var p wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || p.Status != tt.status || p.Code != tt.code || p.Title != http.StatusText(tt.status) || p.Type == "" || p.Detail == "" {
				t.Errorf("%d %+v, want %d %s", w.Code, p, tt.status, tt.code)
			}
			if p.Error != "" {
				t.Errorf("an OAuth error outside of /oauth/: %q", p.Error)
			}
			h := w.Header()
			if got := h.Get("WWW-Authenticate"); !strings.HasPrefix(got, tt.challenge) || (got != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate: %q, want %q", got, tt.challenge)
			}
			if tt.challenge == bare && h.Get("WWW-Authenticate") != bare {
				t.Errorf("WWW-Authenticate: %q, want it bare", h.Get("WWW-Authenticate"))
			}
			if got := h.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type: %q", got)
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" || h.Get("ETag") != "" {
				t.Errorf("headers: %v", h)
			}
			seconds, _ := strconv.Atoi(h.Get("Retry-After"))
			if again := tt.status == 503 || tt.status == 429; (seconds > 0) != again {
				t.Errorf("Retry-After: %q", h.Get("Retry-After"))
			}
			if leaked := strings.Contains(w.Body.String(), "hunter2"); leaked && tt.hidden {
				t.Errorf("the answer shows the text for the log: %s", w.Body)
			}
		})
	}
	for _, row := range table {
		if !tried[row.is] && row.code != "unavailable" {
			t.Errorf("nothing above tries %v", row.is)
		}
	}
	for _, code := range constants(t, "../wire", "Code") {
		if !codes[code] {
			t.Errorf("no error has the code word %q", code)
		}
	}
}

// neverAnswered are the sentinels that no handler meets, and why.
var neverAnswered = map[string]string{
	"store.ErrNewerSchema":  "opening",
	"store.ErrForeign":      "opening",
	"store.ErrNoDatabase":   "opening",
	"store.ErrNotReady":     "opening",
	"store.ErrOlderSchema":  "opening",
	"keyring.ErrWrongKEK":   "opening",
	"keyring.ErrInvalidKEK": "reading the configuration",
	"authz.ErrForbidden":    "a type, found as one",

	"session.ErrProviderChanged": "a sign-in through a provider: package console has pages for them",
	"session.ErrAttemptUsed":     "likewise",
	"session.ErrEndedByProvider": "likewise",
	"session.ErrNotFresh":        "likewise",
	"session.ErrNoAuthTime":      "likewise",
	"session.ErrStale":           "likewise",
	"session.ErrAnotherUser":     "likewise",
	"keyring.ErrUnsealed":        "likewise",
	"session.ErrLogoutSeen":      "the back-channel logout answers with an error of its own",
}

// Each sentinel of a package that handlers call has a row in the table, or a reason
// here why it never reaches the wire.
func TestEverySentinelIsKnown(t *testing.T) {
	source, err := os.ReadFile("fault.go")
	if err != nil {
		t.Fatal(err)
	}
	wraps := map[string]bool{ // they wrap a sentinel of the table
		"account.ErrNameTaken":           true,
		"account.ErrNoAdministratorLeft": true,
		"account.ErrProviderExists":      true,
		"account.ErrTooManyProviders":    true,
		"keyring.ErrNotNow":              true,
	}
	for _, room := range []string{"authz", "account", "session", "feed", "store", "keyring"} {
		for _, name := range sentinels(t, "../"+room) {
			full := room + "." + name
			if !strings.Contains(string(source), "is: "+full+",") && neverAnswered[full] == "" && !wraps[full] {
				t.Errorf("%s is not in the table", full)
			}
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{{0, "1"}, {time.Millisecond, "1"}, {time.Second, "1"}, {time.Second + 1, "2"}, {90 * time.Second, "90"}} {
		w := httptest.NewRecorder()
		Of(&account.RateLimited{RetryAfter: tt.after}).Write(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Retry-After"); got != tt.want {
			t.Errorf("%v: Retry-After is %q, want %q", tt.after, got, tt.want)
		}
	}
}

func TestAllViolationsAreTold(t *testing.T) {
	err := settings.Settings{SessionTimeout: time.Second, MaximumSessionDuration: 500 * 24 * time.Hour}.Validate(0)
	f := Of(fmt.Errorf("settings: %w", err))
	if f.Code != wire.CodeInvalidSettings || len(f.Errors) != 2 {
		t.Errorf("%+v, want invalid_settings with two errors", f)
	}
}

func TestOAuthErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{authz.ErrBadClient, "invalid_client"},
		{ErrNoClient, "invalid_client"},
		{curfewtoken.ErrRevoked, "invalid_token"},
		{authz.Forbidden("introspect"), "unauthorized_client"},
		{account.InvalidField("token", "is required"), "invalid_request"},
		{store.ErrUnavailable, "temporarily_unavailable"},
		{ErrInternal, "server_error"},
	} {
		w := httptest.NewRecorder()
		Of(tt.err).Write(w, httptest.NewRequest("POST", "/oauth/revoke", nil))
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if p.Error != tt.want {
			t.Errorf("%v: error is %q, want %q", tt.err, p.Error, tt.want)
		}
	}
}

// constants returns the values of the string constants in dir whose names begin
// with prefix.
func constants(t *testing.T, dir, prefix string) []string {
	var values []string
	declarations(t, dir, func(name string, value ast.Expr) {
		if lit, ok := value.(*ast.BasicLit); ok && strings.HasPrefix(name, prefix) {
			text, _ := strconv.Unquote(lit.Value)
			values = append(values, text)
		}
	})
	if len(values) == 0 {
		t.Fatalf("%s has no constants %s…", dir, prefix)
	}
	return values
}

// sentinels returns the names declared as Err… in dir.
func sentinels(t *testing.T, dir string) []string {
	var names []string
	declarations(t, dir, func(name string, _ ast.Expr) {
		if strings.HasPrefix(name, "Err") {
			names = append(names, name)
		}
	})
	return names
}

func declarations(t *testing.T, dir string, each func(name string, value ast.Expr)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files, %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, name := range value.Names {
					var expr ast.Expr
					if i < len(value.Values) {
						expr = value.Values[i]
					}
					each(name.Name, expr)
				}
			}
		}
	}
}
