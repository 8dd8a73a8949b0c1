package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
)

func (c *cli) copyCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "copy", Short: "Copy the database into a new one, of either engine", Args: arguments(),
		Long: "Copies the database into a new SQLite file or an empty PostgreSQL database: everything, or nothing. Stop all servers first. " +
			"Each table is read back and compared by count and checksum before the copy becomes visible. The source does not change.\n\n" +
			"Sessions stay valid, because the copy has the same issuer and signing keys. The signing keys stay sealed: servers on the copy need the same key-encryption key. " +
			"Do not start a server on the source again: it would accept sessions that are revoked in the copy.",
		Example: "  curfew copy --to postgres://curfew@db/curfew\n" +
			"  curfew copy --database postgres://curfew@db/curfew --to sqlite:curfew.db",
	}
	flags := addOptions(command, config.CopyOptions())
	command.Flags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.ResolveCopy(flags.source())
		if err != nil {
			return err
		}
		copied, err := app.Copy(cmd.Context(), cfg, app.Copying{
			Progress: c.copyProgress(),
			Note:     func(text string) { c.notef("%s", text) },
		})
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(map[string]any{
				"from": cfg.Database.String(), "to": cfg.To.String(),
				"tables": copied.Tables, "rows": copied.Rows, "epoch": copied.Epoch, "key_file": copied.KeyFile,
			})
		}
		c.printf("copied %d rows of %d tables from %s to %s, and compared them by count and checksum\n", copied.Rows, copied.Tables, cfg.Database, cfg.To)
		c.printf("%s\n", keyAdvice(cfg, copied))
		c.printf("do not start a server on %s again: it would accept sessions that are revoked in the copy\n", cfg.Database)
		return nil
	}
	return command
}

// keyAdvice says which key-encryption key the servers of a copy need.
func keyAdvice(cfg config.Copy, copied app.Copied) string {
	target := cfg.To.KeyFile()
	switch {
	case copied.KeyFile != "" && target != "":
		return fmt.Sprintf("the signing keys in it are sealed with the key in %s: copy that file to %s", copied.KeyFile, target)
	case copied.KeyFile != "":
		return fmt.Sprintf("the signing keys in it are sealed with the key in %s: start its servers with CURFEW_KEY_ENCRYPTION_KEY_FILE=%s, and keep that file", copied.KeyFile, copied.KeyFile)
	case copied.KeyChecked:
		return "the signing keys in it are sealed with the same key: start its servers with this CURFEW_KEY_ENCRYPTION_KEY"
	}
	return "the signing keys in it are sealed: start its servers with the CURFEW_KEY_ENCRYPTION_KEY of the servers before"
}

// progressEvery is the time between two lines about a long copy.
const progressEvery = 2 * time.Second

// copyProgress returns a function that reports a copy, if it takes long.
func (c *cli) copyProgress() func(table string, done, total int64) {
	said := time.Now()
	return func(table string, done, total int64) {
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			c.notef("copying %s: %d of %d rows", table, done, total)
		}
	}
}
