package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// serviceManager is the socket at which a service manager is told of states.
func serviceManager(t *testing.T) (socket string, next func() string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return socket, func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(await.Limit)); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 4096)
		n, err := conn.Read(data)
		if err != nil {
			t.Fatalf("the service manager is told nothing more: %v", err)
		}
		return string(data[:n])
	}
}

// The service manager learns of the start, of reloading, of the server's life and
// of its end, in the words of sd_notify(3).
func TestServiceManager(t *testing.T) {
	socket, next := serviceManager(t)
	p := startServer(t, &serverProcess{args: []string{"--shutdown-timeout", "50s"}, env: []string{"NOTIFY_SOCKET=" + socket}})
	expect := func(pattern string) {
		t.Helper()
		if got := next(); !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Fatalf("the service manager is told %q, want %s", got, pattern)
		}
	}
	expect(`STATUS=Opening the database\nEXTEND_TIMEOUT_USEC=15000000`)
	expect(`READY=1\nSTATUS=Ready`)
	if err := p.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	expect(`RELOADING=1\nMONOTONIC_USEC=[0-9]+`)
	expect(`READY=1\nSTATUS=Ready`)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	// The shutdown timeout of 50 s, and 15 s more.
	expect(`STOPPING=1\nSTATUS=Shutting down\nEXTEND_TIMEOUT_USEC=65000000`)
}

// A service manager with a watchdog hears from the server again and again.
func TestWatchdog(t *testing.T) {
	socket, next := serviceManager(t)
	startServer(t, &serverProcess{env: []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=200000"}})
	for beats := 0; beats < 3; {
		switch got, _, _ := strings.Cut(next(), "\n"); got {
		case "WATCHDOG=1":
			beats++
		case "READY=1", "STATUS=Opening the database":
		default:
			t.Fatalf("the service manager is told %q", got)
		}
	}
}

// With --log-format json every line that the program prints is a JSON object, from
// the first start to the last, and mistakes in the arguments too.
func TestEverythingIsJSON(t *testing.T) {
	lines := func(t *testing.T, p *serverProcess) []map[string]any {
		t.Helper()
		if out := p.read(p.out); out != "" {
			t.Errorf("standard output has %q, want nothing", out)
		}
		var all []map[string]any
		for line := range strings.Lines(p.read(p.log)) {
			var members map[string]any
			if err := json.Unmarshal([]byte(line), &members); err != nil {
				t.Errorf("%q is no JSON object: %v", line, err)
			}
			all = append(all, members)
		}
		return all
	}
	t.Run("a server", func(t *testing.T) {
		p := startServer(t, &serverProcess{args: []string{"--log-format", "json", "--trusted-proxies", "10.0.0.0/8,192.0.2.1", "--lease", "4s"}})
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		for _, line := range lines(t, p) {
			if line["msg"] != "ready" {
				continue
			}
			address, _ := line["address"].(string)
			version, _ := line["version"].(string)
			proxies, _ := json.Marshal(line["trusted_proxies"])
			if line["issuer"] != "http://"+address || version == "" || line["database"] != "sqlite" || line["lease"] != "4s" || string(proxies) != `["10.0.0.0/8","192.0.2.1/32"]` {
				t.Errorf("the line of readiness is %v", line)
			}
			return
		}
		t.Error("no line says that the server is ready")
	})
	for name, test := range map[string]struct {
		env  string
		args []string
		want string // in the error
		code int
	}{
		"a flag that does not exist":  {args: []string{"--log-format=json", "--no-such-flag"}, want: "unknown flag", code: exitUsage},
		"a value that cannot be used": {env: "CURFEW_LOG_FORMAT=json", args: []string{"--lease", "1s"}, want: "--lease", code: exitUsage},
		"an address that is taken":    {args: []string{"--log-format", "json", "--listen", "192.0.2.1:1"}, want: "listen on 192.0.2.1:1", code: exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := &serverProcess{dir: dir, out: dir + "/out", log: dir + "/log", args: test.args, env: curfewEnvironment(func(string) string { return "" })}
			if test.env != "" {
				p.env = append(p.env, test.env)
			}
			if err := p.start(serverProgram(t)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.kill)
			_ = p.wait(await.Limit) // the code says how
			if code := p.cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			all := lines(t, p)
			last := all[len(all)-1]
			if text, _ := last["error"].(string); last["level"] != "ERROR" || !strings.Contains(text, test.want) {
				t.Errorf("the last line is %v, want an error with %q", last, test.want)
			}
		})
	}
}
