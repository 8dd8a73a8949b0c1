package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

func (c *cli) clientCommand() *cobra.Command {
	command := c.group("client", "Manage services that call the API",
		"client manages services that authenticate with an id and a secret. CLIENT is the id, or the name if it is unique.")
	command.AddCommand(c.clientAdd(), c.clientList(), c.clientSecret(), c.clientRemove())
	return command
}

func (c *cli) clientAdd() *cobra.Command {
	var capabilities []string
	command := &cobra.Command{
		Use: "add NAME", Short: "Create a client and show its secret once", Args: arguments("NAME"),
		Long: "Creates a client with the capabilities in --can:\n\n" +
			"  follow      follow the change feed and validate tokens itself\n" +
			"  introspect  check whether a token is valid (RFC 7662)\n" +
			"  issue       start sessions for users that it has authenticated\n" +
			"  revoke      revoke all sessions of a user (Global Token Revocation)\n\n" +
			"Several clients may have the same name. The command then names the id of each on stderr; other commands take the id.",
		Example: "  curfew client add billing --can follow",
	}
	c.admin(command, func(ctx context.Context, a admin, args []string) error {
		if len(capabilities) == 0 {
			return usagef("--can is missing; give one or more of %s", strings.Join(store.Capabilities(), ", "))
		}
		existing, err := a.Clients(ctx)
		if err != nil {
			return err
		}
		k, secret, err := a.CreateClient(ctx, account.NewClient{Name: args[0], Capabilities: capabilities})
		if err != nil {
			return err
		}
		// Several clients may have one name, such as the old and the new one of a service that
		// is moved. It is also what running a script twice leaves behind.
		for _, other := range existing {
			if other.Name == k.Name {
				c.notef("note: another client has the name %s: its id is %s, the new one is %s", k.Name, other.ID, k.ID)
			}
		}
		return c.printSecret(k, secret, "created client")
	})
	command.Flags().Var(words{&capabilities, store.Capabilities()}, "can", "capability of the client, may repeat")
	return command
}

func (c *cli) printSecret(k store.Client, secret, did string) error {
	if c.json {
		return c.printJSON(wireform.Client(k, secret))
	}
	c.printf("%s %s\n\n", did, k.Name)
	t := newTable(c.stdout)
	t.row("id", k.ID)
	t.row("secret", secret+"  (not shown again)")
	t.row("can", strings.Join(k.Capabilities, ", "))
	return t.flush()
}

func (c *cli) clientList() *cobra.Command {
	command := &cobra.Command{Use: "list", Short: "List clients", Args: arguments()}
	return c.admin(command, func(ctx context.Context, a admin, _ []string) error {
		clients, err := a.Clients(ctx)
		if err != nil {
			return err
		}
		if c.json {
			out := wire.Clients{Clients: []wire.Client{}}
			for _, k := range clients {
				out.Clients = append(out.Clients, wireform.Client(k, ""))
			}
			return c.printJSON(out)
		}
		out := newTable(c.stdout, "NAME", "ID", "CAN", "CREATED")
		for _, k := range clients {
			out.row(k.Name, k.ID, strings.Join(k.Capabilities, ","), micro(k.CreatedAt))
		}
		return out.flush()
	})
}

func (c *cli) clientSecret() *cobra.Command {
	var revokeOld bool
	command := &cobra.Command{
		Use: "secret CLIENT", Short: "Give a client a new secret", Args: arguments("CLIENT"),
		Long: "Creates a new secret for a client and shows it once. The old one works for another 24 hours, or until you create the next. " +
			"If it may be compromised, use --revoke-old to stop it immediately.",
	}
	c.admin(command, func(ctx context.Context, a admin, args []string) error {
		k, err := findClient(ctx, a, args[0])
		if err != nil {
			return err
		}
		k, secret, err := a.NewSecret(ctx, k.ID, revokeOld)
		if err != nil {
			return err
		}
		return c.printSecret(k, secret, "created a new secret for client")
	})
	command.Flags().BoolVar(&revokeOld, "revoke-old", false, "stop the old secrets immediately")
	return command
}

func (c *cli) clientRemove() *cobra.Command {
	command := &cobra.Command{Use: "remove CLIENT", Short: "Remove a client; its secret stops working", Args: arguments("CLIENT")}
	return c.admin(command, func(ctx context.Context, a admin, args []string) error {
		k, err := findClient(ctx, a, args[0])
		if err != nil {
			return err
		}
		if err := a.DeleteClient(ctx, k.ID); err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wireform.Client(k, ""))
		}
		c.printf("removed client %s (%s)\n", k.Name, k.ID)
		return nil
	})
}

// findClient returns the client with an id, or the only one of a name.
func findClient(ctx context.Context, a admin, idOrName string) (store.Client, error) {
	clients, err := a.Clients(ctx)
	if err != nil {
		return store.Client{}, err
	}
	if i := slices.IndexFunc(clients, func(k store.Client) bool { return k.ID == idOrName }); i >= 0 {
		return clients[i], nil
	}
	clients = slices.DeleteFunc(clients, func(k store.Client) bool { return k.Name != idOrName })
	switch len(clients) {
	case 0:
		return store.Client{}, fmt.Errorf("no client has the id or name %q; `curfew client list` shows all clients", idOrName)
	case 1:
		return clients[0], nil
	}
	return store.Client{}, fmt.Errorf("%d clients have the name %q; use the id (`curfew client list`)", len(clients), idOrName)
}
