package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
)

func (c *cli) serveCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "serve", Short: "Run a server", Args: arguments(),
		Long: "serve runs a server: API, console and change feed. It needs no configuration: by default the database is a file in the working directory.\n\n" +
			"Every flag can also be set in the environment, as shown in brackets. A secret can be read from a file: set the variable with the suffix _FILE to its path. " +
			"CURFEW_ADMIN_PASSWORD is the password of the account admin, which the first start creates. Without it, a password is generated and shown once on a terminal, or else written to a file that the log names.",
		Example: "  curfew serve\n" +
			"  curfew serve --listen :443 --issuer https://curfew.example --tls-cert cert.pem --tls-key key.pem\n" +
			"  CURFEW_KEY_ENCRYPTION_KEY_FILE=/run/secrets/kek curfew serve --database postgres://curfew@db/curfew",
	}
	flags := addOptions(command, config.ServerOptions())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.ResolveServer(flags.source())
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
			server, err := app.Open(ctx, cfg, app.Options{Logger: log, Terminal: c.terminal(), Reload: reload, Docs: docs})
			if errors.Is(err, app.ErrStopped) {
				log.InfoContext(ctx, "shut down before the database was available")
				return nil
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, server.Close()) }()
			return server.Run(ctx)
		})
	}
	return command
}

// terminal returns where a start prints what people read: nowhere if everything that
// the program prints is to be JSON.
func (c *cli) terminal() io.Writer {
	if c.log != nil {
		return nil
	}
	return c.stdout
}

// untilSignal runs something until SIGINT or SIGTERM, at which its context ends.
// A second signal ends the process at once. SIGHUP ends nothing: do receives it.
func untilSignal(ctx context.Context, c *cli, do func(ctx context.Context, reload <-chan os.Signal) error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer runtime.KeepAlive(ballast())
	done := make(chan struct{})
	defer close(done)
	go func() { // ends when do has returned
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			if c.log != nil {
				c.log.WarnContext(ctx, "second signal: stopping immediately")
			} else {
				c.notef("curfew: second signal: stopping immediately")
			}
			os.Exit(exitFailed) //nolint:forbidigo // what the signal asks for
		case <-done:
		}
	}()
	return do(ctx, reload)
}

const (
	ballastSize = 16 << 20
	// minLimit is the memory limit (GOMEMLIMIT) from which on there is a ballast: it
	// counts as used, although none of its pages is.
	minLimit = 256 << 20
)

// ballast returns memory that is never touched, so the system provides none. The
// garbage collector runs when the heap has doubled. That of a server is some 6 MiB
// at first, so without a ballast it runs every thousand requests of forward auth,
// which takes a tenth of the processor time. With it, up to 16 MiB more of garbage
// wait for the collector.
func ballast() []byte {
	if debug.SetMemoryLimit(-1) < minLimit {
		return nil
	}
	return make([]byte, ballastSize)
}
