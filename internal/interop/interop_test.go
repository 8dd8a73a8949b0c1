//go:build interop

package interop

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

func TestNginx(t *testing.T) {
	s := start(t)
	front := testnet.Address(t)
	s.nginx("include " + s.config("nginx.conf", front, backend(t)) + ";")
	s.try(front, true)
}

// nginx starts an nginx with the given http block.
func (s *server) nginx(http string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "main.conf")
	write(s.t, file, "daemon off; master_process off; pid "+s.dir+"/nginx.pid; error_log stderr;\nevents {}\nhttp { access_log off;"+
		" client_body_temp_path "+s.dir+"/body; proxy_temp_path "+s.dir+"/proxy; fastcgi_temp_path "+s.dir+"/fastcgi;"+
		" uwsgi_temp_path "+s.dir+"/uwsgi; scgi_temp_path "+s.dir+"/scgi;\n"+http+" }\n")
	spawn(s.t, exec.Command(find(s.t, "nginx"), "-p", s.dir, "-c", file))
}

func TestCaddy(t *testing.T) {
	s := start(t)
	front := testnet.Address(t)
	s.caddy(read(t, s.config("Caddyfile", front, backend(t))))
	s.try(front, true)
}

// caddy starts a Caddy with the sites given.
func (s *server) caddy(sites string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "main.caddyfile")
	write(s.t, file, "{\n\tadmin off\n}\n"+sites)
	cmd := exec.Command(find(s.t, "caddy"), "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	spawn(s.t, cmd)
}

func TestHAProxy(t *testing.T) {
	s := start(t)
	front := testnet.Address(t)
	s.haproxy(read(t, s.config("haproxy.cfg", front, backend(t))))
	s.try(front, false)
}

// haproxy starts a HAProxy that has the server's public key beside it.
func (s *server) haproxy(config string) {
	s.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(s.dir, "curfew.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	file := filepath.Join(s.dir, "main.cfg")
	write(s.t, file, config)
	spawn(s.t, exec.Command(find(s.t, "haproxy"), "-db", "-f", file))
}

func TestApache(t *testing.T) {
	s := start(t)
	front := testnet.Address(t)
	s.apache(front, s.config("apache.conf", front, backend(t)))
	s.try(front, true)
}

// apache starts an Apache that listens at front, with the locations of a file.
func (s *server) apache(front, locations string) {
	t := s.t
	t.Helper()
	modules, err := filepath.Glob("/usr/lib/*/modules/mod_oauth2.so")
	if err != nil || len(modules) == 0 {
		modules, _ = filepath.Glob("/usr/lib/apache2/modules/mod_oauth2.so")
	}
	if len(modules) == 0 {
		t.Fatal("mod_oauth2 is missing: `make interop` installs it")
	}
	main := "ServerRoot " + s.dir + "\nServerName localhost\nListen " + front + "\nPidFile " + s.dir + "/apache.pid\nErrorLog /dev/stderr\nMutex file:" + s.dir + "\nUser nobody\nGroup nogroup\n"
	for _, m := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "oauth2"} {
		main += "LoadModule " + m + "_module " + filepath.Dir(modules[0]) + "/mod_" + m + ".so\n"
	}
	file := filepath.Join(s.dir, "main.conf")
	write(t, file, main+"Include "+locations+"\n")
	spawn(t, exec.Command(find(t, "apache2"), "-D", "FOREGROUND", "-f", file))
}

func TestJose(t *testing.T)         { node(t, "jose.mjs") }
func TestJSONWebToken(t *testing.T) { node(t, "jsonwebtoken.cjs") }

// node runs a service on Node; its packages are where `make interop` has put them.
func node(t *testing.T, script string) {
	t.Helper()
	s := start(t)
	front := testnet.Address(t)
	file := s.config(script, front, "")
	modules := filepath.Join(curfewtest.Module(), ".cache/npm/interop/node_modules")
	if _, err := os.Stat(modules); err != nil {
		t.Fatalf("%v: `make interop` installs it", err)
	}
	if err := os.Symlink(modules, filepath.Join(s.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	spawn(t, exec.Command(find(t, "node"), file))
	s.try(front, false)
}

func TestPyJWT(t *testing.T) {
	s := start(t)
	front := testnet.Address(t)
	spawn(t, exec.Command("/usr/bin/python3", s.config("pyjwt.py", front, "")))
	s.try(front, false)
}

// TestREADME: what the documentation shows is what was tried.
func TestREADME(t *testing.T) {
	for name, page := range map[string]string{
		"testdata/nginx.conf": "cmd/curfew/docs/forward-auth.md", "testdata/Caddyfile": "cmd/curfew/docs/forward-auth.md",
		"testdata/haproxy-forward-auth.cfg": "cmd/curfew/docs/forward-auth.md", "testdata/curfew.lua": "cmd/curfew/docs/forward-auth.md",
		"testdata/jose.mjs":       "cmd/curfew/docs/applications.md",
		"testdata/websockets.mjs": "cmd/curfew/docs/open-connections.md",
	} {
		if !strings.Contains(read(t, filepath.Join(curfewtest.Module(), page)), read(t, name)) {
			t.Errorf("%s does not show %s as it is", page, name)
		}
	}
	// The guards of the frameworks, apart from white space.
	page := strings.Join(strings.Fields(read(t, filepath.Join(curfewtest.Module(), "cmd/curfew/docs/open-connections.md"))), " ")
	tried := strings.Join(strings.Fields(read(t, "frameworks/frameworks_test.go")), " ")
	for _, guard := range []string{
		"bearer.Require(v)", "e.Use(echo.WrapMiddleware(bearer.Require(v)))",
		"next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { c.Request = r; c.Next() }) bearer.Require(v)(next).ServeHTTP(c.Writer, c.Request)",
	} {
		if !strings.Contains(page, guard) || !strings.Contains(tried, guard) {
			t.Errorf("open-connections.md and frameworks_test.go do not both have %s", guard)
		}
	}
}

func find(t *testing.T, program string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if file := filepath.Join(dir, program); isFile(file) {
			return file
		}
	}
	t.Fatalf("%s is missing: `make interop` installs it", program)
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
