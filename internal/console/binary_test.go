package console_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/testnet"
)

// The passwords of the accounts in these tests.
const (
	adminPassword = "correct horse battery staple"
	userPassword  = "twelve bytes or more"
)

// web asks servers beside the browser.
var web = &http.Client{Timeout: patience}

// scratch is a directory of the test process.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "curfew-console-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	browser.Close()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// binary builds curfew, once.
var binary = sync.OnceValues(func() (string, error) { return curfewtest.Build(curfewtest.Module(), scratch, "curfew") })

// program is a running curfew.
type program struct {
	testing.TB
	url     string
	process *curfewtest.Process
	admin   string // a token of the account admin
}

// engines are the databases that every walk is made on.
var engines = map[string]func(testing.TB) string{
	"sqlite":   func(t testing.TB) string { return migrated.SQLite(t) },
	"postgres": func(t testing.TB) string { return migrated.Postgres(t) },
}

func onSQLite(t testing.TB) string { return engines["sqlite"](t) }

// run starts the binary on a database and waits until it answers.
func run(t testing.TB, database string, flags ...string) *program {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return (&program{TB: t}).start(file, testnet.Address(t), database, flags...)
}

// again starts the binary at the address of p, which has ended, with the same database.
func (p *program) again(database string, flags ...string) *program {
	p.Helper()
	file, err := binary()
	if err != nil {
		p.Fatal(err)
	}
	return (&program{TB: p.TB}).start(file, strings.TrimPrefix(p.url, "http://"), database, flags...)
}

// start starts the binary and waits until it answers.
func (p *program) start(file, address, database string, flags ...string) *program {
	t := p.TB
	t.Helper()
	p.url = "http://" + address
	var err error
	command := exec.CommandContext(context.Background(), file, append([]string{"serve", "--listen", address, "--metrics-listen", "", "--log-format", "json"}, flags...)...)
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(),
		"CURFEW_DATABASE="+database, "CURFEW_ADMIN_PASSWORD="+adminPassword,
		"CURFEW_KEY_ENCRYPTION_KEY="+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if p.process, err = curfewtest.Spawn(command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	p.waitReady()
	p.signInAdmin()
	return p
}

// signInAdmin gives the tests a token of the account admin: the first, or another
// when that was revoked.
func (p *program) signInAdmin() { p.Helper(); p.admin = p.signIn("admin", "", false) }

func (p *program) waitReady() {
	p.Helper()
	ready := await.Holds(patience, func() bool {
		select {
		case <-p.process.Ended:
			p.Fatalf("curfew ended:\n%s", p.process)
		default:
		}
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.url+"/readyz", nil)
		if err != nil {
			p.Fatal(err)
		}
		response, err := web.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if !ready {
		p.Fatalf("curfew does not get ready:\n%s", p.process)
	}
}

func (p *program) end() {
	_ = p.process.Signal(syscall.SIGCONT) // a test may have stopped it
	_ = p.process.Signal(syscall.SIGTERM)
	select {
	case <-p.process.Ended:
	case <-time.After(patience):
		p.process.Kill()
		p.Error("curfew did not end by itself")
	}
	// A defect of ours is in the log even where no test looks.
	for line := range strings.Lines(p.process.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			p.Errorf("in the log: %s", line)
		}
	}
	if p.Failed() {
		p.Logf("the log of curfew:\n%s", p.process)
	}
}

// api calls the JSON API with a token ("" for none) and decodes the answer. It
// prepares the state that a browser then shows.
func (p *program) api(token, method, path string, body, into any, header ...string) {
	p.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			p.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, p.url+path, reader)
	if err != nil {
		p.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := web.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		p.Fatalf("%s %s: %d %v\n%s", method, path, response.StatusCode, err, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			p.Fatalf("%s %s: %v\n%s", method, path, err, text)
		}
	}
}

// addUser makes a user with userPassword, and returns its id.
func (p *program) addUser(name string, permissions ...string) string {
	p.Helper()
	body := map[string]any{"name": name, "password": userPassword}
	if len(permissions) > 0 {
		body["permissions"] = permissions
	}
	return p.createUser(body)
}

// addPassive makes a user without a password, which would have to be hashed, and
// returns its id.
func (p *program) addPassive(name string) string {
	p.Helper()
	return p.createUser(map[string]any{"name": name})
}

func (p *program) createUser(body map[string]any) string {
	p.Helper()
	var u struct{ ID string }
	p.api(p.admin, http.MethodPost, "/v1/users", body, &u)
	return u.ID
}

// signIn signs a user in outside the browser, from a device, and returns the token.
func (p *program) signIn(name, device string, rememberMe bool) string {
	p.Helper()
	var issued struct{ Token string }
	password := userPassword
	if name == "admin" {
		password = adminPassword
	}
	p.api("", http.MethodPost, "/v1/sessions", map[string]any{"username": name, "password": password, "remember_me": rememberMe}, &issued, "User-Agent", device)
	return issued.Token
}

// accepts reports whether a token is good for the API.
func (p *program) accepts(token string) bool {
	p.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.url+"/v1/session", nil)
	if err != nil {
		p.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := web.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	}
	p.Fatalf("GET /v1/session: %d", response.StatusCode)
	return false
}

// foreignSite serves a page of another site, and returns its address.
func foreignSite(t testing.TB, page string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}
