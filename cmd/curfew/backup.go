package main

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
)

func (c *cli) backupCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "backup FILE", Short: "Copy the database (SQLite) to a new file", Args: arguments("FILE"),
		Long: "Writes a consistent copy of a SQLite database to a new file, whether the server runs or not. " +
			"The signing keys in it are sealed: also keep the key-encryption key, in another place. For PostgreSQL use pg_dump.",
	}
	return c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		if err := t.Backup(ctx, args[0]); err != nil {
			return err
		}
		if c.json {
			return c.printJSON(map[string]string{"file": args[0]})
		}
		c.printf("wrote %s\n", args[0])
		if file := t.KeyFile(); file != "" {
			c.printf("restoring it also requires the key in %s; keep a copy of that file in another place\n", file)
		}
		return nil
	})
}

func (c *cli) restoreCommand() *cobra.Command {
	var replace bool
	command := &cobra.Command{
		Use: "restore FILE", Short: "Replace the database (SQLite) with a backup", Args: arguments("FILE"),
		Long: "Replaces a SQLite database with a backup. Stop the server first. The existing database is kept under another name.\n\n" +
			"The backup has no revocations that were made after it, so all sessions are revoked and all users must sign in again. " +
			"After restoring a PostgreSQL database with PostgreSQL's own tools, run `curfew revoke everyone`.",
	}
	flags := addOptions(command, config.ToolOptions())
	command.Flags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	command.Flags().BoolVar(&replace, "replace", false, "do not keep the existing database")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.ResolveTools(flags.source())
		if err != nil {
			return err
		}
		kept, err := app.Restore(cmd.Context(), cfg, args[0], replace)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(map[string]string{"database": cfg.Database.String(), "from": args[0], "kept": kept})
		}
		if kept != "" {
			c.printf("kept the previous database as %s\n", kept)
		}
		c.printf("restored %s from %s and revoked all sessions: all users must sign in again\n", cfg.Database.String(), args[0])
		return nil
	}
	return command
}
