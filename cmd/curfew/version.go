package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
)

// versionLine is what `curfew version` and `curfew --version` print.
func versionLine() string {
	return fmt.Sprintf("curfew %s (%s, %s/%s)", app.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (c *cli) versionCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "version", Short: "Show the version", Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printJSON(map[string]string{"version": app.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			c.printf("%s\n", versionLine())
			return nil
		},
	}
	command.Flags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	return command
}
