package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
)

func (c *cli) revocationsCommand() *cobra.Command {
	var f store.ReceiptFilter
	var limit int
	var between period
	command := &cobra.Command{
		Use: "revocations [EPOCH]", SuggestFor: []string{"receipt", "receipts"}, Short: "Show the receipts of revocations", Args: cobra.MaximumNArgs(1),
		Long: "Shows revocations, the newest first: what was revoked, how many live sessions ended, by whom, why, and when it was in force everywhere. With --json, one receipt per line. " +
			"With EPOCH, shows the receipt of one revocation.",
		Example: "  curfew revocations --user alice --from 30d\n" +
			"  curfew revocations 1795453200123456",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		if len(args) == 1 {
			return c.showReceipt(ctx, t, args[0])
		}
		if limit < 1 {
			return usagef("--limit is %d; it must be at least 1", limit)
		}
		var err error
		if f.From, f.To, err = between.read(time.Now()); err != nil {
			return err
		}
		by := f.By // stays as it is: an operator may have the name of a user
		unknown, err := findPersons(ctx, t, &f.User, &by)
		if err != nil {
			return err
		}
		n, err := c.printReceipts(ctx, t, f, limit)
		if err == nil && n == 0 && unknown != "" {
			return session.ErrUnknownPerson(unknown)
		}
		return err
	})
	flags := command.Flags()
	flags.StringVar(&f.User, "user", "", "only revocations of this user's sessions, by name or id")
	flags.StringVar(&f.By, "by", "", "only revocations by this user, client or operator, by name or id")
	flags.StringVar(&f.Text, "reason", "", "only revocations with this text in the reason, in upper or lower case")
	between.add(flags, "revocations")
	flags.IntVar(&limit, "limit", 100, "maximum number of revocations")
	return command
}

func (c *cli) showReceipt(ctx context.Context, t admin, text string) error {
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil || epoch < 1 {
		return usagef("EPOCH is %q; it must be the number that `curfew revocations` shows", text)
	}
	r, err := t.Receipt(ctx, revocation.Epoch(epoch))
	if err != nil {
		return err
	}
	return c.printReceipt(r)
}

// printReceipts prints receipts, and returns how many.
func (c *cli) printReceipts(ctx context.Context, t admin, f store.ReceiptFilter, limit int) (int, error) {
	printed := 0
	out := newTable(c.stdout, "COMMITTED", "EPOCH", "REVOKED", "USER", "ENDED", "BY", "IN FORCE EVERYWHERE", "WHY")
	for limit > 0 {
		page := min(limit, 500)
		receipts, err := t.Receipts(ctx, f, page)
		if err != nil {
			return printed, err
		}
		printed += len(receipts)
		for _, r := range receipts {
			if c.json {
				if err := json.NewEncoder(c.stdout).Encode(wireform.Receipt(r)); err != nil {
					return printed, err
				}
				continue
			}
			out.row(micro(r.CommittedAt), fmt.Sprint(int64(r.Epoch)), revokedText(r.Receipt), r.UserName, endedText(r.Receipt), who(r.Actor), everywhere(r), r.Reason)
		}
		if len(receipts) < page {
			break
		}
		limit -= len(receipts)
		f.Before = receipts[len(receipts)-1].Epoch
	}
	if c.json {
		return printed, nil
	}
	return printed, out.flush()
}

// everywhere says in one cell since when a revocation is in force everywhere.
func everywhere(r session.Receipt) string {
	if !r.Closed() {
		return fmt.Sprintf("not yet: %d of %d", r.Enforcement.Confirmed, r.Enforcement.Validators)
	}
	text := fmt.Sprintf("after %d ms", (r.ClosedAt-r.CommittedAt)/1000)
	if r.ClosedBy == store.ByLease {
		text += fmt.Sprintf(" (%d of %d)", r.Confirmed, r.Validators)
	}
	return text
}
