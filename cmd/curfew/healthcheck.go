package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/config"
)

func (c *cli) healthcheckCommand() *cobra.Command {
	var live bool
	timeout := 5 * time.Second
	command := &cobra.Command{
		Use: "healthcheck", SuggestFor: []string{"status", "health"}, Short: "Check the server on this machine, for containers", Args: arguments(),
		Long: "Asks the server or edge on this machine whether it is ready (/readyz). The exit code is 0 if it is, else 1.\n\n" +
			"It finds the server by the same flags and environment variables as serve and edge. With --tls-cert, the server must present that certificate; " +
			"no certificate authority has to know it.",
		Example: "  HEALTHCHECK CMD [\"/curfew\", \"healthcheck\"]\n  curfew healthcheck --listen :8420 --live",
	}
	flags := addOptions(command, config.HealthOptions())
	command.Flags().BoolVar(&live, "live", false, "ask only whether the process answers (/livez), not whether it can serve requests")
	durationVar(command, &timeout, "timeout", "how long the answer may take")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.ResolveHealth(flags.source())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		path := "/readyz"
		if live {
			path = "/livez"
		}
		answer, err := health(ctx, cfg, path)
		if err != nil {
			return err
		}
		c.printf("%s\n", strings.TrimSpace(answer))
		return nil
	}
	return command
}

// health sends a request to the server on this machine and returns what it
// answered. Any status but 200 is an error.
func health(ctx context.Context, cfg config.Health, path string) (string, error) {
	scheme, host, err := cfg.Address()
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy from the environment
	if scheme == "https" {
		pair, err := cfg.Certificate()
		if err != nil {
			return "", err
		}
		transport.TLSClientConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, // #nosec G402 -- VerifyConnection compares the certificate itself
			VerifyConnection: func(state tls.ConnectionState) error {
				if string(state.PeerCertificates[0].Raw) != string(pair) {
					return errors.New("the server presents another certificate than the one in --tls-cert; a renewed one is in use within 5 seconds")
				}
				return nil
			},
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+path, http.NoBody)
	if err != nil {
		return "", err
	}
	got, err := transport.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("ask the server at %s: %w", host, err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(io.LimitReader(got.Body, 1<<16))
	if err != nil {
		return "", fmt.Errorf("ask the server at %s: %w", host, err)
	}
	if got.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server at %s answered %s to %s: %s", host, got.Status, path, body)
	}
	return string(body), nil
}
