package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// MaxProviders is the maximum number of providers. The sign-in page lists them all, and
// each sign-in reads them.
const MaxProviders = 50

var (
	// ErrPasswordsOff means that signing in with a password is switched off.
	ErrPasswordsOff = errors.New("signing in with a password is switched off here; sign in with an identity provider")
	// ErrNoAdministratorLeft means that passwords are switched off, or about to be, and
	// that no enabled administrator could sign in through a provider. It wraps
	// [ErrLastAdministrator].
	ErrNoAdministratorLeft error = lastAdministrator{}
	// ErrProviderExists wraps store.ErrConflict.
	ErrProviderExists = fmt.Errorf("%w: there is a provider with this name; choose another name", store.ErrConflict)
	// ErrTooManyProviders wraps store.ErrConflict.
	ErrTooManyProviders = fmt.Errorf("%w: there are %d identity providers, which is the maximum; remove one first", store.ErrConflict, MaxProviders)
)

type lastAdministrator struct{}

func (lastAdministrator) Error() string {
	return "no enabled administrator could sign in any more, because passwords are off and none is linked to a provider; " +
		"switch passwords on first, or let an administrator sign in through a provider once"
}

func (lastAdministrator) Unwrap() error { return ErrLastAdministrator }

// administratorLeft returns [ErrLastAdministrator] unless an enabled administrator is
// left who can sign in. For a trusted caller, such as the command line on the database, an
// administrator who can't sign in is enough: it can switch passwords on again.
func administratorLeft(ctx context.Context, tx authz.Tx) error {
	n, err := tx.CountAdministrators(ctx)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrLastAdministrator
	}
	return administratorSignsIn(ctx, tx)
}

// administratorSignsIn returns [ErrNoAdministratorLeft] if passwords are off and no
// enabled administrator is linked to a provider. A trusted caller is never refused.
func administratorSignsIn(ctx context.Context, tx authz.Tx) error {
	if tx.Caller.Trusted {
		return nil
	}
	methods, err := tx.SignInMethods(ctx)
	if err != nil || methods.Passwords {
		return err
	}
	n, err := tx.CountProviderAdministrators(ctx)
	if err == nil && n == 0 {
		return ErrNoAdministratorLeft
	}
	return err
}

// BoundSecret returns what the client secret of a provider is sealed with: see
// [keyring.Sealer.Seal]. Another issuer therefore never gets the secret.
func BoundSecret(p store.Provider) []byte {
	return keyring.Bound("curfew provider secret", p.Name, p.Issuer, p.ClientID)
}

// ClientSecret returns the client secret of a provider; "" if it has none.
func (s *Service) ClientSecret(ctx context.Context, p store.Provider) (string, error) {
	if p.SealedSecret == "" {
		return "", nil
	}
	sealer, err := s.config.Sealer(ctx)
	if err != nil {
		return "", err
	}
	secret, err := sealer.Unseal(p.SealedSecret, BoundSecret(p))
	if err != nil {
		return "", fmt.Errorf("client secret of provider %s: %w; set it again with `curfew provider set %s --client-secret-file FILE`", p.Name, err, p.Name)
	}
	return string(secret), nil
}

// Providers returns all providers, by name.
func (s *Service) Providers(ctx context.Context, c authz.Caller) ([]store.Provider, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	return s.store.Providers(ctx)
}

// Provider returns a provider. The error wraps store.ErrNotFound if there is none.
func (s *Service) Provider(ctx context.Context, c authz.Caller, name string) (store.Provider, error) {
	if err := c.MayAdminister(); err != nil {
		return store.Provider{}, err
	}
	p, err := s.store.Provider(ctx, name)
	return p, noProvider(err, name)
}

func noProvider(err error, name string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: there is no identity provider %q", store.ErrNotFound, clipped(name))
	}
	return err
}

// mayChangeProviders is the need of every change of a provider.
var mayChangeProviders = authz.Recently(authz.ChangeProviders, authz.Caller.MayAdminister)

// CreateProvider adds a provider. Issuer and client ID are required; see
// [ProviderChange] for the defaults.
func (s *Service) CreateProvider(ctx context.Context, c authz.Caller, name string, change ProviderChange) (store.Provider, error) {
	if err := c.MayAdminister(); err != nil {
		return store.Provider{}, err
	}
	p := newProvider(name)
	err := s.writeProvider(ctx, c, change, &p, func(tx authz.Tx) (store.Provider, error) {
		_, err := tx.Provider(ctx, name)
		switch {
		case err == nil:
			return p, ErrProviderExists
		case !errors.Is(err, store.ErrNotFound):
			return p, err
		}
		all, err := tx.Providers(ctx)
		switch {
		case err != nil:
			return p, err
		case len(all) >= MaxProviders:
			return p, ErrTooManyProviders
		}
		created := newProvider(name)
		created.CreatedAt = int64(tx.Epoch)
		return created, nil
	}, func(tx authz.Tx, _, p store.Provider) error {
		return tx.AppendAudit(ctx, s.providerEntry(tx, wire.ActionProviderCreate, p, "", describeProvider(p)))
	})
	return p, err
}

// ChangeProvider changes the given members of a provider. If the change could make a
// sign-in of the past impossible today, the sessions that began at the provider are
// revoked in the same transaction, and the receipt is returned, else nil: another issuer
// or client ID, a group that is no longer allowed or no longer gives a permission, and
// the like; see endsSessions. A permission that no group gives any more is taken from the
// users with an account at the issuer, whose sessions end as well: see [Taken]. The error
// is [ErrLastAdministrator] if that would leave no enabled administrator.
func (s *Service) ChangeProvider(ctx context.Context, c authz.Caller, name string, change ProviderChange, reason string) (p store.Provider, receipt *store.Receipt, err error) {
	if err := c.MayAdminister(); err != nil {
		return store.Provider{}, nil, err
	}
	if err := CheckReason(reason); err != nil {
		return store.Provider{}, nil, err
	}
	if p, err = s.Provider(ctx, c, name); err != nil {
		return store.Provider{}, nil, err
	}
	taken, err := change.Takes(p)
	if err != nil {
		return store.Provider{}, nil, err
	}
	counts := s.countThrough(ctx, name, taken)
	var revoked []revocation.Revocation
	err = s.writeProvider(ctx, c, change, &p, func(tx authz.Tx) (store.Provider, error) {
		old, err := tx.Provider(ctx, name)
		return old, noProvider(err, name)
	}, func(tx authz.Tx, old, p store.Provider) (err error) {
		receipt, revoked = nil, nil
		if cause := endsSessions(old, p); cause != "" {
			var row store.Receipt
			if row, revoked, err = s.endThrough(ctx, tx, name, cmp.Or(reason, cause), counts, Taken(old, p)); err != nil {
				return err
			}
			receipt = &row
		}
		if err := administratorSignsIn(ctx, tx); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, s.providerEntry(tx, wire.ActionProviderChange, p, reason,
			map[string]any{"from": describeProvider(old), "to": describeProvider(p), "new_secret": old.SealedSecret != p.SealedSecret}))
	})
	if err != nil {
		return store.Provider{}, nil, err
	}
	s.applied(revoked...)
	return p, receipt, nil
}

// DeleteProvider removes a provider and revokes the sessions that began at it in the
// same transaction. It returns the receipt. The permissions that its groups gave are taken
// as by ChangeProvider. Links between users and their accounts at the issuer stay: a
// provider with the same issuer signs the same users in.
func (s *Service) DeleteProvider(ctx context.Context, c authz.Caller, name, reason string) (receipt store.Receipt, err error) {
	if err := c.MayAdminister(); err != nil {
		return store.Receipt{}, err
	}
	if err := CheckReason(reason); err != nil {
		return store.Receipt{}, err
	}
	before, err := s.Provider(ctx, c, name)
	if err != nil {
		return store.Receipt{}, err
	}
	counts := s.countThrough(ctx, name, Taken(before, store.Provider{}))
	var revoked []revocation.Revocation
	err = s.store.Update(ctx, c, mayChangeProviders, func(tx authz.Tx) error {
		p, err := tx.Provider(ctx, name)
		if err != nil {
			return noProvider(err, name)
		}
		if receipt, revoked, err = s.endThrough(ctx, tx, name, cmp.Or(reason, "identity provider removed"), counts, Taken(p, store.Provider{})); err != nil {
			return err
		}
		if err := tx.DeleteProvider(ctx, name); err != nil {
			return err
		}
		if err := administratorSignsIn(ctx, tx); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, s.providerEntry(tx, wire.ActionProviderDelete, p, reason, describeProvider(p)))
	})
	if err != nil {
		return store.Receipt{}, err
	}
	s.applied(revoked...)
	return receipt, nil
}

// writeProvider checks a change of a provider and stores it. p has the row as last read;
// it gets the row as written. current reads the row again within the transaction, and
// then writes what belongs to the change.
func (s *Service) writeProvider(ctx context.Context, c authz.Caller, change ProviderChange, p *store.Provider,
	current func(authz.Tx) (store.Provider, error), then func(tx authz.Tx, old, p store.Provider) error,
) error {
	// Faults of the change and a missing key are found before the transaction.
	if _, err := change.applyTo(*p); err != nil {
		return err
	}
	var sealer *keyring.Sealer
	if change.ClientSecret != nil && *change.ClientSecret != "" {
		var err error
		if sealer, err = s.config.Sealer(ctx); err != nil {
			return err
		}
	}
	return s.store.Update(ctx, c, mayChangeProviders, func(tx authz.Tx) error {
		old, err := current(tx)
		if err != nil {
			return err
		}
		next, err := change.applyTo(old)
		if err != nil {
			return err
		}
		if sealer != nil {
			next.SealedSecret = sealer.Seal([]byte(*change.ClientSecret), BoundSecret(next))
		}
		if err := unlikeOthers(ctx, tx, next); err != nil {
			return err
		}
		next.UpdatedAt = int64(tx.Epoch)
		if err := tx.PutProvider(ctx, next); err != nil {
			return err
		}
		*p = next
		return then(tx, old, next)
	})
}

// unlikeOthers refuses an issuer that differs from that of another provider only by the
// slash at its end. A provider has one of the two spellings, and readers would take them for
// the same.
func unlikeOthers(ctx context.Context, tx authz.Tx, p store.Provider) error {
	all, err := tx.Providers(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Name != p.Name && other.Issuer != p.Issuer && strings.TrimSuffix(other.Issuer, "/") == strings.TrimSuffix(p.Issuer, "/") {
			return InvalidField("issuer", "differs from the issuer of provider %s only by the slash at its end; use the spelling of its discovery document", other.Name)
		}
	}
	return nil
}

// countThrough counts the sessions that a change of a provider may end.
func (s *Service) countThrough(ctx context.Context, name string, taken store.Holders) store.Counts {
	return s.store.CountForReceipt(ctx, func(ctx context.Context, live store.Live) (store.Counts, error) {
		return s.store.CountLiveThrough(ctx, live, name, taken)
	})
}

// endThrough revokes the sessions that began at a provider and takes permissions from
// users, and adds the receipt. The transaction has taken the clock: a sign-in at the
// provider that commits later finds the provider as this transaction leaves it.
func (s *Service) endThrough(ctx context.Context, tx authz.Tx, name, reason string, counts store.Counts, taken store.Holders) (store.Receipt, []revocation.Revocation, error) {
	now := s.now()
	receipt := tx.NewReceipt(now, store.ScopeProvider, reason)
	receipt.ScopeID, receipt.Sessions, receipt.Users = name, counts.Sessions, counts.Users
	open, err := tx.ProviderSessions(ctx, store.ProviderSessionFilter{Provider: name, OpenAt: now.Add(-clocksApart).UnixMicro()})
	if err != nil {
		return receipt, nil, err
	}
	ids, revoked := make([]string, len(open)), make([]revocation.Revocation, len(open))
	for i, row := range open {
		ids[i] = row.SessionID
		revoked[i] = revocation.Revocation{Scope: revocation.Session(row.SessionID), Epoch: tx.Epoch}
	}
	if err := s.enterEnded(ctx, tx, ids, reason); err != nil {
		return receipt, nil, err
	}
	users, err := s.take(ctx, tx, taken, reason)
	if err != nil {
		return receipt, nil, err
	}
	revoked = slices.Concat(revoked, users)
	if err := tx.PutRevocations(ctx, revoked...); err != nil {
		return receipt, nil, err
	}
	return receipt, revoked, tx.AddReceipts(ctx, receipt)
}

// enterEnded appends an entry for each of the sessions, so that the receipt is found under
// their users.
func (s *Service) enterEnded(ctx context.Context, tx authz.Tx, ids []string, reason string) error {
	at := s.now().UnixMicro()
	for part := range slices.Chunk(ids, maxNamed) {
		sessions, err := tx.SessionsNamed(ctx, part)
		if err != nil {
			return err
		}
		users := make([]string, len(sessions))
		for i, row := range sessions {
			users[i] = row.UserID
		}
		slices.Sort(users)
		found, err := tx.UsersNamed(ctx, slices.Compact(users), nil)
		if err != nil {
			return err
		}
		names := make(map[string]string, len(found))
		for _, u := range found {
			names[u.ID] = u.Name
		}
		entries := make([]store.Audit, len(sessions))
		for i, row := range sessions {
			entries[i] = store.Audit{At: at, Actor: tx.Caller.Actor, Action: wire.ActionRevokeSession, Reason: reason, Epoch: tx.Epoch}
			authz.AboutSession(&entries[i], row, names[row.UserID])
		}
		if err := tx.AppendAudit(ctx, entries...); err != nil {
			return err
		}
	}
	return nil
}

// maxNamed is the maximum number of rows that the store reads by their ids in one call.
const maxNamed = 10_000

// take takes permissions from users, and returns the revocations of their sessions, which
// the caller writes. It leaves an administrator.
func (s *Service) take(ctx context.Context, tx authz.Tx, from store.Holders, reason string) ([]revocation.Revocation, error) {
	users, err := tx.Holders(ctx, from)
	if err != nil {
		return nil, err
	}
	var revoked []revocation.Revocation
	var entered []store.Audit
	demoted := false
	for _, u := range users {
		before, err := tx.LockUser(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		after := before
		after.Permissions = slices.DeleteFunc(slices.Clone(before.Permissions), func(held string) bool { return slices.Contains(from.Permissions, held) })
		if err := tx.UpdateUser(ctx, after); err != nil {
			return nil, err
		}
		demoted = demoted || !before.Disabled && isAdministrator(before) && !isAdministrator(after)
		revoked = append(revoked, revocation.Revocation{Scope: revocation.User(u.ID), Epoch: tx.Epoch})
		entered = append(entered, entries(tx.Caller.Actor, before, after, false, reason, s.now().UnixMicro(), tx.Epoch, true)...)
	}
	if demoted {
		if err := administratorLeft(ctx, tx); err != nil {
			return nil, err
		}
	}
	return revoked, tx.AppendAudit(ctx, entered...)
}

// CountHolders counts the users that h selects.
func (s *Service) CountHolders(ctx context.Context, c authz.Caller, h store.Holders) (int, error) {
	if err := c.MayAdminister(); err != nil {
		return 0, err
	}
	users, err := s.store.Holders(ctx, h)
	return len(users), err
}

func (s *Service) providerEntry(tx authz.Tx, action string, p store.Provider, reason string, members map[string]any) store.Audit {
	return store.Audit{
		At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: action, Reason: reason, TargetKind: "provider", TargetID: p.Name, TargetName: p.Name,
		Epoch: tx.Epoch, Detail: detail(members),
	}
}

// describeProvider returns the members of a provider for the audit. The secret is not
// among them.
func describeProvider(p store.Provider) map[string]any {
	list := func(l []string) []string { return append([]string{}, l...) }
	permissions := p.GroupPermissions
	if permissions == nil {
		permissions = map[string][]string{}
	}
	return map[string]any{
		"issuer": p.Issuer, "client_id": p.ClientID, "scopes": list(p.Scopes), "name_claim": p.NameClaim, "groups_claim": p.GroupsClaim,
		"group_permissions": permissions, "create_users": p.CreateUsers, "allowed_email_domains": list(p.AllowedEmailDomains),
		"allowed_groups": list(p.AllowedGroups), "acr_values": list(p.ACRValues), "link_by_email": p.LinkByEmail,
	}
}

// SignInMethods returns how users may sign in. It needs no caller: the sign-in page
// shows it.
func (s *Service) SignInMethods(ctx context.Context) (store.SignInMethods, error) {
	return s.store.SignInMethods(ctx)
}

// ChangeSignInMethods sets how users may sign in. Passwords can be switched off only
// while an enabled administrator is linked to a provider. Sessions that began with a
// password go on.
func (s *Service) ChangeSignInMethods(ctx context.Context, c authz.Caller, to store.SignInMethods) error {
	if err := c.MayAdminister(); err != nil {
		return err
	}
	return s.store.Update(ctx, c, authz.Recently(authz.ChangeSignInMethods, authz.Caller.MayAdminister), func(tx authz.Tx) error {
		from, err := tx.SignInMethods(ctx)
		if err != nil {
			return err
		}
		if err := tx.PutSignInMethods(ctx, to); err != nil {
			return err
		}
		if err := administratorSignsIn(ctx, tx); err != nil {
			return err
		}
		members := func(m store.SignInMethods) map[string]bool { return map[string]bool{"passwords": m.Passwords} }
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionSignInMethods, TargetKind: "settings", Epoch: tx.Epoch,
			Detail: detail(map[string]any{"from": members(from), "to": members(to)}),
		})
	})
}

// Identities returns the accounts at providers that a user is linked to, by issuer and
// subject. A caller that may read the user may read them.
func (s *Service) Identities(ctx context.Context, c authz.Caller, userID string) ([]store.Identity, error) {
	if !c.IsSelf(userID) {
		if err := c.MayEditUsers(); err != nil {
			return nil, err
		}
	}
	return s.store.Identities(ctx, userID)
}

// Unlink removes the link between a user and an account at a provider, and revokes the
// user's sessions in the same transaction. It returns the receipt. The error wraps
// store.ErrNotFound if the user is not linked to that account.
func (s *Service) Unlink(ctx context.Context, c authz.Caller, userID, issuer, subject, reason string) (receipt store.Receipt, err error) {
	if err := c.MayEditUsers(); err != nil {
		return store.Receipt{}, err
	}
	if err := CheckReason(reason); err != nil {
		return store.Receipt{}, err
	}
	revoked := revocation.Revocation{Scope: revocation.User(userID)}
	err = s.store.Update(ctx, c, authz.Caller.MayEditUsers, func(tx authz.Tx) error {
		u, err := tx.LockUser(ctx, userID)
		if err != nil {
			return err
		}
		if err := cmp.Or(tx.Caller.MayChange(u), tx.Caller.CheckRecent(operationOn(tx.Caller, u))); err != nil {
			return err
		}
		all, err := tx.Identities(ctx, userID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(i store.Identity) bool { return i.Issuer == issuer && i.Subject == subject })
		if i < 0 {
			return fmt.Errorf("%w: the user is not linked to this account", store.ErrNotFound)
		}
		now := s.now()
		if receipt, err = tx.AddUserReceipt(ctx, now, u, 0, cmp.Or(reason, "account at an identity provider unlinked")); err != nil {
			return err
		}
		revoked.Epoch = tx.Epoch
		if err := tx.PutRevocations(ctx, revoked); err != nil {
			return err
		}
		if err := endUnderWay(ctx, tx, all[i]); err != nil {
			return err
		}
		if err := tx.DeleteIdentity(ctx, issuer, subject); err != nil {
			return err
		}
		if isAdministrator(u) && !u.Disabled {
			if err := administratorLeft(ctx, tx); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: now.UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionUserUnlink, Reason: reason, TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
			Epoch: tx.Epoch, Scope: revocation.KindUser,
			Detail: detail(map[string]any{"provider": all[i].Provider, "issuer": issuer, "subject": subject}),
		})
	})
	if err != nil {
		return store.Receipt{}, err
	}
	s.applied(revoked)
	return receipt, nil
}

// endUnderWay ends the sign-ins of identities that are about to lose their link. The
// revocation of the user does not reach them: without the link they could create or link
// another user.
func endUnderWay(ctx context.Context, tx authz.Tx, identities ...store.Identity) error {
	for _, i := range identities {
		if err := tx.EndProviderSession(ctx, i.Issuer, "", i.Subject, tx.Epoch); err != nil {
			return err
		}
	}
	return nil
}
