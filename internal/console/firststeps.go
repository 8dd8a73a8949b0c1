package console

import "example.com/curfew/internal/account"

// firstSteps is what an administrator does next on a new installation. The overview shows
// the steps that are not done, as long as there are few users, and one step that every
// installation needs is among them: more users, or a service.
type firstSteps struct {
	Password                 string // address at which the first password is changed; "" if it is not in use
	Users, Provider, Service bool   // none yet
}

// fewUsers is the number of users below which an installation is new.
const fewUsers = 10

// firstSteps returns the steps, or nil if there are none. first is the first password, if
// it is in use.
func (p *overviewPage) firstSteps(x *exchange, first *account.FirstPassword) (*firstSteps, error) {
	users, _, err := p.accounts.Users(x.ctx, x.caller, "", "", fewUsers)
	if err != nil || len(users) >= fewUsers {
		return nil, err
	}
	providers, err := p.accounts.Providers(x.ctx, x.caller)
	if err != nil {
		return nil, err
	}
	services, err := p.accounts.Clients(x.ctx, x.caller)
	if err != nil {
		return nil, err
	}
	steps := &firstSteps{Users: len(users) < 2, Provider: len(providers) == 0, Service: len(services) == 0 && !p.forwardAuth}
	if !steps.Users && !steps.Service {
		return nil, nil
	}
	if first != nil {
		steps.Password, _ = x.passwordPage(first)
	}
	return steps, nil
}

// passwordPage returns the address at which the first password is changed, and the words
// of a link to it.
func (x *exchange) passwordPage(first *account.FirstPassword) (path, words string) {
	if x.caller.IsSelf(first.User.ID) {
		return "/profile#password-heading", "Change the password"
	}
	return userPath(first.User.ID) + "#set-password", "Set a new password"
}

// firstPassword returns the point about a first password that is in use.
func (x *exchange) firstPassword(first *account.FirstPassword) attention {
	a := attention{Words: "The account " + clip(first.User.Name, 40) + " still has its first password, which was set when the account was created."}
	a.Path, a.Link = x.passwordPage(first)
	switch {
	case first.File != "":
		a.Words = "The account " + clip(first.User.Name, 40) + " still has the password that the first start generated. Change it, then delete the file that it was written to:"
		a.Flag = first.File
	case first.Generated:
		a.Words = "The account " + clip(first.User.Name, 40) + " still has the password that the first start generated and showed on a terminal."
	}
	return a
}
