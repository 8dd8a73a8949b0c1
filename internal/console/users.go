package console

import (
	"net/http"
	"net/url"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// userPages are the users, their sessions and their accounts.
type userPages struct {
	accounts *account.Service
	sessions *session.Service
	receipts *receiptPages
}

type usersView struct {
	frame
	Search string
	Users  []userRow
	Next   string // address of the next page; "" if this is the last
	First  string // address of the first page; "" if this is it
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

func (p *userPages) list(x *exchange) error {
	search, cursor := x.text("search"), x.text("cursor")
	users, next, err := p.accounts.Users(x.ctx, x.caller, search, cursor, usersPerPage)
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
	view := usersView{frame: x.frame("Users", "/users", "Configuration"), Search: search}
	for _, u := range users {
		view.Users = append(view.Users, userRow{
			ID: u.ID, Name: u.Name, Email: u.Email, Path: userPath(u.ID),
			LastSeen: x.micro(u.LastSignInAt), Live: live[u.ID], Disabled: u.Disabled, Permissions: u.Permissions, Groups: groupsText(u.Groups),
		})
	}
	page := func(cursor string) string {
		q := url.Values{}
		if search != "" {
			q.Set("search", search)
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if len(q) == 0 {
			return "/users"
		}
		return "/users?" + q.Encode()
	}
	if next != "" {
		view.Next = page(next)
	}
	if cursor != "" {
		view.First = page("")
	}
	return x.ok("users", view)
}

type newUserView struct {
	frame
	Name, Email    string // as typed
	Groups         string // as typed
	How            string // the password is to come about: "generate", "typed" or "none"
	Permissions    []permissionChoice
	MayPermissions bool
}

func (x *exchange) newUserView() newUserView {
	return newUserView{
		frame:          x.frame("New user", "/users", "Configuration", "Users"),
		Permissions:    choices(nil),
		MayPermissions: x.caller.MayAdminister() == nil,
		How:            "generate",
	}
}

func (p *userPages) newUser(x *exchange) error { return x.ok("new-user", x.newUserView()) }

func (p *userPages) create(x *exchange) error {
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
	typed := x.text("groups")
	if groups := groupsTyped(typed); len(groups) > 0 {
		change.Groups = &groups
	}
	held := x.chosen(store.Permissions())
	if len(held) > 0 {
		change.Permissions = &held
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
		view := x.newUserView()
		view.Name, view.Email, view.Groups, view.Permissions, view.Errors = name, email, typed, choices(held), fields
		view.How = firstOf(how, "typed")
		return x.render(http.StatusUnprocessableEntity, "new-user", view)
	}
	if how == "generate" {
		return x.showPassword(u, password, notices["created"])
	}
	done := "created"
	if password == "" {
		done = "no-password"
	}
	return x.redirect(userPath(u.ID), "done", done)
}
