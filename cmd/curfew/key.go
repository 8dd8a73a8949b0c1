package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/store"
)

func (c *cli) keyCommand() *cobra.Command {
	command := c.group("key", "Signing keys",
		"key manages the keys that tokens are signed with. A key is next (known to every validator, not yet signing), active (signs), retiring (still verifies) or retired (trusted by nobody).")
	command.AddCommand(c.keyList(), c.keyRotate(), c.keyImport(), c.keyRetire())
	return command
}

// wireKey is a key as programs get it.
type wireKey struct {
	ID          string     `json:"id"`
	Algorithm   string     `json:"algorithm"`
	State       string     `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	ActivatedAt *time.Time `json:"activated_at"`
	RetireAt    *time.Time `json:"retire_at"`
	RetiredAt   *time.Time `json:"retired_at"`
}

func wireKeyOf(k store.Key) wireKey {
	optional := func(micros int64) *time.Time {
		if micros == 0 {
			return nil
		}
		t := time.UnixMicro(micros).UTC()
		return &t
	}
	return wireKey{
		ID: k.ID, Algorithm: k.Algorithm, State: k.State, CreatedAt: time.UnixMicro(k.CreatedAt).UTC(),
		ActivatedAt: optional(k.ActivatedAt), RetireAt: optional(k.RetireAt), RetiredAt: optional(k.RetiredAt),
	}
}

func (c *cli) keyList() *cobra.Command {
	command := &cobra.Command{Use: "list", Short: "List signing keys", Args: arguments()}
	return c.tool(command, func(ctx context.Context, t *app.Tools, _ []string) error {
		keys, err := t.Store.Keys(ctx)
		if err != nil {
			return err
		}
		if c.json {
			out := []wireKey{}
			for _, k := range keys {
				out = append(out, wireKeyOf(k))
			}
			return c.printJSON(map[string]any{"keys": out})
		}
		out := newTable(c.stdout, "ID", "ALGORITHM", "STATE", "CREATED", "SIGNS FROM", "TRUSTED UNTIL")
		for _, k := range keys {
			until := micro(k.RetireAt)
			if k.RetiredAt != 0 {
				until = micro(k.RetiredAt)
			}
			out.row(k.ID, k.Algorithm, k.State, micro(k.CreatedAt), micro(k.ActivatedAt), until)
		}
		return out.flush()
	})
}

func (c *cli) keyRotate() *cobra.Command {
	var kid, reason string
	command := &cobra.Command{
		Use: "rotate", Short: "Let another key sign", Args: arguments(),
		Long: "Lets the next key sign, as soon as every validator is sure to know it. The key that signs until then still verifies what it signed: no session ends.",
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, _ []string) error {
		ring, err := t.Ring(ctx)
		if err != nil {
			return err
		}
		k, from, err := ring.Rotate(ctx, t.Caller, kid, reason)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wireKeyOf(k))
		}
		if k.State == store.KeyActive {
			c.printf("key %s signs now\n", k.ID)
			return nil
		}
		c.printf("key %s signs from %s on: a server that is running then lets it\n", k.ID, date(from))
		return nil
	})
	command.Flags().StringVar(&kid, "kid", "", "the key that is to sign; the default is the one that has been next the longest")
	command.Flags().StringVar(&reason, "reason", "", "why, for the audit")
	return command
}

func (c *cli) keyImport() *cobra.Command {
	var kid string
	command := &cobra.Command{
		Use: "import FILE", Short: "Add a key of your own", Args: arguments("FILE"),
		Long: "Adds a private key from a PEM file (PKCS #8): P-256, Ed25519, or RSA with at least 2048 bits. FILE - is standard input. " +
			"The key is next: it verifies at once, and signs when `curfew key rotate --kid KID` says so.",
		Example: "  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | curfew key import --kid 2027 -",
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		pem, err := c.readFile(args[0], 1<<20)
		if err != nil {
			return err
		}
		ring, err := t.Ring(ctx)
		if err != nil {
			return err
		}
		k, err := ring.Import(ctx, t.Caller, kid, pem)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wireKeyOf(k))
		}
		c.printf("imported key %s (%s): it is next\n", k.ID, k.Algorithm)
		return nil
	})
	command.Flags().StringVar(&kid, "kid", "", "id of the key; the default is its thumbprint (RFC 7638)")
	return command
}

// readFile reads a file of at most so many bytes; - is standard input.
func (c *cli) readFile(name string, most int64) ([]byte, error) {
	in := c.stdin
	if name != "-" {
		file, err := os.Open(name) // #nosec G304 -- the file that the operator names
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return data, err
}

func (c *cli) keyRetire() *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use: "retire KID", Short: "In an emergency: trust a key no longer", Args: arguments("KID"),
		Long: "Trusts a key no longer, from now on: every session whose token it signed is over. This is for a key that has leaked; " +
			"`curfew key rotate` replaces one without ending a session.",
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		ring, err := t.Ring(ctx)
		if err != nil {
			return err
		}
		epoch, err := ring.Retire(ctx, t.Caller, args[0], reason)
		if err != nil {
			return err
		}
		keys, err := t.Store.Keys(ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(map[string]any{"id": args[0], "epoch": int64(epoch)})
		}
		c.printf("retired key %s: every session whose token it signed is over\n", args[0])
		for _, k := range keys {
			if k.State == store.KeyActive {
				c.printf("key %s signs\n", k.ID)
				return nil
			}
		}
		c.printf("no key signs at the moment: a running server lets the next one as soon as every validator is sure to know it; until then nobody can sign in\n")
		return nil
	})
	command.Flags().StringVar(&reason, "reason", "", "why, for the audit")
	return command
}

// trimmed returns what a command was given as its text: an argument, or - or
// nothing for standard input.
func (c *cli) trimmed(args []string, what string) (string, error) {
	if len(args) > 0 && args[0] != "-" {
		return args[0], nil
	}
	data, err := c.readFile("-", 2<<20)
	if err != nil {
		return "", fmt.Errorf("reading %s from standard input: %w", what, err)
	}
	return strings.TrimSpace(string(data)), nil
}
