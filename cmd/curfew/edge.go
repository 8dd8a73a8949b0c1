package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
)

func (c *cli) edgeCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "edge", Short: "Run an edge: a follower that serves HTTP", Args: arguments(),
		Long: "edge follows servers or other edges, and serves what needs no database: forward auth, introspection, the key set, and the change feed for other followers. " +
			"Its only secret is its client secret. The server authenticates the edge's callers.\n\n" +
			"Every flag can also be set in the environment, as shown in brackets.",
		Example: "  CURFEW_CLIENT_SECRET_FILE=/run/secrets/edge curfew edge --upstream https://curfew.example --client-id ID",
	}
	flags := addOptions(command, config.EdgeOptions())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.ResolveEdge(flags.source())
		if err != nil {
			return err
		}
		docs, err := documentation()
		if err != nil {
			return err
		}
		log := app.NewLogger(c.stderr, cfg.LogFormat, cfg.LogLevel)
		warnOfUnknownVariables(cmd.Context(), log)
		return untilSignal(cmd.Context(), c, func(ctx context.Context, reload <-chan os.Signal) (err error) {
			edge, err := app.OpenEdge(ctx, cfg, app.Options{Logger: log, Terminal: c.terminal(), Reload: reload, Docs: docs})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, edge.Close()) }()
			return edge.Run(ctx)
		})
	}
	return command
}
