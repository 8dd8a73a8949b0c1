package httpapi

import (
	"errors"
	"net/http"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// listProviders is GET /v1/providers.
func listProviders(c *call) error {
	all, err := c.Accounts.Providers(c.ctx, c.caller)
	if err != nil {
		return err
	}
	answer := wire.Providers{Providers: make([]wire.Provider, len(all))}
	for i, p := range all {
		answer.Providers[i] = wireform.Provider(p, c.Issuer)
	}
	return c.json(http.StatusOK, answer)
}

// createProvider is POST /v1/providers.
func createProvider(c *call) error {
	var body wire.ProviderChange
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	name := ""
	if body.Name != nil {
		name = *body.Name
	}
	p, err := c.Accounts.CreateProvider(c.ctx, c.caller, name, wireform.ReadProviderChange(body))
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.Prefix+"/v1/providers/"+p.Name)
	return c.json(http.StatusCreated, wireform.Provider(p, c.Issuer))
}

// showProvider is GET /v1/providers/{name}.
func showProvider(c *call) error {
	p, err := c.Accounts.Provider(c.ctx, c.caller, c.r.PathValue("name"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, wireform.Provider(p, c.Issuer))
}

// changeProvider is PATCH /v1/providers/{name}.
func changeProvider(c *call) error {
	var body wire.ProviderChange
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	if body.Name != nil {
		return account.InvalidField("name", "can't be changed; add another provider")
	}
	wait, done := c.wait()
	defer done()
	p, receipt, err := c.Sessions.ChangeProvider(c.ctx, c.caller, c.r.PathValue("name"), wireform.ReadProviderChange(body), c.query.Get("reason"), wait)
	if err != nil {
		return err
	}
	answer, status := wireform.Provider(p, c.Issuer), http.StatusOK
	if receipt != nil {
		r := wireform.Receipt(*receipt)
		answer.Receipt, status = &r, effective(status, *receipt, wait)
	}
	return c.json(status, answer)
}

// deleteProvider is DELETE /v1/providers/{name}.
func deleteProvider(c *call) error {
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.DeleteProvider(c.ctx, c.caller, c.r.PathValue("name"), c.query.Get("reason"), wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusOK, receipt, wait)
}

// checkProvider is POST /v1/providers/{name}/check.
func checkProvider(c *call) error {
	p, err := c.Accounts.Provider(c.ctx, c.caller, c.r.PathValue("name"))
	if err != nil {
		return err
	}
	if c.Discoverer == nil {
		return errors.New("httpapi: Config.Discoverer is required to check a provider")
	}
	report := providercheck.Check(c.ctx, c.Discoverer, c.Accounts, p)
	if err := c.Accounts.Again(c.ctx, c.caller, authz.Caller.MayAdminister); err != nil { // the check may have taken seconds
		return err
	}
	return c.json(http.StatusOK, wireform.ProviderCheck(report))
}

// showSignInMethods is GET /v1/sign-in-methods.
func showSignInMethods(c *call) error {
	if err := c.caller.MayAdminister(); err != nil {
		return err
	}
	m, err := c.Accounts.SignInMethods(c.ctx)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, wire.SignInMethods(m))
}

// changeSignInMethods is PATCH /v1/sign-in-methods.
func changeSignInMethods(c *call) error {
	var body wire.SignInMethodsChange
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	if err := c.caller.MayAdminister(); err != nil {
		return err
	}
	if body.Passwords == nil {
		return account.InvalidField("passwords", "is required")
	}
	to := store.SignInMethods{Passwords: *body.Passwords}
	if err := c.Accounts.ChangeSignInMethods(c.ctx, c.caller, to); err != nil {
		return err
	}
	return c.json(http.StatusOK, wire.SignInMethods(to))
}

// unlinkIdentity is DELETE /v1/users/{id}/identities. The identity is named by the query:
// an issuer has slashes, which some proxies do not keep in a path.
func unlinkIdentity(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	for _, name := range []string{"issuer", "subject"} {
		if c.query.Get(name) == "" {
			return account.InvalidField(name, "is required in the query")
		}
	}
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.Unlink(c.ctx, c.caller, id, c.query.Get("issuer"), c.query.Get("subject"), c.query.Get("reason"), wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusOK, receipt, wait)
}

// user answers with a user and the user's identities.
func (c *call) user(status int, u store.User) error {
	identities, err := c.Accounts.Identities(c.ctx, c.caller, u.ID)
	if err != nil {
		return err
	}
	return c.json(status, wireform.UserWith(u, identities))
}
