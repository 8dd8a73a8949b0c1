package httpapi

import (
	"encoding/json"
	"net/http"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// listUsers is GET /v1/users.
func listUsers(c *call) error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	after, err := position(c.query, "users")
	if err != nil {
		return err
	}
	users, next, err := c.Accounts.Users(c.ctx, c.caller, c.query.Get("search"), after, n)
	if err != nil {
		return err
	}
	answer := wire.Users{Users: make([]wire.User, len(users))}
	for i, u := range users {
		answer.Users[i] = wireform.User(u)
	}
	if next != "" {
		answer.NextCursor = cursor("users", next)
	}
	return c.json(http.StatusOK, answer)
}

// createUser is POST /v1/users.
func createUser(c *call) error {
	var body wire.UserChange
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	change, err := userChange(body)
	if err != nil {
		return err
	}
	u, err := c.Accounts.CreateUser(c.ctx, c.caller, change)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.Prefix+"/v1/users/"+u.ID)
	return c.json(http.StatusCreated, wireform.User(u))
}

// showUser is GET /v1/users/{id}.
func showUser(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	u, err := c.Accounts.User(c.ctx, c.caller, id)
	if err != nil {
		return err
	}
	return c.user(http.StatusOK, u)
}

// changeUser is PATCH /v1/users/{id}.
func changeUser(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	var body wire.UserChange
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	change, err := userChange(body)
	if err != nil {
		return err
	}
	u, _, err := c.Accounts.ChangeUser(c.ctx, c.caller, id, change, c.query.Get("reason"))
	if err != nil {
		return err
	}
	return c.user(http.StatusOK, u)
}

// deleteUser is DELETE /v1/users/{id}.
func deleteUser(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.DeleteUser(c.ctx, c.caller, id, c.query.Get("reason"), wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusOK, receipt, wait)
}

// changePassword is PUT /v1/users/{id}/password.
func changePassword(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	var body wire.ChangePassword
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	change := account.NewPassword{Current: body.Current, New: body.New, MustChange: body.MustChangePassword}
	receipt, err := c.Sessions.ChangePassword(c.ctx, c.caller, id, change, c.origin())
	if err != nil {
		return err
	}
	return c.receipt(http.StatusOK, receipt, 0)
}

// userChange returns the change that a body asks for. A null email removes it.
func userChange(body wire.UserChange) (account.UserChange, error) {
	change := account.UserChange{Name: body.Name, Password: body.Password, Permissions: body.Permissions, Groups: body.Groups, Disabled: body.Disabled,
		MustChangePassword: body.MustChangePassword,
	}
	if len(body.Email) == 0 {
		return change, nil
	}
	var email *string
	if err := json.Unmarshal(body.Email, &email); err != nil || email != nil && *email == "" {
		return change, account.InvalidField("email", "must be an address, or null for none")
	}
	if email == nil {
		email = new(string)
	}
	change.Email = email
	return change, nil
}
