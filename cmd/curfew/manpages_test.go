package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command has a manual page with its flags, and the same date makes the same
// page.
func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man1")
	if code, _, complaint := curfewHere(t, "docs", "--man", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, complaint)
	}
	c := &cli{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	pages := 0
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		pages++
		page, err := os.ReadFile(filepath.Join(dir, manName(command)+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		if !strings.Contains(string(page), `"1" "2023-11-14" "curfew `) {
			t.Errorf("%s has another date:\n%s", command.CommandPath(), page)
		}
		command.Flags().VisitAll(func(f *pflag.Flag) {
			if has := strings.Contains(string(page), roff("--"+f.Name)); has == f.Hidden {
				t.Errorf("the page of %s has --%s: %v", command.CommandPath(), f.Name, has)
			}
		})
		for _, sub := range command.Commands() {
			if sub.IsAvailableCommand() {
				visit(sub)
			}
		}
	}
	visit(c.root())
	if files, err := os.ReadDir(dir); err != nil || len(files) != pages {
		t.Errorf("%d pages for %d commands, %v", len(files), pages, err)
	}
	if code, _, _ := curfewHere(t, "docs", "--man", dir, "limits"); code != exitUsage {
		t.Errorf("a topic beside --man: exit code %d", code)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if code, _, complaint := curfewHere(t, "docs", "--man", dir); code != exitUsage || !strings.Contains(complaint, `"yesterday"`) {
		t.Errorf("a wrong date: exit code %d, %s", code, complaint)
	}
}

// No text of a command can act as a macro in its page.
func TestManPageEscapes(t *testing.T) {
	command := &cobra.Command{
		Use: "x", Short: `a\b`, Long: ".SH FORGED\n'so /etc/passwd\nC:\\new", Example: ".so x", Run: func(*cobra.Command, []string) {},
	}
	page := manPage(command, time.Unix(0, 0))
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, ".SH FORGED") || strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".so") {
			t.Errorf("the text became a macro: %s", line)
		}
	}
	if !strings.Contains(page, `C:\enew`) || !strings.Contains(page, `a\eb`) {
		t.Errorf("a backslash is lost:\n%s", page)
	}
}
