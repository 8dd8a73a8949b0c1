// Package token carries a session in a signed token (a JWT, RFC 7519, with the
// profile of RFC 8725) and decides whether the session may be used.
//
// [Mint] signs a [Session]; a [Validator] decides whether a token is accepted. A
// Validator needs no database: it reads keys, settings and revocations from memory,
// and its [View] says how current they are.
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
// Reasons are part of the API; the texts of errors and explanations are not.
package token

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// UnixTime is a date in whole seconds since the Unix epoch, as in a JWT. Zero means
// unset.
type UnixTime = settings.UnixTime

// A date in a token lies strictly between 0 and latestDate, in the year 5138. The
// bound is high enough for every use, and no sum of two dates overflows.
const latestDate = 100_000_000_000

func validDate(t UnixTime) bool { return 0 < t && t < latestDate }

// Session holds the claims of a token. A Session that a [Validator] returns is
// shared: do not modify it.
type Session struct {
	Issuer   string   // iss
	Audience []string // aud
	Subject  string   // sub: the user's opaque id
	ID       string   // sid: the session's id

	IssuedAt    UnixTime         // iat: when the session began; a refresh keeps it
	LastRefresh UnixTime         // last_refresh: when this token was minted
	RememberMe  bool             // remember_me: the session timeout does not apply
	Epoch       revocation.Epoch // epoch: the store's epoch clock at sign-in; a refresh keeps it
	ExpiresAt   UnixTime         // exp: when the token ends by the settings in force when it was minted
	NotBefore   UnixTime         // nbf: zero if absent

	// How the user authenticated. All of it is optional; an issuer without these
	// claims, and a session that a service has begun, leave them out.
	//
	// AuthTime is the second in which the user last authenticated, never after
	// LastRefresh; zero if unknown. It may be before IssuedAt, if an identity provider
	// remembered the user, and after it, if the user has authenticated again during
	// the session (RFC 9470). Of the claims that concern the session it is, with ACR,
	// the only claim that a refresh may change.
	AuthTime UnixTime // auth_time (OpenID Connect Core, section 2)
	ACR      string   // acr: the authentication context class, "" if absent

	// SessionExpiry is the second at which the session ends at the latest, whatever
	// the settings say; zero for no such limit. A refresh keeps it, and ExpiresAt
	// never lies beyond it. The reason is [ErrMaximumDuration].
	SessionExpiry UnixTime // session_expiry (OpenID IPSIE SL1)

	// Who the user was when this token was minted, for display and for services
	// that have no other source. All of it is optional, no rule depends on it, and
	// Curfew never reads a permission from it. A refresh replaces it: see
	// [Session.WithIdentity].
	Name   string   // name: the sign-in name, "" if absent
	Email  string   // email: "" if absent
	Groups []string // groups: nil if absent, empty but not nil for a user without groups
	// IdentityOmitted reports that the token lacks some of the three for want of
	// room: see [Mint]. An absent one is then unknown, not empty.
	IdentityOmitted bool // identity_omitted

	// KeyID is the ID of the key that signed the token: kid in the header. A
	// Validator sets it; Mint ignores it.
	KeyID string
}

// Refreshed returns the session with LastRefresh set to now and ExpiresAt set by
// the settings and SessionExpiry. LastRefresh never moves backwards nor lies before
// AuthTime, and nothing else changes. A
// refresh therefore cannot extend the session beyond its maximum duration or past a
// revocation.
//
// A sign-in is the first refresh of a new session: set IssuedAt, then call
// Refreshed.
func (s Session) Refreshed(now time.Time, in settings.Settings) Session {
	s.LastRefresh = max(s.LastRefresh, s.IssuedAt, s.AuthTime, UnixTime(now.Unix()))
	s.ExpiresAt = s.MaximumEnd(in)
	if !s.RememberMe {
		s.ExpiresAt = min(s.ExpiresAt, s.IdleEnd(in))
	}
	return s
}

// MaximumEnd returns the second at which the session reaches the maximum session
// duration, or SessionExpiry if that is earlier.
func (s Session) MaximumEnd(in settings.Settings) UnixTime {
	end := s.IssuedAt.Add(in.MaximumSessionDuration)
	if s.SessionExpiry != 0 {
		end = min(end, s.SessionExpiry)
	}
	return end
}

// IdleEnd returns the second at which the session times out if it is not refreshed.
// It does not apply to a remember-me session.
func (s Session) IdleEnd(in settings.Settings) UnixTime {
	return s.LastRefresh.Add(in.SessionTimeout)
}

// NewSessionID returns 128 random bits in base64url: 22 characters. The first is no
// hyphen, so that a command line does not take the id for a flag.
func NewSessionID() string {
	for {
		var b [16]byte
		rand.Read(b[:]) // never fails
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}

// ValidSubject reports whether id is a valid user id: 1 to 128 bytes of ASCII
// letters, digits and . _ ~ : @ - |. It refuses ".", ".." and "me", which have
// another meaning in a URL path.
func ValidSubject(id string) bool {
	if len(id) < 1 || len(id) > 128 || id == "." || id == ".." || id == "me" {
		return false
	}
	for i := range len(id) {
		if !subjectByte[id[i]] {
			return false
		}
	}
	return true
}

// ValidSessionID reports whether id is 128 bits in canonical base64url.
func ValidSessionID(id string) bool {
	if len(id) != 22 {
		return false
	}
	for i := range len(id) {
		if !base64urlByte[id[i]] {
			return false
		}
	}
	// 22 characters hold 132 bits; the last four must be zero.
	switch id[21] {
	case 'A', 'Q', 'g', 'w':
		return true
	}
	return false
}

// ValidACR reports whether acr may be the value of the claim acr: 1 to 512 bytes of
// valid UTF-8 without control characters.
func ValidACR(acr string) bool { return validIdentityText(acr) }

var (
	subjectByte   = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@-|")
	base64urlByte = byteSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
)

func byteSet(chars string) (set [256]bool) {
	for i := range len(chars) {
		set[chars[i]] = true
	}
	return set
}

// check returns nil if every claim has a value that Curfew may issue. Errors wrap
// ErrMalformed.
func (s *Session) check() error {
	switch {
	case s.Issuer == "":
		return fmt.Errorf("%w: iss is missing or empty", ErrMalformed)
	case len(s.Audience) == 0:
		return fmt.Errorf("%w: aud is missing or empty", ErrMalformed)
	}
	return s.checkValues()
}

// checkValues is check for a received token. It does not check issuer and audience:
// an empty issuer is ErrWrongIssuer and an empty audience ErrWrongAudience, which
// are reported only after the signature is verified.
func (s *Session) checkValues() error {
	switch {
	case !ValidSubject(s.Subject):
		return fmt.Errorf("%w: sub is missing or not a user id", ErrMalformed)
	case !ValidSessionID(s.ID):
		return fmt.Errorf("%w: sid is missing or not 128 bits in base64url", ErrMalformed)
	case !validDate(s.IssuedAt):
		return fmt.Errorf("%w: iat is missing or out of range", ErrMalformed)
	case !validDate(s.LastRefresh):
		return fmt.Errorf("%w: last_refresh is missing or out of range", ErrMalformed)
	case s.LastRefresh < s.IssuedAt:
		return fmt.Errorf("%w: last_refresh is before iat", ErrMalformed)
	case s.Epoch <= 0:
		return fmt.Errorf("%w: epoch is missing or out of range", ErrMalformed)
	case !validDate(s.ExpiresAt):
		return fmt.Errorf("%w: exp is missing or out of range", ErrMalformed)
	case s.NotBefore != 0 && !validDate(s.NotBefore):
		return fmt.Errorf("%w: nbf is out of range", ErrMalformed)
	case s.AuthTime != 0 && !validDate(s.AuthTime):
		return fmt.Errorf("%w: auth_time is out of range", ErrMalformed)
	case s.AuthTime > s.LastRefresh:
		return fmt.Errorf("%w: auth_time is after last_refresh", ErrMalformed)
	case s.ACR != "" && !ValidACR(s.ACR):
		return fmt.Errorf("%w: acr is out of range", ErrMalformed)
	case s.SessionExpiry != 0 && !validDate(s.SessionExpiry):
		return fmt.Errorf("%w: session_expiry is out of range", ErrMalformed)
	case s.SessionExpiry != 0 && s.ExpiresAt > s.SessionExpiry:
		return fmt.Errorf("%w: exp is after session_expiry", ErrMalformed)
	}
	return s.checkIdentity()
}
