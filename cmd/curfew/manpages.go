package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/app"
)

// writeManPages writes a manual page for each command into a directory, which it
// makes if it is missing. SOURCE_DATE_EPOCH in the environment is the date of the
// pages, so that the same release has the same pages whenever it is built.
func writeManPages(root *cobra.Command, dir string) error {
	date := time.Now()
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return usagef("SOURCE_DATE_EPOCH: %q is not a number of seconds", epoch)
		}
		date = time.Unix(seconds, 0)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manual pages are public
		return err
	}
	var write func(command *cobra.Command) error
	write = func(command *cobra.Command) error {
		file := filepath.Join(dir, manName(command)+".1")
		if err := os.WriteFile(file, []byte(manPage(command, date)), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
		for _, sub := range command.Commands() {
			if sub.IsAvailableCommand() {
				if err := write(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return write(root)
}

// manName returns the name of a command's page: curfew-user-add.
func manName(command *cobra.Command) string {
	return strings.ReplaceAll(command.CommandPath(), " ", "-")
}

// manPage returns the manual page of a command, in the macros of man(7).
func manPage(command *cobra.Command, date time.Time) string {
	command.InitDefaultHelpFlag()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH "%s" "1" "%s" "curfew %s" "Curfew"`, strings.ToUpper(manName(command)), date.UTC().Format(time.DateOnly), roff(app.Version()))
	line(".SH NAME\n%s \\- %s", roff(manName(command)), roff(command.Short))
	usage := command.UseLine()
	if command.HasAvailableSubCommands() {
		usage = command.CommandPath() + " COMMAND"
	}
	line(".SH SYNOPSIS\n.B %s", roff(usage))
	long := command.Long
	if long == "" {
		long = command.Short + "."
	}
	line(".SH DESCRIPTION")
	for i, paragraph := range strings.Split(strings.TrimSpace(long), "\n\n") {
		switch {
		case strings.Contains(paragraph, "  "): // a table
			line(".PP\n.EX\n%s\n.EE", roff(paragraph))
		case i > 0:
			line(".PP\n%s", roff(paragraph))
		default:
			line("%s", roff(paragraph))
		}
	}
	see := manSubcommands(command, line)
	line(".SH OPTIONS")
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		line(".TP\n.B %s\n%s", roff(strings.TrimSuffix(name+" "+value, " ")), roff(usage))
	})
	if command.Example != "" {
		line(".SH EXAMPLES\n.EX\n%s\n.EE", roff(strings.Trim(command.Example, "\n")))
	}
	line(".SH EXIT STATUS\n0 if the command succeeds, 1 if it is refused or fails, 2 if its usage is wrong.")
	if command.HasParent() {
		see = append([]string{manName(command.Parent())}, see...)
	}
	for i, name := range see {
		see[i] = roff(name) + "(1)"
	}
	line(".SH SEE ALSO\n%s", strings.Join(see, ",\n"))
	return b.String()
}

// manSubcommands writes the list of the commands below a command, and returns the
// names of their pages.
func manSubcommands(command *cobra.Command, line func(string, ...any)) (pages []string) {
	for _, sub := range command.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		if len(pages) == 0 {
			line(".SH COMMANDS")
		}
		line(".TP\n.B %s\n%s", roff(sub.Name()), roff(sub.Short))
		pages = append(pages, manName(sub))
	}
	return pages
}

// roff returns text with everything escaped that means something in a manual page: a
// backslash, a hyphen, which would be typeset as a dash, and a dot or an apostrophe
// at the beginning of a line.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`, "\t", "    ").Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
