package console

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// providerPages are the identity providers, and whether users may sign in with passwords.
type providerPages struct {
	accounts   *account.Service
	sessions   *session.Service
	discoverer providercheck.Discoverer // nil: there is no check
	issuer     string                   // see [Config]
}

const providersPath = "/settings/authentication/providers"

func providerPath(name, below string) string {
	return providersPath + "/" + url.PathEscape(name) + below
}

// signInView is the part of the settings about signing in.
type signInMethodsView struct {
	Passwords bool
	Providers []providerRow
}

type providerRow struct{ Name, Issuer, Path string }

// signInMethods returns the part of the settings page about signing in.
func (p *providerPages) signInMethods(x *exchange) (signInMethodsView, error) {
	var view signInMethodsView
	methods, err := p.accounts.SignInMethods(x.ctx)
	if err != nil {
		return view, err
	}
	view.Passwords = methods.Passwords
	all, err := p.accounts.Providers(x.ctx, x.caller)
	for _, provider := range all {
		view.Providers = append(view.Providers, providerRow{provider.Name, provider.Issuer, providerPath(provider.Name, "")})
	}
	return view, err
}

type providerView struct {
	frame
	New       bool
	Action    string // where the form goes
	Form      providerForm
	HasSecret bool
	// RedirectURI, LogoutURI and PostLogoutURI are to be registered at the provider; "" if
	// not known.
	RedirectURI, LogoutURI, PostLogoutURI string
	Unnamed                               bool // the redirect URI has NAME in place of the name
	Permissions                           []permissionChoice
	CheckPath, RemovePath                 string // "" if there is none
	Report                                *providercheck.Report
	Ends                                  *endsView
	Receipt                               string // path of the receipt of the change; "" if there is none
}

// endsView says what saving would end, before it is saved.
type endsView struct {
	Cause, Sessions string
	Takes           string // the permissions that users lose, a sentence; "" if none
}

// providerForm holds the values typed, or those stored.
type providerForm struct {
	Name, Issuer, ClientID, Scopes, NameClaim, GroupsClaim, GroupPermissions, Domains, Groups, ACRValues string
	CreateUsers, LinkByEmail, RemoveSecret                                                               bool
	// SecretTyped means that the form was sent with a client secret before. No page holds
	// it: it is to be entered again, or the user chooses to save without it.
	SecretTyped bool
}

// secretTyped is the field that says so.
const secretTyped = "secret_typed"

const secretAgain = "Enter the client secret again: pages never hold it."

func providerFormOf(p store.Provider) providerForm {
	var permissions []string
	for _, group := range slices.Sorted(maps.Keys(p.GroupPermissions)) {
		permissions = append(permissions, group+" = "+strings.Join(p.GroupPermissions[group], ", "))
	}
	return providerForm{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Scopes: strings.Join(p.Scopes, " "), NameClaim: p.NameClaim, GroupsClaim: p.GroupsClaim,
		GroupPermissions: strings.Join(permissions, "\n"), Domains: strings.Join(p.AllowedEmailDomains, " "), Groups: strings.Join(p.AllowedGroups, "\n"),
		ACRValues: strings.Join(p.ACRValues, " "), CreateUsers: p.CreateUsers, LinkByEmail: p.LinkByEmail,
	}
}

// linesTyped returns the lines of a text without spaces around them, and without empty ones.
func linesTyped(text string) []string {
	list := []string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// wordsTyped returns the words of a text, which commas may separate too.
func wordsTyped(text string) []string {
	list := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	return append([]string{}, list...)
}

// typedProvider reads the form, and the change that it asks for. wrong has what is no
// change at all, by field; package account checks the rest.
func typedProvider(x *exchange, adding bool) (form providerForm, change account.ProviderChange, wrong map[string]string) {
	form = providerForm{
		Name: x.text("name"), Issuer: x.text("issuer"), ClientID: x.text("client_id"), Scopes: x.text("scopes"), NameClaim: x.text("name_claim"),
		GroupsClaim: x.text("groups_claim"), GroupPermissions: x.value("group_permissions"), Domains: x.text("allowed_email_domains"),
		Groups: x.value("allowed_groups"), ACRValues: x.text("acr_values"), CreateUsers: x.value("create_users") != "", LinkByEmail: x.value("link_by_email") != "",
		RemoveSecret: x.value("remove_secret") != "",
	}
	wrong = map[string]string{}
	permissions := map[string][]string{}
	for _, line := range linesTyped(form.GroupPermissions) {
		at := strings.LastIndexByte(line, '=')
		if at < 1 {
			wrong["group_permissions"] = "Write each line as “group = permission”."
			continue
		}
		group := strings.TrimSpace(line[:at])
		permissions[group] = append(permissions[group], wordsTyped(line[at+1:])...)
	}
	scopes, domains, groups, acr := wordsTyped(form.Scopes), wordsTyped(form.Domains), linesTyped(form.Groups), wordsTyped(form.ACRValues)
	change = account.ProviderChange{
		Issuer: &form.Issuer, ClientID: &form.ClientID, Scopes: &scopes, NameClaim: &form.NameClaim, GroupsClaim: &form.GroupsClaim, GroupPermissions: &permissions,
		CreateUsers: &form.CreateUsers, AllowedEmailDomains: &domains, AllowedGroups: &groups, ACRValues: &acr, LinkByEmail: &form.LinkByEmail,
	}
	typed := x.value("client_secret")
	secret := strings.TrimSpace(typed)
	if secret != "" || form.RemoveSecret || adding {
		change.ClientSecret = &secret
	}
	form.SecretTyped = typed != "" || x.value(secretTyped) != "" && x.value("without_secret") == "" && !form.RemoveSecret
	switch {
	case secret != "" && form.RemoveSecret:
		wrong["client_secret"] = "Enter a secret or remove it, not both."
	case typed != "" && secret == "":
		wrong["client_secret"] = "Must not be white space alone."
	case typed == "" && form.SecretTyped:
		wrong["client_secret"] = secretAgain
	}
	return form, change, wrong
}

func (p *providerPages) show(x *exchange, status int, provider *store.Provider, form providerForm, change func(*providerView)) error {
	view := providerView{Form: form, New: provider == nil, Action: providersPath}
	title := "Add an identity provider"
	if provider != nil {
		title = "Identity provider " + provider.Name
		view.Action, view.RemovePath, view.HasSecret = providerPath(provider.Name, ""), providerPath(provider.Name, "/remove"), provider.SealedSecret != ""
		if p.discoverer != nil {
			view.CheckPath = providerPath(provider.Name, "/check")
		}
	}
	if p.issuer != "" {
		name := form.Name
		if view.New && !account.IsProviderName(name) {
			name, view.Unnamed = "NAME", true
		}
		view.RedirectURI, view.LogoutURI, view.PostLogoutURI = oidc.RedirectURI(p.issuer, name), oidc.LogoutURI(p.issuer), oidc.PostLogoutURI(p.issuer)
	}
	view.frame = x.frame(title, "/settings/authentication", "Configuration", "Settings", "Authentication")
	view.Permissions = choices(nil)
	if change != nil {
		change(&view)
	}
	if form.SecretTyped && len(view.Errors) > 0 && view.Errors["client_secret"] == "" {
		view.Errors["client_secret"] = secretAgain
	}
	return x.render(status, "provider", view)
}

func (p *providerPages) add(x *exchange) error {
	form := providerForm{Scopes: "openid profile email", NameClaim: "preferred_username"}
	return p.show(x, http.StatusOK, nil, form, nil)
}

func (p *providerPages) create(x *exchange) error {
	form, change, wrong := typedProvider(x, true)
	if len(wrong) > 0 {
		wrong = withFaults(wrong, change, store.Provider{Name: form.Name})
	} else {
		created, err := p.accounts.CreateProvider(x.ctx, x.caller, form.Name, change)
		if err == nil {
			return x.redirect(providerPath(created.Name, ""), "done", "provider-added")
		}
		if wrong, err = formErrors(err); err != nil {
			return err
		}
	}
	return p.show(x, http.StatusUnprocessableEntity, nil, form, func(v *providerView) { v.Errors = wrong })
}

// formErrors returns the errors of the form by field. Other errors are returned as they
// are.
func formErrors(err error) (map[string]string, error) {
	if errors.Is(err, account.ErrProviderExists) {
		return map[string]string{"name": "Another provider has this name. Choose another name."}, nil
	}
	if errors.Is(err, account.ErrTooManyProviders) {
		return map[string]string{whole: "There are " + group(account.MaxProviders) + " identity providers, which is the maximum. Remove one first."}, nil
	}
	if fields, known := fieldErrors(err); known {
		if errors.Is(err, account.ErrNoAdministratorLeft) {
			return map[string]string{"issuer": fields[whole]}, nil
		}
		if errors.Is(err, account.ErrLastAdministrator) {
			return map[string]string{"group_permissions": fields["permissions"]}, nil
		}
		for field, words := range fields {
			if rest, found := strings.CutPrefix(words, "Needs groups_claim,"); found {
				fields[field] = "Needs “Groups claim”," + rest
			}
		}
		return fields, nil
	}
	return nil, err
}

// withFaults adds to the errors of what was typed those of the change of a provider, so that
// the form shows all at once.
func withFaults(wrong map[string]string, change account.ProviderChange, provider store.Provider) map[string]string {
	all := map[string]string{}
	if _, err := change.Ends(provider); err != nil {
		faults, _ := formErrors(err)
		maps.Copy(all, faults)
	}
	maps.Copy(all, wrong)
	return all
}

func (p *providerPages) asked(x *exchange) (store.Provider, error) {
	return p.accounts.Provider(x.ctx, x.caller, x.r.PathValue("name"))
}

func (p *providerPages) page(x *exchange) error {
	provider, err := p.asked(x)
	if err != nil {
		return err
	}
	return p.show(x, http.StatusOK, &provider, providerFormOf(provider), func(v *providerView) {
		if epoch, err := epochIn(x.text("receipt")); err == nil {
			v.Receipt = "/revocations/" + epochText(int64(epoch))
		}
	})
}

// save asks again if the change ends sessions or takes permissions at the moment.
func (p *providerPages) save(x *exchange) error {
	provider, err := p.asked(x)
	if err != nil {
		return err
	}
	form, change, wrong := typedProvider(x, false)
	form.Name = provider.Name
	if len(wrong) > 0 {
		wrong = withFaults(wrong, change, provider)
		return p.show(x, http.StatusUnprocessableEntity, &provider, form, func(v *providerView) { v.Errors = wrong })
	}
	cause, err := change.Ends(provider)
	if err == nil && cause != "" && x.value("confirmed") == "" {
		taken, err := change.Takes(provider)
		if err != nil {
			return err
		}
		n, takes, err := p.countEnded(x, provider.Name, taken)
		if err != nil {
			return err
		}
		if n.Sessions > 0 || takes != "" {
			return p.show(x, http.StatusOK, &provider, form, func(v *providerView) {
				v.Ends = &endsView{upper(cause), count(n.Sessions, "live session") + " of " + count(n.Users, "user"), takes}
			})
		}
	}
	if err == nil {
		var receipt *session.Receipt
		if _, receipt, err = p.sessions.ChangeProvider(x.ctx, x.caller, provider.Name, change, "", 0); err == nil {
			if receipt != nil {
				return x.redirect(providerPath(provider.Name, ""), "done", "saved", "receipt", epochText(int64(receipt.Epoch)))
			}
			return x.redirect(providerPath(provider.Name, ""), "done", "saved")
		}
	}
	if wrong, err = formErrors(err); err != nil {
		return err
	}
	return p.show(x, http.StatusUnprocessableEntity, &provider, form, func(v *providerView) { v.Errors = wrong })
}

// countEnded counts the sessions that a change of a provider ends, and says which
// permissions it takes.
func (p *providerPages) countEnded(x *exchange, name string, taken store.Holders) (n store.Counts, takes string, err error) {
	if n, err = p.sessions.CountThrough(x.ctx, x.caller, name, taken); err != nil {
		return n, "", err
	}
	users, err := p.accounts.CountHolders(x.ctx, x.caller, taken)
	if users > 0 {
		takes = "It takes " + strings.Join(taken.Permissions, " and ") + " from " + count(int64(users), "user") + " with an account at " + taken.Issuer +
			", also where an administrator has granted it."
	}
	return n, takes, err
}

// check asks the provider. It changes nothing, so that a link leads to it.
func (p *providerPages) check(x *exchange) error {
	provider, err := p.asked(x)
	if err != nil {
		return err
	}
	if p.discoverer == nil {
		return store.ErrNotFound
	}
	report := providercheck.Check(x.ctx, p.discoverer, p.accounts, provider)
	return p.show(x, http.StatusOK, &provider, providerFormOf(provider), func(v *providerView) { v.Report = &report })
}

func (p *providerPages) askRemove(x *exchange) (confirmView, error) {
	provider, err := p.asked(x)
	if err != nil {
		return confirmView{}, err
	}
	n, takes, err := p.countEnded(x, provider.Name, account.Taken(provider, store.Provider{}))
	view := confirmView{
		frame: x.frame("Remove identity provider "+provider.Name+"?", "/settings/authentication", "Configuration", "Settings", "Authentication"),
		Lines: []string{
			"This ends " + count(n.Sessions, "live session") + " of " + count(n.Users, "user") + ": all that began at " + provider.Issuer + " through this provider, and those of users who lose a permission.",
			"The links between users and their accounts there stay. A provider with the same issuer signs the same users in.",
		},
		Button: "Remove and revoke", Cancel: providerPath(provider.Name, ""), Harmful: true,
	}
	if takes != "" {
		view.Lines = slices.Insert(view.Lines, 1, takes)
	}
	return view, err
}

func (p *providerPages) remove(x *exchange, reason string) error {
	receipt, err := p.sessions.DeleteProvider(x.ctx, x.caller, x.r.PathValue("name"), reason, 0)
	if err != nil {
		return err
	}
	return x.redirect("/revocations/" + epochText(int64(receipt.Epoch)))
}

func (p *providerPages) askPasswords(on bool) func(*exchange) (confirmView, error) {
	return func(x *exchange) (confirmView, error) {
		view := confirmView{Cancel: "/settings/authentication"}
		title := "Switch passwords off?"
		if on {
			title = "Switch passwords on?"
			view.Button, view.Lines = "Switch on", []string{"Users with a password can sign in with it again."}
		} else {
			view.Button, view.Harmful = "Switch off", true
			view.Lines = []string{
				"Users then sign in through an identity provider only. Sessions that began with a password go on; “Revoke everyone” ends them.",
				"If no provider works any more, run “curfew sign-in-methods set --passwords on” on the server.",
			}
		}
		view.frame = x.frame(title, "/settings/authentication", "Configuration", "Settings", "Authentication")
		return view, nil
	}
}

func (p *providerPages) setPasswords(on bool) func(*exchange, string) error {
	return func(x *exchange, _ string) error {
		if err := p.accounts.ChangeSignInMethods(x.ctx, x.caller, store.SignInMethods{Passwords: on}); err != nil {
			return err
		}
		return x.redirect("/settings/authentication", "done", "saved")
	}
}

// identityAsked returns the link between the user and an account that the form names.
func (p *userPages) identityAsked(x *exchange) (store.User, store.Identity, error) {
	u, err := p.subject(x)
	if err != nil {
		return u, store.Identity{}, err
	}
	all, err := p.accounts.Identities(x.ctx, x.caller, u.ID)
	if err != nil {
		return u, store.Identity{}, err
	}
	for _, i := range all {
		if i.Issuer == x.value("issuer") && i.Subject == x.value("subject") {
			return u, i, nil
		}
	}
	return u, store.Identity{}, store.ErrNotFound
}

func (p *userPages) askUnlink(x *exchange) (confirmView, error) {
	u, i, err := p.identityAsked(x)
	if err != nil {
		return confirmView{}, err
	}
	n, err := p.sessions.CountLive(x.ctx, x.caller, u.ID, "")
	name := clip(u.Name, 80)
	return confirmView{
		frame:  x.frame("Unlink "+name+" from "+i.Provider+"?", "/users", "Configuration", "Users", name),
		Lines:  []string{"Account " + clip(i.Subject, 100) + " at " + i.Issuer + " no longer signs in as " + name + ".", ending(n.Sessions, name)},
		Fields: []heldField{{Name: "issuer", Value: i.Issuer}, {Name: "subject", Value: i.Subject}},
		Button: "Unlink and revoke", Cancel: userPath(u.ID), Harmful: true,
	}, err
}

func (p *userPages) unlink(x *exchange, reason string) error {
	u, i, err := p.identityAsked(x)
	if err != nil {
		return err
	}
	if _, err := p.sessions.Unlink(x.ctx, x.caller, u.ID, i.Issuer, i.Subject, reason, 0); err != nil {
		return err
	}
	return x.redirect(userPath(u.ID), "done", "unlinked")
}

// identityRow is a linked account on the page of a user.
type identityRow struct {
	Provider, Issuer, Subject string
	LastSignIn                when
	Unlink                    string
}

func (p *userPages) identities(x *exchange, u store.User) ([]identityRow, error) {
	all, err := p.accounts.Identities(x.ctx, x.caller, u.ID)
	var rows []identityRow
	for _, i := range all {
		rows = append(rows, identityRow{
			i.Provider, i.Issuer, i.Subject, x.micro(i.LastSignInAt),
			address(userPath(u.ID, "/unlink"), url.Values{"issuer": {i.Issuer}, "subject": {i.Subject}}),
		})
	}
	return rows, err
}
