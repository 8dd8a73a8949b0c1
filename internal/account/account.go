// Package account keeps users, their passwords and permissions, and service
// clients. Who may do what to whom is decided here, for the API, the console and
// the command line alike.
package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

var (
	// ErrBadCredentials: the name or the password is wrong, or the account cannot
	// sign in; which of them is not told.
	ErrBadCredentials = errors.New("the name or the password is wrong")
	// ErrBadClient: the client id or its secret is wrong.
	ErrBadClient = errors.New("the client id or its secret is wrong")
	// ErrBusy: more passwords are waiting to be checked than will be soon. Nothing
	// was checked; try again in a second.
	ErrBusy = errors.New("too many sign-ins at once: try again in a moment")
	// ErrLastAdministrator: nobody could administer the system any more. It wraps
	// store.ErrConflict.
	ErrLastAdministrator = fmt.Errorf("%w: this is the last enabled administrator", store.ErrConflict)
	// ErrNameTaken wraps store.ErrConflict.
	ErrNameTaken = fmt.Errorf("%w: another user has this name", store.ErrConflict)
)

// ErrForbidden is the error of a caller without the permission or capability that
// a call takes.
type ErrForbidden struct {
	Permission string
}

func (e *ErrForbidden) Error() string { return "this takes " + e.Permission }

// Forbidden returns an [ErrForbidden].
func Forbidden(permission string) error { return &ErrForbidden{Permission: permission} }

// Invalid is the error of a request with members that are wrong: all of them.
type Invalid struct {
	Fields []wire.FieldError
}

func (e *Invalid) Error() string {
	text := "invalid request"
	for i, f := range e.Fields {
		text += ":;"[min(i, 1):][:1] + " " + f.Field + " " + f.Detail
	}
	return text
}

// InvalidField returns an [Invalid] about one member.
func InvalidField(field, format string, args ...any) error {
	return &Invalid{Fields: []wire.FieldError{{Field: field, Detail: fmt.Sprintf(format, args...)}}}
}

// RateLimited is the error of a sign-in after too many failed ones. The password
// was not looked at.
type RateLimited struct {
	RetryAfter time.Duration
}

func (e *RateLimited) Error() string {
	return fmt.Sprintf("too many failed attempts: try again in %v", e.RetryAfter)
}

// Origin is where a request came from.
type Origin struct {
	Address   string // the client's IP address
	RequestID string
	Device    string // from the User-Agent
}

// Caller is who makes a call, with the permissions that the store has now.
type Caller struct {
	Actor   store.Actor
	User    *store.User    // nil if it is not a user
	Session *token.Session // nil if it is not a user
	Client  *store.Client  // nil if it is not a client
	Trusted bool           // the command line and the system itself: may do everything
}

// Can reports whether the caller is a user with the permission.
func (c Caller) Can(permission string) bool { return c.User.Has(permission) }

// IsSelf reports whether the caller is the user with the id given.
func (c Caller) IsSelf(userID string) bool { return c.User != nil && c.User.ID == userID }

func (c Caller) mayEditUsers() error {
	if c.Trusted || c.Can(store.UserEdit) || c.Can(store.AdministerSystem) {
		return nil
	}
	return Forbidden(store.UserEdit)
}

func (c Caller) administrates() error {
	if c.Trusted || c.Can(store.AdministerSystem) {
		return nil
	}
	return Forbidden(store.AdministerSystem)
}

// mayTouch: whoever edits users without administering the system cannot take over
// an administrator by a new password, name or email.
func (c Caller) mayTouch(u store.User) error {
	if err := c.mayEditUsers(); err != nil {
		return err
	}
	if isAdministrator(u) {
		return c.administrates()
	}
	return nil
}

func isAdministrator(u store.User) bool {
	for _, p := range u.Permissions {
		if p == store.AdministerSystem {
			return true
		}
	}
	return false
}

// Config configures a [Service]. Store is required.
type Config struct {
	Store store.Store
	// Applied, if not nil, is told of revocations right after their commit, to
	// apply them to this node's view.
	Applied func(revocations ...revocation.Revocation)
	// HashMemoryKiB is the memory that the hash of a password takes. Zero means 19
	// MiB, which OWASP recommends with two passes. Hashes that were made with
	// another are replaced when their users sign in.
	HashMemoryKiB uint32
	// MaxHashes is how many passwords are hashed at a time. Zero means as many as
	// processors and memory allow, at least one: see mostHashes.
	MaxHashes int
	// MaxQueue is how many more may wait. Zero means 32 for each of MaxHashes:
	// about a second.
	MaxQueue int
	Now      func() time.Time // nil means time.Now
	Logger   *slog.Logger     // nil discards
}

func (c Config) hashMemoryKiB() uint32 {
	if c.HashMemoryKiB == 0 {
		return owaspMemory
	}
	return min(max(c.HashMemoryKiB, leastHashMemory), mostHashMemory)
}

func (c Config) maxHashes() int {
	if c.MaxHashes <= 0 {
		return mostHashes(runtime.GOMAXPROCS(0), memory(), c.hashMemoryKiB())
	}
	return c.MaxHashes
}

func (c Config) maxQueue() int {
	if c.MaxQueue <= 0 {
		return 32 * c.maxHashes()
	}
	return c.MaxQueue
}

// Service is safe for concurrent use.
type Service struct {
	config Config
	store  store.Store
	now    func() time.Time
	log    *slog.Logger
	hashes *hashQueue
	tries  *tries
	decoy  argonHash // is compared when there is no other
}

// New returns a service.
func New(config Config) (*Service, error) {
	if config.Store == nil {
		return nil, errors.New("account: Config.Store is required")
	}
	decoy, err := parseHash(hashPassword(rand.Text(), config.hashMemoryKiB()))
	if err != nil {
		return nil, err
	}
	s := &Service{
		config: config, store: config.Store, now: config.Now, log: config.Logger,
		hashes: newHashQueue(config.maxHashes(), config.maxQueue()),
		tries:  newTries(),
		decoy:  decoy,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

func (s *Service) applied(revocations ...revocation.Revocation) {
	if s.config.Applied != nil && len(revocations) > 0 {
		s.config.Applied(revocations...)
	}
}

// UserCaller returns the caller of a validated session, as the store has the user
// now. One who is gone or disabled has no session: the error wraps
// token.ErrRevoked.
func (s *Service) UserCaller(ctx context.Context, sess *token.Session, from Origin) (Caller, error) {
	u, err := enabled(ctx, s.store, sess.Subject)
	if err != nil {
		return Caller{}, err
	}
	return Caller{
		Actor: store.Actor{Kind: store.ActorUser, ID: u.ID, Name: u.Name, Address: from.Address, RequestID: from.RequestID},
		User:  &u, Session: sess,
	}, nil
}

// enabled reads a user; one who is gone or disabled is token.ErrRevoked.
func enabled(ctx context.Context, r store.UserReader, id string) (store.User, error) {
	u, err := r.User(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("%w: the user does not exist", token.ErrRevoked)
	}
	if err == nil && u.Disabled {
		return u, fmt.Errorf("%w: the user is disabled", token.ErrRevoked)
	}
	return u, err
}

// again returns the caller with the permissions that r has now. In a transaction
// that holds the clock they stay as they are until the commit: what was taken from
// the caller a moment ago is gone.
func (c Caller) again(ctx context.Context, r store.UserReader) (Caller, error) {
	if c.User == nil || c.Trusted {
		return c, nil
	}
	u, err := enabled(ctx, r, c.User.ID)
	c.User = &u
	return c, err
}

// newID returns 128 random bits in base64url.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
