//go:build packages

package packages

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
)

// A machine is a Debian system that systemd has booted in a container. Its network is
// a loopback interface of its own.
type machine struct {
	t    *testing.T
	dir  string // its root directory
	init int    // the process of its systemd
}

// boot starts a fresh system.
func boot(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: freshRoot(t)}
	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	words := rootCommand("systemd-nspawn", "--quiet", "--directory="+m.dir, "--boot", "--register=no", "--keep-unit",
		"--link-journal=no", "--console=passive", "--private-network", "--machine=curfew-test")
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = console, console
	curfewtest.OwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the container
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		if m.init != 0 {
			words := rootCommand("kill", "-KILL", strconv.Itoa(m.init))
			_ = exec.Command(words[0], words[1:]...).Run() // it may have ended
		} else {
			curfewtest.KillGroup(cmd.Process)
		}
		<-ended
	})
	await.Until(t, "the system has booted", func() bool {
		select {
		case <-ended:
			text, _ := os.ReadFile(console.Name())
			t.Fatalf("systemd-nspawn has ended: %s", text)
		default:
		}
		if m.init == 0 {
			m.init = initOf(t, cmd.Process.Pid)
			return false
		}
		out, _, _ := m.try("systemctl", "is-system-running")
		return strings.TrimSpace(out) == "running" || strings.TrimSpace(out) == "degraded"
	})
	return m
}

// initOf returns the process 1 of a container below a process, 0 if there is none yet.
func initOf(t *testing.T, pid int) int {
	t.Helper()
	for _, child := range strings.Fields(readProc(pid, "task/"+strconv.Itoa(pid)+"/children")) {
		id, err := strconv.Atoi(child)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(readProc(id, "status")) {
			if ids, ok := strings.CutPrefix(line, "NSpid:"); ok && len(strings.Fields(ids)) == 2 && strings.Fields(ids)[1] == "1" {
				return id
			}
		}
		if found := initOf(t, id); found != 0 { // below sudo
			return found
		}
	}
	return 0
}

// readProc returns a file of a process in /proc, or nothing if the process has ended.
func readProc(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	return string(text)
}

// try runs a program of the machine, as its root.
func (m *machine) try(name string, args ...string) (out, complaint string, err error) {
	words := rootCommand("nsenter", append([]string{"--target", strconv.Itoa(m.init),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", name}, args...)...)
	return try(exec.CommandContext(m.t.Context(), words[0], words[1:]...))
}

// run is try for a program that has to succeed.
func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, complaint, err := m.try(name, args...)
	if err != nil {
		journal, _, _ := m.try("journalctl", "--no-pager", "--unit=curfew", "--lines=50")
		m.t.Fatalf("%s %s: %v\n%s%s\n%s", name, strings.Join(args, " "), err, out, complaint, journal)
	}
	return out
}

// put copies a file into the directory /srv of the machine.
func (m *machine) put(file string) string {
	m.t.Helper()
	asRoot(m.t, "cp", file, filepath.Join(m.dir, "srv"))
	return "/srv/" + filepath.Base(file)
}

// property returns a property of the service.
func (m *machine) property(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--property="+name, "--value", "curfew"))
}

// curfew runs the program as the documentation says for root, beside the service.
func (m *machine) curfew(args ...string) string {
	m.t.Helper()
	return m.run("env", append([]string{"CURFEW_DATABASE=sqlite:/var/lib/curfew/curfew.db",
		"CURFEW_KEY_ENCRYPTION_KEY_FILE=" + key, "curfew"}, args...)...)
}

// ask makes a request to the service, with curl of the machine outside, and decodes
// the answer. It returns the status.
func (m *machine) ask(into any, args ...string) string {
	m.t.Helper()
	words := rootCommand("nsenter", append([]string{"--target", strconv.Itoa(m.init), "--net", "--",
		"curl", "--silent", "--show-error", "--write-out", "\n%{http_code}"}, args...)...)
	out := output(m.t, words[0], words[1:]...)
	end := strings.LastIndex(out, "\n")
	if into != nil {
		if err := json.Unmarshal([]byte(out[:end]), into); err != nil {
			m.t.Fatalf("%v in %s", err, out)
		}
	}
	return out[end+1:]
}

// session returns the status of a request with a token.
func (m *machine) session(token string) string {
	m.t.Helper()
	return m.ask(nil, "http://127.0.0.1:8420/v1/session", "--header", "Authorization: Bearer "+token)
}

// signIn signs admin in with the password of the first start.
func (m *machine) signIn() (token string) {
	m.t.Helper()
	password := strings.TrimSpace(m.run("cat", "/var/lib/curfew/curfew.db.admin-password"))
	credentials, err := json.Marshal(map[string]string{"username": "admin", "password": password})
	if err != nil {
		m.t.Fatal(err)
	}
	var answer struct{ Token string }
	if status := m.ask(&answer, "http://127.0.0.1:8420/v1/sessions", "--json", string(credentials)); status != "201" && status != "200" {
		m.t.Fatalf("the sign-in answers %s", status)
	}
	return answer.Token
}

// missing reports whether a file of the machine does not exist.
func (m *machine) missing(path string) bool {
	m.t.Helper()
	_, _, err := m.try("test", "-e", path)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return err != nil
}

// The package of Debian, from the first installation to the purge.
func TestDebianPackage(t *testing.T) {
	m := boot(t)
	first, second := m.put(released(t, oldVersion, "*.deb")), m.put(released(t, newVersion, "*.deb"))

	// The installation makes the key and starts nothing: the first start stores the
	// issuer, which the operator has to set before.
	said := m.run("dpkg", "--install", first)
	if !strings.Contains(said, "CURFEW_ISSUER") || !strings.Contains(said, "Back it up") {
		t.Errorf("the installation says\n%s", said)
	}
	if got := m.property("ActiveState") + " " + m.property("UnitFileState"); got != "inactive disabled" {
		t.Errorf("after the installation the service is %s", got)
	}
	if got := m.run("stat", "--format=%a %U %G %s", key); got != "600 root root 45\n" {
		t.Errorf("the key is %s", got)
	}
	kek := m.run("cat", key)
	m.run("systemd-analyze", "verify", "--man=no", "curfew.service")
	m.run("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=19", "curfew.service") // below 2.0
	if out, _, err := m.try("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=1", "curfew.service"); err == nil {
		t.Errorf("the threshold is not looked at:\n%s", out)
	}

	// It starts, and says when it is ready.
	m.run("sed", "-i", "s|^#CURFEW_ISSUER=.*|CURFEW_ISSUER=https://curfew.test|", "/etc/curfew/curfew.env")
	m.run("systemctl", "enable", "--now", "curfew")
	if got := m.ask(nil, "http://127.0.0.1:8420/readyz"); got != "200" {
		t.Errorf("systemctl start has returned, and /readyz answers %s", got)
	}
	if got := m.property("StatusText"); got != "Ready" {
		t.Errorf("the status is %q", got)
	}
	token := m.signIn()
	var discovery struct{ Issuer string }
	if m.ask(&discovery, "http://127.0.0.1:8420/.well-known/oauth-authorization-server"); discovery.Issuer != "https://curfew.test" {
		t.Errorf("the issuer is %q", discovery.Issuer)
	}
	pid := m.property("MainPID")
	if user := strings.TrimSpace(m.run("stat", "--format=%u", "/proc/"+pid)); user == "0" {
		t.Error("the service runs as root")
	}

	// A reload keeps the process, a restart the session.
	m.run("systemctl", "reload", "curfew")
	await.Until(t, "the service has reloaded", func() bool {
		return strings.Contains(m.run("journalctl", "--no-pager", "--unit=curfew"), "asked to reload") && m.property("ActiveState") == "active"
	})
	if got := m.property("MainPID"); got != pid {
		t.Errorf("a reload has replaced process %s by %s", pid, got)
	}
	m.run("systemctl", "restart", "curfew")
	if got := m.session(token); got != "200" {
		t.Errorf("after a restart the session answers %s", got)
	}

	// An upgrade restarts the running service, and keeps the configuration, the key and
	// the sessions.
	m.run("dpkg", "--install", second)
	if got := m.run("curfew", "version"); !strings.HasPrefix(got, "curfew "+newVersion+" ") {
		t.Errorf("after the upgrade the program is %s", got)
	}
	if running := m.run("readlink", "/proc/"+m.property("MainPID")+"/exe"); strings.Contains(running, "deleted") {
		t.Errorf("the old program still runs: %s", running)
	}
	if got := m.session(token); got != "200" {
		t.Errorf("after the upgrade the session answers %s", got)
	}
	if got := m.run("cat", key); got != kek {
		t.Error("the upgrade has made another key")
	}
	if got := m.run("grep", "-c", "^CURFEW_ISSUER=https://curfew.test$", "/etc/curfew/curfew.env"); got != "1\n" {
		t.Error("the upgrade has lost the configuration")
	}

	// An operator who uses another credential has no key there: an upgrade makes none.
	m.run("mv", key, "/root/kek")
	m.run("dpkg", "--install", first)
	if !m.missing(key) {
		t.Error("an upgrade makes a key, which opens nothing that exists")
	}
	m.run("mv", "/root/kek", key)
	m.run("dpkg", "--install", second)
	m.run("systemctl", "start", "curfew")

	// Root's commands work beside the service, and leave it its files; also while it
	// is stopped.
	m.curfew("revoke", "user", "admin", "--reason", "a test", "--wait", "30s")
	if got := m.session(token); got != "401" {
		t.Errorf("after the revocation the session answers %s", got)
	}
	m.run("systemctl", "stop", "curfew")
	m.curfew("user", "add", "ben", "--generate-password")
	if foreign := m.run("find", "/var/lib/private/curfew", "-user", "root"); foreign != "" {
		t.Errorf("root's commands leave files that the service can't use:\n%s", foreign)
	}
	m.run("systemctl", "start", "curfew")
	token = strings.TrimSpace(m.curfew("token", "issue", "ben"))
	if got := m.session(token); got != "200" {
		t.Errorf("the session of a command answers %s", got)
	}

	m.dropIns(token)

	// Removing keeps the data: the package comes back to what was there.
	m.run("dpkg", "--remove", "curfew")
	if got := m.property("ActiveState"); got != "inactive" {
		t.Errorf("after its package was removed the service is %s", got)
	}
	if got := m.run("cat", key); got != kek || m.missing("/var/lib/private/curfew/curfew.db") {
		t.Error("removing the package removes the key or the database")
	}
	m.run("dpkg", "--install", second)
	m.run("systemctl", "start", "curfew")
	if got := m.session(token); got != "200" {
		t.Errorf("after removing and installing the session answers %s", got)
	}

	// Purging removes everything, and says so.
	said = m.run("dpkg", "--purge", "curfew")
	if !strings.Contains(said, "/var/lib/curfew") || !strings.Contains(said, "key-encryption key") {
		t.Errorf("the purge says\n%s", said)
	}
	left := m.run("find", "/etc", "/usr", "/var/lib", "-iname", "*curfew*", "-not", "-path", "/var/lib/systemd/*")
	if left != "" {
		t.Errorf("the purge leaves\n%s", left)
	}
	// Without the key the service does not start: it makes no other one.
	m.run("dpkg", "--install", first)
	m.run("rm", key)
	if _, _, err := m.try("systemctl", "start", "curfew"); err == nil || !m.missing("/var/lib/private/curfew/curfew.db") {
		t.Errorf("a start without the key: %v", err)
	}
}

// dropIns applies the drop-ins of the documentation, all of them: TLS on a port below
// 1024, an encrypted key, and the address of the database as a credential.
func (m *machine) dropIns(token string) {
	t := m.t
	t.Helper()
	page, err := os.ReadFile(filepath.Join(curfewtest.Module(), "cmd/curfew/docs/installing.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```ini\n# (/etc/systemd/system/curfew.service.d/[a-z]+.conf)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 3 {
		t.Fatalf("the page has %d drop-ins", len(blocks))
	}
	m.run("mkdir", "-p", "/etc/systemd/system/curfew.service.d", "/etc/curfew/tls")
	for _, b := range blocks {
		m.write(b[1], b[2])
	}
	encrypt := regexp.MustCompile("(?m)^systemd-creds encrypt .*$").FindString(string(page))
	m.run("sh", "-ec", encrypt)
	m.run("mv", key, "/root/kek")
	m.write("/etc/curfew/database", "sqlite:/var/lib/curfew/curfew.db\n")
	m.run("cp", "/etc/curfew/curfew.env", "/root/curfew.env")
	m.run("sh", "-ec", `printf '%s\n' CURFEW_LISTEN=:443 CURFEW_TLS_CERT=/etc/curfew/tls/cert.pem CURFEW_TLS_KEY=/etc/curfew/tls/key.pem >>/etc/curfew/curfew.env
echo 'ssl-cert:x:990:' >>/etc/group`)
	dir := t.TempDir()
	output(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=curfew.test",
		"-addext", "subjectAltName=DNS:curfew.test", "-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem"))
	for _, name := range []string{"cert.pem", "key.pem"} {
		m.run("mv", m.put(filepath.Join(dir, name)), "/etc/curfew/tls/")
		m.run("chown", "root:990", "/etc/curfew/tls/"+name)
		m.run("chmod", "640", "/etc/curfew/tls/"+name)
	}
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "curfew")
	if got := m.ask(nil, "https://curfew.test/v1/session", "--resolve", "curfew.test:443:127.0.0.1", "--cacert", filepath.Join(dir, "cert.pem"),
		"--header", "Authorization: Bearer "+token); got != "200" {
		t.Errorf("with the drop-ins the session answers %s", got)
	}
	// Debian's certificates belong to root, and the service is not.
	if got := m.run("stat", "--format=%U", "/proc/"+m.property("MainPID")); strings.TrimSpace(got) == "root" {
		t.Error("with the drop-ins the service runs as root")
	}
	m.run("rm", "-r", "/etc/systemd/system/curfew.service.d", "/etc/curfew/tls", "/etc/curfew/database", "/etc/curfew/key-encryption-key.cred")
	m.run("mv", "/root/kek", key)
	m.run("cp", "/root/curfew.env", "/etc/curfew/curfew.env")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "curfew")
}

// write makes a file of the machine that only root reads.
func (m *machine) write(path, content string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.run("mv", m.put(file), path)
}

// The package of Red Hat, in a root directory: first installation, upgrade, removal.
func TestRPM(t *testing.T) {
	dir := freshRoot(t)
	rpm := func(args ...string) string {
		t.Helper()
		return asRoot(t, "rpm", append([]string{"--root", dir, "--nodeps", "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	said := rpm("--install", released(t, oldVersion, "*.rpm"))
	if !strings.Contains(said, "CURFEW_ISSUER") {
		t.Errorf("the installation says\n%s", said)
	}
	file := filepath.Join(dir, key)
	if got := asRoot(t, "stat", "--format=%a %u %s", file); got != "600 0 45\n" {
		t.Errorf("the key is %s", got)
	}
	kek := asRoot(t, "cat", file)
	configuration := filepath.Join(dir, "etc/curfew/curfew.env")
	asRoot(t, "sed", "-i", "s|^#CURFEW_ISSUER=.*|CURFEW_ISSUER=https://curfew.test|", configuration)
	rpm("--upgrade", released(t, newVersion, "*.rpm"))
	if got := asRoot(t, "chroot", dir, "curfew", "version"); !strings.HasPrefix(got, "curfew "+newVersion+" ") {
		t.Errorf("after the upgrade the program is %s", got)
	}
	if got := asRoot(t, "cat", file); got != kek {
		t.Error("the upgrade has made another key")
	}
	if got := asRoot(t, "grep", "-c", "^CURFEW_ISSUER=https://curfew.test$", configuration); got != "1\n" {
		t.Error("the upgrade has lost the configuration")
	}
	rpm("--erase", "curfew")
	if got := asRoot(t, "cat", file); got != kek {
		t.Error("removing the package removes the key")
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/curfew")); err == nil {
		t.Error("removing the package leaves the program")
	}
	rpm("--install", released(t, oldVersion, "*.rpm"))
	if got := asRoot(t, "cat", file); got != kek {
		t.Error("installing the package again makes another key")
	}
}
