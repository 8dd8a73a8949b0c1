package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/store/pgtest"
)

// The scripts in testdata run the program as it is shipped, and read as what can
// be done with it. Besides the commands of testscript they have:
//
//	serve [NAME] [-- FLAG…]   start a server on a free port and wait until it is
//	                          ready. Sets URL, ADDRESS, METRICS and PASSWORD
//	                          (URL_NAME, … for one with a name); its output is in server.out, its log
//	                          in server.log (NAME.out, NAME.log).
//	edge NAME [-- FLAG…]      the same with `curfew edge`
//	halt [NAME]               end it with SIGTERM: it must exit with 0
//	connect                   in testdata/both: from here on commands work on the
//	                          database, or on the server
//	http [-token T] [-basic ID:SECRET] [-form] METHOD URL [BODY]
//	                          ask, with a body in JSON or a form: status on stderr, body on stdout, and success
//	                          below 400
//	capture VARIABLE [MEMBER] set a variable to the output of the last command, or
//	                          to a member of the JSON that it is (a.b.0.c)
//	exitcode CODE COMMAND…    run a command that must exit with the code
//	until [!] [-stdout PATTERN] COMMAND…
//	                          run a command again and again until it succeeds (fails)
//	                          and prints the pattern: for what a running server
//	                          has only after a moment
func TestMain(m *testing.M) {
	testscript.Main(withShortCommands{m}, map[string]func(){
		"curfew":          main,
		serverProgramName: main,
		"http":            httpMain,
	})
}

// withShortCommands runs the tests with a `curfew` that has no race detector, where the
// tests have one: it triples the time that a command takes which only starts, asks and
// ends. Servers are the tests' own binary, curfew-server.
type withShortCommands struct{ *testing.M }

func (m withShortCommands) Run() int {
	if !raceDetector() || testing.CoverMode() != "" {
		return m.M.Run()
	}
	dir, err := os.MkdirTemp("", "curfew-short-")
	if err == nil {
		defer os.RemoveAll(dir)
		_, err = curfewtest.Build(curfewtest.Module(), dir, "curfew")
	}
	if err == nil {
		err = os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

// raceDetector reports whether this binary has the race detector.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, parameters("testdata/scripts", nil))
}

// TestScriptsOnPostgres runs scripts with a database of their own in DATABASE.
func TestScriptsOnPostgres(t *testing.T) {
	testscript.Run(t, parameters("testdata/postgres", func(e *testscript.Env) error {
		e.Vars = append(e.Vars, "DATABASE="+pgtest.DSN(tbOf(e)))
		return nil
	}))
}

// TestScriptsBothWays runs scripts about administration twice: on the database, and
// on a server over its API. Their command `connect` stands after serve.
func TestScriptsBothWays(t *testing.T) {
	connect := map[string]func(*testscript.TestScript){
		"database": func(*testscript.TestScript) {},
		"server": func(ts *testscript.TestScript) {
			ts.Setenv("CURFEW_CREDENTIALS", ts.MkAbs("home/credentials.json"))
			ts.Setenv("CURFEW_SERVER", ts.Getenv("URL"))
			ts.Check(os.WriteFile(ts.MkAbs("admin-password"), []byte(ts.Getenv("PASSWORD")), 0o600))
			ts.Check(ts.Exec("sh", "-c", "curfew login admin <admin-password"))
		},
	}
	for name, do := range connect {
		t.Run(name, func(t *testing.T) {
			p := parameters("testdata/both", nil)
			p.Cmds["connect"] = func(ts *testscript.TestScript, _ bool, _ []string) { do(ts) }
			testscript.Run(t, p)
		})
	}
}

// tbOf returns the test that a script runs in.
func tbOf(e *testscript.Env) testing.TB {
	tb, ok := e.T().(testing.TB)
	if !ok {
		panic("testscript runs without a test")
	}
	return tb
}

func parameters(dir string, setup func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Values[serversKey{}] = servers{}
			e.Vars = append(e.Vars, "ESC=\x1b", "BIDI=\u202e", endsAtOnce)
			if setup != nil {
				return setup(e)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    func(ts *testscript.TestScript, neg bool, args []string) { scriptServe(ts, "serve", neg, args) },
			"edge":     func(ts *testscript.TestScript, neg bool, args []string) { scriptServe(ts, "edge", neg, args) },
			"halt":     scriptHalt,
			"capture":  scriptCapture,
			"exitcode": scriptExitCode,
			"until":    scriptUntil,
		},
		RequireExplicitExec: false,
	}
}

// servers are the servers of a script by name.
type servers map[string]*serverProcess

type serversKey struct{}

func serversOf(ts *testscript.TestScript) servers {
	s, ok := ts.Value(serversKey{}).(servers)
	if !ok {
		ts.Fatalf("no servers")
	}
	return s
}

func scriptServe(ts *testscript.TestScript, command string, neg bool, args []string) {
	name, suffix := "server", ""
	if len(args) > 0 && args[0] != "--" {
		name = args[0]
		suffix, args = "_"+name, args[1:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if neg || serversOf(ts)[name] != nil {
		ts.Fatalf("usage: %s [NAME] [-- FLAG…], once for each name", command)
	}
	p := &serverProcess{
		command: command, dir: ts.MkAbs("."), out: ts.MkAbs(name + ".out"), log: ts.MkAbs(name + ".log"),
		args: append([]string{"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, args...),
		env:  curfewEnvironment(ts.Getenv),
	}
	path, err := lookPath(serverProgramName, ts.Getenv("PATH"))
	ts.Check(err)
	ts.Check(p.start(path))
	serversOf(ts)[name] = p
	ts.Defer(p.kill)
	ts.Check(p.ready())
	for key, value := range p.banner() {
		ts.Setenv(key+suffix, value)
	}
}

func scriptHalt(ts *testscript.TestScript, neg bool, args []string) {
	name := "server"
	if len(args) == 1 {
		name = args[0]
	}
	p := serversOf(ts)[name]
	if neg || p == nil {
		ts.Fatalf("there is no server %q", name)
	}
	delete(serversOf(ts), name)
	ts.Check(p.stop())
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: capture VARIABLE [MEMBER]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		var v any
		ts.Check(json.Unmarshal([]byte(text), &v))
		for step := range strings.SplitSeq(args[1], ".") {
			v = member(v, step)
		}
		if v == nil {
			ts.Fatalf("%s has no %s", text, args[1])
		}
		text = fmt.Sprint(v)
		if n, ok := v.(float64); ok {
			text = fmt.Sprintf("%.0f", n)
		}
	}
	ts.Setenv(args[0], text)
}

func member(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[name]
	case []any:
		var i int
		if _, err := fmt.Sscan(name, &i); err == nil && i < len(v) {
			return v[i]
		}
	}
	return nil
}

func scriptExitCode(ts *testscript.TestScript, neg bool, args []string) {
	var want int
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND…")
	}
	_, err := fmt.Sscan(args[0], &want)
	ts.Check(err)
	if got := execute(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d\n%s", got, want, ts.ReadFile("stderr"))
	}
}

// execute runs a command and returns its exit code. Commands that look at its
// output find it.
func execute(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	want, pattern := true, regexp.MustCompile("")
	if len(args) > 0 && args[0] == "!" {
		want, args = false, args[1:]
	}
	if len(args) > 1 && args[0] == "-stdout" {
		pattern = regexp.MustCompile("(?m)" + args[1])
		args = args[2:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until [!] [-stdout PATTERN] COMMAND…")
	}
	var code int
	if !await.Holds(await.Limit, func() bool {
		code = execute(ts, args)
		return (code == 0) == want && pattern.MatchString(ts.ReadFile("stdout"))
	}) {
		ts.Fatalf("not within %v; the last exit code was %d", await.Limit, code)
	}
}

func lookPath(name, path string) (string, error) {
	for dir := range strings.SplitSeq(path, string(filepath.ListSeparator)) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", name, path)
}

// httpMain is the program `http` of the scripts.
func httpMain() {
	bearer := flag.String("token", "", "")
	basic := flag.String("basic", "", "")
	form := flag.Bool("form", false, "")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: http [-token T] [-basic ID:SECRET] [-form] METHOD URL [BODY]")
		os.Exit(2)
	}
	kind := "application/json"
	if *form {
		kind = "application/x-www-form-urlencoded"
	}
	os.Exit(request(flag.Arg(0), flag.Arg(1), flag.Arg(2), kind, *bearer, *basic))
}

func request(method, url, body, kind, bearer, basic string) int {
	ctx, cancel := context.WithTimeout(context.Background(), await.Limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if body != "" {
		r.Header.Set("Content-Type", kind)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if id, secret, ok := strings.Cut(basic, ":"); ok {
		r.SetBasicAuth(id, secret)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer answer.Body.Close()
	var out bytes.Buffer
	_, err = io.Copy(&out, answer.Body)
	fmt.Fprintln(os.Stderr, answer.Status)
	fmt.Println(strings.TrimSpace(out.String()))
	if err != nil || answer.StatusCode >= http.StatusBadRequest {
		return 1
	}
	return 0
}
