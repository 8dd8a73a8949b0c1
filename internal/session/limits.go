package session

import (
	"context"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/throttle"
)

// The limits, as metrics and log name them.
const (
	LimitOwn      = "revocations_own"    // a user's revocations of their own sessions
	LimitPassword = "password"           // a user's changes and confirmations of their own password
	LimitRefresh  = "refresh"            // refreshes of a session
	LimitOthers   = "revocations_others" // revocations of one user by another
	LimitMany     = "revocations_many"   // bulk revocations by an administrator
	LimitRefusals = "provider_refusals"  // refused sign-ins through providers in the audit log
)

// Limits are the limits on a user's writes, on this node. Sign-out, which ends only
// the user's own session, has no limit; the command line has none either. A limit
// with a negative Burst refuses nothing; the zero value means the default.
type Limits struct {
	// Own is by user. Zero means 120 at once, then one a second.
	Own throttle.Limit
	// Password is by user. Zero means 10 at once, then one in 10 s.
	Password throttle.Limit
	// Refresh is by session. Zero means 600 at once, then ten a second.
	Refresh throttle.Limit
	// Others is by actor and target, for holders of UserEdit. Zero means 10 at
	// once, then one a minute, so that the target has a minute to sign in and take
	// the permission away.
	Others throttle.Limit
	// OthersSession is the same for single sessions. Zero means 120 at once, then
	// one in 30 s.
	OthersSession throttle.Limit
	// Administrator replaces both for holders of AdministerSystem. Zero means 600
	// at once, then ten a second.
	Administrator throttle.Limit
	// Many is by actor; a call counts once, however many users it names. Zero means
	// 120 at once, then one a second.
	Many throttle.Limit
	// RefusedSubject and RefusedNetwork are of the audit entries about refused sign-ins
	// through providers: by account at the provider, zero means 10 at once, then one in
	// 6 s; by network, zero means 30 at once, then one in 2 s.
	RefusedSubject, RefusedNetwork throttle.Limit
}

type limits struct {
	own, password, refresh, others, othersSession, administrator, many, refusedSubject, refusedNetwork *throttle.Throttle
}

func newLimits(l Limits) limits {
	of := func(given throttle.Limit, burst int, every time.Duration) *throttle.Throttle {
		if given.Burst == 0 {
			given = throttle.Limit{Burst: burst, Every: every}
		}
		return throttle.New(given)
	}
	return limits{
		own:           of(l.Own, 120, time.Second),
		password:      of(l.Password, 10, 10*time.Second),
		refresh:       of(l.Refresh, 600, 100*time.Millisecond),
		others:        of(l.Others, 10, time.Minute),
		othersSession: of(l.OthersSession, 120, 30*time.Second),
		administrator: of(l.Administrator, 600, 100*time.Millisecond),
		many:          of(l.Many, 120, time.Second),

		refusedSubject: of(l.RefusedSubject, 10, 6*time.Second),
		refusedNetwork: of(l.RefusedNetwork, 30, 2*time.Second),
	}
}

// take returns an *account.RateLimited if a limit is reached. strikes means that
// this is the first refused call after an accepted one.
func (s *Service) take(name string, by *throttle.Throttle, key string) (strikes bool, err error) {
	wait, first := by.Take(key, s.now())
	if wait == 0 {
		return false, nil
	}
	if s.config.Limited != nil {
		s.config.Limited(name)
	}
	return first, &account.RateLimited{RetryAfter: wait, Limit: name, Detail: "Too many changes in a short time. Try again later."}
}

// limitRevoking limits the revocations of a user's sessions, of all or of a single
// one.
func (s *Service) limitRevoking(ctx context.Context, c authz.Caller, userID string, single bool) error {
	switch {
	case c.Trusted || c.User == nil:
		return nil
	case c.IsSelf(userID):
		_, err := s.take(LimitOwn, s.limits.own, userID)
		return err
	}
	by := s.limits.others
	switch {
	case c.Can(store.AdministerSystem):
		by = s.limits.administrator
	case single:
		by = s.limits.othersSession
	}
	strikes, err := s.take(LimitOthers, by, c.User.ID+" "+userID)
	if strikes {
		s.log.WarnContext(ctx, "revocation limit reached: a user repeatedly revokes another user's sessions; if this is not intended, remove the UserEdit permission",
			"actor", c.User.ID, "target", userID, "limit", LimitOthers)
	}
	return err
}

// limitMany limits bulk revocations.
func (s *Service) limitMany(ctx context.Context, c authz.Caller) error {
	if c.Trusted || c.User == nil {
		return nil
	}
	strikes, err := s.take(LimitMany, s.limits.many, c.User.ID)
	if strikes {
		s.log.WarnContext(ctx, "revocation limit reached: a user repeatedly makes bulk revocations; if this is not intended, remove the AdministerSystem permission", "actor", c.User.ID, "limit", LimitMany)
	}
	return err
}

// tooManyRefusals reports whether the audit log has enough entries about refusals of a
// subject, or of a network, for now. Then the log has a line, once until the next entry.
func (s *Service) tooManyRefusals(ctx context.Context, a ProviderSignIn, from authz.Origin) bool {
	for _, by := range []struct {
		limit *throttle.Throttle
		key   string
	}{
		{s.limits.refusedSubject, a.Issuer + " " + a.Subject}, {s.limits.refusedNetwork, store.Network(from.Address)},
	} {
		strikes, err := s.take(LimitRefusals, by.limit, by.key)
		if strikes {
			s.log.WarnContext(ctx, "sign-ins through a provider are refused repeatedly; some refusals are not in the audit log",
				"provider", a.Provider, "issuer", a.Issuer, "subject", a.Subject, "address", from.Address, "limit", LimitRefusals)
		}
		if err != nil {
			return true
		}
	}
	return false
}

// limitPassword limits changes of passwords: those of the caller's own password,
// and those of another user's, which also revoke that user's sessions.
func (s *Service) limitPassword(ctx context.Context, c authz.Caller, userID string) error {
	if c.Trusted || c.User == nil || !c.IsSelf(userID) {
		return s.limitRevoking(ctx, c, userID, false)
	}
	_, err := s.take(LimitPassword, s.limits.password, userID)
	return err
}
