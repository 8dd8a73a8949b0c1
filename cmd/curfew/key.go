package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

func (c *cli) keyCommand() *cobra.Command {
	command := c.group("key", "Manage signing keys",
		"key manages the keys that tokens are signed with. A key is next (published, not signing yet), active (signs), retiring (still verifies) or retired (no longer trusted).")
	command.AddCommand(c.keyList(), c.keyRotate(), c.keyImport(), c.keyRetire())
	return command
}

func (c *cli) keyList() *cobra.Command {
	command := &cobra.Command{Use: "list", Short: "List signing keys", Args: arguments()}
	return c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		keys, err := t.Keys(ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wire.Keys{Keys: append([]wire.Key{}, each(keys, wireform.Key)...)})
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
		Use: "rotate", Short: "Switch to the next signing key", Args: arguments(),
		Long: "Makes the next key active as soon as every validator has it. The previous key still verifies the sessions that it signed: no session ends.",
	}
	c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		k, from, err := t.RotateKey(ctx, kid, reason)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wireform.Key(k))
		}
		if k.State == store.KeyActive {
			c.printf("key %s signs now\n", k.ID)
			return nil
		}
		c.printf("key %s signs from %s, if a server is running then\n", k.ID, date(from))
		return nil
	})
	command.Flags().StringVar(&kid, "kid", "", "key to switch to; the default is the oldest next key")
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log")
	return command
}

func (c *cli) keyImport() *cobra.Command {
	var kid string
	command := &cobra.Command{
		Use: "import FILE", Short: "Import a signing key", Args: arguments("FILE"),
		Long: "Imports a private key from a PEM file (PKCS #8): P-256, Ed25519, or RSA with at least 2048 bits. FILE - is standard input. " +
			"The key's state is next: it verifies immediately, and signs after `curfew key rotate --kid KID`.",
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
			return c.printJSON(wireform.Key(k))
		}
		c.printf("imported key %s (%s) in the state next\n", k.ID, k.Algorithm)
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
	var q confirmation
	command := &cobra.Command{
		Use: "retire KID", Short: "Stop trusting a key, in an emergency", Args: arguments("KID"),
		Long: "Stops trusting a key: all sessions signed with it end immediately. Use this if the key may be compromised; " +
			"`curfew key rotate` replaces a key without ending sessions. At a terminal it asks first; elsewhere it requires --yes.",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		if err := c.confirm(q, "ends all sessions signed with key "+args[0]); err != nil {
			return err
		}
		epoch, err := t.RetireKey(ctx, args[0], reason)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wire.RetiredKey{ID: args[0], Epoch: int64(epoch)})
		}
		c.printf("retired key %s: all sessions signed with it have ended\n", args[0])
		keys, err := t.Keys(ctx)
		if e, ok := errors.AsType[*apiError](err); ok && e.Status == http.StatusUnauthorized {
			c.printf("your own session was one of them: sign in again with `curfew login`\n")
			return nil
		}
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.State == store.KeyActive {
				c.printf("key %s signs\n", k.ID)
				return nil
			}
		}
		c.printf("there is no active key: a running server activates the next one as soon as every validator has it; until then users can't sign in\n")
		return nil
	})
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log")
	q.add(command, "retire")
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
		return "", fmt.Errorf("read %s from standard input: %w", what, err)
	}
	return strings.TrimSpace(string(data)), nil
}
