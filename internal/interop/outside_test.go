package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is written as by a user who protects a service with the public packages
// and tests it with tokentest.
const program = `package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/curfew/revocation"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
	"example.com/curfew/token/tokentest"
)

type tb struct{}

func (tb) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (tb) Cleanup(func())                    {}

var _ = follower.Open // brings nothing heavy along either

func main() {
	issuer := tokentest.New(tb{})
	protect := bearer.Require(issuer.Validator())
	service := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, bearer.Session(r.Context()).Subject)
	}))
	ask := func(token string) string {
		r := httptest.NewRequest("GET", "/invoices/", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
	}
	token := issuer.Token("ann")
	fmt.Println(ask(token))
	fmt.Println(ask(""))
	issuer.Revoke(revocation.User("ann"))
	fmt.Println(ask(token))
}
`

// A program in another module compiles, runs, and brings no SQL driver, CLI or
// template package along.
func TestOutsideModule(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"main.go": program,
		"go.mod":  "module outside.example/service\n\ngo 1.26\n\nrequire example.com/curfew v0.0.0\n\nreplace example.com/curfew => " + root + "\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
		}
		return out.String()
	}
	command("mod", "tidy")
	lines := strings.SplitN(command("run", "."), "\n", 3)
	for i, want := range []string{"200 ann", `401 {"type":"about:blank"`, `401 {"type":"about:blank"`} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d: want %q…, got %q", i+1, want, lines)
		}
	}
	if len(lines) == 3 && !strings.Contains(lines[2], `"code":"revoked"`) {
		t.Errorf("the revoked token: got %q", lines[2])
	}
	for _, heavy := range []string{"database/sql", "html/template", "lib/pq", "sqlite", "sqlx", "cobra", "goose", "prometheus"} {
		if deps := command("list", "-deps", "."); strings.Contains(deps, heavy) {
			t.Errorf("the program brings %s along", heavy)
		}
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"lib/pq", "modernc.org", "sqlx", "cobra", "goose"} {
		if strings.Contains(string(sums), module) {
			t.Errorf("go.sum of the program names %s", module)
		}
	}
}
