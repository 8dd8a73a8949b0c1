package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// signedOutView is the page after a sign-out, where the user may sign out at a provider
// as well.
type signedOutView struct {
	frame
	Providers []providerSignOut
}

// providerSignOut leads to a provider.
type providerSignOut struct {
	Name, Address string
	Fields        []heldField // of a form; nil: Address is a link
}

// signOut ends the session, and takes the cookie away once that is on disk. If the session
// began at a provider that can sign users out, the page offers that: the answer
// carries the ID token, and only the browser that has presented the session gets it.
func (p *signInPages) signOut(x *exchange) error {
	if token.ReasonOf(x.refused) == token.ErrUnavailable {
		return x.refused
	}
	ended, err := x.endPresented()
	if err != nil {
		return err
	}
	x.forget()
	view := signedOutView{Providers: p.signOuts(x, ended)}
	if len(view.Providers) == 0 {
		return x.redirect("/sign-in", "why", "signed_out")
	}
	x.session = nil
	view.frame = x.frame("Signed out", "")
	x.w.Header().Set("Content-Security-Policy", strings.Replace(policy, formsGo, formsGo+formTargets(view.Providers), 1))
	return x.render(http.StatusOK, "signed-out", view)
}

// metadataWithin is how long a sign-out waits for a provider whose metadata are not known:
// the session has ended, and the user waits for the page.
const metadataWithin = time.Second

// signOuts returns the sign-outs at providers to offer after sessions have ended. What it
// can't find out is not offered.
func (p *signInPages) signOuts(x *exchange, ended []*token.Session) (all []providerSignOut) {
	ctx, cancel := context.WithTimeout(x.ctx, metadataWithin)
	defer cancel()
	for _, s := range ended {
		one, err := p.signOutAtProvider(ctx, s)
		switch {
		case err == nil && one.Address != "":
			all = append(all, one)
		case err != nil && !errors.Is(err, store.ErrNotFound):
			x.log.WarnContext(x.ctx, "signed out here; a sign-out at the identity provider can't be offered", "request_id", x.origin.RequestID, "error", err)
		}
	}
	return all
}

func (p *signInPages) signOutAtProvider(ctx context.Context, s *token.Session) (providerSignOut, error) {
	provider, idToken, err := p.sessions.AtProvider(ctx, s)
	if err != nil {
		return providerSignOut{}, err
	}
	request, err := p.providers.EndSession(ctx, provider.Issuer, provider.ClientID, idToken, p.issuer)
	one := providerSignOut{Name: provider.Name, Address: request.Address}
	for name, values := range request.Fields {
		one.Fields = append(one.Fields, heldField{Name: name, Value: values[0]})
	}
	slices.SortFunc(one.Fields, func(a, b heldField) int { return strings.Compare(a.Name, b.Name) })
	return one, err
}

// formTargets returns the sources for form-action that let forms go to providers. Browsers
// hold the redirects of a form's answer against the list too, and a provider may lead on
// to another one, that it has the user from: so all hosts with TLS are on the list, of
// this page alone.
func formTargets(all []providerSignOut) string {
	targets := ""
	for _, one := range all {
		if one.Fields == nil {
			continue
		}
		target := "https:"
		if origin := originOf(one.Address); strings.HasPrefix(origin, "http:") {
			target = origin // of this machine
		}
		if !strings.Contains(targets, " "+target) {
			targets += " " + target
		}
	}
	return targets
}
