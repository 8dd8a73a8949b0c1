package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// userPages are the users, their sessions and their accounts.
type userPages struct {
	accounts *account.Service
	sessions *session.Service
	receipts *receiptPages
	issuer   string // see [Config]
}

type usersView struct {
	frame
	Filter userFilter
	Total  int64 // users that the filter selects
	Users  []userRow
	Next   string // address of the next page; "" if this is the last
	First  string // address of the first page; "" if this is it
	// MayRevoke: the caller may revoke the sessions of many.
	MayRevoke bool
}

// userFilter is the form as it was filled in.
type userFilter struct {
	Search, Group string
	Show          string // "", "disabled", "administrators", "linked" or "live"
	Sort          string // one of userSorts; "" for the name, or for how well a search matches
}

// userSorts are the orders of the list.
var userSorts = map[string]store.UserSort{
	"name": {}, "name-desc": {Descending: true},
	"last": {ByLastSignIn: true, Descending: true}, "last-asc": {ByLastSignIn: true},
}

// ByMatch reports whether the users are in the order of how well they match a search.
func (f userFilter) ByMatch() bool {
	return f.Search != "" && f.Group == "" && f.Show == "" && f.Sort == ""
}

// A sortHead is a heading of a column by which the list can be sorted.
type sortHead struct {
	Words string
	Aria  string // value of aria-sort; "" if the list is in another order
	Path  string // address of the list in this order, or in the reverse if it is in this one
}

// NameHead returns the heading of the names.
func (f userFilter) NameHead() sortHead { return f.head("Name", "name", "name-desc") }

// LastHead returns the heading of the last sign-ins.
func (f userFilter) LastHead() sortHead { return f.head("Last sign-in", "last", "last-asc") }

func (f userFilter) head(words, sort, reverse string) sortHead {
	h := sortHead{Words: words}
	now := f.Sort
	if now == "" && !f.ByMatch() {
		now = "name"
	}
	if now == sort || now == reverse {
		h.Aria = "ascending"
		if userSorts[now].Descending {
			h.Aria = "descending"
		}
	}
	to := f
	if to.Sort = sort; now == sort {
		to.Sort = reverse
	}
	h.Path = address("/users", to.query())
	return h
}

// Any reports whether anything is selected.
func (f userFilter) Any() bool { return f.Search != "" || f.Group != "" || f.Show != "" }

func (f userFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"search": f.Search, "group": f.Group, "show": f.Show, "sort": f.Sort} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func (f userFilter) account() account.UserFilter {
	return account.UserFilter{
		Search: f.Search, Group: f.Group, Sort: userSorts[f.Sort],
		Disabled: f.Show == "disabled", Administrators: f.Show == "administrators", Live: f.Show == "live", Linked: f.Show == "linked",
	}
}

func (x *exchange) userFilter() userFilter {
	f := userFilter{Search: x.text("search"), Group: x.text("group"), Show: x.text("show"), Sort: x.text("sort")}
	if !slices.Contains([]string{"disabled", "administrators", "linked", "live"}, f.Show) {
		f.Show = ""
	}
	if _, known := userSorts[f.Sort]; !known {
		f.Sort = ""
	}
	return f
}

type userRow struct {
	ID, Name, Email string
	Path            string
	LastSeen        when
	Live            int64
	Disabled        bool
	Permissions     []string
	Groups          string
}

const usersPerPage = 50

func (p *userPages) list(x *exchange) error { return p.showList(x, http.StatusOK, nil) }

func (p *userPages) showList(x *exchange, status int, wrong map[string]string) error {
	filter := x.userFilter()
	view := usersView{frame: x.frame("Users", "/users", "Configuration"), Filter: filter, MayRevoke: x.caller.MayAdminister() == nil}
	view.Errors = wrong
	users, err := p.usersShown(x, &view)
	if err != nil {
		return err
	}
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	live, err := p.sessions.CountLiveByUser(x.ctx, x.caller, ids)
	if err != nil {
		return err
	}
	for _, u := range users {
		row := userRow{
			ID: u.ID, Name: u.Name, Email: u.Email, Path: userPath(u.ID),
			LastSeen: x.micro(u.LastSignInAt), Live: live[u.ID], Disabled: u.Disabled, Permissions: u.Permissions, Groups: groupsText(u.Groups),
		}
		if slices.Contains(u.Permissions, store.AdministerSystem) {
			row.Permissions = []string{store.AdministerSystem} // it includes the others
		}
		view.Users = append(view.Users, row)
	}
	return x.render(status, "users", view)
}

// usersShown returns the users of a page, and sets the total and the addresses of the
// pages beside it.
func (p *userPages) usersShown(x *exchange, view *usersView) (users []store.User, err error) {
	filter, cursor := view.Filter, x.text("cursor")
	page := func(cursor string) string {
		q := filter.query()
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		return address("/users", q)
	}
	if cursor != "" {
		view.First = page("")
	}
	limit := usersPerPage
	if filter.ByMatch() {
		limit = 0 // the total alone
	}
	users, next, total, err := p.accounts.UsersWhere(x.ctx, x.caller, filter.account(), cursor, limit)
	if filter.ByMatch() && err == nil {
		users, next, err = p.accounts.Users(x.ctx, x.caller, filter.Search, cursor, usersPerPage)
	}
	if next != "" {
		view.Next = page(next)
	}
	view.Total = total
	return users, err
}

// revokeSelected fills in the form that revokes the sessions of many: with the users that
// are selected in the list, or with all that the filter selects. It changes nothing.
func (p *userPages) revokeSelected(x *exchange) error {
	var users []store.User
	var err error
	if x.value("all") != "" {
		var total int64
		if users, _, total, err = p.accounts.UsersWhere(x.ctx, x.caller, x.userFilter().account(), "", maxNames); err != nil {
			return err
		}
		if total > maxNames {
			return p.showList(x, http.StatusUnprocessableEntity, map[string]string{
				whole: "The filter selects " + count(total, "user") + ". One revocation can have at most " + group(maxNames) + ": use a narrower filter."})
		}
	} else {
		for _, id := range x.posted()["id"] {
			u, err := p.accounts.User(x.ctx, x.caller, id)
			if err != nil {
				return err
			}
			users = append(users, u)
		}
	}
	if len(users) == 0 {
		return p.showList(x, http.StatusUnprocessableEntity, map[string]string{whole: "Select at least one user."})
	}
	view := x.bulkView()
	view.Names = listOf(users)
	view.Notice = count(int64(len(users)), "user") + " selected. Choose a reason; you confirm on the next page."
	return x.ok("bulk", view)
}

// listOf returns a list that stands for the users, with their names. Some names are read
// as several, such as "Smith; Anna": then it has ids.
func listOf(users []store.User) string {
	names, ids := make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		names[i], ids[i] = "name:"+u.Name, "id:"+u.ID
	}
	list := strings.Join(names, "\n")
	if !slices.Equal(account.ReadList([]byte(list)).Names, names) {
		return strings.Join(ids, "\n")
	}
	return list
}

type newUserView struct {
	frame
	Name, Email    string // as typed
	Groups         string // as typed
	How            string // the password is to come about: "generate", "typed" or "none"
	MustChange     bool   // the user must choose a new password at the first sign-in
	Permissions    []permissionChoice
	MayPermissions bool
	PasswordsOff   bool // signing in with a password is switched off
}

func (p *userPages) newUserView(x *exchange) (newUserView, error) {
	off, err := p.passwordsOff(x)
	view := newUserView{
		PasswordsOff:   off,
		frame:          x.frame("New user", "/users", "Configuration", "Users"),
		Permissions:    choices(nil),
		MayPermissions: x.caller.MayAdminister() == nil,
		How:            "generate",
		MustChange:     true,
	}
	if off {
		view.How = "none"
	}
	return view, err
}

func (p *userPages) newUser(x *exchange) error {
	view, err := p.newUserView(x)
	if err != nil {
		return err
	}
	return x.ok("new-user", view)
}

func (p *userPages) create(x *exchange) error {
	if x.shownBefore() {
		return x.redirect("/users", "done", "shown")
	}
	name, email, password, how := x.value("name"), x.text("email"), x.value("password"), x.value("how")
	switch how {
	case "generate":
		password = account.GeneratePassword()
	case "none":
		password = ""
	}
	change := account.UserChange{Name: &name}
	if email != "" {
		change.Email = &email
	}
	if password != "" || how == "typed" {
		change.Password = &password
	}
	mustChange := x.value("must_change") != "" && how != "none"
	if mustChange {
		change.MustChangePassword = &mustChange
	}
	typed := x.text("groups")
	if groups := groupsTyped(typed); len(groups) > 0 {
		change.Groups = &groups
	}
	held := x.chosen(store.Permissions())
	if len(held) > 0 {
		change.Permissions = &held
	}
	off, err := p.passwordsOff(x)
	if err != nil {
		return err
	}
	u, err := p.accounts.CreateUser(x.ctx, x.caller, change)
	if err != nil {
		fields, known := fieldErrors(err)
		if !known {
			return err
		}
		// The page does not repeat a password. An empty field would create an account
		// without one.
		if how != "generate" && password != "" && fields["password"] == "" {
			fields["password"] = "Enter the password again: it was not kept."
		}
		view, err := p.newUserView(x)
		if err != nil {
			return err
		}
		view.Name, view.Email, view.Groups, view.Permissions, view.Errors = name, email, typed, choices(held), fields
		view.How, view.MustChange = firstOf(how, "typed"), x.value("must_change") != ""
		return x.render(http.StatusUnprocessableEntity, "new-user", view)
	}
	done := "created"
	switch {
	case off && password != "":
		done = "passwords-off"
	case mustChange:
		done = "must-change"
	case password == "":
		done = "no-password"
	}
	if how == "generate" {
		return p.showPassword(x, u, password, notices[done], "/users")
	}
	return x.redirect(userPath(u.ID), "done", done)
}
