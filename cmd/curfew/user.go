package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

func (c *cli) userCommand() *cobra.Command {
	command := c.group("user", "Manage accounts", "user shows and changes accounts. NAME is a user's name, id, or an email address that only one user has; if it could be several users, write name:NAME or id:ID.")
	command.AddCommand(c.userAdd(), c.userList(), c.userShow(), c.userEnable(true), c.userEnable(false), c.userPassword(), c.userGrant(), c.userGroup(), c.userRename(), c.userEmail(), c.userUnlink(), c.userDelete())
	return command
}

// made is an account with the password that was made up for it.
type made struct {
	wire.User
	Password string `json:"password,omitempty"`
}

func (c *cli) userAdd() *cobra.Command {
	var email string
	var permissions, groups []string
	var how passwordFlags
	var mustChange bool
	command := &cobra.Command{
		Use: "add NAME", Short: "Create an account", Args: arguments("NAME"),
		Long: "Creates an account. The password is asked for, or read from standard input if that is not a terminal.",
		Example: "  curfew user add alice\n" +
			"  curfew user add alice --generate-password --must-change-password\n" +
			"  curfew user add alice --generate-password --permission UserEdit\n" +
			"  pass alice | curfew user add alice",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		if strings.TrimSpace(args[0]) == "" {
			return usagef("the name is empty")
		}
		if how.none && mustChange {
			return usagef("--no-password and --must-change-password exclude each other")
		}
		password, generated, err := c.newPassword(how)
		if err != nil {
			return err
		}
		change := account.UserChange{Name: &args[0]}
		if password != "" {
			change.Password = &password
		}
		if email != "" {
			change.Email = &email
		}
		if len(permissions) > 0 {
			change.Permissions = &permissions
		}
		if len(groups) > 0 {
			change.Groups = &groups
		}
		if mustChange {
			change.MustChangePassword = &mustChange
		}
		u, err := t.CreateUser(ctx, change)
		if err != nil {
			return err
		}
		if !generated {
			password = ""
		}
		if c.json {
			return c.printJSON(made{wireform.User(u), password})
		}
		c.printf("created user %s (%s)\n", u.Name, u.ID)
		c.printPassword(password)
		return nil
	})
	command.Flags().StringVar(&email, "email", "", "e-mail address")
	command.Flags().Var(words{&permissions, store.Permissions()}, "permission", "permission of the user, may repeat")
	command.Flags().StringArrayVar(&groups, "group", nil, "group of the user, may repeat")
	how.add(command)
	command.Flags().BoolVar(&mustChange, "must-change-password", false, "the user must choose a new password at the first sign-in")
	command.Flags().BoolVar(&how.none, "no-password", false, "no password: the user cannot sign in with one")
	return command
}

func (c *cli) userList() *cobra.Command {
	var search string
	command := &cobra.Command{Use: "list", Short: "List accounts", Args: arguments()}
	c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		var all []wire.User
		for cursor := ""; ; {
			users, next, err := t.Users(ctx, search, cursor, 500)
			if err != nil {
				return err
			}
			for _, u := range users {
				all = append(all, wireform.User(u))
			}
			if cursor = next; next == "" {
				break
			}
		}
		if c.json {
			return c.printJSON(wire.Users{Users: append([]wire.User{}, all...)})
		}
		out := newTable(c.stdout, "NAME", "ID", "PERMISSIONS", "GROUPS", "DISABLED", "MUST CHANGE PASSWORD", "LAST SIGN-IN")
		for _, u := range all {
			out.row(u.Name, u.ID, strings.Join(u.Permissions, ","), strings.Join(u.Groups, ","), yesNo(u.Disabled), yesNo(u.MustChangePassword), dateOf(u.LastSignInAt))
		}
		return out.flush()
	})
	command.Flags().StringVar(&search, "search", "", "only users whose name, a word in it, or whose e-mail address begins with this")
	return command
}

func dateOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return date(*t)
}

func (c *cli) userShow() *cobra.Command {
	command := &cobra.Command{Use: "show NAME", SuggestFor: []string{"session", "sessions"}, Short: "Show an account and its live sessions", Args: arguments("NAME")}
	return c.admin(command, func(ctx context.Context, t admin, args []string) error {
		u, err := t.FindUser(ctx, args[0])
		if err != nil {
			return err
		}
		sessions, err := t.LiveSessions(ctx, u.ID)
		if err != nil {
			return err
		}
		identities, err := t.Identities(ctx, u.ID)
		if err != nil {
			return err
		}
		w := wireform.UserWith(u, identities)
		if c.json {
			return c.printJSON(struct {
				wire.User
				Sessions []wire.LiveSession `json:"sessions"`
			}{w, wireform.LiveSessions(sessions)})
		}
		out := newTable(c.stdout)
		out.row("name", w.Name)
		out.row("id", w.ID)
		out.row("email", u.Email)
		out.row("permissions", strings.Join(w.Permissions, ", "))
		out.row("groups", strings.Join(w.Groups, ", "))
		out.row("disabled", yesNo(w.Disabled))
		if _, overAPI := t.(*remote); !overAPI { // the API does not show it
			out.row("password", yesNo(u.PasswordHash != ""))
		}
		out.row("must change password", yesNo(w.MustChangePassword))
		out.row("created", date(w.CreatedAt))
		out.row("last sign-in", dateOf(w.LastSignInAt))
		for _, i := range identities {
			out.row("linked to", i.Subject+" at "+i.Issuer)
		}
		if err := out.flush(); err != nil {
			return err
		}
		if len(sessions) == 0 {
			c.printf("\nno live sessions\n")
			return nil
		}
		c.printf("\n")
		out = newTable(c.stdout, "SESSION", "BEGAN", "LAST USED", "LAST REFRESHED", "REMEMBERED", "ADDRESS", "DEVICE")
		for _, s := range sessions {
			out.row(s.ID, micro(s.BeganAt), micro(s.UsedAt()), micro(s.LastSeenAt), yesNo(s.RememberMe), s.Address, s.Device)
		}
		return out.flush()
	})
}

// userChange makes a command that changes the user of its first argument and says
// so. change returns what to change and what to say about the user afterwards.
func (c *cli) userChange(command *cobra.Command, change func(u store.User, args []string) (account.UserChange, func(store.User) string, error)) *cobra.Command {
	reason := ""
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		u, err := t.FindUser(ctx, args[0])
		if err != nil {
			return err
		}
		to, said, err := change(u, args[1:])
		if err != nil {
			return err
		}
		if u, err = t.ChangeUser(ctx, u.ID, to, reason); err != nil {
			return err
		}
		if c.json {
			return c.printJSON(wireform.User(u))
		}
		c.printf("%s\n", said(u))
		return nil
	})
	command.Flags().StringVar(&reason, "reason", "", "reason, for the audit log")
	return command
}

func (c *cli) userEnable(enable bool) *cobra.Command {
	command := &cobra.Command{
		Use: "disable NAME", Short: "Disable an account and end its sessions", Args: arguments("NAME"),
		Long: "Disables an account: the user can't sign in, and all sessions end immediately.",
	}
	said := func(u store.User) string {
		return fmt.Sprintf("disabled user %s (%s) and ended all sessions", u.Name, u.ID)
	}
	if enable {
		command.Use, command.Short, command.Long = "enable NAME", "Enable an account again", ""
		said = func(u store.User) string { return fmt.Sprintf("enabled user %s (%s)", u.Name, u.ID) }
	}
	disabled := !enable
	return c.userChange(command, func(store.User, []string) (account.UserChange, func(store.User) string, error) {
		return account.UserChange{Disabled: &disabled}, said, nil
	})
}

func (c *cli) userPassword() *cobra.Command {
	var how passwordFlags
	var mustChange bool
	command := &cobra.Command{
		Use: "password NAME", Short: "Set the password of an account and end its sessions", Args: arguments("NAME"),
		Long: "Sets a password. It is asked for, or read from standard input if that is not a terminal. All sessions of the user end. " +
			"With --must-change-password the user must choose another one at the next sign-in; =false ends that, and without the flag it stays as it is.",
	}
	c.admin(command, func(ctx context.Context, t admin, args []string) error {
		u, err := t.FindUser(ctx, args[0]) // so that it asks for no password if the user is unknown
		if err != nil {
			return err
		}
		password, generated, err := c.newPassword(how)
		if err != nil {
			return err
		}
		change := account.UserChange{Password: &password}
		if command.Flags().Changed("must-change-password") {
			change.MustChangePassword = &mustChange
		}
		u, err = t.ChangeUser(ctx, u.ID, change, "")
		if err != nil {
			return err
		}
		if !generated {
			password = ""
		}
		if c.json {
			return c.printJSON(made{wireform.User(u), password})
		}
		c.printf("set the password of user %s (%s) and ended all sessions\n", u.Name, u.ID)
		c.printPassword(password)
		return nil
	})
	how.add(command)
	command.Flags().BoolVar(&mustChange, "must-change-password", false, "the user must choose a new password at the next sign-in")
	return command
}

func (c *cli) userGrant() *cobra.Command {
	var remove bool
	command := &cobra.Command{
		Use: "grant NAME PERMISSION...", Short: "Grant permissions to an account, or remove them", Args: arguments("NAME", "PERMISSION..."),
		Long:    "Grants permissions to an account, or removes them with --remove. The permissions are:\n\n  " + strings.Join(store.Permissions(), "\n  "),
		Example: "  curfew user grant alice UserEdit\n  curfew user grant alice AdministerSystem --remove",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return store.Permissions(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	var named []string
	command.PreRunE = func(_ *cobra.Command, args []string) error {
		for _, word := range args[1:] {
			permission, err := oneOf(word, store.Permissions())
			if err != nil {
				return usageError{err}
			}
			named = append(named, permission)
		}
		return nil
	}
	c.userChange(command, func(u store.User, _ []string) (account.UserChange, func(store.User) string, error) {
		held := slices.DeleteFunc(slices.Clone(u.Permissions), func(p string) bool { return slices.Contains(named, p) })
		if !remove {
			held = append(held, named...)
		}
		slices.Sort(held)
		held = slices.Compact(append([]string{}, held...))
		return account.UserChange{Permissions: &held}, func(u store.User) string {
			if len(u.Permissions) == 0 {
				return fmt.Sprintf("user %s (%s) has no permissions", u.Name, u.ID)
			}
			return fmt.Sprintf("user %s (%s) has %s", u.Name, u.ID, strings.Join(u.Permissions, ", "))
		}, nil
	})
	command.Flags().BoolVar(&remove, "remove", false, "remove the permissions")
	return command
}

func (c *cli) userGroup() *cobra.Command {
	var remove bool
	command := &cobra.Command{
		Use: "group NAME GROUP...", Short: "Add an account to groups, or remove it from them", Args: arguments("NAME", "GROUP..."),
		Long: "Adds an account to groups, or removes it from them with --remove. Tokens carry the names of the groups; " +
			"new ones apply at the next sign-in or refresh. Removing an account from a group ends all its sessions.",
		Example: "  curfew user group alice ops 'on call'\n  curfew user group alice ops --remove --reason 'changed teams'",
	}
	c.userChange(command, func(u store.User, named []string) (account.UserChange, func(store.User) string, error) {
		groups, ended := append([]string{}, u.Groups...), ""
		if remove {
			groups, ended = nil, "; all sessions have ended"
			for _, g := range u.Groups {
				if !slices.Contains(named, g) {
					groups = append(groups, g)
				}
			}
			if len(groups)+len(named) > len(u.Groups) {
				return account.UserChange{}, nil, fmt.Errorf("user %s (%s) is not in all of these groups; nothing was changed; the user's groups are: %s",
					u.Name, u.ID, first(strings.Join(u.Groups, ", "), "none"))
			}
		} else {
			groups = append(groups, named...)
		}
		return account.UserChange{Groups: &groups}, func(u store.User) string {
			return fmt.Sprintf("user %s (%s) is in the groups: %s%s", u.Name, u.ID, first(strings.Join(u.Groups, ", "), "none"), ended)
		}, nil
	})
	command.Flags().BoolVar(&remove, "remove", false, "remove from the groups")
	return command
}

func (c *cli) userRename() *cobra.Command {
	command := &cobra.Command{
		Use: "rename NAME NEW-NAME", Short: "Change the sign-in name of an account", Args: arguments("NAME", "NEW-NAME"),
		Long: "Changes the name with which the user signs in. The id stays. Tokens carry the new name from the next sign-in or refresh on.",
	}
	return c.userChange(command, func(u store.User, names []string) (account.UserChange, func(store.User) string, error) {
		return account.UserChange{Name: &names[0]}, func(renamed store.User) string {
			return fmt.Sprintf("renamed user %s to %s (%s)", u.Name, renamed.Name, u.ID)
		}, nil
	})
}

func (c *cli) userEmail() *cobra.Command {
	var remove bool
	command := &cobra.Command{
		Use: "email NAME [ADDRESS]", Short: "Set the email address of an account, or remove it", Args: arguments("NAME", "[ADDRESS]"),
		Long: "Sets the email address of an account, or removes it with --remove. The user can sign in with an address that no other user has. The sign-in name of another user is refused as an address. " +
			"Tokens carry it from the next sign-in or refresh on.",
		Example: "  curfew user email alice alice@example.org\n  curfew user email alice --remove",
	}
	command.PreRunE = func(_ *cobra.Command, args []string) error {
		switch {
		case remove == (len(args) == 2):
			return usagef("give an address, or --remove")
		case !remove && args[1] == "":
			return usagef("the address is empty; use --remove to remove it")
		}
		return nil
	}
	c.userChange(command, func(_ store.User, addresses []string) (account.UserChange, func(store.User) string, error) {
		address := strings.Join(addresses, "") // one, or none with --remove
		return account.UserChange{Email: &address}, func(u store.User) string {
			return fmt.Sprintf("user %s (%s) has the email address: %s", u.Name, u.ID, first(u.Email, "none"))
		}, nil
	})
	command.Flags().BoolVar(&remove, "remove", false, "remove the address")
	return command
}

func (c *cli) userDelete() *cobra.Command {
	r := &revoking{cli: c}
	var q confirmation
	command := &cobra.Command{
		Use: "delete NAME", Short: "Delete an account and end its sessions", Args: arguments("NAME"),
		Long: "Deletes an account. All its sessions end immediately. The id is never given to another user, the name is free again, and the audit log keeps both. " +
			"`curfew user disable` keeps the account. At a terminal it asks first; elsewhere it requires --yes.",
	}
	r.command(command, func(ctx context.Context, t admin, args []string) (session.Receipt, error) {
		u, err := t.FindUser(ctx, args[0])
		if err != nil {
			return session.Receipt{}, err
		}
		q.word = u.Name
		if err := c.confirm(q, "deletes user "+u.Name+" ("+u.ID+")"); err != nil {
			return session.Receipt{}, err
		}
		return t.DeleteUser(ctx, u.ID, r.reason)
	})
	q.add(command, "")
	return command
}
