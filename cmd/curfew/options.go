package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/config"
)

// given collects the options that stand on the command line.
type given struct {
	set    *pflag.FlagSet
	values map[string]func() []string
}

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
			defer func() { _ = g.set.MarkHidden(o.Name) }() // the flag is there by then
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
