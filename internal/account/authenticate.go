package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// The limits of failed attempts in any stretch of a minute.
const (
	window         = time.Minute
	mostForAccount = 10
	mostForAddress = 30
	// An address from which the user has begun a session in this time is not bound
	// by what others do to the account.
	addressKnownFor = 30 * 24 * time.Hour
)

// Authenticate returns the user with a name and a password, as the store had them
// when its epoch clock stood at the epoch returned, or later. Its errors are
// [ErrBadCredentials], *[RateLimited], [ErrBusy] and those of the store.
//
// A name that nobody has, an account without a password and a disabled one cost
// as much as a wrong password and are answered alike. Failed attempts are counted
// in the store, for all nodes; successful ones never count.
func (s *Service) Authenticate(ctx context.Context, name, password string, from Origin) (store.User, revocation.Epoch, error) {
	// The place in the queue comes before everything else: of ten thousand sign-ins
	// at once, those that get none must not cost the store a question each.
	if err := s.hashes.enter(); err != nil {
		return store.User{}, 0, err
	}
	defer s.hashes.leave()
	epoch, err := s.store.Clock(ctx)
	if err != nil {
		return store.User{}, 0, err
	}
	_, key, err := NormalizeName(name)
	if err != nil {
		key = nobodysKey
	}
	u, err := s.store.UserByName(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, 0, err
	}
	u, err = s.check(ctx, u, key, password, from)
	return u, epoch, err
}

// nobodysKey stands for all names that nobody can have; no name has a control
// character in its key.
const nobodysKey = "\x01"

// verify takes a place in the queue and checks.
func (s *Service) verify(ctx context.Context, u store.User, nameKey, password string, from Origin) (store.User, error) {
	if err := s.hashes.enter(); err != nil {
		return store.User{}, err
	}
	defer s.hashes.leave()
	return s.check(ctx, u, nameKey, password, from)
}

// check checks the password of a user, for a caller with a place in the queue; the
// zero User stands for nobody. What is done, and how long it takes, is the same for
// every user, for nobody, and for every reason to refuse.
func (s *Service) check(ctx context.Context, u store.User, nameKey, password string, from Origin) (store.User, error) {
	limits, err := s.limits(ctx, u, nameKey, from)
	if err != nil {
		return store.User{}, err
	}
	// Whoever is over a limit already does not wait for it.
	if _, err := room(ctx, limits, s.failures); err != nil {
		return store.User{}, err
	}
	// The turn comes before the limits are looked at for good: so only those few
	// look who can hash, and not the whole queue whenever an attempt has ended.
	over, err := s.hashes.turn(ctx)
	if err != nil {
		return store.User{}, err
	}
	defer over()
	release, err := s.tries.begin(ctx, limits, s.failures)
	if err != nil {
		return store.User{}, err
	}
	defer release()

	hash, stored := s.decoy, u.PasswordHash != ""
	if stored {
		read, err := parseHash(u.PasswordHash)
		if err != nil {
			s.log.ErrorContext(ctx, "the password of a user cannot be checked: set another", "user", u.ID, "error", err)
			stored = false
		} else {
			hash = read
		}
	}
	if hash.matches(password) && stored && !u.Disabled {
		if !hash.current(s.config.hashMemoryKiB()) {
			u.PasswordHash = s.renew(ctx, u, hashPassword(password, s.config.hashMemoryKiB()))
		}
		return u, nil
	}
	over()
	if err := s.refuse(ctx, u, limits, from); err != nil {
		return store.User{}, err
	}
	return store.User{}, ErrBadCredentials
}

// renew replaces a hash whose parameters are not those of today by one of the same
// password, and returns the one that the store has then. If it fails it is for the
// next sign-in to do.
func (s *Service) renew(ctx context.Context, u store.User, hash string) string {
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		now, err := tx.LockUser(ctx, u.ID)
		if err != nil {
			return err
		}
		if now.PasswordHash != u.PasswordHash {
			return errors.New("it was changed in the meantime")
		}
		now.PasswordHash = hash
		return tx.UpdateUser(ctx, now)
	})
	if err != nil {
		s.log.WarnContext(ctx, "the hash of a password could not be renewed", "user", u.ID, "error", err)
		return u.PasswordHash
	}
	return hash
}

// refuse counts a failed attempt before it is answered. The entry in the audit
// does not repeat the name that was typed: people type passwords there.
func (s *Service) refuse(ctx context.Context, u store.User, limits []limit, from Origin) error {
	keys := make([]string, len(limits))
	for i, l := range limits {
		keys[i] = l.key
	}
	return s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		at := s.now().UnixMicro()
		if err := tx.AddFailure(ctx, at, keys...); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: at, Action: wire.ActionSignInFailed,
			Actor:      store.Actor{Kind: store.ActorUser, Address: from.Address, RequestID: from.RequestID},
			TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
		})
	})
}

// limit is how many failed attempts are let through under a key.
type limit struct {
	key  string
	most int64
}

// limits returns the limits that bind an attempt. Whoever knows a name can make
// the limit of its account bind strangers, and whoever shares an address with
// others that of the address; but neither binds those who come from where the user
// has been. So nobody can lock somebody else out for good.
func (s *Service) limits(ctx context.Context, u store.User, nameKey string, from Origin) ([]limit, error) {
	known, err := s.store.KnownAddress(ctx, u.ID, from.Address, s.now().Add(-addressKnownFor).UnixMicro())
	if err != nil {
		return nil, err
	}
	prefix := addressPrefix(from.Address)
	if known {
		return []limit{{failureKey("account from", nameKey, prefix), mostForAccount}}, nil
	}
	return []limit{
		{failureKey("account", nameKey), mostForAccount},
		{failureKey("address", prefix), mostForAddress},
	}, nil
}

// failureKey is a hash: what is typed for a name is not kept.
func failureKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// addressPrefix is the address of one customer: all of IPv4, a /64 of IPv6.
func addressPrefix(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// failures counts those that are less than a window ago: who waits for as long as
// RateLimited says is let through.
func (s *Service) failures(ctx context.Context, key string) (int64, error) {
	return s.store.Failures(ctx, key, s.now().Add(-window).UnixMicro()+1)
}
