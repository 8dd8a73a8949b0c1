package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/token"
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
	for _, reason := range token.Reasons() {
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
