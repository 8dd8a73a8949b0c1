// Package account manages users, their passwords and permissions, and service
// clients. It contains every rule about permissions for that, for the API, the
// console and the command line.
package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/throttle"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

var (
	// ErrBadCredentials means that the name or the password is wrong, or that the
	// account cannot sign in. It does not say which.
	ErrBadCredentials = errors.New("the name or password is wrong")
	// ErrPasswordChangeRequired means that name and password are right, and that the
	// user must choose a new password to begin a session.
	ErrPasswordChangeRequired = errors.New("choose a new password to sign in")
	// ErrBusy means that the hash queue is full. The password was not checked; the
	// caller may try again in a second.
	ErrBusy = errors.New("too many sign-ins at once; try again in a moment")
	// ErrLastAdministrator means that no enabled administrator would remain. It
	// wraps store.ErrConflict.
	ErrLastAdministrator = fmt.Errorf("%w: this is the last enabled administrator; make another user an administrator first", store.ErrConflict)
	// ErrNameTaken wraps store.ErrConflict.
	ErrNameTaken = fmt.Errorf("%w: another user has this name or id, or a similar-looking one; choose another name", store.ErrConflict)
	// ErrAmbiguous means that a text names several users: as the name, the id or the
	// email address. See [Ambiguous].
	ErrAmbiguous = errors.New("ambiguous")
)

// Invalid is the error of a request with invalid members. It lists all of them.
type Invalid struct {
	Fields []wire.FieldError
}

func (e *Invalid) Error() string {
	var text strings.Builder
	text.WriteString("invalid request")
	for i, f := range e.Fields {
		text.WriteString(":;"[min(i, 1):][:1] + " " + f.Field + " " + f.Detail)
	}
	return text.String()
}

const maxReason = 1000 // characters

// CheckReason returns an [Invalid] if a reason cannot stand in the audit log: it is
// too long, or no text.
func CheckReason(reason string) error {
	if utf8.RuneCountInString(reason) > maxReason || !utf8.ValidString(reason) {
		return InvalidField("reason", "must be UTF-8 text of at most %d characters", maxReason)
	}
	return nil
}

// InvalidField returns an [Invalid] about one member.
func InvalidField(field, format string, args ...any) error {
	return &Invalid{Fields: []wire.FieldError{{Field: field, Detail: fmt.Sprintf(format, args...)}}}
}

// RateLimited is the error of a call that exceeds a limit. The call had no effect:
// a sign-in has not checked the password.
type RateLimited struct {
	RetryAfter time.Duration
	Limit      string // which limit it is, for metrics and log; one of a fixed set
	// Detail is for display. Empty means that too many attempts have failed. All
	// limits of sign-ins have this text, so that none reveals which accounts exist.
	Detail string
}

func (e *RateLimited) Error() string {
	return fmt.Sprintf("%s (%s): try again in %v", e.Text(), e.Limit, e.RetryAfter)
}

// Text returns Detail, or the default text if it is empty.
func (e *RateLimited) Text() string {
	if e.Detail == "" {
		return "Too many failed attempts. Try again later."
	}
	return e.Detail
}

func isAdministrator(u store.User) bool {
	return slices.Contains(u.Permissions, store.AdministerSystem)
}

// Config configures a [Service]. Store is required.
type Config struct {
	Store store.Store
	// Applied, if not nil, is called with revocations right after their commit, to
	// apply them to this node's view.
	Applied func(revocations ...revocation.Revocation)
	// Sealer returns the sealer of the client secrets of providers. It is called when a
	// secret is set or used. Nil: there is no key-encryption key, and the calls fail.
	Sealer func(context.Context) (*keyring.Sealer, error)
	// HashMemoryKiB is the memory in KiB for the hash of a password. Zero means 19
	// MiB, which OWASP recommends with two passes. A hash made with another value
	// is replaced when its user signs in.
	HashMemoryKiB uint32
	// MaxHashes is the maximum number of concurrent password hashes. Zero means as
	// many as processors and memory allow, at least one: see maxHashes.
	MaxHashes int
	// MaxQueue is the maximum number of further requests that wait. Zero means 32
	// for each of MaxHashes, which is about a second.
	MaxQueue int
	// Successes limits the successful sign-ins of an account on this node. The zero
	// value means 60 at once and then one a second; a negative Burst means no
	// limit.
	Successes throttle.Limit
	// Limited, if not nil, is called for each attempt that a limit refused, with
	// one of the Limit… constants.
	Limited func(limit string)
	// ReauthenticateWithin is the maximum age of a user's authentication for changes that
	// end or grant much at once: see authz.Caller.CheckRecent. Zero asks for none.
	ReauthenticateWithin time.Duration
	Now                  func() time.Time // nil means time.Now
	Logger               *slog.Logger     // nil discards
}

func (c Config) hashMemoryKiB() uint32 {
	if c.HashMemoryKiB == 0 {
		return owaspMemory
	}
	return min(max(c.HashMemoryKiB, minHashMemory), maxHashMemory)
}

func (c Config) maxHashes() int {
	if c.MaxHashes <= 0 {
		return maxHashes(runtime.GOMAXPROCS(0), memory(), c.hashMemoryKiB())
	}
	return c.MaxHashes
}

func (c Config) maxQueue() int {
	if c.MaxQueue <= 0 {
		return 32 * c.maxHashes()
	}
	return c.MaxQueue
}

func (c Config) successes() throttle.Limit {
	if c.Successes.Burst == 0 {
		return throttle.Limit{Burst: 60, Every: time.Second}
	}
	return c.Successes
}

// maxLookups limits how often a full queue asks the store whether an account has
// signed in from an address before.
var maxLookups = throttle.Limit{Burst: 32, Every: 50 * time.Millisecond}

// Service is safe for concurrent use.
type Service struct {
	config Config
	store  *authz.Store
	now    func() time.Time
	log    *slog.Logger
	hashes *hashQueue
	tries  *tries
	recent *recent
	decoy  argonHash // the hash to compare if there is no other

	first     firstAccount
	successes *throttle.Throttle // by name key
	lookups   *throttle.Throttle // has one key
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
		config: config, now: config.Now, log: config.Logger,
		hashes: newHashQueue(config.maxHashes(), config.maxQueue()),
		tries:  newTries(),
		recent: newRecent(),
		decoy:  decoy,

		successes: throttle.New(config.successes()),
		lookups:   throttle.New(maxLookups),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.store, s.config.Store = authz.New(config.Store, s.now), nil // from here on every write requires a caller
	s.store.ReauthenticateWithin = config.ReauthenticateWithin
	if s.config.Sealer == nil {
		s.config.Sealer = func(context.Context) (*keyring.Sealer, error) {
			return nil, errors.New("the key-encryption key, which seals client secrets, is not set")
		}
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

// UserCaller returns the caller of a session that has just been validated; see
// authz.Store.UserCaller.
func (s *Service) UserCaller(ctx context.Context, sess *token.Session, from authz.Origin) (authz.Caller, error) {
	return s.store.UserCaller(ctx, sess, from)
}

// Again checks the caller of a call that is about to be answered, as a new request
// would be checked. need is the call's requirement.
func (s *Service) Again(ctx context.Context, c authz.Caller, need authz.Need) error {
	_, err := s.store.Decide(ctx, c, need)
	return err
}

// newID returns 128 random bits in base64url, which do not begin with the hyphen of
// a command line's flag.
func newID() string {
	for {
		var b [16]byte
		rand.Read(b[:]) // never fails
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}
