package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/settings"
)

// Server is what `curfew serve` is told.
type Server struct {
	Listener
	Store

	// Issuer and Audience are kept in the store on the first start. Empty: the
	// stored ones, and on the first start those that follow from Listen.
	Issuer   string
	Audience []string
	// Lease is how long this node's view of the store may be trusted after it
	// was last confirmed, and so how long at most a revocation takes to hold
	// everywhere when something fails. 2 s to 1 h.
	Lease time.Duration
	// DatabaseWait is how long a start waits for a PostgreSQL server that is not
	// there yet. Zero: not at all.
	DatabaseWait time.Duration
	// AuditRetention is how long audit entries are kept.
	AuditRetention time.Duration
	// MaxSessions is how many sessions of a user may be live. Zero means 100;
	// negative, any number.
	MaxSessions int
	// ReauthenticateWithin is the maximum age of an administrator's authentication for
	// changes that end or grant much at once. Zero asks for none.
	ReauthenticateWithin time.Duration
	// IdentityClaims are the claims about the user that tokens carry: a part of
	// [IdentityClaims]. Nil means all; empty but not nil, none.
	IdentityClaims []string
	// InsecureShortTimeouts lowers the shortest session timeout from a minute to
	// a second, for development and tests.
	InsecureShortTimeouts bool
	// AdminPassword is the password of the account admin that the first start
	// makes. Empty: one is made up and printed once.
	AdminPassword string
}

// MinimumTimeout returns the shortest session timeout that may be set.
func (s *Server) MinimumTimeout() time.Duration { return minimumTimeout(s.InsecureShortTimeouts) }

func minimumTimeout(insecure bool) time.Duration {
	if insecure {
		return settings.InsecureMinimum
	}
	return settings.MinimumSessionTimeout
}

// Store is where the data are, and the key that opens the signing keys in them.
type Store struct {
	Database Database
	// DatabaseListen is another address of the PostgreSQL server, at which nodes
	// listen to each other's changes: behind a connection pooler in transaction mode
	// Database cannot carry that. "" means Database.
	DatabaseListen Database
	// KeyEncryptionKey seals the signing keys: 32 bytes. Nil with SQLite: it is in
	// the file beside the database. Required with PostgreSQL.
	KeyEncryptionKey []byte
}

// ServerOptions are the options of `curfew serve`.
func ServerOptions() []Option[Server] {
	options := []Option[Server]{
		{Name: "issuer", Value: "URL", Usage: "issuer of the tokens, stored on the first start; the default is http:// and the address",
			set: func(s *Server, values []string) error {
				s.Issuer = last(values)
				return checkIssuer(s.Issuer)
			}},
		{Name: "audience", Value: "NAME", Repeats: true, Usage: "audience of the tokens, stored on the first start, may repeat; the default is the issuer",
			set: setAudience},
		{Name: "lease", Value: "DURATION", Default: "15s", Usage: "how long a node and its followers accept sessions without contact: the maximum delay of a revocation if something fails",
			set: func(s *Server, values []string) (err error) {
				s.Lease, err = parseWithin(last(values), 2*time.Second, time.Hour)
				return err
			}},
		{Name: "database-wait", Value: "DURATION", Default: "60s", Usage: "how long a start waits for a PostgreSQL server that is down, starting or full; 0 for not at all",
			set: func(s *Server, values []string) (err error) {
				s.DatabaseWait, err = parseWithin(last(values), 0, 24*time.Hour)
				return err
			}},
		{Name: "audit-retention", Value: "DURATION", Default: "400d", Usage: "how long to keep audit entries",
			set: func(s *Server, values []string) (err error) {
				s.AuditRetention, err = parseWithin(last(values), 24*time.Hour, 100*365*24*time.Hour)
				return err
			}},
		{Name: "max-sessions-per-user", Value: "NUMBER", Default: "100", Usage: "maximum number of sessions of a user: when a new one starts, the oldest ends; 0 for no maximum",
			set: func(s *Server, values []string) (err error) {
				if s.MaxSessions, err = parseCount(last(values), 0, 1_000_000); err == nil && s.MaxSessions == 0 {
					s.MaxSessions = -1
				}
				return err
			}},
		{Name: "reauthenticate-within", Value: "DURATION", Default: "15m", Usage: "ask the user to authenticate again, with the password or at the identity provider, before changes that end or grant much at once, if that was longer ago than this; 0 for never",
			set: func(s *Server, values []string) (err error) {
				s.ReauthenticateWithin, err = parseWithin(last(values), 0, 400*24*time.Hour)
				if err == nil && s.ReauthenticateWithin%time.Second != 0 {
					err = errors.New("must be whole seconds")
				}
				return err
			}},
		identityOption(func(s *Server) *[]string { return &s.IdentityClaims }),
		{Name: "insecure-short-timeouts", Development: true, Usage: "allow session timeouts down to 1 second, for development and tests",
			set: func(s *Server, values []string) (err error) {
				s.InsecureShortTimeouts, err = parseSwitch(last(values))
				return err
			}},
		{Name: "admin-password", Value: "PASSWORD", Secret: true, Environment: true, Usage: "password of the account admin on the first start",
			set: func(s *Server, values []string) error {
				s.AdminPassword = last(values)
				return nil
			}},
	}
	options = append(storeOptions(func(s *Server) *Store { return &s.Store }), options...)
	return append(listenerOptions(func(s *Server) *Listener { return &s.Listener }), options...)
}

// IdentityClaims returns the names of the claims about the user that tokens may
// carry.
func IdentityClaims() []string { return []string{"name", "email", "groups"} }

// noIdentity is the value of the option for no claims.
const noIdentity = "none"

func identityOption[T any](of func(*T) *[]string) Option[T] {
	all := strings.Join(IdentityClaims(), ",")
	return Option[T]{
		Name: "identity-claims", Value: "NAMES", Default: all, Usage: "claims about the user that tokens carry: some of " + all + ", or " + noIdentity,
		set: func(into *T, values []string) (err error) {
			*of(into), err = parseIdentity(last(values))
			return err
		},
	}
}

// parseIdentity reads a list of claims. The result is never nil.
func parseIdentity(text string) ([]string, error) {
	claims := []string{}
	if text == noIdentity {
		return claims, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(IdentityClaims(), name):
			return nil, fmt.Errorf("%q is not a claim; use some of %s, separated by commas, or %s", name, strings.Join(IdentityClaims(), ","), noIdentity)
		case slices.Contains(claims, name):
			return nil, fmt.Errorf("%q is given twice", name)
		}
		claims = append(claims, name)
	}
	return claims, nil
}

func storeOptions[T any](of func(*T) *Store) []Option[T] {
	return []Option[T]{
		{Name: "database", Value: "ADDRESS", Default: DefaultDatabase, Secret: true, Usage: "sqlite:PATH or postgres://…",
			set: func(into *T, values []string) (err error) {
				of(into).Database, err = ParseDatabase(last(values))
				return err
			}},
		{Name: "database-listen", Value: "URL", Secret: true, Usage: "postgres://… that bypasses a connection pooler in transaction mode, for change notifications",
			set: func(into *T, values []string) (err error) {
				of(into).DatabaseListen, err = parseListen(last(values))
				return err
			}},
		{Name: "key-encryption-key", Value: "BASE64", Secret: true, Usage: "32 bytes in base64 that seal the signing keys; set it in the environment rather than here",
			set: func(into *T, values []string) (err error) {
				of(into).KeyEncryptionKey, err = parseKey(last(values))
				return err
			}},
	}
}

func setAudience(s *Server, values []string) error {
	s.Audience = nil
	for _, audience := range values {
		if err := checkAudience(audience); err != nil {
			return err
		}
		if slices.Contains(s.Audience, audience) {
			return fmt.Errorf("%q is given twice", audience)
		}
		s.Audience = append(s.Audience, audience)
	}
	if len(s.Audience) > 16 {
		return fmt.Errorf("%d audiences are too many; at most 16 are allowed, because every token carries them", len(s.Audience))
	}
	return nil
}

// ResolveServer returns the configuration of a server, or everything that is
// wrong with it, joined; each wraps [ErrInvalid].
func ResolveServer(source Source) (Server, error) {
	var s Server
	errs := resolve(&s, ServerOptions(), source)
	errs = append(errs, s.together()...)
	return s, errors.Join(append(errs, s.Validate()...)...)
}

// Validate reports values that are valid by themselves but not together.
func (s *Store) Validate() []error {
	var errs []error
	_, file := s.Database.SQLitePath()
	if !file && s.Database != "" && s.KeyEncryptionKey == nil {
		errs = append(errs, invalid("CURFEW_KEY_ENCRYPTION_KEY", "is required with PostgreSQL, with the same value on every node; it seals the signing keys; %s", HowToMakeKey))
	}
	if file && s.DatabaseListen != "" {
		errs = append(errs, invalid("--database-listen", "is for PostgreSQL, but --database names a SQLite file"))
	}
	return errs
}

func parseCount(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is out of range; use %d to %d", n, least, most)
	}
	return n, nil
}
