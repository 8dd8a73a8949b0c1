package app

import (
	"context"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"example.com/curfew/internal/fileperm"
	"example.com/curfew/internal/loopback"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// warn tells the operator, at the start, of what was configured and may not have
// been meant.
func (a *App) warn(ctx context.Context, first bool) {
	if a.config.InsecureShortTimeouts {
		a.log.WarnContext(ctx, "--insecure-short-timeouts is on: session timeouts down to 1 second are accepted; use it only for development and tests")
	}
	if a.config.Exposed() {
		a.log.WarnContext(ctx, "listening on a public address without TLS: passwords and tokens are sent unencrypted; use --tls-cert and --tls-key, or a proxy with TLS", "address", a.config.Listen)
	}
	if host, _, err := net.SplitHostPort(a.config.Listen); err == nil && first && a.config.Issuer == "" && isAnyAddress(host) {
		a.log.WarnContext(ctx, "the issuer is a local address; if other machines use this server, change it with: curfew issuer set URL", "issuer", a.installed.Issuer)
	}
	if domain := strings.ToLower(strings.TrimPrefix(a.config.CookieDomain, ".")); domain != "" {
		issuer, err := url.Parse(a.installed.Issuer)
		if err == nil && !inDomain(strings.ToLower(issuer.Hostname()), domain) {
			a.log.WarnContext(ctx, "the issuer's host is not in the cookie domain, so browsers keep no session cookie there and users cannot sign in; set --issuer to an address in --cookie-domain, or leave --cookie-domain out",
				"issuer", a.installed.Issuer, "cookie_domain", a.config.CookieDomain)
		}
	}
	if file := a.config.Database.KeyFile(); file != "" && a.config.KeyEncryptionKey == nil {
		if info, err := os.Stat(file); err == nil {
			if warning, err := fileperm.Check(file, info); err == nil && warning != "" {
				a.log.WarnContext(ctx, "key file warning", "warning", warning)
			}
		}
	}
	for _, warning := range storeWarnings(ctx, a.store) {
		a.log.WarnContext(ctx, "database warning", "warning", warning)
	}
	if err := a.watchClock(ctx); err != nil {
		a.log.WarnContext(ctx, "read epoch clock: failed", "error", err)
	}
}

// watchClock compares this machine's clock with the epoch clock, which is as far
// as the latest of all the machines that ever wrote. If that lies in the future,
// one of the two is wrong, and sessions begun by the other are not valid here yet.
func (a *App) watchClock(ctx context.Context) error {
	clock, err := a.store.Clock(ctx)
	if err != nil {
		return err
	}
	if ahead := clock.Time().Sub(a.now()); ahead > token.Leeway {
		a.log.WarnContext(ctx, "this machine's clock is behind the time that another machine wrote to the database; synchronize both clocks",
			"behind", ahead.Round(time.Second), "database", clock.String())
	}
	return nil
}

// nodeName is the name of this node at other nodes and in receipts.
func nodeName(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if name, err := os.Hostname(); err == nil && (isAnyAddress(host) || loopback.Is(host)) {
		host = name
	}
	return net.JoinHostPort(host, port)
}

func (a *App) greeting(ctx context.Context, made bool, password firstPassword) (greeting, error) {
	g := greeting{
		Version: Version(), Database: a.config.Database.String(), First: made, Password: password,
		URL: a.url(), Docs: a.docsURL(), Metrics: a.metricsURL(),
	}
	if a.installed.Issuer != g.URL {
		g.Issuer = a.installed.Issuer
	}
	if made {
		return g, nil
	}
	if g.Ignored = a.config.AdminPassword != ""; g.Ignored {
		a.log.InfoContext(ctx, adminIgnored)
	}
	// A first start that was killed may have made the account, and never shown
	// its password.
	users, _, err := a.store.Users(ctx, store.UserSearch{}, "", 2)
	g.Unused = err == nil && len(users) == 1 && users[0].LastSignInAt == 0
	return g, err
}

// inDomain reports whether a host is a domain or below it.
func inDomain(host, domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }
