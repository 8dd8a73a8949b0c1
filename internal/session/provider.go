package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// The errors of [Service.SignInThrough], besides [account.NotAdmitted], a
// [token.RevokedError] if the user was revoked during the attempt, and those of the store.
var (
	// ErrProviderChanged means that the provider was removed or changed during the
	// attempt.
	ErrProviderChanged = errors.New("the identity provider was removed or changed during the sign-in")
	// ErrEndedByProvider means that the provider has ended its session during the attempt,
	// or that the user was deleted or unlinked here.
	ErrEndedByProvider = errors.New("the identity provider has ended the session, or the account was unlinked here, during the sign-in")
	// ErrNotFresh means that the user was revoked after, or shortly before, the user
	// authenticated at the provider, or that the provider does not say when that was.
	// Another attempt that demands a fresh authentication is the remedy.
	ErrNotFresh = errors.New("sessions were revoked since the user authenticated at the identity provider")
	// ErrNoAuthTime means that an attempt has demanded a fresh authentication, and that
	// the provider does not say when the user authenticated.
	ErrNoAuthTime = errors.New("the identity provider does not say when the user authenticated (claim auth_time)")
	// ErrStale means that an attempt has demanded a fresh authentication, and that the
	// provider has answered with an earlier one.
	ErrStale = errors.New("the identity provider has not authenticated the user again")
	// ErrAnotherUser means that a user had to confirm who they are, and that the account
	// that has authenticated at the provider is not theirs.
	ErrAnotherUser = errors.New("another user has authenticated at the identity provider than the one who had to confirm")
	// ErrAttemptUsed means that the attempt has begun a session before.
	ErrAttemptUsed = errors.New("the attempt has begun a session before")
)

// ProviderSignIn is a sign-in through an identity provider, whose response was
// validated: who the user is, and what the attempt began with.
type ProviderSignIn struct {
	// Attempt names the attempt. It begins one session at most, on whatever node and even
	// if the provider accepts its code again. Required.
	Attempt  string
	Provider string // the name
	// Issuer and ClientID are those that the attempt began with.
	Issuer, ClientID string
	Subject          string
	SID              string // the provider's session; "" if it does not say
	Claims           account.Claims
	AuthTime         time.Time // when the user authenticated; zero if the provider does not say
	ACR              string
	SessionExpiry    time.Time // zero for no limit
	IDToken          string    // for the hint of a sign-out at the provider

	Began time.Time // the attempt
	// Epoch is the reading of the epoch clock at the beginning of the attempt. A
	// revocation since then ends the sign-in, even while the user is at the provider.
	Epoch revocation.Epoch
	// Fresh means that the attempt has demanded a fresh authentication.
	Fresh bool
	// UserID is that of the user who has to confirm; "" for a sign-in of any user.
	UserID     string
	RememberMe bool
}

const (
	// providerSkew is how far the provider's clock may be from this server's.
	providerSkew = time.Minute
	// maxIDToken is the maximum size in bytes of an ID token that is kept, for the sign-out
	// at the provider.
	maxIDToken = 4 << 10

	idTokenUse = "curfew id token"
)

// Ways are the ways to sign in here.
type Ways struct {
	Passwords bool
	Providers []string // names, sorted
}

// Ways returns the ways to sign in.
func (s *Service) Ways(ctx context.Context) (Ways, error) {
	methods, err := s.store.SignInMethods(ctx)
	if err != nil {
		return Ways{}, err
	}
	providers, err := s.store.Providers(ctx)
	if err != nil {
		return Ways{}, err
	}
	w := Ways{Passwords: methods.Passwords, Providers: make([]string, len(providers))}
	for i, p := range providers {
		w.Providers[i] = p.Name
	}
	return w, nil
}

// WaysAgain returns the ways in which the caller's user can authenticate again: the
// providers at whose issuer the user has an account, and the password, unless passwords
// are switched off or the user has providers only.
func (s *Service) WaysAgain(ctx context.Context, c authz.Caller) (Ways, error) {
	methods, err := s.store.SignInMethods(ctx)
	if err != nil || c.User == nil {
		return Ways{}, err
	}
	identities, err := s.store.Identities(ctx, c.User.ID)
	if err != nil {
		return Ways{}, err
	}
	providers, err := s.store.Providers(ctx)
	if err != nil {
		return Ways{}, err
	}
	var w Ways
	for _, p := range providers {
		if slices.ContainsFunc(identities, func(i store.Identity) bool { return i.Issuer == p.Issuer }) {
			w.Providers = append(w.Providers, p.Name)
		}
	}
	w.Passwords = methods.Passwords && (c.User.PasswordHash != "" || len(w.Providers) == 0)
	return w, nil
}

// BeginThrough begins an attempt to sign in through a provider: it returns a reading of
// the epoch clock, and the provider as it is at that epoch or later. The error wraps
// store.ErrNotFound if there is no such provider.
func (s *Service) BeginThrough(ctx context.Context, provider string) (store.Provider, revocation.Epoch, error) {
	epoch, err := s.store.Clock(ctx)
	if err != nil {
		return store.Provider{}, 0, err
	}
	p, err := s.store.Provider(ctx, provider)
	return p, epoch, err
}

// ProviderOf returns the provider of an attempt that began at an epoch. The error is
// ErrProviderChanged if the provider was removed or changed since.
func (s *Service) ProviderOf(ctx context.Context, name string, began revocation.Epoch) (store.Provider, error) {
	return unchanged(ctx, s.store, name, began)
}

// unchanged returns a provider that was not changed since an epoch. An attempt that began
// under other rules could lack what they demand, such as an authentication context.
func unchanged(ctx context.Context, r store.ProviderReader, name string, since revocation.Epoch) (store.Provider, error) {
	p, err := r.Provider(ctx, name)
	if isNotFound(err) || err == nil && p.UpdatedAt > int64(since) {
		return p, ErrProviderChanged
	}
	return p, err
}

// SignInThrough begins a session for the user of a validated response of an identity
// provider. One transaction, which orders itself among all revocations, checks that the
// provider is still the same, that the user may sign in and was not revoked since the
// attempt began, and that the authentication is recent enough; it creates or links the
// user, takes over groups and permissions, and stores the session.
func (s *Service) SignInThrough(ctx context.Context, a ProviderSignIn, from authz.Origin) (Issued, error) {
	first, err := s.begin(ctx, a.Epoch, store.User{}, a.RememberMe, a.authentication())
	if err != nil {
		return Issued{}, err
	}
	first.provider = a.Provider
	issued, err := s.keepThrough(ctx, first, a, from)
	if err != nil {
		s.recordRefusal(ctx, a, err, from)
		return Issued{}, err
	}
	return issued, nil
}

func (a *ProviderSignIn) authentication() Authentication {
	how := Authentication{ACR: a.ACR}
	if !a.AuthTime.IsZero() {
		how.At = token.UnixTime(a.AuthTime.Unix())
	}
	if !a.SessionExpiry.IsZero() {
		how.SessionExpiry = token.UnixTime(a.SessionExpiry.Unix())
	}
	return how
}

// keepThrough stores the session. Usually this changes nothing that validators know, and
// the transaction only holds the clock. If sessions have to end, a second one takes it,
// and commits the revocations even if it refuses the sign-in.
func (s *Service) keepThrough(ctx context.Context, first beginning, a ProviderSignIn, from authz.Origin) (issued Issued, err error) {
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) (err error) {
		if err := tx.HoldClock(ctx); err != nil {
			return err
		}
		issued, _, err = s.writeThrough(ctx, authz.Tx{Tx: tx}, first, a, from)
		return err
	})
	if !errors.Is(err, errMustAdvance) {
		return issued, err
	}
	var ended []revocation.Revocation
	var refused error
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		issued, ended, err = s.writeThrough(ctx, authz.Tx{Tx: tx, Epoch: epoch}, first, a, from)
		if refused = nil; len(ended) > 0 {
			refused, err = err, nil
		}
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	s.config.View.Applied(ended...)
	s.WakeReceipts()
	return issued, refused
}

// writeThrough decides and writes a sign-in. It returns the revocations that it has
// written, or errMustAdvance if it has to write some and the transaction has no epoch.
// If it returns revocations with an error, the sign-in is refused and they hold.
func (s *Service) writeThrough(ctx context.Context, tx authz.Tx, first beginning, a ProviderSignIn, from authz.Origin) (Issued, []revocation.Revocation, error) {
	p, err := unchanged(ctx, tx, a.Provider, a.Epoch)
	if err == nil && (p.Issuer != a.Issuer || p.ClientID != a.ClientID) {
		err = ErrProviderChanged
	}
	if err != nil {
		return Issued{}, nil, err
	}
	// Logout tokens are kept for an hour, and an attempt is over after minutes. No issuer,
	// which is a URL, has this name.
	if err := tx.RecordLogoutToken(ctx, "sign-in attempts", a.Attempt, s.now().UnixMicro()); errors.Is(err, store.ErrConflict) {
		return Issued{}, nil, ErrAttemptUsed
	} else if err != nil {
		return Issued{}, nil, err
	}
	if len(p.ACRValues) > 0 && !slices.Contains(p.ACRValues, a.ACR) {
		return Issued{}, nil, &account.NotAdmitted{Reason: account.NotAdmittedACR, Detail: fmt.Sprintf(
			"signing in through %s requires an authentication of the class %s; the provider says %q", p.Name, strings.Join(p.ACRValues, " or "), a.ACR)}
	}
	admission, err := s.config.Accounts.Admit(ctx, tx, p, account.Subject{Issuer: a.Issuer, ID: a.Subject, Claims: a.Claims})
	if refused := (*account.NotAdmitted)(nil); errors.As(err, &refused) && refused.Excluded() {
		ended, endErr := s.endExcluded(ctx, tx, a, from)
		return Issued{}, ended, cmp.Or(endErr, err)
	}
	if err != nil {
		return Issued{}, nil, err
	}
	if a.UserID != "" && admission.User.ID != a.UserID {
		return Issued{}, nil, ErrAnotherUser
	}
	first.user, first.session.Subject = admission.User, admission.User.ID
	if err := s.stillValid(ctx, tx, first.session, a); err != nil {
		return Issued{}, nil, err
	}
	var ended []revocation.Revocation
	var receipt store.Receipt
	if admission.Revokes() {
		if tx.Epoch == 0 {
			return Issued{}, nil, errMustAdvance
		}
		// Of the user's sessions only this one has groups and permissions of today.
		first.session.Epoch = tx.Epoch
		ended = append(ended, revocation.Revocation{Scope: revocation.User(first.user.ID), Epoch: tx.Epoch})
		tx.Caller.Actor = store.Actor{Kind: store.ActorSystem, Address: from.Address, RequestID: from.RequestID}
		if receipt, err = tx.AddUserReceipt(ctx, s.now(), first.user, 0, "left a group at "+p.Name); err != nil {
			return Issued{}, nil, err
		}
		if err := tx.PutRevocations(ctx, ended...); err != nil {
			return Issued{}, nil, err
		}
	}
	err = admission.Write(ctx, tx, from, tx.Epoch)
	if refused := (*account.NotAdmitted)(nil); errors.As(err, &refused) && refused.Reason == account.NotAdmittedLastAdmin && receipt.Sessions != 0 {
		// The row of the last administrator stays, but no session may use a permission that
		// the provider has taken. Without sessions there is nothing to commit.
		if err := s.recordUserEnd(ctx, tx, receipt); err != nil {
			return Issued{}, nil, err
		}
		return Issued{}, ended, err
	}
	if err != nil {
		return Issued{}, nil, err
	}
	issued, surplus, err := s.keepWithin(ctx, tx, first, userActor(first.user.ID, first.user.Name, from), from)
	if err != nil {
		return Issued{}, nil, err
	}
	err = tx.InsertProviderSession(ctx, store.ProviderSession{
		SessionID: issued.Session.ID, Provider: p.Name, Issuer: a.Issuer, Subject: a.Subject, SID: a.SID,
		SealedIDToken: s.sealIDToken(issued.Session.ID, a.IDToken),
	})
	if err != nil {
		return Issued{}, nil, err
	}
	return issued, append(ended, surplus...), nil
}

// endExcluded ends the sessions of the user of a subject that the provider does not admit
// any more. It returns nothing if the user has none.
func (s *Service) endExcluded(ctx context.Context, tx authz.Tx, a ProviderSignIn, from authz.Origin) ([]revocation.Revocation, error) {
	u, err := userOfSubject(ctx, tx, a.Issuer, a.Subject)
	if err != nil || u.ID == "" {
		return nil, err
	}
	if tx.Epoch == 0 {
		return nil, errMustAdvance
	}
	tx.Caller.Actor = store.Actor{Kind: store.ActorSystem, Address: from.Address, RequestID: from.RequestID}
	receipt, ended, err := s.endUser(ctx, tx, u.ID, "not admitted through "+a.Provider+" any more")
	if receipt.Sessions == 0 {
		return nil, err // the transaction is rolled back
	}
	return ended, err
}

// stillValid checks what may have happened since the attempt began, and since the user
// authenticated.
func (s *Service) stillValid(ctx context.Context, tx store.Tx, sess token.Session, a ProviderSignIn) error {
	ended, err := tx.ProviderSessionEnded(ctx, a.Issuer, a.SID, a.Subject, a.Epoch)
	if err != nil {
		return err
	}
	if ended {
		return ErrEndedByProvider
	}
	revoked, err := tx.RevokedBefore(ctx, sess.Subject, sess.ID)
	if err != nil {
		return err
	}
	if before := revoked.Before(sess.RememberMe); a.Epoch < before {
		return &token.RevokedError{Before: before}
	}
	in, err := tx.Settings(ctx)
	if err != nil {
		return err
	}
	pruned := revocation.Epoch(s.now().Add(-time.Duration(in.LongestMaximum) * time.Second).UnixMicro())
	return a.fresh(max(revoked.Everyone, revoked.User), pruned)
}

// fresh checks the time of the authentication. revoked is the last revocation of the
// user or of everyone. Maintenance revokes everyone up to an instant before pruned (see
// [Service.Maintain]): providers that never say auth_time stay usable.
func (a *ProviderSignIn) fresh(revoked, pruned revocation.Epoch) error {
	switch {
	case a.Fresh && a.AuthTime.IsZero():
		return ErrNoAuthTime
	case a.Fresh && a.AuthTime.Before(a.Began.Truncate(time.Second).Add(-providerSkew)):
		return fmt.Errorf("%w: it answered with an authentication of %s", ErrStale, a.AuthTime.UTC().Format(time.RFC3339))
	case a.Fresh:
		return nil
	case a.AuthTime.IsZero() && revoked <= pruned:
		return nil
	case revoked != 0 && a.AuthTime.Before(revoked.Time().Add(providerSkew)):
		return ErrNotFresh
	}
	return nil
}

// sealIDToken seals the ID token of a session; "" if it is not kept.
func (s *Service) sealIDToken(session, raw string) string {
	if raw == "" || len(raw) > maxIDToken {
		return ""
	}
	return s.config.Ring.Sealer().Seal([]byte(raw), keyring.Bound(idTokenUse, session))
}

// AtProvider returns the provider at which a session began, and the ID token that it began
// with, "" if that was not kept. The caller holds a token of the session: no other
// caller may see the ID token. The error wraps store.ErrNotFound if the session did not
// begin at a provider, or if the provider has another issuer now.
func (s *Service) AtProvider(ctx context.Context, sess *token.Session) (p store.Provider, idToken string, err error) {
	began, err := s.store.ProviderSession(ctx, sess.ID)
	if err != nil {
		return p, "", err
	}
	if p, err = s.store.Provider(ctx, began.Provider); err != nil {
		return p, "", err
	}
	if p.Issuer != began.Issuer {
		return p, "", fmt.Errorf("%w: provider %s has another issuer now", store.ErrNotFound, p.Name)
	}
	if began.SealedIDToken == "" {
		return p, "", nil
	}
	raw, err := s.config.Ring.Sealer().Unseal(began.SealedIDToken, keyring.Bound(idTokenUse, sess.ID))
	return p, string(raw), err
}

// recordRefusal enters the refusal of a subject that the provider has authenticated, under
// the user that the subject is linked to. The answer does not depend on it. Like failed
// passwords, refusals are limited by subject and by network: at a public provider each
// user has an account, and a browser repeats a sign-in without a form.
func (s *Service) recordRefusal(ctx context.Context, a ProviderSignIn, refusal error, from authz.Origin) {
	if errors.Is(refusal, ErrNotFresh) || errors.Is(refusal, store.ErrUnavailable) {
		return // it goes on with a second attempt, or nothing was decided
	}
	reason, target := refusal.Error(), store.User{}
	if refused := (*account.NotAdmitted)(nil); errors.As(refusal, &refused) {
		target = refused.User
	}
	if errors.Is(refusal, ErrAnotherUser) {
		target = store.User{ID: a.UserID}
		if u, err := s.store.User(ctx, a.UserID); err == nil {
			target = u
		}
	}
	if s.tooManyRefusals(ctx, a, from) {
		return
	}
	detail, err := json.Marshal(map[string]string{"provider": a.Provider, "issuer": a.Issuer, "subject": a.Subject})
	if err != nil {
		panic(err) // texts
	}
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		target := target
		if target.ID == "" {
			var err error
			if target, err = userOfSubject(ctx, tx, a.Issuer, a.Subject); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Action: wire.ActionSignInFailed, Reason: reason,
			Actor:      store.Actor{Kind: store.ActorUser, Address: from.Address, RequestID: from.RequestID},
			TargetKind: targetUser, TargetID: target.ID, TargetName: target.Name, Detail: string(detail),
		})
	})
	if err != nil {
		s.log.WarnContext(ctx, "sign-in through a provider: the refusal is not in the audit log", "provider", a.Provider, "error", err)
	}
}

// userOfSubject returns the user that a subject is linked to; the zero User if there is
// none.
func userOfSubject(ctx context.Context, r store.Reader, issuer, subject string) (store.User, error) {
	identity, err := r.Identity(ctx, issuer, subject)
	if err != nil {
		return store.User{}, unlessNotFound(err)
	}
	u, err := r.User(ctx, identity.UserID)
	return u, unlessNotFound(err)
}

func unlessNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}
