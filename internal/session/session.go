// Package session begins, refreshes, ends and revokes sessions. It contains every
// rule about permissions for that, so that the API, the console and the command
// line apply the same rules.
package session

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// View is this node's view of the store, as the service needs it. *feed.Node
// implements it; the command line, which has no view, uses its own implementation.
type View interface {
	// CatchUp returns nil once the view includes everything committed before the call.
	CatchUp(ctx context.Context) error
	// Keys returns the keys trusted in that view.
	Keys() token.KeySource
	// Applied merges revocations that this process has committed.
	Applied(revocations ...revocation.Revocation)
	// AppliedUpTo reads until the view contains what this process has committed at
	// epoch.
	AppliedUpTo(ctx context.Context, epoch revocation.Epoch) error
	// Enforcement reports how many validators enforce epoch, after waiting at most
	// wait for all of them. committed is the time at which the commit returned;
	// zero if not known.
	Enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration) (feed.Enforcement, error)
}

var _ View = (*feed.Node)(nil)

// Config configures a [Service]. The first four fields are required.
type Config struct {
	Store    store.Store
	Accounts *account.Service
	Ring     *keyring.Ring
	View     View
	// Installation holds issuer and audience.
	Installation store.Installation
	// Installed, if not nil, returns the installation as it is now, for a process that
	// outlives a change of the issuer. Nil: Installation.
	Installed func() store.Installation
	// MinimumTimeout is the minimum session timeout that may be set. Zero means
	// settings.MinimumSessionTimeout.
	MinimumTimeout time.Duration
	// AuditRetention is the time after which audit entries are removed. Zero means
	// 400 days.
	AuditRetention time.Duration
	// MaxSessions is the maximum number of live sessions of a user. When another
	// begins, the oldest ends. Zero means 100; a negative value means no limit.
	MaxSessions int
	// IdentityClaims are the claims about the user that tokens carry: a part of
	// [IdentityClaims]. Nil means all of them; empty but not nil, none.
	IdentityClaims []string
	// Limits are the limits on a user's writes. The zero value means the defaults.
	Limits Limits
	// Limited, if not nil, is called for each call that a limit refused, with one
	// of the Limit… constants.
	Limited func(limit string)
	// SignedIn, if not nil, is called with the result of each sign-in with a
	// password.
	SignedIn func(error)
	// Closed, if not nil, is called for each receipt that this process has closed, with
	// store.ByConfirmation or store.ByLease and the time since the commit.
	Closed func(by string, took time.Duration)
	// ReauthenticateWithin is the maximum age of a user's authentication for changes that
	// end or grant much at once: see authz.Caller.CheckRecent. Zero asks for none.
	ReauthenticateWithin time.Duration
	Now                  func() time.Time // nil means time.Now
	Logger               *slog.Logger     // nil discards
}

// issuer returns the issuer and the audiences of new tokens.
func (c Config) issuer() (issuer string, audience []string) {
	in := c.Installation
	if c.Installed != nil {
		in = c.Installed()
	}
	return in.Issuer, in.Audience
}

func (c Config) auditRetention() time.Duration {
	if c.AuditRetention == 0 {
		return 400 * 24 * time.Hour
	}
	return c.AuditRetention
}

// Service is safe for concurrent use.
type Service struct {
	config Config
	store  *authz.Store
	now    func() time.Time
	log    *slog.Logger
	limits limits
	group  group

	closings batches[*closing]
	wake     chan struct{} // has a value when there may be open receipts of this process

	identity identity
}

// New returns a service. Close it after use.
func New(config Config) *Service {
	s := &Service{config: config, now: config.Now, log: config.Logger, limits: newLimits(config.Limits), identity: config.identity(), wake: make(chan struct{}, 1)}
	if s.now == nil {
		s.now = time.Now
	}
	s.store, s.config.Store = authz.New(config.Store, s.now), nil // from here on every write requires a caller
	s.store.ReauthenticateWithin = config.ReauthenticateWithin
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.group.service = s
	return s
}

// Close waits for pending commits.
func (s *Service) Close() {
	s.group.batches.running.Wait()
	s.closings.running.Wait()
}

// Issued is a session with its newly minted token.
type Issued struct {
	Token   string // "" if none was minted: see Describe
	Session token.Session
	User    store.User
	InForce settings.InForce
}

// Describe returns the caller's session, without a token, with the claims about the
// user that a refresh would put into its token. It extends nothing.
func (s *Service) Describe(ctx context.Context, sess *token.Session) (Issued, error) {
	in, err := s.store.Settings(ctx)
	if err != nil {
		return Issued{}, err
	}
	u, err := s.subject(ctx, s.store, sess)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Session: s.identity.identify(*sess, u), User: u, InForce: in.InForce}, nil
}

// subject returns the user of a session as the store has it now. A user who was
// deleted or disabled has no session. Disabling revokes, so this check only matters
// while the view has not seen the revocation yet.
func (s *Service) subject(ctx context.Context, r store.Reader, sess *token.Session) (store.User, error) {
	u, err := r.User(ctx, sess.Subject)
	if isNotFound(err) {
		return u, fmt.Errorf("%w: the user does not exist", token.ErrRevoked)
	}
	if err == nil && u.Disabled {
		return u, fmt.Errorf("%w: the user is disabled", token.ErrRevoked)
	}
	return u, err
}

// userActor returns the audit actor for a user who is not a Caller yet.
func userActor(id, name string, from authz.Origin) store.Actor {
	return store.Actor{Kind: store.ActorUser, ID: id, Name: name, Address: from.Address, RequestID: from.RequestID}
}
