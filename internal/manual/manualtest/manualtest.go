// Package manualtest holds tables of the documentation against the code that they
// describe. With -update a test writes them.
package manualtest

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of the documentation anew")

// Table checks that the first table below a heading of a Markdown file has the rows
// given. The first row is the table's head.
func Table(t testing.TB, file, heading string, rows [][]string) {
	t.Helper()
	var want strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			want.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		want.WriteString("|\n")
		if i == 0 {
			want.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	Text(t, file, heading, want.String(), func(line string) bool { return strings.HasPrefix(line, "|") })
}

// Text checks that the first lines below a heading that are part of the generated
// text are want. With -update it replaces them.
func Text(t testing.TB, file, heading, want string, generated func(line string) bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(data), "\n"+heading+"\n") // a page begins with its title
	if !ok {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	lines := strings.SplitAfter(after, "\n")
	from := 0
	for from < len(lines) && !generated(lines[from]) && !strings.HasPrefix(lines[from], "## ") {
		from++
	}
	to := from
	for to < len(lines) && generated(lines[to]) {
		to++
	}
	if got := strings.Join(lines[from:to], ""); got == want {
		return
	}
	if !*update {
		t.Errorf("%s, %q, does not say what the code says. Run this test with -update and read what it changes: go test -run '^%s$' -update",
			file, heading, t.Name())
		return
	}
	text := before + "\n" + heading + "\n" + strings.Join(lines[:from], "") + want + strings.Join(lines[to:], "")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- documentation
		t.Fatal(err)
	}
}
