package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
)

// A block is a block of code of a document.
type block struct {
	kind string // its language
	line int    // of its first line
	text string
}

// blocksOf returns the blocks of code in Markdown.
func blocksOf(source string) []block {
	var blocks []block
	var open *block
	for i, line := range strings.Split(source, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{kind: fence, line: i + 2}
		case isFence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return blocks
}

// A walk runs the blocks of a document in order, in one shell and in an empty
// directory named curfew, as a reader in the checkout who pastes them:
//
//   - of a block "sh" every command must succeed;
//   - of a block "console" each line that begins with "$ " is a command, and what it
//     prints must be the lines below it. A line "…" stands for any lines, and "…" in a
//     line for any text;
//   - a block "go" that is a whole program becomes main.go, in the directory that the
//     commands before it lead to;
//   - a block "sh elsewhere" or "console elsewhere" needs other machines. It is only
//     read by the shell.
type walk struct {
	t      *testing.T
	script strings.Builder
	expect []expectation
	dir    string // for the output of commands
}

type expectation struct {
	where, file, want string
}

var (
	// Addresses of this machine in documents: others may be using them.
	docAddress = regexp.MustCompile(`127\.0\.0\.1:(84\d\d|9\d\d\d)`)
	// docCheckout is the checkout in documents, seen from a directory beside it.
	docCheckout = regexp.MustCompile(`-replace example\.com/curfew=\.\./curfew`)
	// docDatabase is a PostgreSQL database in documents.
	docDatabase = "postgres://curfew:secret@db.internal/curfew"
)

// makeOfCheckout stands for the checkout's make: what it compiles was compiled for
// this test. A reader leaves "make run" in a terminal of its own and goes on when the
// server is ready.
const makeOfCheckout = `set -u
make() {
	case $1 in
	run) curfew serve & until curl -sf http://127.0.0.1:8420/readyz; do sleep 1; done ;;
	build) mkdir -p bin && ln -sf "$(command -v curfew)" bin/curfew ;;
	esac
}
`

// walkDocument runs the blocks of a document.
func walkDocument(t *testing.T, name, source string) {
	t.Helper()
	w := &walk{t: t, dir: t.TempDir()}
	w.script.WriteString(makeOfCheckout)
	run := 0
	for _, b := range blocksOf(source) {
		where := fmt.Sprintf("%s:%d", name, b.line)
		switch b.kind {
		case "sh":
			fmt.Fprintf(&w.script, "echo '@@ %s' >&2\nset -e -o pipefail\n%sset +e\n", where, b.text)
			run++
		case "console":
			w.console(where, b.text)
			run++
		case "go":
			if strings.HasPrefix(b.text, "package main\n") {
				fmt.Fprintf(&w.script, "cat >main.go <<'END OF PROGRAM'\n%sEND OF PROGRAM\n", b.text)
			}
		case "sh elsewhere", "console elsewhere":
			w.readByShell(where, b)
		}
	}
	if run == 0 {
		return
	}
	addresses := map[string]string{}
	text := docAddress.ReplaceAllStringFunc(w.script.String(), func(address string) string {
		return addressFor(t, addresses, address)
	})
	if strings.Contains(text, docDatabase) {
		text = strings.ReplaceAll(text, docDatabase, pgtest.DSN(t))
	}
	for i := range w.expect {
		w.expect[i].want = docAddress.ReplaceAllStringFunc(w.expect[i].want, func(address string) string {
			return addressFor(t, addresses, address)
		})
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Programs are built beside a checkout, which has everything that they need.
	text = docCheckout.ReplaceAllLiteralString(text, "-replace example.com/curfew='"+root+"'")
	w.run(text, []string{
		"GOPROXY=off", "GOSUMDB=off", "GOFLAGS=-mod=mod", "GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"),
		"CURFEW_LISTEN=" + addressFor(t, addresses, "127.0.0.1:8420"),
		"CURFEW_METRICS_LISTEN=" + addressFor(t, addresses, "127.0.0.1:8421"),
	})
}

// addressFor returns a free address in place of one of a document.
func addressFor(t *testing.T, known map[string]string, address string) string {
	if known[address] == "" {
		known[address] = testnet.Address(t)
	}
	return known[address]
}

// goEnv returns a setting of the go command.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// console adds a block of commands with what they print.
func (w *walk) console(where, text string) {
	var last *expectation
	for line := range strings.Lines(text) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isCommand:
			file := filepath.Join(w.dir, fmt.Sprint(len(w.expect)))
			fmt.Fprintf(&w.script, "echo '@@ %s' >&2\n{ %s\n} >'%s' 2>&1 || true\n", where, strings.TrimSpace(command), file)
			w.expect = append(w.expect, expectation{where: where + ": " + strings.TrimSpace(command), file: file})
			last = &w.expect[len(w.expect)-1]
		case last == nil:
			w.t.Fatalf("%s: the block does not begin with a command", where)
		default:
			last.want += line
		}
	}
}

func (w *walk) readByShell(where string, b block) {
	text := b.text
	if strings.HasPrefix(b.kind, "console") {
		text = ""
		for line := range strings.Lines(b.text) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				text += command
			}
		}
	}
	cmd := exec.CommandContext(w.t.Context(), "bash", "-n", "-c", text)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Errorf("%s: %v\n%s", where, err, out)
	}
}

func (w *walk) run(script string, env []string) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
	defer cancel()
	// A failed command under set -e ends the shell: the last place that it has named
	// is where.
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	// In files: the servers that the script leaves behind would hold pipes open.
	files := map[string]*os.File{}
	for _, name := range []string{"out", "errors"} {
		file, err := os.Create(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		files[name] = file
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(t.TempDir(), "curfew"), files["out"], files["errors"]
	if err := os.Mkdir(cmd.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(curfewEnvironment(func(string) string { return "" }), append(env, "HOME="+cmd.Dir,
		"PATH="+filepath.Dir(program(t))+":"+os.Getenv("PATH"))...)
	curfewtest.OwnGroup(cmd)
	err := cmd.Run()
	curfewtest.KillGroup(cmd.Process) // the servers
	out, errors := w.read("out"), w.read("errors")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, errors)
	}
	if complaint := regexp.MustCompile(`(?m)^(curfew: |bash: |jq: ).*`).FindString(errors); complaint != "" {
		t.Errorf("a command fails: %s\n%s\n%s", complaint, out, errors)
	}
	if _, err := os.Stat(filepath.Join(cmd.Dir, "client-secret")); err == nil {
		t.Error("the document leaves the file client-secret behind")
	}
	for _, e := range w.expect {
		got, err := os.ReadFile(e.file)
		if err != nil {
			t.Fatal(err)
		}
		if !likeDocument(e.want).MatchString(string(got)) {
			t.Errorf("%s\nprints\n%s\nand the document says\n%s\n%s", e.where, got, e.want, errors)
		}
	}
}

func (w *walk) read(name string) string {
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// likeDocument returns a pattern for output as a document shows it. Runs of spaces
// are alike: columns are as wide as their contents.
func likeDocument(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^\s*`)
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`.*?`)
			continue
		}
		for i, part := range strings.Split(line, "…") {
			if i > 0 {
				b.WriteString(`[^\n]*?`)
			}
			for j, word := range strings.Fields(part) {
				if j > 0 {
					b.WriteString(`[ \t]+`)
				}
				b.WriteString(regexp.QuoteMeta(word))
			}
			b.WriteString(`[ \t]*`)
		}
		b.WriteString(`\s*?`)
	}
	b.WriteString(`\s*$`)
	return regexp.MustCompile(b.String())
}

// The commands of every topic do what it says.
func TestDocumentsRun(t *testing.T) {
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range m.Topics() {
		t.Run(topic.Name, func(t *testing.T) { walkDocument(t, topic.Name+".md", examples(topic)) })
	}
}

// So do those of the topics that do not ask for port 8420, after the README's `make run`
// in the same directory.
func TestDocumentsRunBesideAServer(t *testing.T) {
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"applications", "backup", "keys", "open-connections", "sign-in-providers", "troubleshooting"} {
		topic, ok := m.Topic(name)
		if !ok {
			t.Fatalf("there is no topic %s", name)
		}
		t.Run(name, func(t *testing.T) {
			walkDocument(t, "make run and "+name+".md", "```sh\nmake run\n```\n"+examples(topic))
		})
	}
}

// examples returns a topic without the reference, whose examples are those of the help,
// one by one.
func examples(topic manual.Topic) string {
	text, _, _ := strings.Cut(topic.Text, "\n## Reference\n")
	return text
}
