package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/config"
)

// given collects the options that stand on the command line.
type given struct {
	set    *pflag.FlagSet
	values map[string]func() []string
}

// developmentFlag is the annotation of a flag that only `curfew help development`
// shows.
const developmentFlag = "development"

// addOptions makes flags of options.
func addOptions[T any](command *cobra.Command, options []config.Option[T]) *given {
	g := &given{set: command.Flags(), values: map[string]func() []string{}}
	for _, o := range options {
		if o.Environment {
			continue
		}
		usage := fmt.Sprintf("%s [%s]", o.Usage, o.Env())
		if o.Default != "" && !o.Switch() {
			usage = fmt.Sprintf("%s (default %s) [%s]", o.Usage, o.Default, o.Env())
		}
		if o.Development {
			defer func() { //nolint:revive // the flag is there at the end of this function
				_ = g.set.MarkHidden(o.Name)
				_ = g.set.SetAnnotation(o.Name, developmentFlag, []string{"true"})
			}()
		}
		if o.Switch() {
			value := g.set.Bool(o.Name, false, usage)
			g.values[o.Name] = func() []string { return []string{fmt.Sprint(*value)} }
			continue
		}
		value := &texts{kind: o.Value}
		g.set.Var(value, o.Name, usage)
		g.values[o.Name] = func() []string { return value.all }
	}
	return g
}

// source returns where the values of the options are to be looked for.
func (g *given) source() config.Source {
	flags := map[string][]string{}
	for name, values := range g.values {
		if g.set.Changed(name) {
			flags[name] = values()
		}
	}
	return config.Source{Flags: flags}
}

// texts is the value of a flag: everything that it was given, as it was given.
type texts struct {
	kind string
	all  []string
}

func (t *texts) Set(text string) error { t.all = append(t.all, text); return nil }
func (t *texts) Type() string          { return t.kind }
func (t *texts) String() string        { return "" }

// warnOfUnknownVariables logs the environment variables that look like Curfew's and
// are none.
func warnOfUnknownVariables(ctx context.Context, log *slog.Logger) {
	for _, u := range config.UnknownVariables(os.Environ()) {
		if u.Nearest == "" {
			log.WarnContext(ctx, "unknown environment variable ignored; `curfew docs configuration` lists all", "variable", u.Name)
			continue
		}
		log.WarnContext(ctx, "unknown environment variable ignored; did you mean the nearest name?", "variable", u.Name, "nearest", u.Nearest)
	}
}
