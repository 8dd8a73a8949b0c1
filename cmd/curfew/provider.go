package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

func (c *cli) providerCommand() *cobra.Command {
	command := c.group("provider", "Manage identity providers (OpenID Connect)",
		"provider manages the identity providers that users sign in with. `curfew docs sign-in-providers` has the settings of Keycloak, Okta, Entra ID and Google.")
	command.AddCommand(c.providerAdd(), c.providerList(), c.providerShow(), c.providerSet(), c.providerRemove(), c.providerCheck())
	return command
}

// providerFlags are the flags of a provider's members.
type providerFlags struct {
	issuer, clientID, secretFile, nameClaim, groupsClaim string
	noSecret, createUsers, linkByEmail                   bool
	scopes, permissions, domains, groups, acrValues      []string
}

func (f *providerFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.issuer, "issuer", "", "the provider's issuer, exactly as its discovery document has it")
	flags.StringVar(&f.clientID, "client-id", "", "client ID of this server at the provider")
	flags.StringVar(&f.secretFile, "client-secret-file", "", "file with the client secret; - asks at a terminal, or reads standard input")
	flags.BoolVar(&f.noSecret, "no-client-secret", false, "the client has no secret (a public client)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "scope to request, may repeat; replaces openid, profile, email")
	flags.StringVar(&f.nameClaim, "name-claim", "", "claim with the sign-in name of a new user (default preferred_username)")
	flags.StringVar(&f.groupsClaim, "groups-claim", "", "claim with the groups; without one, groups are not taken over")
	flags.StringArrayVar(&f.permissions, "group-permission", nil, "GROUP=PERMISSION, may repeat: members of the group hold the permission")
	flags.BoolVar(&f.createUsers, "create-users", false, "create an account for an unknown user")
	flags.StringArrayVar(&f.domains, "allow-domain", nil, "admit only users with a verified email address of this domain, may repeat")
	flags.StringArrayVar(&f.groups, "allow-group", nil, "admit only members of this group, may repeat")
	flags.StringArrayVar(&f.acrValues, "acr", nil, "authentication context class to request (acr_values) and to require, may repeat: the claim acr must be one of them")
	flags.BoolVar(&f.linkByEmail, "link-by-email", false, "link an unknown account to the user with the same verified email address")
}

// change returns the change that the flags describe, without the secret. An empty value
// of a flag that may repeat empties its list.
func (f *providerFlags) change(command *cobra.Command) (account.ProviderChange, error) {
	var c account.ProviderChange
	given := command.Flags().Changed
	for _, text := range []struct {
		flag string
		from *string
		to   **string
	}{
		{"issuer", &f.issuer, &c.Issuer}, {"client-id", &f.clientID, &c.ClientID}, {"name-claim", &f.nameClaim, &c.NameClaim}, {"groups-claim", &f.groupsClaim, &c.GroupsClaim},
	} {
		if given(text.flag) {
			*text.to = text.from
		}
	}
	for _, list := range []struct {
		flag string
		from []string
		to   **[]string
	}{
		{"scope", f.scopes, &c.Scopes}, {"allow-domain", f.domains, &c.AllowedEmailDomains}, {"allow-group", f.groups, &c.AllowedGroups}, {"acr", f.acrValues, &c.ACRValues},
	} {
		if given(list.flag) {
			texts := slices.DeleteFunc(list.from, func(text string) bool { return text == "" })
			*list.to = &texts
		}
	}
	if given("create-users") {
		c.CreateUsers = &f.createUsers
	}
	if given("link-by-email") {
		c.LinkByEmail = &f.linkByEmail
	}
	if given("group-permission") {
		permissions := map[string][]string{}
		for _, text := range f.permissions {
			if text == "" {
				continue
			}
			at := strings.LastIndexByte(text, '=')
			if at < 1 {
				return c, usagef("--group-permission is %q; write GROUP=PERMISSION", text)
			}
			permissions[text[:at]] = append(permissions[text[:at]], text[at+1:])
		}
		c.GroupPermissions = &permissions
	}
	return c, nil
}

// secret returns the client secret of the flags, or nil if they give none. It never comes
// from an argument: other users of the machine see those.
func (c *cli) secret(f providerFlags) (*string, error) {
	none := ""
	switch {
	case f.noSecret && f.secretFile != "":
		return nil, usagef("--no-client-secret and --client-secret-file exclude each other")
	case f.noSecret:
		return &none, nil
	case f.secretFile == "":
		return nil, nil
	}
	var text string
	var err error
	if terminal := c.inputTerminal(); terminal != nil && f.secretFile == "-" {
		text, err = c.askHidden(terminal, "Client secret: ")
	} else {
		text, err = c.readSecret(f.secretFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the client secret: %w", err)
	}
	if text == "" {
		return nil, errors.New("the client secret is empty; use --no-client-secret for a client without one")
	}
	return &text, nil
}

func (c *cli) providerAdd() *cobra.Command {
	var f providerFlags
	command := &cobra.Command{
		Use: "add NAME", Short: "Add an identity provider", Args: arguments("NAME"),
		Long: "Adds an identity provider. NAME is a part of the redirect URI, which the command shows with the other addresses to register at the provider. " +
			"The client secret is asked for at a terminal, and else read from standard input; --client-secret-file reads it from a file. " +
			"The secret is stored sealed with the key-encryption key, which the command therefore needs on a database.",
		Example: "  curfew provider add corp --issuer https://login.example.com --client-id curfew --create-users\n" +
			"  curfew provider add google --issuer https://accounts.google.com --client-id ID --client-secret-file FILE \\\n" +
			"      --name-claim email --create-users --allow-domain example.com",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		if f.issuer == "" || f.clientID == "" {
			return usagef("--issuer and --client-id are required")
		}
		change, err := f.change(command)
		if err != nil {
			return err
		}
		if f.secretFile == "" && !f.noSecret {
			f.secretFile = "-"
		}
		if change.ClientSecret, err = c.secret(f); err != nil {
			return err
		}
		p, err := t.CreateProvider(ctx, args[0], change)
		if err != nil {
			return err
		}
		if !c.json {
			c.printf("added provider %s; check it with `curfew provider check %s`\n\n", p.Name, p.Name)
		}
		return c.printProvider(p)
	})
	f.add(command)
	return command
}

func (c *cli) printProvider(p wire.Provider) error {
	if c.json {
		return c.printJSON(p)
	}
	t := newTable(c.stdout)
	t.row("name", p.Name)
	t.row("issuer", p.Issuer)
	t.row("client ID", p.ClientID)
	t.row("client secret", map[bool]string{true: "set (not shown)", false: "none"}[p.HasClientSecret])
	t.row("redirect URI", p.RedirectURI)
	t.row("back-channel logout URI", p.BackchannelLogoutURI)
	t.row("post-logout redirect URI", p.PostLogoutRedirectURI)
	t.row("scopes", strings.Join(p.Scopes, " "))
	t.row("name claim", p.NameClaim)
	t.row("groups claim", p.GroupsClaim)
	for _, group := range slices.Sorted(maps.Keys(p.GroupPermissions)) {
		t.row("group "+group, strings.Join(p.GroupPermissions[group], ", "))
	}
	t.row("create users", yesNo(p.CreateUsers))
	t.row("allowed email domains", strings.Join(p.AllowedEmailDomains, ", "))
	t.row("allowed groups", strings.Join(p.AllowedGroups, ", "))
	t.row("acr_values", strings.Join(p.ACRValues, " "))
	t.row("link by email", yesNo(p.LinkByEmail))
	t.row("changed", date(p.UpdatedAt))
	return t.flush()
}

func (c *cli) providerList() *cobra.Command {
	command := &cobra.Command{Use: "list", Short: "List identity providers", Args: arguments()}
	return c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		all, err := t.Providers(ctx)
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wire.Providers{Providers: append([]wire.Provider{}, all...)})
		}
		out := newTable(c.stdout, "NAME", "ISSUER", "CLIENT ID", "CREATES USERS", "CHANGED")
		for _, p := range all {
			out.row(p.Name, p.Issuer, p.ClientID, yesNo(p.CreateUsers), date(p.UpdatedAt))
		}
		return out.flush()
	})
}

func (c *cli) providerShow() *cobra.Command {
	command := &cobra.Command{
		Use: "show NAME", Short: "Show an identity provider", Args: arguments("NAME"),
		Long: "Shows the configuration of a provider and the addresses to register there. The client secret is never shown.",
	}
	return c.admin(command, func(ctx context.Context, t admin, args []string) error {
		p, err := t.Provider(ctx, args[0])
		if err != nil {
			return err
		}
		return c.printProvider(p)
	})
}

func (c *cli) providerSet() *cobra.Command {
	var f providerFlags
	var reason string
	command := &cobra.Command{
		Use: "set NAME", Short: "Change an identity provider", Args: arguments("NAME"),
		Long: "Changes the given members of a provider and leaves the others. An empty value empties a list, as in --allow-group ''. " +
			"Another issuer or client ID requires the client secret again.\n\n" +
			"A change ends the sessions that began at the provider if their users could now be refused, or get fewer permissions: another issuer, client ID or groups claim, " +
			"fewer allowed domains or groups, a group that no longer gives a permission, other acr_values.",
		Example: "  curfew provider set corp --groups-claim groups --group-permission admins=AdministerSystem\n" +
			"  curfew provider set corp --client-secret-file FILE",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		change, err := f.change(command)
		if err != nil {
			return err
		}
		if change.ClientSecret, err = c.secret(f); err != nil {
			return err
		}
		if change == (account.ProviderChange{}) {
			return usagef("nothing to change; give one or more flags")
		}
		p, err := t.ChangeProvider(ctx, args[0], change, reason)
		if err != nil {
			return err
		}
		if err := c.printProvider(p); err != nil || c.json || p.Receipt == nil {
			return err
		}
		c.printf("\n")
		return c.printReceipt(wireform.ReadReceipt(*p.Receipt))
	})
	f.add(command)
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log and the receipt")
	return command
}

func (c *cli) providerRemove() *cobra.Command {
	var reason string
	var q confirmation
	command := &cobra.Command{
		Use: "remove NAME", Short: "Remove an identity provider and end its sessions", Args: arguments("NAME"),
		Long: "Removes a provider. The sessions that began at it end immediately. Links between users and their accounts there stay: a provider with the same issuer signs the same users in. " +
			"At a terminal it asks first; elsewhere it requires --yes.",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		if _, err := t.Provider(ctx, args[0]); err != nil {
			return err
		}
		if err := c.confirm(q, "removes provider "+args[0]+" and ends all sessions that began at it"); err != nil {
			return err
		}
		receipt, err := t.DeleteProvider(ctx, args[0], reason)
		if err != nil {
			return err
		}
		if !c.json {
			c.printf("removed provider %s\n\n", args[0])
		}
		return c.printReceipt(receipt)
	})
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log and the receipt")
	q.add(command, "remove")
	return command
}

func (c *cli) providerCheck() *cobra.Command {
	command := &cobra.Command{
		Use: "check NAME", Short: "Check an identity provider's configuration", Args: arguments("NAME"),
		Long: "Fetches the provider's discovery document and compares the configuration with it. With --server, the server fetches it. " +
			"Only a sign-in can tell whether the client secret is right. The exit code is 1 if a problem prevents sign-ins.",
	}
	return c.admin(command, func(ctx context.Context, t admin, args []string) error {
		result, err := t.CheckProvider(ctx, args[0])
		if err != nil {
			return err
		}
		if c.json {
			err = c.printJSON(result)
		} else {
			for _, text := range result.Problems {
				c.printf("problem: %s\n", text)
			}
			for _, text := range result.Warnings {
				c.printf("warning: %s\n", text)
			}
			if result.OK {
				c.printf("provider %s can be reached and its configuration fits\n", args[0])
			}
		}
		if err == nil && !result.OK {
			return errSilent
		}
		return err
	})
}

func (c *cli) signInMethodsCommand() *cobra.Command {
	command := c.group("sign-in-methods", "Switch passwords on or off",
		"sign-in-methods shows and changes how users may sign in, besides identity providers.")
	command.AddCommand(c.signInMethodsShow(), c.signInMethodsSet())
	return command
}

func (c *cli) printSignInMethods(m store.SignInMethods) error {
	if c.json {
		return c.printJSON(wire.SignInMethods(m))
	}
	t := newTable(c.stdout)
	t.row("passwords", onOff(m.Passwords))
	return t.flush()
}

func (c *cli) signInMethodsShow() *cobra.Command {
	command := &cobra.Command{Use: "show", Short: "Show whether users may sign in with passwords", Args: arguments()}
	return c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		m, err := t.SignInMethods(ctx)
		if err != nil {
			return err
		}
		return c.printSignInMethods(m)
	})
}

func (c *cli) signInMethodsSet() *cobra.Command {
	var passwords string
	command := &cobra.Command{
		Use: "set", Short: "Change how users may sign in", Args: arguments(),
		Long: "Switches signing in with a password on or off. Sessions that began with a password go on; `curfew revoke everyone` ends them. " +
			"A server refuses to switch passwords off while no enabled administrator is linked to an account at a provider. " +
			"On the database the command always works: it is the way back in.",
		Example: "  curfew sign-in-methods set --passwords off",
	}
	c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		on := strings.EqualFold(passwords, "on")
		if !on && !strings.EqualFold(passwords, "off") {
			return usagef("--passwords is %q; use on or off", passwords)
		}
		m := store.SignInMethods{Passwords: on}
		if err := t.ChangeSignInMethods(ctx, m); err != nil {
			return err
		}
		return c.printSignInMethods(m)
	})
	command.Flags().StringVar(&passwords, "passwords", "", "on or off")
	return command
}

func (c *cli) userUnlink() *cobra.Command {
	var issuer, subject, reason string
	command := &cobra.Command{
		Use: "unlink NAME", Short: "Unlink an account at an identity provider", Args: arguments("NAME"),
		Long: "Removes the link between a user and an account at an identity provider, and ends the user's sessions. `curfew user show NAME` lists the links. " +
			"--issuer and --subject may be left out if there is only one.",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		u, err := t.FindUser(ctx, args[0])
		if err != nil {
			return err
		}
		all, err := t.Identities(ctx, u.ID)
		if err != nil {
			return err
		}
		found := slices.DeleteFunc(all, func(i store.Identity) bool {
			return issuer != "" && i.Issuer != issuer || subject != "" && i.Subject != subject
		})
		switch len(found) {
		case 0:
			return fmt.Errorf("user %s is not linked to such an account; `curfew user show %s` lists the links", u.Name, u.Name)
		case 1:
		default:
			return usagef("user %s is linked to %d such accounts; give --issuer and --subject", u.Name, len(found))
		}
		receipt, err := t.Unlink(ctx, u.ID, found[0].Issuer, found[0].Subject, reason)
		if err != nil {
			return err
		}
		if !c.json {
			c.printf("unlinked user %s from account %s at %s\n\n", u.Name, found[0].Subject, found[0].Issuer)
		}
		return c.printReceipt(receipt)
	})
	command.Flags().StringVar(&issuer, "issuer", "", "issuer of the account")
	command.Flags().StringVar(&subject, "subject", "", "subject of the account")
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log and the receipt")
	return command
}
