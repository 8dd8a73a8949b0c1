package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

type userView struct {
	frame
	User     store.User
	Created  when
	LastSeen when // last sign-in
	Sessions []sessionView
	Receipt  *receiptView // of what was just revoked; nil if nothing
	Last     *receiptView // of the last revocation otherwise; nil if there was none

	Self bool // it is the caller's own account
	// MayEdit: the caller may change name, email, password, and disable. For
	// others the page says why not.
	MayEdit        bool
	MayPermissions bool
	Permissions    []permissionChoice
	Identities     []identityRow
	MustChange     bool // the checkbox beside the new password
	PasswordsOff   bool // signing in with a password is switched off

	Path   string // of the page
	Others string // who can change the email and the groups of the caller's own account
	// As typed, or as they are.
	FormName, FormEmail, FormGroups string
}

type permissionChoice struct {
	Name, Words string
	Held        bool
}

var permissionMeanings = map[string]string{
	store.AdministerSystem: "everything: settings, users, audit log, signing keys, services",
	store.UserEdit:         "change users other than administrators, and revoke any user’s sessions",
}

func choices(held []string) []permissionChoice {
	var all []permissionChoice
	for _, p := range store.Permissions() {
		all = append(all, permissionChoice{Name: p, Words: permissionMeanings[p], Held: slices.Contains(held, p)})
	}
	return all
}

func (p *userPages) show(x *exchange) error {
	u, err := p.subject(x)
	if errors.Is(err, store.ErrNotFound) && token.ValidSubject(x.r.PathValue("id")) {
		return p.showDeleted(x, x.r.PathValue("id"))
	}
	if err != nil {
		return err
	}
	return p.showUser(x, http.StatusOK, u, nil)
}

// showDeleted shows the record of a deleted user: receipts and audit entries link to it.
func (p *userPages) showDeleted(x *exchange, id string) error {
	e, err := p.sessions.DeletedUser(x.ctx, x.caller, id)
	if err != nil {
		return err
	}
	lines := []string{
		"This user was deleted on " + x.micro(e.At).Exact() + ". All sessions ended with the account.",
		"Name: " + clip(e.TargetName, 80), "ID: " + id, "Deleted by: " + actorName(e.Actor),
	}
	if e.Reason != "" {
		lines = append(lines, "Reason: "+e.Reason)
	}
	links := []link{{"/revocations/" + epochText(e.Epoch), "Receipt of the deletion", false}}
	if x.caller.MayAdminister() == nil {
		links = append(links, link{address("/audit", url.Values{"person": {id}}), "Audit log of the user", false})
	}
	x.message("", messageView{
		frame: frame{Title: "Deleted user " + clip(e.TargetName, 80)}, Status: http.StatusOK,
		Lines: append(lines, "The ID is never used again; the name is free for another user."),
		Links: append(links, link{"/users", "Users", false}),
	})
	return nil
}

// subject returns the user that the address names.
func (p *userPages) subject(x *exchange) (store.User, error) {
	id := x.r.PathValue("id")
	if !token.ValidSubject(id) {
		return store.User{}, store.ErrNotFound
	}
	return p.accounts.User(x.ctx, x.caller, id)
}

// showUser answers with the page of a user, after change has been applied to the
// values of its forms.
func (p *userPages) showUser(x *exchange, status int, u store.User, change func(*userView)) error {
	sessions, err := sessionsOf(x, p.sessions, u.ID)
	if err != nil {
		return err
	}
	view := userView{
		frame: x.frame(clip(u.Name, 80), "/users", "Configuration", "Users"),
		User:  u, Created: x.micro(u.CreatedAt), LastSeen: x.micro(u.LastSignInAt),
		Sessions:    sessions,
		Self:        x.caller.IsSelf(u.ID),
		MustChange:  true,
		MayEdit:     x.caller.MayChange(u) == nil,
		Permissions: choices(u.Permissions), MayPermissions: x.caller.MayAdminister() == nil,
		Others: "Another user with " + permissionWords(store.UserEdit), Path: userPath(u.ID), FormName: u.Name, FormEmail: u.Email, FormGroups: groupsText(u.Groups),
	}
	if slices.Contains(u.Permissions, store.AdministerSystem) {
		view.Others = "Another administrator"
	}
	if view.Receipt, err = p.receipts.asked(x); err != nil {
		return err
	}
	if view.Receipt == nil {
		if view.Last, err = p.receipts.last(x, u.ID); err != nil {
			return err
		}
	}
	if view.Identities, err = p.identities(x, u); err != nil {
		return err
	}
	if view.PasswordsOff, err = p.passwordsOff(x); err != nil {
		return err
	}
	if change != nil {
		change(&view)
	}
	return x.render(status, "user", view)
}

// passwordsOff reports whether signing in with a password is switched off.
func (p *userPages) passwordsOff(x *exchange) (bool, error) {
	methods, err := p.accounts.SignInMethods(x.ctx)
	return !methods.Passwords, err
}

// groupsText returns the names of groups as a form shows them: separated by commas,
// which no name contains.
func groupsText(groups []string) string { return strings.Join(groups, ", ") }

// groupsTyped reads the names of groups that were typed, separated by commas or line
// breaks.
func groupsTyped(text string) []string {
	groups := []string{}
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if name = strings.TrimSpace(name); name != "" {
			groups = append(groups, name)
		}
	}
	return groups
}

func (p *userPages) rename(x *exchange) error {
	name, email := x.value("name"), x.text("email")
	change := account.UserChange{Name: &name}
	if self := x.caller.User; !x.caller.IsSelf(x.r.PathValue("id")) || email != self.Email {
		change.Email = &email
	}
	return p.change(x, change, "saved", func(v *userView) { v.FormName, v.FormEmail = name, email })
}

func (p *userPages) changePermissions(x *exchange) error {
	held := x.chosen(store.Permissions())
	return p.change(x, account.UserChange{Permissions: &held}, "permissions", func(v *userView) { v.Permissions = choices(held) })
}

// changeGroups asks again if the user would leave a group: that ends the user's
// sessions.
func (p *userPages) changeGroups(x *exchange) error {
	typed := x.text("groups")
	groups := groupsTyped(typed)
	u, err := p.subject(x)
	if err != nil {
		return err
	}
	normal, wrong := account.NormalizeGroups(groups)
	left := slices.DeleteFunc(slices.Clone(u.Groups), func(group string) bool { return slices.Contains(normal, group) })
	if wrong == nil && len(left) > 0 && x.value("confirmed") == "" && !x.caller.IsSelf(u.ID) && x.caller.MayChange(u) == nil {
		n, err := p.sessions.CountLive(x.ctx, x.caller, u.ID, "")
		if err != nil {
			return err
		}
		name := clip(u.Name, 80)
		return x.ok("confirm", confirmView{
			frame: x.frameBelow(u, "Remove "+name+" from "+groupsText(left)+"?"),
			Lines: []string{
				ending(n.Sessions, name), "Tokens name the groups of their user, so leaving a group ends all sessions. " + name + " can sign in again, without the access that the group gave.",
			},
			Fields: []heldField{{Name: "groups", Value: typed}, {Name: "confirmed", Value: "on"}},
			Action: userPath(u.ID, "/groups"), Button: "Remove and revoke", Cancel: userPath(u.ID), Harmful: true,
		})
	}
	return p.change(x, account.UserChange{Groups: &groups}, "groups", func(v *userView) { v.FormGroups = typed })
}

func (p *userPages) enable(x *exchange) error {
	no := false
	return p.change(x, account.UserChange{Disabled: &no}, "enabled", nil)
}

func (p *userPages) askDisable(x *exchange) (confirmView, error) {
	u, err := p.subject(x)
	if err != nil {
		return confirmView{}, err
	}
	n, err := p.sessions.CountLive(x.ctx, x.caller, u.ID, "")
	return confirmView{
		frame:  x.frameBelow(u, "Disable "+clip(u.Name, 80)+"?"),
		Lines:  []string{ending(n.Sessions, clip(u.Name, 80)) + " " + clip(u.Name, 80) + " can no longer sign in. The account and its audit entries are kept, and you can enable it again."},
		Button: "Disable the account", Cancel: userPath(u.ID), Harmful: true,
	}, err
}

func (p *userPages) disable(x *exchange, _ string) error {
	yes := true
	return p.change(x, account.UserChange{Disabled: &yes}, "disabled", nil)
}

func (p *userPages) askDelete(x *exchange) (confirmView, error) {
	u, err := p.subject(x)
	if err == nil {
		err = x.caller.MayChange(u)
	}
	if err != nil {
		return confirmView{}, err
	}
	n, err := p.sessions.CountLive(x.ctx, x.caller, u.ID, "")
	name := clip(u.Name, 80)
	view := confirmView{
		frame: x.frameBelow(u, "Delete "+name+"?"),
		Lines: []string{
			ending(n.Sessions, name) + " The account is deleted and cannot be restored. To keep it, disable it instead.",
			"The audit log keeps the user’s ID and name. The ID is never used again; the name is free for another user.",
		},
		Button: "Delete the user", Cancel: userPath(u.ID), Harmful: true,
	}
	if x.caller.IsSelf(u.ID) {
		view.Lines = append(view.Lines, "This is your own account. You are signed out here and can’t sign in again.")
	}
	return view, err
}

func (p *userPages) delete(x *exchange, reason string) error {
	u, err := p.subject(x)
	if err != nil {
		return err
	}
	r, err := p.sessions.DeleteUser(x.ctx, x.caller, u.ID, reason, 0)
	if err != nil {
		return err
	}
	if x.caller.IsSelf(u.ID) {
		x.forget()
		return x.redirect("/sign-in", "why", "signed_out_everywhere")
	}
	return x.redirect("/revocations/"+epochText(r.Epoch), "done", "deleted")
}

// change changes the user that the address names, and shows the page again:
// with the values typed and their faults, or anew.
func (p *userPages) change(x *exchange, change account.UserChange, done string, typed func(*userView)) error {
	u, err := p.subject(x)
	if err != nil {
		return err
	}
	_, revoked, err := p.accounts.ChangeUser(x.ctx, x.caller, u.ID, change, "")
	if err != nil {
		return p.showChange(x, err, u, typed)
	}
	if revoked != nil && x.caller.IsSelf(u.ID) {
		x.forget()
		return x.redirect("/sign-in", "why", "signed_out_everywhere")
	}
	query := []string{"done", done}
	if revoked != nil {
		query = append(query, "receipt", epochText(int64(revoked.Epoch)))
	}
	return x.redirect(userPath(u.ID), query...)
}

// showChange shows a change that was refused beside its fields, if that is what
// err is about.
func (p *userPages) showChange(x *exchange, err error, u store.User, typed func(*userView)) error {
	fields, known := fieldErrors(err)
	if !known {
		return err
	}
	return p.showUser(x, http.StatusUnprocessableEntity, u, func(v *userView) {
		v.Errors = fields
		if typed != nil {
			typed(v)
		}
	})
}

// fieldErrors returns the faults by field; known is false if err is not about the
// values typed.
func fieldErrors(err error) (fields map[string]string, known bool) {
	invalid := (*account.Invalid)(nil)
	switch {
	case errors.As(err, &invalid):
		fields = map[string]string{}
		for _, f := range invalid.Fields {
			fields[f.Field] = aboutField(f.Detail)
		}
		return fields, true
	case errors.Is(err, account.ErrNoAdministratorLeft):
		return map[string]string{whole: sentence(err)}, true
	case errors.Is(err, account.ErrLastAdministrator):
		return map[string]string{"permissions": "This is the last enabled administrator. Make another user an administrator first."}, true
	case errors.Is(err, account.ErrNameTaken):
		return map[string]string{"name": "Another user has this name or ID, or a similar-looking one. Choose another name."}, true
	}
	return nil, false
}

// aboutField makes a sentence of what is wrong with a field, which stands below the field
// or follows its name.
func aboutField(detail string) string {
	if strings.HasPrefix(detail, "is ") {
		detail = "this " + detail
	}
	return upper(detail) + "."
}

func (p *userPages) setPassword(x *exchange) error {
	u, err := p.subject(x)
	if err != nil {
		return err
	}
	if x.caller.IsSelf(u.ID) {
		return x.redirect("/profile")
	}
	if x.shownBefore() {
		return x.redirect(userPath(u.ID), "done", "shown")
	}
	password, generated := x.value("new"), x.value("generate") != ""
	if generated {
		password = account.GeneratePassword()
	}
	mustChange := x.value("must_change") != ""
	r, err := p.sessions.ChangePassword(x.ctx, x.caller, u.ID, account.NewPassword{New: password, MustChange: &mustChange}, x.origin)
	if err != nil {
		return p.showChange(x, err, u, func(v *userView) { v.MustChange = mustChange })
	}
	if generated {
		return p.showPassword(x, u, password, notices["password"], userPath(u.ID), "receipt", epochText(r.Epoch))
	}
	return x.redirect(userPath(u.ID), "done", "password", "receipt", epochText(r.Epoch))
}

// passwordView shows a password that was generated, once. Like a secret, it is in this
// answer and nowhere else.
type passwordView struct {
	frame
	User     store.User
	Password string
	SignInAt string // address to give the user with the password; "" if the issuer is unknown
	Done     string // what has happened
	Path     string // of the user's page
	Instead  string // address of the page that is shown when this one is loaded again
}

// showPassword answers with a generated password. again is the address of the page that a
// browser gets when it loads the answer again.
func (p *userPages) showPassword(x *exchange, u store.User, password, done, again string, query ...string) error {
	x.markShown()
	return x.render(http.StatusCreated, "password", passwordView{
		frame: x.frameBelow(u, "Password of "+clip(u.Name, 80)),
		User:  u, Password: password, SignInAt: signInAddress(p.issuer), Done: done, Path: withQuery(userPath(u.ID), query...), Instead: withQuery(again, "done", "shown"),
	})
}
