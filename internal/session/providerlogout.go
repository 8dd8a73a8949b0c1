package session

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// ErrLogoutSeen means that a logout token was used before.
var ErrLogoutSeen = errors.New("the logout token was used before")

// ProviderLogout is a logout at an identity provider, whose logout token was verified.
type ProviderLogout struct {
	Provider string // the name, for the audit
	Issuer   string
	SID      string // the provider's session that has ended; "" for all of the subject
	Subject  string // "" if only the session is named
	TokenID  string // claim jti
}

// Registered returns the providers with an issuer, by name.
func (s *Service) Registered(ctx context.Context, issuer string) ([]store.Provider, error) {
	all, err := s.store.Providers(ctx)
	if err != nil {
		return nil, err
	}
	var found []store.Provider
	for _, p := range all {
		if p.Issuer == issuer {
			found = append(found, p)
		}
	}
	return found, nil
}

// EndByProvider ends the sessions that a logout at a provider concerns: those of the
// provider's session or, if the token names none, all of the subject's user. If the token
// names both, sessions of the subject end as well that began with an ID token without
// sid: they may belong to the provider's session. A sign-in
// that is under way ends as well. When it returns nil, the end is on disk and in force on
// this node. The error is [ErrLogoutSeen] for a token that was used before; then nothing
// changes.
func (s *Service) EndByProvider(ctx context.Context, l ProviderLogout, from authz.Origin) error {
	var ended []revocation.Revocation
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		if err := tx.RecordLogoutToken(ctx, l.Issuer, l.TokenID, s.now().UnixMicro()); errors.Is(err, store.ErrConflict) {
			return ErrLogoutSeen
		} else if err != nil {
			return err
		}
		// A sign-in between its code and its session finds this.
		if err := tx.EndProviderSession(ctx, l.Issuer, l.SID, l.Subject, epoch); err != nil {
			return err
		}
		by := store.Actor{Kind: store.ActorSystem, Address: from.Address, RequestID: from.RequestID}
		decided := authz.Tx{Tx: tx, Epoch: epoch, Caller: authz.Caller{Actor: by}}
		if l.SID != "" {
			ended, err = s.endProviderSession(ctx, decided, l)
		} else {
			ended, err = s.endSubject(ctx, decided, l)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.config.View.Applied(ended...)
	s.WakeReceipts()
	return nil
}

func (l *ProviderLogout) reason() string { return "signed out at " + l.Provider }

// endProviderSession ends the sessions that began with a provider's session, and those
// that may have.
func (s *Service) endProviderSession(ctx context.Context, tx authz.Tx, l ProviderLogout) ([]revocation.Revocation, error) {
	filter := store.ProviderSessionFilter{Issuer: l.Issuer, SID: l.SID}
	if l.Subject != "" {
		filter = store.ProviderSessionFilter{Issuer: l.Issuer, Subject: l.Subject}
	}
	rows, err := tx.ProviderSessions(ctx, filter)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row store.ProviderSession) bool { return row.SID != "" && row.SID != l.SID })
	now := s.now()
	var ended []revocation.Revocation
	var entries []store.Audit
	receipt := tx.NewReceipt(now, string(revocation.KindSession), l.reason())
	for _, row := range rows {
		sess, err := tx.Session(ctx, row.SessionID)
		if isNotFound(err) || err == nil && sess.EndedAt != 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		ended = append(ended, revocation.Revocation{Scope: revocation.Session(sess.ID), Epoch: tx.Epoch})
		u, err := tx.User(ctx, sess.UserID)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		e := store.Audit{At: now.UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionRevokeSession, Epoch: tx.Epoch, Reason: l.reason()}
		authz.AboutSession(&e, sess, u.Name)
		entries = append(entries, e)
		receipt.ScopeID, receipt.UserID, receipt.UserName = sess.ID, sess.UserID, u.Name
		if err := tx.EndSession(ctx, sess.ID, now.UnixMicro()); err != nil {
			return nil, err
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	receipt.Users, receipt.Sessions = 1, int64(len(ended))
	return ended, errors.Join(tx.PutRevocations(ctx, ended...), tx.AddReceipts(ctx, receipt), tx.AppendAudit(ctx, entries...))
}

// endSubject ends all sessions of the user of a subject.
func (s *Service) endSubject(ctx context.Context, tx authz.Tx, l ProviderLogout) ([]revocation.Revocation, error) {
	identity, err := tx.Identity(ctx, l.Issuer, l.Subject)
	if isNotFound(err) {
		return nil, nil // linked to no user
	}
	if err != nil {
		return nil, err
	}
	_, ended, err := s.endUser(ctx, tx, identity.UserID, l.reason())
	if isNotFound(err) {
		return nil, nil // the user is gone
	}
	if err != nil {
		return nil, fmt.Errorf("end the sessions of a provider's subject: %w", err)
	}
	return ended, nil
}

// endUser ends all sessions of a user in a transaction of the system.
func (s *Service) endUser(ctx context.Context, tx authz.Tx, userID, reason string) (store.Receipt, []revocation.Revocation, error) {
	receipt, err := s.revokeIn(ctx, tx, userID, reason)
	if err != nil {
		return receipt, nil, err
	}
	return receipt, []revocation.Revocation{{Scope: revocation.User(userID), Epoch: tx.Epoch}}, s.recordUserEnd(ctx, tx, receipt)
}

// recordUserEnd enters into the audit log that all sessions of a user were revoked, as the
// receipt says.
func (s *Service) recordUserEnd(ctx context.Context, tx authz.Tx, r store.Receipt) error {
	return tx.AppendAudit(ctx, store.Audit{
		At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionRevokeUser, Reason: r.Reason, Epoch: tx.Epoch,
		TargetKind: targetUser, TargetID: r.UserID, TargetName: r.UserName, Scope: revocation.KindUser,
	})
}
