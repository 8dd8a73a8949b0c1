package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// LogoutVerifier validates the logout tokens of identity providers. *oidc.Client
// implements it.
type LogoutVerifier interface {
	VerifyLogout(ctx context.Context, r oidc.Registration, raw string) (oidc.Logout, error)
}

// backchannelLogout is POST /oauth/backchannel-logout (OpenID Connect Back-Channel Logout
// 1.0). The logout token authenticates the request. The answer comes when the end of the
// sessions is on disk.
func backchannelLogout(c *call) error {
	c.private()
	if c.Logouts == nil {
		return errors.New("httpapi: Config.Logouts is required for a logout by a provider")
	}
	form, err := readForm(c.r, "logout_token")
	if err != nil {
		return err
	}
	// A provider that hangs up, or is restarted, may not send the token again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.within())
	defer cancel()
	c.ctx = ctx
	raw := form.Get("logout_token")
	issuer, audiences, err := oidc.LogoutIssuer(raw)
	if err != nil {
		return refusedLogout(err)
	}
	providers, err := c.Sessions.Registered(c.ctx, issuer)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(providers, func(p store.Provider) bool { return slices.Contains(audiences, p.ClientID) })
	if i < 0 {
		return refusedLogout(fmt.Errorf("%w: it is for no provider that is registered here", oidc.ErrToken))
	}
	p := providers[i]
	l, err := c.Logouts.VerifyLogout(c.ctx, oidc.Registration{Issuer: p.Issuer, ClientID: p.ClientID, Changed: p.UpdatedAt}, raw)
	if err != nil {
		return refusedLogout(err)
	}
	err = c.Sessions.EndByProvider(c.ctx, session.ProviderLogout{
		Provider: p.Name, Issuer: l.Issuer, SID: l.SessionID, Subject: l.Subject, TokenID: l.TokenID,
	}, c.origin())
	if err != nil {
		return refusedLogout(err)
	}
	return c.done()
}

// refusedLogout returns the error of a logout token: 400 if it is not accepted (section
// 2.8), and 503 if that is not known now.
func refusedLogout(err error) error {
	switch {
	case errors.Is(err, oidc.ErrToken), errors.Is(err, session.ErrLogoutSeen):
		return fmt.Errorf("%w: the logout token is not accepted: %s", fault.ErrInvalid, strings.TrimPrefix(err.Error(), oidc.ErrToken.Error()+": "))
	case errors.Is(err, oidc.ErrUnreachable), errors.Is(err, oidc.ErrMisconfigured):
		return fmt.Errorf("%w: %w", fault.ErrNotReady, err)
	}
	return err
}
