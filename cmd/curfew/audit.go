package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wireform"
)

func (c *cli) auditCommand() *cobra.Command {
	var f store.AuditFilter
	var limit int
	var between period
	command := &cobra.Command{
		Use: "audit", SuggestFor: []string{"log", "logs", "history"}, Short: "Show the audit log", Args: arguments(),
		Long: "Shows the audit log: actor, action, target, time, address and reason. The newest entries come first; with --json, one entry per line. " +
			"Times are UTC.",
		Example: "  curfew audit --person alice@example.com --from 2d\n" +
			"  curfew audit --action session.refused --address 192.0.2.\n" +
			"  curfew audit --action sessions. --from 2026-11-01 --json",
	}
	c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		if limit < 1 {
			return usagef("--limit is %d; it must be at least 1", limit)
		}
		var err error
		if f.From, f.To, err = between.read(time.Now()); err != nil {
			return err
		}
		return c.findAudit(ctx, t, f, limit)
	})
	flags := command.Flags()
	flags.StringVar(&f.Person, "person", "", "only entries with this user or client as actor or target, by name, id or email address")
	flags.StringVar(&f.Actor, "actor", "", "only entries with this actor, by name, id or email address")
	flags.StringVar(&f.Target, "target", "", "only entries with this target, by name, id or email address")
	flags.StringVar(&f.Action, "action", "", "only this action, such as user.disable, or a prefix, such as user.")
	flags.StringVar(&f.Reason, "reason", "", "only entries with this text in the reason, in upper or lower case")
	flags.StringVar(&f.Address, "address", "", "only entries from this address, or from addresses that begin with it if it ends in a dot or colon: 192.0.2.")
	flags.StringVar(&f.Session, "session", "", "only entries about the session with this id; earlier releases did not note it at sign-ins")
	between.add(flags, "entries")
	flags.IntVar(&limit, "limit", 100, "maximum number of entries")
	return command
}

// period is what the flags --from and --to select.
type period struct{ from, to string }

// add adds the flags to a command that shows things of a kind.
func (p *period) add(flags *pflag.FlagSet, kind string) {
	flags.StringVar(&p.from, "from", "", "only "+kind+" since this time: a date, a time (RFC 3339), or an age (2d, 12h)")
	flags.StringVar(&p.to, "to", "", "only "+kind+" before this time, as --from")
}

// read returns the bounds in microseconds since the Unix epoch; 0 for none.
func (p *period) read(now time.Time) (from, to int64, err error) {
	if from, err = instant(p.from, now); err != nil {
		return 0, 0, usagef("--from: %w", err)
	}
	if to, err = instant(p.to, now); err != nil {
		return 0, 0, usagef("--to: %w", err)
	}
	return from, to, nil
}

// instant reads a date, an instant or how long ago it was, and returns
// microseconds since the Unix epoch; 0 for "".
func instant(text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMicro(), nil
		}
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(-d).UnixMicro(), nil
	}
	return 0, fmt.Errorf("%q is not a date (2026-11-23), a time (2026-11-23T17:00:00Z) or an age (2d, 12h)", text)
}

// findAudit prints the entries of a filter whose names are as they were typed. If there
// is no entry because a name is wrong, the error says so.
func (c *cli) findAudit(ctx context.Context, t admin, f store.AuditFilter, limit int) error {
	unknown, err := findPersons(ctx, t, &f.Person, &f.Actor, &f.Target)
	if err != nil {
		return err
	}
	n, err := c.printAudit(ctx, t, f, limit)
	if err == nil && n == 0 && unknown != "" {
		return session.ErrUnknownPerson(unknown)
	}
	return err
}

// printAudit prints entries, and returns how many.
func (c *cli) printAudit(ctx context.Context, t admin, f store.AuditFilter, limit int) (int, error) {
	printed := 0
	out := newTable(c.stdout, "WHEN", "WHO", "DID", "TO", "FROM", "WHY")
	for limit > 0 {
		page := min(limit, 500)
		entries, err := t.Audit(ctx, f, page)
		if err != nil {
			return printed, err
		}
		printed += len(entries)
		for _, a := range entries {
			if c.json {
				if err := json.NewEncoder(c.stdout).Encode(wireform.Audit(a)); err != nil {
					return printed, err
				}
				continue
			}
			out.row(micro(a.At), who(a.Actor), a.Action, whom(a), a.Actor.Address, a.Reason)
		}
		if len(entries) < page {
			break
		}
		limit -= len(entries)
		f.Before = entries[len(entries)-1].ID
	}
	if c.json {
		return printed, nil
	}
	return printed, out.flush()
}

// who says who did something: the kind of actor and the name. A user, whose name another
// system may choose, can't look like the command line.
func who(a store.Actor) string {
	name := first(a.Name, a.ID)
	switch {
	case a.Kind == store.ActorUser && name == "":
		return "(not signed in)"
	case name == "":
		return a.Kind
	}
	return a.Kind + " " + name
}

func whom(a store.Audit) string {
	if a.TargetKind == "user" {
		return first(a.TargetName, a.TargetID)
	}
	if id := first(a.TargetName, a.TargetID); id != "" {
		return a.TargetKind + " " + id
	}
	return a.TargetKind
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// findPersons replaces names in a filter by what to look for: see
// session.Service.FindPerson. unknown is a name that no user has now; "" if there is none.
func findPersons(ctx context.Context, t admin, names ...*string) (unknown string, err error) {
	for _, name := range names {
		if *name == "" {
			continue
		}
		found, user, err := t.FindPerson(ctx, *name)
		if err != nil {
			return "", err
		}
		if !user {
			unknown = found
		}
		*name = found
	}
	return unknown, nil
}
