package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/manual/manualtest"
)

// documentedOption is an option as the reference lists it.
type documentedOption struct {
	name        string
	row         []string
	development bool
}

func documentedOptions[T any](options []config.Option[T]) []documentedOption {
	var all []documentedOption
	for _, o := range options {
		flag := "`--" + strings.TrimSuffix(o.Name+" "+o.Value, " ") + "`"
		if o.Environment {
			flag = "none"
		}
		env := "`" + o.Env() + "`"
		if o.Secret {
			env += ", `" + o.Env() + "_FILE`"
		}
		preset := ""
		switch {
		case o.Switch():
			preset = "off"
		case o.Default != "":
			preset = "`" + o.Default + "`"
		}
		all = append(all, documentedOption{o.Name, []string{flag, env, preset, o.Usage}, o.Development})
	}
	slices.SortFunc(all, func(a, b documentedOption) int { return strings.Compare(a.name, b.name) })
	return all
}

// The reference of the configuration lists every option with its environment
// variable, default and meaning.
func TestConfigurationReference(t *testing.T) {
	server, edge := documentedOptions(config.ServerOptions()), documentedOptions(config.EdgeOptions())
	has := func(list []documentedOption, o documentedOption) bool {
		return slices.ContainsFunc(list, func(other documentedOption) bool { return slices.Equal(o.row, other.row) })
	}
	table := func(heading string, list []documentedOption, keep func(documentedOption) bool) {
		rows := [][]string{{"flag", "environment", "default", "meaning"}}
		for _, o := range list {
			if keep(o) {
				rows = append(rows, o.row)
			}
		}
		manualtest.Table(t, "docs/configuration.md", heading, rows)
	}
	table("## Servers and edges", server, func(o documentedOption) bool { return has(edge, o) && !o.development })
	table("## Servers", server, func(o documentedOption) bool { return !has(edge, o) && !o.development })
	table("## Edges", edge, func(o documentedOption) bool { return !has(server, o) && !o.development })
	tools := documentedOptions(config.ToolOptions())
	table("## Commands on the database", tools, func(o documentedOption) bool { return !o.development })
	table("## Commands on a server", documentedOptions(config.RemoteOptions()), func(documentedOption) bool { return true })
	copying := documentedOptions(config.CopyOptions())
	table("## Copying a database", copying, func(o documentedOption) bool { return !has(tools, o) })
	all := slices.Concat(server, edge, tools, copying)
	slices.SortFunc(all, func(a, b documentedOption) int { return strings.Compare(a.name, b.name) })
	all = slices.CompactFunc(all, func(a, b documentedOption) bool { return slices.Equal(a.row, b.row) })
	table("## Development and tests", all, func(o documentedOption) bool { return o.development })
}

// Every variable that the help of a command names is in the reference, and is not
// reported as unknown.
func TestEveryVariableIsKnown(t *testing.T) {
	reference, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		command.Flags().VisitAll(func(f *pflag.Flag) {
			for _, name := range regexp.MustCompile(`CURFEW_[A-Z0-9_]+`).FindAllString(f.Usage, -1) {
				seen++
				if !strings.Contains(string(reference), "`"+name+"`") {
					t.Errorf("docs/configuration.md lacks %s", name)
				}
				if unknown := config.UnknownVariables([]string{name + "=x"}); len(unknown) > 0 {
					t.Errorf("%s is reported as unknown", name)
				}
			}
		})
		for _, sub := range command.Commands() {
			visit(sub)
		}
	}
	c := &cli{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	visit(c.root())
	if seen < 20 {
		t.Errorf("%d variables are in the help", seen)
	}
}

// The reference of commands is the help of each, without the flags that the
// configuration reference explains.
func TestCommandReference(t *testing.T) {
	shared := map[string]bool{"help": true, "json": true}
	for _, o := range config.ServerOptions() {
		shared[o.Name] = true
	}
	for _, o := range config.EdgeOptions() {
		shared[o.Name] = true
	}
	for _, o := range config.AdminOptions() {
		shared[o.Name] = true
	}
	var b strings.Builder
	var describe func(command *cobra.Command)
	describe = func(command *cobra.Command) {
		for _, sub := range command.Commands() {
			if sub.Hidden || sub.Name() == "completion" || sub.Name() == "help" {
				continue
			}
			if sub.HasSubCommands() {
				describe(sub)
				continue
			}
			describeCommand(&b, sub, shared)
		}
	}
	c := &cli{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	describe(c.root())
	manualtest.Text(t, "docs/commands.md", "## Reference", "\n"+strings.TrimSpace(b.String())+"\n", func(string) bool { return true })
}

func describeCommand(b *strings.Builder, command *cobra.Command, shared map[string]bool) {
	long := command.Long
	if long == "" {
		long = command.Short + "."
	}
	fmt.Fprintf(b, "### %s\n\n```\n%s\n```\n\n%s", command.CommandPath(), command.UseLine(), inMarkdown(long))
	if command.Example != "" {
		fmt.Fprintf(b, "```sh\n%s\n```\n\n", strings.ReplaceAll(strings.TrimSpace(command.Example), "\n  ", "\n"))
	}
	rows := ""
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if shared[f.Name] || f.Hidden {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		rows += fmt.Sprintf("| `--%s` | %s |\n", strings.ReplaceAll(strings.TrimSuffix(f.Name+" "+kind, " "), "|", `\|`), usage)
	})
	if rows != "" {
		b.WriteString("| flag | meaning |\n|---|---|\n" + rows + "\n")
	}
}

// inMarkdown returns a help text with its tables as code.
func inMarkdown(help string) string {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(help), "\n\n") {
		if strings.Contains(paragraph, "  ") {
			paragraph = "```\n" + paragraph + "\n```"
		}
		b.WriteString(paragraph + "\n\n")
	}
	return b.String()
}

// Every call of curfew in an example of the help and in the documentation names a
// command that exists, and flags that it has.
func TestExamplesNameRealFlags(t *testing.T) {
	c := &cli{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	root := c.root()
	root.InitDefaultHelpCmd()
	texts := map[string]string{}
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		texts["the example of "+command.CommandPath()] = command.Example
		for _, sub := range command.Commands() {
			visit(sub)
		}
	}
	visit(root)
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range append(slices.Clone(m.Topics()), m.Index()) {
		inCode := regexp.MustCompile("`(curfew [^`]+)`").FindAllStringSubmatch(topic.Text, -1)
		for _, code := range inCode {
			texts[topic.Name] += code[1] + "\n"
		}
		for _, b := range blocksOf(topic.Text) {
			if strings.HasPrefix(b.kind, "sh") || strings.HasPrefix(b.kind, "console") {
				texts[topic.Name] += strings.ReplaceAll(b.text, "\\\n", " ")
			}
		}
	}
	calls := 0
	for where, text := range texts {
		for _, call := range regexp.MustCompile(`(?m)(?:^|[ $(|"]) *curfew ([a-z][^|;&)#\n<>]*)`).FindAllStringSubmatch(text, -1) {
			words := strings.Fields(call[1])
			command, rest, err := root.Find(words)
			if err != nil || command == root {
				t.Errorf("%s: there is no command in %q", where, call[1])
				continue
			}
			calls++
			if command.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				t.Errorf("%s: %s has no command %q", where, command.CommandPath(), rest[0])
			}
			for _, word := range words {
				name, isFlag := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(strings.TrimRight(name, ",."), "=")
				if isFlag && name != "" && command.Flags().Lookup(name) == nil && command.InheritedFlags().Lookup(name) == nil && name != "help" {
					t.Errorf("%s: %s has no flag --%s", where, command.CommandPath(), name)
				}
			}
		}
	}
	if calls < 60 {
		t.Errorf("only %d calls were found", calls)
	}
}
