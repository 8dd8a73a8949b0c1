package httpapi

import (
	"net/http"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// listClients is GET /v1/clients.
func listClients(c *call) error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	after, err := position(c.query, "clients")
	if err != nil {
		return err
	}
	all, err := c.Accounts.Clients(c.ctx, c.caller)
	if err != nil {
		return err
	}
	page, next := pageAfter(all, after, n, func(s store.Client) string { return s.ID })
	answer := wire.Clients{Clients: make([]wire.Client, len(page))}
	for i, client := range page {
		answer.Clients[i] = wireform.Client(client, "")
	}
	if next != "" {
		answer.NextCursor = cursor("clients", next)
	}
	return c.json(http.StatusOK, answer)
}

// createClient is POST /v1/clients.
func createClient(c *call) error {
	var body wire.NewClient
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	client, secret, err := c.Accounts.CreateClient(c.ctx, c.caller, account.NewClient(body))
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, wireform.Client(client, secret))
}

// newSecret is POST /v1/clients/{id}/secrets.
func newSecret(c *call) error {
	var body wire.NewSecret
	if err := decode(c.r, &body, true); err != nil {
		return err
	}
	client, secret, err := c.Accounts.NewSecret(c.ctx, c.caller, clientID(c), body.RevokeOld)
	c.followers.forget()
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, wireform.Client(client, secret))
}

// deleteClient is DELETE /v1/clients/{id}.
func deleteClient(c *call) error {
	err := c.Accounts.DeleteClient(c.ctx, c.caller, clientID(c))
	c.followers.forget() // also after an error: it may have been committed
	if err != nil {
		return err
	}
	return c.nothing()
}

// showClient is GET /v1/clients/me.
func showClient(c *call) error {
	return c.json(http.StatusOK, wireform.Client(*c.caller.Client, ""))
}

// clientID returns the client that the path names; "" if no client could have
// such an id, so that what the store cannot hold does not reach it.
func clientID(c *call) string {
	id := c.r.PathValue("id")
	if !isClientID(id) {
		return ""
	}
	return id
}
