package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// The limits on failed attempts in any period of a minute.
const (
	window        = time.Minute
	maxForAccount = 10
	maxForAddress = 30
	// Attempts by others do not affect an address from which the user has begun a
	// session in this time.
	addressKnownFor = 30 * 24 * time.Hour
)

// The limit on consecutive failures, without a success in between (NIST SP
// 800-63B-4, section 3.2.2). After it, one attempt may be made a minute after the
// last, then two minutes, and so on up to an hour.
const (
	maxStreak     = 100
	minPause      = time.Minute
	maxPause      = time.Hour
	pauseDoubling = 6 // from minPause to maxPause
)

// The names of the limits in metrics and log.
const (
	LimitAccount      = "sign_in_account"   // failures of an account in a minute
	LimitNetwork      = "sign_in_network"   // failures from a network in a minute
	LimitCodes        = "sign_in_codes"     // codes from a network, or of a user, that providers refuse in a minute
	LimitStreak       = "sign_in_streak"    // failures of an account in a row
	LimitSuccesses    = "sign_in_successes" // successes of an account
	LimitQueueAccount = "queue_account"     // places of an account in the hash queue
	LimitQueue        = "queue_full"        // places in the hash queue, or of a network in it
)

// Authenticate returns the user with a name and a password, as the store had them
// at the returned epoch or later. The email address of one user alone is as good as
// the name, unless it is the name of another user. Errors are [ErrBadCredentials], *[RateLimited],
// [ErrBusy], [ErrPasswordsOff] and those of the store.
//
// An unknown name or address, an address of several users, an account without a password and a disabled account take the
// same time as a wrong password and get the same answer. Failed attempts are
// counted in the store, for all nodes. Each node limits successful attempts by
// account, so that one user cannot make all others wait.
func (s *Service) Authenticate(ctx context.Context, name, password string, from authz.Origin) (store.User, revocation.Epoch, error) {
	if err := PasswordsOn(ctx, s.store); err != nil {
		return store.User{}, 0, err
	}
	typed := readSignInName(name)
	key := typed.key
	place, err := s.admit(ctx, typed, from)
	if err != nil {
		return store.User{}, 0, s.refused(err)
	}
	defer place.leave()
	epoch, err := s.store.Clock(ctx)
	if err != nil {
		return store.User{}, 0, err
	}
	u, err := s.userTyped(ctx, typed)
	if err != nil {
		return store.User{}, 0, err
	}
	signIn := failed{by: store.Actor{Kind: store.ActorUser, Address: from.Address, RequestID: from.RequestID}}
	u, err = s.check(ctx, place, u, key, password, from, signIn)
	if err != nil {
		return store.User{}, 0, s.refused(err)
	}
	s.successes.Take(key, s.now())
	if place.of.unknown {
		s.recent.forget(originKey(key, from)) // it may be known from now on
	}
	return u, epoch, nil
}

// PasswordsOn returns [ErrPasswordsOff] if signing in with a password is switched off.
// [Service.Authenticate] asks before it checks a password, which may wait for its turn.
// The transaction that stores the session has to ask again.
func PasswordsOn(ctx context.Context, r store.ProviderReader) error {
	methods, err := r.SignInMethods(ctx)
	if err == nil && !methods.Passwords {
		return ErrPasswordsOff
	}
	return err
}

// refused counts a refusal for the metrics.
func (s *Service) refused(err error) error {
	limited, ok := errors.AsType[*RateLimited](err)
	switch {
	case s.config.Limited == nil:
	case ok:
		s.config.Limited(limited.Limit)
	case errors.Is(err, errShare):
		s.config.Limited(LimitQueueAccount)
	case errors.Is(err, ErrBusy):
		s.config.Limited(LimitQueue)
	}
	return err
}

// admit checks the limits that are kept in memory, and takes a place in the hash
// queue. Usually it does not ask the store. It asks if the answer could turn a
// refusal into a place: whether the account has signed in from this origin before.
// If the queue is full it asks only at a limited rate: of ten thousand concurrent
// sign-ins, those that get no place must not each cost a query.
func (s *Service) admit(ctx context.Context, typed signInName, from authz.Origin) (*place, error) {
	nameKey := typed.key
	to, sure := s.recent.route(originKey(nameKey, from), s.now())
	if !sure {
		to = unknownRoute(nameKey, from)
	}
	if wait := s.successes.Check(nameKey, s.now()); wait > 0 {
		return nil, &RateLimited{RetryAfter: wait, Limit: LimitSuccesses}
	}
	place, err := s.enter(to)
	if err == nil || sure {
		return place, err
	}
	if err == ErrBusy { //nolint:errorlint // the queue is full; not only a share of it
		if wait, _ := s.lookups.Take("", s.now()); wait > 0 {
			return nil, err
		}
	}
	u, lookup := s.userTyped(ctx, typed)
	if lookup != nil {
		return nil, lookup
	}
	if to, lookup = s.route(ctx, u, nameKey, from); lookup != nil {
		return nil, lookup
	}
	if to.unknown {
		return nil, err
	}
	return s.enter(to)
}

// enter takes a place for an attempt that its limits allow, as far as this node
// knows.
func (s *Service) enter(to route) (*place, error) {
	if wait, by := s.recent.wait(to.limits, s.now()); wait > 0 {
		return nil, &RateLimited{RetryAfter: wait, Limit: by.name}
	}
	return s.hashes.enter(to.origin())
}

// failed is what the audit says of an attempt with a wrong password.
type failed struct {
	by             store.Actor // without an ID at a sign-in: the user is not proven
	reason, detail string
}

// verify takes a place in the queue and checks.
func (s *Service) verify(ctx context.Context, u store.User, nameKey, password string, from authz.Origin, entry failed) (store.User, error) {
	place, err := s.admit(ctx, signInName{key: nameKey}, from)
	if err != nil {
		return store.User{}, s.refused(err)
	}
	defer place.leave()
	u, err = s.check(ctx, place, u, nameKey, password, from, entry)
	return u, s.refused(err)
}

// check checks the password of a user, for a caller with a place in the queue. The
// zero User stands for an unknown name. The work and its duration are the same for
// every user, for an unknown name, and for every reason to refuse. entry is what the
// audit says of a refusal.
func (s *Service) check(ctx context.Context, place *place, u store.User, nameKey, password string, from authz.Origin, entry failed) (store.User, error) {
	to, err := s.route(ctx, u, nameKey, from)
	if err != nil {
		return store.User{}, err
	}
	if err := place.move(to.origin()); err != nil {
		return store.User{}, err
	}
	// An attempt that is already over a limit does not wait for it.
	if _, err := room(ctx, to.limits, s.left); err != nil {
		return store.User{}, err
	}
	// The turn comes before the final check of the limits. Only the few attempts
	// that can hash then check them, and not the whole queue whenever an attempt
	// has ended.
	over, err := place.turn(ctx)
	if err != nil {
		return store.User{}, err
	}
	defer over()
	release, err := s.tries.begin(ctx, to.limits, s.left)
	if err != nil {
		return store.User{}, err
	}
	defer release()

	hash, stored := s.decoy, u.PasswordHash != ""
	if stored {
		read, err := parseHash(u.PasswordHash)
		if err != nil {
			s.log.ErrorContext(ctx, "check password: the stored hash can't be read; set a new password for the user", "user", u.ID, "error", err)
			stored = false
		} else {
			hash = read
		}
	}
	if hash.matches(password) && stored && !u.Disabled {
		if !hash.current(s.config.hashMemoryKiB()) {
			u.PasswordHash = s.renew(ctx, u, hashPassword(password, s.config.hashMemoryKiB()))
		}
		s.endStreaks(ctx, u, to)
		return u, nil
	}
	over()
	if err := s.refuse(ctx, u, to.limits, entry); err != nil {
		return store.User{}, err
	}
	return store.User{}, ErrBadCredentials
}

// renew replaces a hash with outdated parameters by a current one of the same
// password, and returns the hash that the store has then. If it fails, the next
// sign-in repeats it.
func (s *Service) renew(ctx context.Context, u store.User, hash string) string {
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		now, err := tx.LockUser(ctx, u.ID)
		if err != nil {
			return err
		}
		if now.PasswordHash != u.PasswordHash {
			return errors.New("the password was changed meanwhile")
		}
		now.PasswordHash = hash
		return tx.UpdateUser(ctx, now)
	})
	if err != nil {
		s.log.WarnContext(ctx, "renew password hash: failed; the old hash stays in use", "user", u.ID, "error", err)
		return u.PasswordHash
	}
	return hash
}

// endStreaks resets the consecutive failures after a success: those of the user's
// origin and those from unknown origins. A user who has signed in from a known
// origin can then also sign in elsewhere. If it fails, the next success repeats it.
func (s *Service) endStreaks(ctx context.Context, u store.User, to route) {
	keys := []string{to.limits[0].key}
	for _, account := range accountKeys(u) {
		if account != keys[0] {
			keys = append(keys, account)
		}
	}
	var long []string
	for _, key := range keys {
		streak, err := s.store.Streak(ctx, key)
		if err != nil {
			s.log.WarnContext(ctx, "read failed sign-ins: failed; the count starts from zero", "user", u.ID, "error", err)
			return
		}
		if streak.Count > 0 {
			long = append(long, key)
		}
	}
	if len(long) == 0 {
		return
	}
	if err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error { return tx.EndStreak(ctx, long...) }); err != nil {
		s.log.WarnContext(ctx, "reset failed sign-ins: failed; the count continues", "user", u.ID, "error", err)
	}
}

// refuse counts a failed attempt before it is answered. The audit entry does not
// contain the typed name, because users sometimes type their password there.
func (s *Service) refuse(ctx context.Context, u store.User, limits []limit, entry failed) error {
	keys := make([]string, len(limits))
	for i, l := range limits {
		keys[i] = l.key
	}
	var at int64
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		at = s.now().UnixMicro()
		if err := tx.AddFailure(ctx, at, keys...); err != nil {
			return err
		}
		if err := tx.AddStreak(ctx, at, limits[0].key); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: at, Action: wire.ActionSignInFailed, Actor: entry.by, Reason: entry.reason, Detail: entry.detail,
			TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
		})
	})
	if err == nil {
		s.recent.failed(limits, at)
	}
	return err
}

// limit is the number of failed attempts that a key allows.
type limit struct {
	name   string
	key    string
	most   int64
	streak bool // consecutive failures count as well
}

// route is the origin of an attempt, and the limits that apply to it. The first
// limit is the account's for that origin.
//
// An attacker who knows a name can exhaust the limit of its account, and one who
// shares an address can exhaust the limit of the address. Neither limit applies to
// an attempt from an address that the user has used, or with a token of an earlier
// session of the user. So no user can lock another out for good.
type route struct {
	limits  []limit
	network string
	unknown bool
}

// origin returns the origin whose share of places the route uses.
func (r route) origin() origin {
	return origin{account: r.limits[0].key, network: r.network, unknown: r.unknown}
}

func accountKey(nameKey string) string { return failureKey("account", nameKey) }

// originKey is the key under which routes are cached.
func originKey(nameKey string, from authz.Origin) string {
	session := ""
	if from.Presented != nil {
		session = from.Presented.ID
	}
	return failureKey("origin", nameKey, store.Network(from.Address), session)
}

func unknownRoute(nameKey string, from authz.Origin) route {
	network := store.Network(from.Address)
	return route{network: network, unknown: true, limits: []limit{
		{LimitAccount, accountKey(nameKey), maxForAccount, true},
		{LimitNetwork, failureKey("address", network), maxForAddress, false},
	}}
}

// route returns the route of an attempt.
func (s *Service) route(ctx context.Context, u store.User, nameKey string, from authz.Origin) (route, error) {
	network := store.Network(from.Address)
	own := failureKey("account from", nameKey, network)
	known := from.Presented != nil && from.Presented.Subject == u.ID
	if known {
		own = failureKey("account with", nameKey, from.Presented.ID)
	}
	// The query runs in every case: the work for an existing account is the same as
	// for any other.
	begun, err := s.store.KnownAddress(ctx, u.ID, from.Address, s.now().Add(-addressKnownFor).UnixMicro())
	if err != nil {
		return route{}, err
	}
	to := unknownRoute(nameKey, from)
	if known || begun {
		to = route{network: network, limits: []limit{{LimitAccount, own, maxForAccount, true}}}
	}
	s.recent.remember(originKey(nameKey, from), to, s.now())
	return to, nil
}

// failureKey is a hash, so that the typed name is not stored.
func failureKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// left returns how many more attempts may fail under a limit, according to the
// store. The error is a *RateLimited if none may. It counts failures within the
// last window: a caller who waits as long as RateLimited says is admitted.
func (s *Service) left(ctx context.Context, l limit) (int64, error) {
	now := s.now()
	failed, err := s.store.Failures(ctx, l.key, now.Add(-window).UnixMicro()+1)
	if err != nil {
		return 0, err
	}
	left := l.most - failed
	if left <= 0 {
		return 0, &RateLimited{RetryAfter: window, Limit: l.name}
	}
	if !l.streak {
		return left, nil
	}
	streak, err := s.store.Streak(ctx, l.key)
	if err != nil || streak.Count < maxStreak {
		return min(left, maxStreak-streak.Count), err
	}
	if wait := time.UnixMicro(streak.LastAt).Add(pause(streak.Count)).Sub(now); wait > 0 {
		return 0, &RateLimited{RetryAfter: wait, Limit: LimitStreak}
	}
	return 1, nil
}

// pause returns the time between the last of streak consecutive failures and the
// next allowed attempt.
func pause(streak int64) time.Duration {
	if streak < maxStreak {
		return 0
	}
	return min(maxPause, minPause<<min(pauseDoubling, streak-maxStreak))
}
