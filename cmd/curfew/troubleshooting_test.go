package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	curfewtoken "example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// Troubleshooting explains every reason for which a token is refused, with the
// status that it has, every code word of a problem, and every exit code.
func TestTroubleshootingIsComplete(t *testing.T) {
	data, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, reason := range curfewtoken.Reasons() {
		if row := fmt.Sprintf("\n| `%s` | %d | ", reason, bearer.Status(reason)); !strings.Contains(page, row) {
			t.Errorf("no row begins with%s", row)
		}
	}
	source, err := os.ReadFile("../../internal/wire/wire.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)^\s*Code\w+\s*=\s*"(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 10 {
		t.Fatalf("internal/wire has %d code words: they are declared in another way now", len(codes))
	}
	for _, code := range codes {
		if !regexp.MustCompile("(?m)^\\| `" + code[1] + "` \\| [1-5][0-9][0-9] \\| ").MatchString(page) {
			t.Errorf("no row explains the code %s", code[1])
		}
	}
	for code := range exitUsage + 1 {
		if !strings.Contains(page, fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("no row explains the exit code %d", code)
		}
	}
}

// Troubleshooting explains every message that Curfew logs as a warning or an error.
func TestTroubleshootingExplainsTheLog(t *testing.T) {
	data, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, messages := map[string]bool{}, map[string]string{}
	_, section, _ := strings.Cut(string(data), "\n## A line in the log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` ").FindAllStringSubmatch(section, -1) {
		rows[row[1]] = true
	}
	eachSource(t, func(files *token.FileSet, file *ast.File) { loggedIn(files, file, messages) })
	if len(messages) < 30 {
		t.Fatalf("only %d messages were found: logging looks different now", len(messages))
	}
	for message, where := range messages {
		if !rows[message] {
			t.Errorf("%s logs %q, and no row explains it", where, message)
		}
		delete(rows, message)
	}
	for row := range rows {
		t.Errorf("%q is explained, and nothing logs it", row)
	}
}

// The messages of failed commands in Troubleshooting are those of the program.
func TestTroubleshootingQuotesRealMessages(t *testing.T) {
	data, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	eachSource(t, func(_ *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if x, ok := n.(ast.Expr); ok {
				said.WriteString(literal(x) + "\n")
			}
			return true
		})
	})
	_, table, _ := strings.Cut(string(data), "\n| message | cause | remedy |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := regexp.MustCompile("(?m)^\\| `+(.+?)`+ \\| ").FindAllStringSubmatch(table, -1)
	if len(rows) < 5 {
		t.Fatalf("%d messages are in the table", len(rows))
	}
	for _, row := range rows {
		for part := range strings.SplitSeq(row[1], "…") {
			if part = strings.Trim(part, " :"); !strings.Contains(said.String(), part) {
				t.Errorf("nothing says %q", part)
			}
		}
	}
}

// eachSource calls a function with each file of the program.
func eachSource(t *testing.T, do func(*token.FileSet, *ast.File)) {
	t.Helper()
	files := token.NewFileSet()
	for _, root := range []string{"../../internal", "../../token", "."} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"bench", "torture", "interop", "curfewtest", "testdata"}, d.Name()):
				return filepath.SkipDir
			case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
				file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
				if err != nil {
					return err
				}
				do(files, file)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// loggedIn collects the messages that a file logs as warnings or errors, up to the
// first semicolon, with where they are.
func loggedIn(files *token.FileSet, file *ast.File, messages map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		function, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Warn", "WarnContext", "Error", "ErrorContext"}, function.Sel.Name) {
			return true
		}
		var logger string // what the method is called on
		switch x := function.X.(type) {
		case *ast.Ident:
			logger = x.Name
		case *ast.SelectorExpr:
			logger = x.Sel.Name
		}
		if !slices.Contains([]string{"log", "logger", "Logger"}, logger) {
			return true
		}
		for _, argument := range call.Args[:min(2, len(call.Args))] {
			if message := literal(argument); message != "" {
				message, _, _ = strings.Cut(message, ";")
				messages[message] = files.Position(call.Pos()).String()
				break
			}
		}
		return true
	})
}

// literal returns the text of a string, or of the sum of several; "" if it is no
// constant text.
func literal(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(x.Value); err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return literal(x.X) + literal(x.Y)
	}
	return ""
}
