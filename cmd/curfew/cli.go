package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
)

// cli is the state that the commands share.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool         // --json: programs read the output
	log            *slog.Logger // --log-format json: what goes wrong is a line of the log; nil otherwise
}

// The exit codes.
const (
	exitFailed = 1 // refused or failed
	exitUsage  = 2 // wrong usage
)

// A usageError is about the arguments of a command, not about its effect.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent is returned when everything has been said already.
var errSilent = errors.New("")

// complain says what went wrong, one line for each thing, and returns the exit code.
func (c *cli) complain(command *cobra.Command, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		switch {
		case line == "":
		case c.log != nil:
			c.log.ErrorContext(command.Context(), "failed", "command", command.CommandPath(), "error", line)
		default:
			c.notef("curfew: %s", line)
		}
	}
	var usage usageError
	switch {
	case errors.As(err, &usage):
		if c.log == nil {
			c.notef("See '%s --help'.", command.CommandPath())
		}
		return exitUsage
	case errors.Is(err, config.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

// root returns the command with all that are under it.
func (c *cli) root() *cobra.Command {
	root := c.group("curfew", "Sessions that end when they should",
		"Curfew signs users in and ends their sessions: by session timeout, maximum session duration, sign-out or revocation.\n\n"+
			"The commands for sessions and users work on the database directly, whether a server runs or not, or on a server with --server.\n\n"+
			"Documentation: curfew docs, or /docs of a running server.")
	root.SilenceErrors, root.SilenceUsage = true, true
	// Alone it asks for nothing: it prints the help and succeeds, as kubectl and gh do. A
	// group without a command is wrong usage, such as a variable of a script that is empty.
	unknown := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknown(cmd, args)
	}
	root.Version = app.Version()
	root.SetVersionTemplate(versionLine() + "\n")
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			if unknown.GetSpecifiedShortnames() != "" {
				err = fmt.Errorf("%w; write -- before a name or an id that begins with a hyphen", err)
			} else if near := config.Nearest(unknown.GetSpecifiedName(), flagNames(command)); near != "" {
				err = fmt.Errorf("%w; did you mean --%s?", err, near)
			}
		}
		return usageError{err}
	})
	add := func(id, title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: id, Title: title})
		for _, command := range commands {
			command.GroupID = id
		}
		root.AddCommand(commands...)
	}
	add("run", "Run:", c.serveCommand(), c.edgeCommand(), c.healthcheckCommand())
	add("sessions", "Sessions and users:", c.revokeCommand(), c.revocationsCommand(), c.userCommand(), c.settingsCommand(), c.tokenCommand(), c.auditCommand(), c.loginCommand(), c.logoutCommand())
	add("installation", "Installation:", c.providerCommand(), c.signInMethodsCommand(), c.clientCommand(), c.keyCommand(), c.issuerCommand(), c.backupCommand(), c.restoreCommand(), c.copyCommand())
	add("help", "Help:", c.docsCommand(), c.versionCommand())
	root.SetHelpCommandGroupID("help")
	root.SetCompletionCommandGroupID("help")
	root.SetHelpCommand(c.helpCommand(root))
	root.InitDefaultCompletionCmd()
	for _, command := range root.Commands() {
		if command.Name() == "completion" {
			command.Args, command.RunE = cobra.ArbitraryArgs, c.group("", "", "").RunE
			for _, shell := range command.Commands() {
				shell.Args = arguments()
			}
		}
	}
	return root
}

// flagNames returns the names of a command's flags that its help shows.
func flagNames(command *cobra.Command) []string {
	var names []string
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// helpCommand is cobra's, but for its success where there is nothing to help with.
func (c *cli) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show help for a command", GroupID: "help",
		Long: "Shows help for a command. `curfew help development` shows the flags that are for development and tests.",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "development" {
				return c.helpDevelopment(root)
			}
			command, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(args, " "))
			}
			return command.Help()
		},
	}
}

// helpDevelopment shows the flags that the help of the commands leaves out.
func (c *cli) helpDevelopment(root *cobra.Command) error {
	c.printf("These flags are for development and tests. Do not use them in production.\n\n")
	of := map[string][]string{} // commands, by flag
	usages := map[string]string{}
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		command.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[developmentFlag] != nil {
				of[f.Name], usages[f.Name] = append(of[f.Name], command.CommandPath()), f.Usage
			}
		})
		for _, sub := range command.Commands() {
			visit(sub)
		}
	}
	visit(root)
	for _, name := range slices.Sorted(maps.Keys(of)) {
		where := strings.Join(of[name], ", ")
		if len(of[name]) > 3 {
			where = "curfew serve, and commands on the database"
		}
		c.printf("  --%s\n      %s\n      of %s\n", name, usages[name], where)
	}
	return nil
}

// group returns a command that does nothing but hold others. Cobra would answer a
// wrong word under it with its help and success.
func (c *cli) group(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, SuggestionsMinimumDistance: 2,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(c.stderr)
				_ = cmd.Help()
				return usagef("no command after %q", cmd.CommandPath())
			}
			err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
			near := otherwiseCalled(cmd, args[0])
			if len(near) == 0 {
				near = nearest(cmd.SuggestionsFor(args[0]), args[0])
			}
			if len(near) > 0 {
				err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
			}
			return usageError{err}
		},
	}
}

// otherwiseCalled returns the commands under a group whose SuggestFor has the word, with
// the words that lead to them.
func otherwiseCalled(group *cobra.Command, word string) []string {
	var found []string
	for _, command := range group.Commands() {
		if slices.Contains(command.SuggestFor, word) {
			found = append(found, command.CommandPath())
		}
		found = append(found, otherwiseCalled(command, word)...)
	}
	return found
}

// nearest returns those of the suggestions that begin as the word does, if there
// are any, else all.
func nearest(suggestions []string, word string) []string {
	var beginning []string
	for _, s := range suggestions {
		if strings.HasPrefix(s, word) {
			beginning = append(beginning, s)
		}
	}
	if len(beginning) > 0 {
		return beginning
	}
	return suggestions
}

// arguments returns a check for the number of arguments: as many as there are
// names, any number of the last if that ends in "...", and one fewer if the last is
// in brackets.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		switch {
		case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["): // optional
			return usagef("%s is missing", strings.TrimSuffix(names[len(args)], "..."))
		case len(args) > len(names) && !many:
			return usagef("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// tool makes a command of a function that works on the database: it adds the
// flags, opens the database, and closes it.
func (c *cli) tool(command *cobra.Command, do func(ctx context.Context, t *app.Tools, args []string) error) *cobra.Command {
	flags := addOptions(command, config.ToolOptions())
	command.Flags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	command.RunE = func(cmd *cobra.Command, args []string) (err error) {
		cfg, err := config.ResolveTools(flags.source())
		if err != nil {
			return err
		}
		log := c.logger()
		warnOfUnknownVariables(cmd.Context(), log)
		t, err := app.OpenTools(cmd.Context(), cfg, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.Close()) }()
		return do(cmd.Context(), t, args)
	}
	return command
}

// wantsJSON reports whether the arguments or the environment say that a server's
// log is JSON. It is for errors in the arguments themselves, after which no
// configuration exists.
func wantsJSON(args []string, lookup func(string) (string, bool)) bool {
	if len(args) == 0 || args[0] != "serve" && args[0] != "edge" {
		return false
	}
	format, _ := lookup("CURFEW_LOG_FORMAT")
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--log-format="); ok {
			format = value
		} else if arg == "--log-format" && i+1 < len(args) {
			format = args[i+1]
		}
	}
	return format == "json"
}

// logger returns what services log to when they work for the command line: what
// goes wrong, in plain lines.
func (c *cli) logger() *slog.Logger {
	return app.NewLogger(c.stderr, "text", slog.LevelWarn)
}
