// Command curfew is a server of sessions, and what an operator needs beside it:
// see `curfew help`.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"example.com/curfew/internal/app"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns the exit code: 0 done, 1 refused or failed, 2
// wrong usage.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{Writer: stdout}
	c := &cli{stdin: stdin, stdout: out, stderr: stderr}
	if wantsJSON(args, os.LookupEnv) {
		c.log = app.NewLogger(stderr, "json", slog.LevelInfo)
	}
	root := c.root() //nolint:contextcheck // commands get theirs when they are run
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("the command succeeded, but its output could not be written: %w", out.err)
	}
	if err == nil {
		return 0
	}
	return c.complain(command, err)
}
