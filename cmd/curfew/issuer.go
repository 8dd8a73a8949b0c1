package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

func (c *cli) issuerCommand() *cobra.Command {
	command := c.group("issuer", "Show and change the issuer: the URL of the installation",
		"The issuer is the URL at which users reach Curfew, and the name that every token carries. The first start stores it.")
	command.AddCommand(c.issuerShow(), c.issuerSet())
	return command
}

func (c *cli) issuerShow() *cobra.Command {
	return c.tool(&cobra.Command{
		Use: "show", Short: "Show the issuer, the audiences, and former issuers that are still accepted", Args: arguments(),
	}, func(_ context.Context, t *app.Tools, _ []string) error {
		return c.printInstallation(t.Installed)
	})
}

func (c *cli) issuerSet() *cobra.Command {
	r := &revoking{cli: c}
	var until string
	var audience []string
	var q confirmation
	command := &cobra.Command{
		Use: "set URL", Short: "Change the issuer", Args: arguments("URL"),
		Long: "Changes the issuer. Users, services, keys, settings and the audit stay. All sessions end, and the command prints the receipt. At a terminal it asks first; elsewhere it requires --yes.\n\n" +
			"With --keep-sessions-until no session ends now: servers, edges and followers accept tokens of the old issuer until that time, and a refresh gives a session a token of the new one. " +
			"Sessions that were not refreshed by then are over. Followers of releases without this command stop until they are upgraded.\n\n" +
			"Restart all servers and edges afterwards, without an --issuer that names the old URL. Until then, servers that accept no session of the old issuer answer 503.",
		Example: "  curfew issuer set https://curfew.example\n" +
			"  curfew issuer set https://id.example --keep-sessions-until 30d",
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		keep, err := later(until, time.Now())
		if err != nil {
			return usagef("--keep-sessions-until: %w", err)
		}
		if until == "" {
			if err := c.confirm(q, "ends all sessions of all users"); err != nil {
				return err
			}
		}
		if len(audience) == 0 {
			audience = nil
		}
		before := t.Installed
		in, receipt, err := t.SetIssuer(ctx, session.IssuerChange{Issuer: args[0], Audience: audience, KeepUntil: keep, Reason: r.reason})
		if err != nil {
			return err
		}
		if !c.json {
			c.printf("the issuer is now %s (was %s); restart all servers and edges\n", in.Issuer, before.Issuer)
		}
		if receipt != nil {
			return r.follow(ctx, local{t}, *receipt)
		}
		return c.printInstallation(in)
	})
	q.add(command, "issuer")
	command.Flags().StringVar(&until, "keep-sessions-until", "", "accept sessions of the old issuer until this time: a date, a time (RFC 3339), or a duration from now (30d)")
	command.Flags().StringArrayVar(&audience, "audience", nil, "audience of the tokens, may repeat; the default replaces the old URL by the new one, or with --keep-sessions-until adds the new one")
	command.Flags().StringVar(&r.reason, "reason", "", "reason, for the audit log")
	durationVar(command, &r.wait, "wait", "wait until every validator has confirmed that the sessions have ended, at most this long")
	return command
}

// later reads a date, an instant or how long until then; zero for "".
func later(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	at, err := instant(text, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a date (2026-11-23), a time (2026-11-23T17:00:00Z) or a duration (30d, 12h)", text)
	}
	return time.UnixMicro(at), nil
}

func (c *cli) printInstallation(in store.Installation) error {
	type former struct {
		Issuer string    `json:"issuer"`
		Until  time.Time `json:"until"`
	}
	accepted := []former{}
	for _, f := range in.Former {
		if until := time.Unix(f.Until, 0); until.After(time.Now()) {
			accepted = append(accepted, former{f.Issuer, until.UTC()})
		}
	}
	if c.json {
		return c.printJSON(struct {
			Issuer   string   `json:"issuer"`
			Audience []string `json:"audience"`
			Former   []former `json:"former"`
		}{in.Issuer, in.Audience, accepted})
	}
	t := newTable(c.stdout)
	t.row("issuer", in.Issuer)
	t.row("audience", strings.Join(in.Audience, ", "))
	for _, f := range accepted {
		t.row("also accepted", fmt.Sprintf("%s until %s", f.Issuer, f.Until.Format(time.RFC3339)))
	}
	return t.flush()
}
