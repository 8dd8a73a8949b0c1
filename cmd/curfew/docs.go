package main

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/manual"
)

//go:embed docs/*.md
var docFiles embed.FS

// documentation is what `curfew docs` prints and servers show at /docs.
var documentation = sync.OnceValues(func() (*manual.Manual, error) {
	files, err := fs.Sub(docFiles, "docs")
	if err != nil {
		return nil, err
	}
	return manual.New(files)
})

func (c *cli) docsCommand() *cobra.Command {
	var man string
	command := &cobra.Command{
		Use: "docs [TOPIC]", Short: "Show the documentation", Args: arguments("[TOPIC]"),
		Long: "Prints a topic of the documentation, in Markdown. Without TOPIC it lists the topics. Every server shows the same pages at /docs.\n\n" +
			"With --man it writes a manual page for each command into a directory, for man(1).",
		Example: "  curfew docs\n  curfew docs troubleshooting | less\n  curfew docs --man ~/.local/share/man/man1",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			m, err := documentation()
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, t := range m.Topics() {
				names = append(names, t.Name+"\t"+t.Title)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if man != "" {
				if len(args) > 0 {
					return usagef("--man takes no TOPIC")
				}
				return writeManPages(cmd.Root(), man)
			}
			m, err := documentation()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return c.printTopic(m, args[0])
			}
			out := newTable(c.stdout, "TOPIC", "TITLE")
			for _, t := range m.Topics() {
				out.row(t.Name, t.Title)
			}
			return out.flush()
		},
	}
	command.Flags().StringVar(&man, "man", "", "write the manual pages of the commands into `DIR` instead")
	return command
}

func (c *cli) printTopic(m *manual.Manual, name string) error {
	name = strings.TrimSuffix(strings.ToLower(name), ".md")
	t, ok := m.Topic(name)
	if !ok {
		var names []string
		for _, t := range m.Topics() {
			names = append(names, t.Name)
		}
		err := fmt.Errorf("there is no topic %q; the topics are %s", name, strings.Join(names, ", "))
		if near := config.Nearest(name, names); near != "" {
			err = fmt.Errorf("there is no topic %q; did you mean %s?", name, near)
		}
		return usageError{err}
	}
	_, err := fmt.Fprint(c.stdout, blockMark.ReplaceAllString(t.Text, "$1"))
	return err
}

// blockMark is the second word of a code block's first line. It is for the tests, which
// do not run a block "sh elsewhere".
var blockMark = regexp.MustCompile("(?m)^(```[a-z]+) elsewhere$")
