//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/token"
)

const (
	password = "a password for interop"
	issuer   = "http://127.0.0.1:8420" // as configured; the port that is listened at is another
	userName = "admin"
)

var binary string // curfew, built once

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "curfew-interop-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // servers that drop root must find their files
		panic(err)
	}
	if binary, err = curfewtest.Build(curfewtest.Module(), dir, "curfew"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer browser.Close()
	return m.Run()
}

// server is a Curfew on SQLite whose signing key the test has too, so that it can
// forge what only the server can sign.
type server struct {
	t      *testing.T
	dir    string
	addr   string
	key    *token.SigningKey
	client struct{ id, secret string }
	issuer struct{ id, secret string } // a client that begins sessions, once begin has made it
	user   string                      // the id of admin
	log    *curfewtest.Process

	command []string // of a server for browsers: the arguments that serve starts it with
}

func start(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), addr: testnet.Address(t)}
	s.log = s.spawn(exec.Command(binary, append([]string{"serve", "--listen", s.addr, "--issuer", issuer, "--metrics-listen", "", "--lease", "2s"}, flags...)...))
	waitFor(t, "the server", func() bool { return status(t, "http://"+s.addr+"/readyz", "") == http.StatusOK })

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if s.key, err = token.NewSigningKey("interop", private); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.curfew("key", "import", "--kid", "interop", file)
	s.curfew("key", "rotate", "--kid", "interop")
	var made struct{ ID, Secret string }
	if err := json.Unmarshal(s.curfew("client", "add", "interop", "--can", "introspect", "--json"), &made); err != nil {
		t.Fatal(err)
	}
	s.client.id, s.client.secret = made.ID, made.Secret
	waitFor(t, "the rotation", func() bool {
		type key struct{ ID, State string }
		var list struct{ Keys []key }
		if err := json.Unmarshal(s.curfew("key", "list", "--json"), &list); err != nil {
			t.Fatal(err)
		}
		return slices.Contains(list.Keys, key{s.key.ID(), "active"})
	})
	s.signIn() // so that the user's id is known
	return s
}

func (s *server) spawn(cmd *exec.Cmd) *curfewtest.Process {
	s.t.Helper()
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CURFEW_ADMIN_PASSWORD="+password)
	return spawn(s.t, cmd)
}

// spawn runs a program until the test ends. The end of what it prints is shown if
// the test fails.
func spawn(t *testing.T, cmd *exec.Cmd) *curfewtest.Process {
	t.Helper()
	p, err := curfewtest.Spawn(cmd)
	if err != nil {
		t.Fatalf("%v: `make interop` installs what these tests need", err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			text := p.String()
			t.Logf("%s printed:\n%s", cmd.Path, text[max(0, len(text)-5000):])
		}
	})
	return p
}

func (s *server) curfew(args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("curfew %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes()
}

func (s *server) signIn() string {
	s.t.Helper()
	body := fmt.Sprintf(`{"username":%q,"password":%q}`, userName, password)
	resp, err := http.Post("http://"+s.addr+"/v1/sessions", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token   string
		Session struct{ User struct{ ID string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("signing in: %s, %v", resp.Status, err)
	}
	s.user = answer.Session.User.ID
	return answer.Token
}

func (s *server) signOut(raw string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, "http://"+s.addr+"/v1/session", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		s.t.Fatalf("signing out: %s", resp.Status)
	}
}

// expired returns a token that was good until an hour ago.
func (s *server) expired() string {
	began := time.Now().Add(-2 * time.Hour)
	raw, err := token.Mint(s.key, token.Session{
		Issuer: issuer, Audience: []string{issuer}, Subject: s.user, ID: token.NewSessionID(),
		IssuedAt: token.UnixTime(began.Unix()), LastRefresh: token.UnixTime(began.Unix()), Epoch: 1,
		ExpiresAt: token.UnixTime(began.Add(time.Hour).Unix()),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// forged returns a good token with another signature.
func (s *server) forged() string {
	raw := s.signIn()
	dot := strings.LastIndexByte(raw, '.')
	flipped := byte('A')
	if raw[dot+10] == 'A' {
		flipped = 'B'
	}
	return raw[:dot+10] + string(flipped) + raw[dot+11:]
}

// backend is the service that is protected: it answers with the identity that it
// was told.
func backend(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("Remote-User")
		if id := r.Header.Get("Curfew-User-Id"); id != "" && user == userName {
			user = id // forward auth: the header names the user
		}
		fmt.Fprint(w, user)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// config writes a file of testdata with the addresses of this run in the places of
// those that the documentation shows.
func (s *server) config(name, front, back string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		s.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(front)
	out := strings.NewReplacer(
		"127.0.0.1:8080", front, ".listen(8080,", ".listen("+port+",", `("127.0.0.1", 8080)`, `("127.0.0.1", `+port+`)`,
		"127.0.0.1:9000", back,
		issuer+"/", "http://"+s.addr+"/", "forward_auth 127.0.0.1:8420", "forward_auth "+s.addr, "reverse_proxy 127.0.0.1:8420", "reverse_proxy "+s.addr,
		"issuer + '/.well-known", "'http://"+s.addr+"' + '/.well-known", `ISSUER + "/.well-known`, `"http://`+s.addr+`" + "/.well-known`,
		"/etc/haproxy", s.dir, "CLIENT_ID", s.client.id, "CLIENT_SECRET", s.client.secret,
	).Replace(string(text))
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// get returns status and body of a request with a bearer token, and with an
// identity that the client has no right to.
func get(url, raw string) (int, string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if raw != "" {
		req.Header.Set("Authorization", "Bearer "+raw)
	}
	req.Header.Set("Remote-User", "mallory")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func status(t *testing.T, url, raw string) int {
	t.Helper()
	code, _, err := get(url, raw)
	if err != nil {
		return 0
	}
	return code
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	await.Until(t, what+" comes up", holds)
}

// try sends the four tokens to a protected service. asks says whether it asks
// Curfew about each request, and so knows of revocations.
func (s *server) try(front string, asks bool) {
	s.t.Helper()
	url := "http://" + front + "/"
	waitFor(s.t, "the service", func() bool { return status(s.t, url, "") == http.StatusUnauthorized })
	good := s.signIn()
	if code, body, err := get(url, good); err != nil || code != http.StatusOK || body != s.user {
		s.t.Fatalf("a good token: got %d %q (%v), want 200 %q", code, body, err, s.user)
	}
	for name, raw := range map[string]string{"expired": s.expired(), "forged": s.forged(), "none": "", "garbage": "a.b.c"} {
		if code, body, err := get(url, raw); err != nil || code != http.StatusUnauthorized {
			s.t.Errorf("%s: got %d %q (%v), want 401", name, code, body, err)
		}
	}
	if !asks {
		return
	}
	s.signOut(good)
	// What remembers answers says so in its configuration: for a second.
	waitFor(s.t, "the revocation", func() bool { return status(s.t, url, good) == http.StatusUnauthorized })
}
