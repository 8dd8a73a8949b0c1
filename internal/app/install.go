package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
)

// system is the audit actor for automatic actions.
var system = store.Actor{Kind: store.ActorSystem}

// install returns the installation, which the first start makes: issuer, audience
// and settings, all in one transaction, so that there is never a half of them.
// Every start advances the epoch clock (a store that was restored from a backup
// comes back above what it was).
//
// Issuer and audience are changed later by `curfew issuer set` alone: every session
// and every validator has them. A configuration that differs is refused.
func install(ctx context.Context, s store.Store, now time.Time, cfg config.Server, address string) (store.Installation, bool, error) {
	var installed store.Installation
	var first bool
	err := s.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, now)
		if err != nil {
			return err
		}
		installed, err = tx.Installation(ctx)
		if !errors.Is(err, store.ErrNotFound) {
			first = false
			return err
		}
		if err := usablePassword(cfg.AdminPassword); err != nil {
			return err // before anything is decided for good
		}
		first = true
		installed = store.Installation{Issuer: cfg.Issuer, Audience: slices.Clone(cfg.Audience), Epoch: epoch}
		if installed.Issuer == "" {
			installed.Issuer = defaultIssuer(address, cfg.TLSCert != "")
		}
		if len(installed.Audience) == 0 {
			installed.Audience = []string{installed.Issuer}
		}
		if _, err := prefixOf(installed.Issuer); err != nil {
			return &config.OptionError{Option: "--issuer", Problem: err.Error()}
		}
		row := store.Settings{InForce: settings.InForce{Settings: settings.Default(), Epoch: epoch}}
		row.LongestMaximum = settings.Seconds(row.MaximumSessionDuration)
		return errors.Join(
			tx.PutInstallation(ctx, installed),
			tx.PutSettings(ctx, row),
			tx.AppendAudit(ctx, store.Audit{
				At: now.UnixMicro(), Actor: system, Action: wire.ActionInstall, TargetKind: "settings", Epoch: epoch,
			}),
		)
	})
	if err != nil {
		return installed, false, err
	}
	return installed, first, agree(installed, cfg)
}

// usablePassword says whether the first account can have the password given; ""
// means that one will be made up. Later starts have no use for it.
func usablePassword(password string) error {
	if password == "" {
		return nil
	}
	if err := account.CheckPassword("password", password); err != nil {
		invalid, ok := errors.AsType[*account.Invalid](err)
		if !ok {
			return err
		}
		return &config.OptionError{Option: "CURFEW_ADMIN_PASSWORD", Problem: invalid.Fields[0].Detail}
	}
	return nil
}

// agree checks that the configuration and the stored installation are the same.
func agree(installed store.Installation, cfg config.Server) error {
	var errs []error
	differs := func(flag, want, got string) {
		errs = append(errs, fmt.Errorf("--%s is %s, but the database was created with %s; leave the flag out, or use another database; sessions and validators depend on the value, and `curfew issuer set` changes it", flag, want, got))
	}
	if cfg.Issuer != "" && cfg.Issuer != installed.Issuer {
		differs("issuer", fmt.Sprintf("%q", cfg.Issuer), fmt.Sprintf("%q", installed.Issuer))
	}
	if len(cfg.Audience) > 0 && !slices.Equal(cfg.Audience, installed.Audience) {
		differs("audience", quoted(cfg.Audience), quoted(installed.Audience))
	}
	return errors.Join(errs...)
}

func quoted(texts []string) string {
	var b strings.Builder
	for i, text := range texts {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", text)
	}
	return b.String()
}

// defaultIssuer is the URL of the address of the listener. An unspecified address
// is no name of a host: localhost takes its place.
func defaultIssuer(address string, encrypted bool) string {
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	return scheme + reachable(address)
}

// reachable returns an address at which this machine reaches what listens at
// address.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if isAnyAddress(host) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// isAnyAddress reports whether a host stands for every address of the machine.
func isAnyAddress(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
