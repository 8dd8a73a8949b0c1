package console

import (
	"net/http"
	"net/url"
	"slices"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
)

// servicePages are the services that may call the API.
type servicePages struct{ accounts *account.Service }

type servicesView struct {
	frame
	Services     []serviceRow
	FormName     string // as typed
	Capabilities []capabilityChoice
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

func (p *servicePages) services(x *exchange) error { return p.show(x, http.StatusOK, "", nil, nil) }

func (p *servicePages) show(x *exchange, status int, name string, held []string, wrong map[string]string) error {
	clients, err := p.accounts.Clients(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view := servicesView{
		frame:    x.frame("Services", "/services", "Configuration"),
		FormName: name, Capabilities: capabilities(held),
	}
	view.Errors = wrong
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

// secretView shows a secret, once. It is the answer to a form and not a redirection: a
// secret must be nowhere but in this answer, see once.go.
type secretView struct {
	frame
	Service store.Client
	Secret  string
	Old     string // what happens to the secret it had before; "" if it had none
	Instead string // address of the page that is shown when this one is loaded again
}

func (p *servicePages) create(x *exchange) error {
	if x.shownBefore() {
		return x.redirect("/services", "done", "secret-shown")
	}
	name := x.value("name")
	held := x.chosen(store.Capabilities())
	s, secret, err := p.accounts.CreateClient(x.ctx, x.caller, account.NewClient{Name: name, Capabilities: held})
	if err != nil {
		fields, known := fieldErrors(err)
		if !known {
			return err
		}
		if len(held) == 0 {
			fields["capabilities"] = "Choose at least one."
		}
		return p.show(x, http.StatusUnprocessableEntity, name, held, fields)
	}
	return x.showSecret(s, secret, "")
}

func (x *exchange) showSecret(s store.Client, secret, old string) error {
	x.markShown()
	return x.render(http.StatusCreated, "secret", secretView{
		frame:   x.frame("Secret of "+clip(s.Name, 80), "/services", "Configuration", "Services"),
		Service: s, Secret: secret, Old: old, Instead: withQuery("/services", "done", "secret-shown"),
	})
}

// serviceAsked returns the service that the address names.
func (p *servicePages) serviceAsked(x *exchange) (store.Client, error) {
	clients, err := p.accounts.Clients(x.ctx, x.caller)
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

func (p *servicePages) askSecret(x *exchange) (confirmView, error) {
	s, err := p.serviceAsked(x)
	return confirmView{
		frame:  x.frame("Create a new secret for "+clip(s.Name, 80)+"?", "/services", "Configuration", "Services"),
		Lines:  []string{"The current secret works for another 24 hours, or until you create the next one. Configure the service with the new secret within that time."},
		Button: "Create a new secret", Cancel: "/services", Fields: []heldField{{Name: onceField, Value: frame{}.Once()}},
		Choice: heldField{Name: "revoke_old", Value: "Revoke the old secret immediately. Use this if it may be compromised. The service fails until it has the new one."},
	}, err
}

func (p *servicePages) newSecret(x *exchange, _ string) error {
	if x.shownBefore() {
		return x.redirect("/services", "done", "secret-shown")
	}
	revokeOld := x.value("revoke_old") != ""
	s, secret, err := p.accounts.NewSecret(x.ctx, x.caller, x.r.PathValue("id"), revokeOld)
	if err != nil {
		return err
	}
	if revokeOld {
		return x.showSecret(s, secret, "The old secrets no longer work.")
	}
	return x.showSecret(s, secret, "The previous secret works for another 24 hours, or until you create the next one.")
}

func (p *servicePages) askRemove(x *exchange) (confirmView, error) {
	s, err := p.serviceAsked(x)
	consequence := "Its secret stops working immediately: requests with it are refused."
	if slices.Contains(s.Capabilities, store.Follow) {
		consequence += " A validator that uses it answers 503 when its lease expires."
	}
	return confirmView{
		frame:  x.frame("Remove "+clip(s.Name, 80)+"?", "/services", "Configuration", "Services"),
		Lines:  []string{consequence},
		Button: "Remove", Cancel: "/services", Harmful: true,
	}, err
}

func (p *servicePages) remove(x *exchange, _ string) error {
	if err := p.accounts.DeleteClient(x.ctx, x.caller, x.r.PathValue("id")); err != nil {
		return err
	}
	return x.redirect("/services", "done", "removed")
}
