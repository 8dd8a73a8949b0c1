package console

import (
	"net/http"
	"net/url"
	"slices"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
)

type servicesView struct {
	frame
	Services     []serviceRow
	FormName     string // as typed
	Capabilities []capabilityChoice
	Errors       map[string]string
}

type serviceRow struct {
	ID, Name     string
	Capabilities []string
	Made         when
	OldUntil     when // until when a secret that was replaced still works
	Secret       string
	Remove       string
}

type capabilityChoice struct {
	Name, Words string
	Held        bool
}

var capabilityMeanings = map[string]string{
	store.Introspect: "check whether a token is valid (RFC 7662)",
	store.Follow:     "follow the change feed and validate tokens itself",
	store.Issue:      "start sessions for users that it has authenticated",
	store.Revoke:     "revoke the sessions of users",
}

func capabilities(held []string) []capabilityChoice {
	var all []capabilityChoice
	for _, name := range store.Capabilities() {
		all = append(all, capabilityChoice{Name: name, Words: capabilityMeanings[name], Held: slices.Contains(held, name)})
	}
	return all
}

func (c *console) services(x *exchange) error { return x.showServices(http.StatusOK, "", nil, nil) }

func (x *exchange) showServices(status int, name string, held []string, wrong map[string]string) error {
	clients, err := x.config.Accounts.Clients(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view := servicesView{
		frame:    x.frame("Services", "/services", "Configuration"),
		FormName: name, Capabilities: capabilities(held), Errors: wrong,
	}
	for _, s := range clients {
		row := serviceRow{
			ID: s.ID, Name: s.Name, Capabilities: s.Capabilities, Made: x.micro(s.CreatedAt),
			Secret: servicePath(s.ID, "/secret"), Remove: servicePath(s.ID, "/remove"),
		}
		if s.OldSecretUntil > x.now().UnixMicro() {
			row.OldUntil = x.micro(s.OldSecretUntil)
		}
		view.Services = append(view.Services, row)
	}
	return x.render(status, "services", view)
}

func servicePath(id, below string) string { return "/services/" + url.PathEscape(id) + below }

// secretView shows a secret, once. It is the one answer to a form that is not a
// redirection: a secret must be nowhere but in this answer, neither in an address
// nor in a cookie nor in the memory of a node.
type secretView struct {
	frame
	Service store.Client
	Secret  string
	Old     string // what happens to the secret it had before; "" if it had none
}

func (c *console) createService(x *exchange) error {
	name := x.value("name")
	held := []string{}
	for _, capability := range store.Capabilities() {
		if x.value(capability) != "" {
			held = append(held, capability)
		}
	}
	s, secret, err := c.config.Accounts.CreateClient(x.ctx, x.caller, account.NewClient{Name: name, Capabilities: held})
	if err != nil {
		fields, known := fieldErrors(err)
		if !known {
			return err
		}
		return x.showServices(http.StatusUnprocessableEntity, name, held, fields)
	}
	return x.showSecret(s, secret, "")
}

func (x *exchange) showSecret(s store.Client, secret, old string) error {
	return x.render(http.StatusCreated, "secret", secretView{
		frame:   x.frame("Secret of "+clip(s.Name, 80), "/services", "Configuration", "Services"),
		Service: s, Secret: secret, Old: old,
	})
}

// serviceAsked returns the service that the address names.
func (x *exchange) serviceAsked() (store.Client, error) {
	clients, err := x.config.Accounts.Clients(x.ctx, x.caller)
	if err != nil {
		return store.Client{}, err
	}
	for _, s := range clients {
		if s.ID == x.r.PathValue("id") {
			return s, nil
		}
	}
	return store.Client{}, store.ErrNotFound
}

func (c *console) confirmSecret(x *exchange) error {
	s, err := x.serviceAsked()
	if err != nil {
		return err
	}
	return x.ok("confirm", confirmView{
		frame:  x.frame("Create a new secret for "+clip(s.Name, 80)+"?", "/services", "Configuration", "Services"),
		Lines:  []string{"The current secret works for another 24 hours, or until you create the next one. Configure the service with the new secret within that time."},
		Action: servicePath(s.ID, "/secret"), Button: "Create a new secret", Cancel: "/services",
		Choice: heldField{Name: "revoke_old", Value: "Revoke the old secret immediately. Use this if it may be compromised. The service fails until it has the new one."},
	})
}

func (c *console) newSecret(x *exchange) error {
	revokeOld := x.value("revoke_old") != ""
	s, secret, err := c.config.Accounts.NewSecret(x.ctx, x.caller, x.r.PathValue("id"), revokeOld)
	if err != nil {
		return err
	}
	if revokeOld {
		return x.showSecret(s, secret, "The old secrets no longer work.")
	}
	return x.showSecret(s, secret, "The previous secret works for another 24 hours, or until you create the next one.")
}

func (c *console) confirmRemove(x *exchange) error {
	s, err := x.serviceAsked()
	if err != nil {
		return err
	}
	return x.ok("confirm", confirmView{
		frame:  x.frame("Remove "+clip(s.Name, 80)+"?", "/services", "Configuration", "Services"),
		Lines:  []string{"Its secret stops working immediately. A validator that uses it answers 503 when its lease expires."},
		Action: servicePath(s.ID, "/remove"), Button: "Remove", Cancel: "/services", Harmful: true,
	})
}

func (c *console) removeService(x *exchange) error {
	if err := c.config.Accounts.DeleteClient(x.ctx, x.caller, x.r.PathValue("id")); err != nil {
		return err
	}
	return x.redirect("/services", "done", "removed")
}
