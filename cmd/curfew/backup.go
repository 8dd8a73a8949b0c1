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
		Long: "Writes a consistent copy of a SQLite database to a new file, with the server running or not. " +
			"The signing keys in it are sealed: keep the key-encryption key as well, but elsewhere. PostgreSQL has pg_dump.",
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
			c.printf("to be of use it also takes the key in %s: keep a copy of that, elsewhere\n", file)
		}
		return nil
	})
}

func (c *cli) restoreCommand() *cobra.Command {
	var replace bool
	command := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database (SQLite)", Args: arguments("FILE"),
		Long: "Puts a backup in the place of a SQLite database. No server may be running on it. A database that is there is kept under another name.\n\n" +
			"What was revoked after the backup was made is not in it, so everyone is revoked: everybody has to sign in again. " +
			"After a PostgreSQL database was restored with PostgreSQL's own tools, `curfew revoke everyone` does the same.",
	}
	flags := addOptions(command, config.ToolOptions())
	command.Flags().BoolVar(&c.json, "json", false, "answer in JSON, for programs")
	command.Flags().BoolVar(&replace, "replace", false, "do not keep the database that is there")
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
			c.printf("kept what was there as %s\n", kept)
		}
		c.printf("restored %s from %s, and revoked everyone: everybody has to sign in again\n", cfg.Database.String(), args[0])
		return nil
	}
	return command
}
