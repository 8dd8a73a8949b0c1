package token

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// The bounds of the optional claims name, email and groups.
const (
	maxIdentityText = 512 // bytes of a name, an email address or a group
	maxGroups       = 256

	// maxIdentityToken is the maximum length in bytes of a token with one of these
	// claims. It leaves room for the name and the attributes of a cookie, of which
	// browsers keep 4096 bytes (RFC 6265bis, section 5.6).
	maxIdentityToken = 3800
)

// WithIdentity returns the session with the claims name, email and groups replaced.
// An empty name or email, and nil groups, leave the claim out; groups that are
// empty but not nil say that the user has none. Duplicate groups are dropped.
//
// A name or an email address that no token may carry (more than 512 bytes, invalid
// UTF-8 or a control character) is left out, and so are the groups if there are more
// than 256 or one of them is such a text or empty. IdentityOmitted then reports it. A
// sign-in therefore never fails because of them.
func (s Session) WithIdentity(name, email string, groups []string) Session {
	s.Name, s.Email, s.Groups, s.IdentityOmitted = name, email, nil, false
	if name != "" && !validIdentityText(name) {
		s.Name, s.IdentityOmitted = "", true
	}
	if email != "" && !validIdentityText(email) {
		s.Email, s.IdentityOmitted = "", true
	}
	if groups != nil {
		s.Groups = make([]string, 0, len(groups))
		for _, g := range groups {
			if !slices.Contains(s.Groups, g) {
				s.Groups = append(s.Groups, g)
			}
		}
		if checkGroups(s.Groups) != nil {
			s.Groups, s.IdentityOmitted = nil, true
		}
	}
	return s
}

// omitIdentity leaves out the next of the optional claims, the longest first: all
// groups, because some of them would look like all, then the email address, then the
// name. It reports whether there was one.
func (s *Session) omitIdentity() bool {
	switch {
	case s.Groups != nil:
		s.Groups = nil
	case s.Email != "":
		s.Email = ""
	case s.Name != "":
		s.Name = ""
	default:
		return false
	}
	s.IdentityOmitted = true
	return true
}

// checkIdentity checks the values of the optional claims. Errors wrap ErrMalformed.
func (s *Session) checkIdentity() error {
	switch {
	case s.Name != "" && !validIdentityText(s.Name):
		return fmt.Errorf("%w: name is out of range", ErrMalformed)
	case s.Email != "" && !validIdentityText(s.Email):
		return fmt.Errorf("%w: email is out of range", ErrMalformed)
	}
	return checkGroups(s.Groups)
}

func checkGroups(groups []string) error {
	if len(groups) > maxGroups {
		return fmt.Errorf("%w: groups has more than %d elements", ErrMalformed, maxGroups)
	}
	for _, g := range groups {
		if !validIdentityText(g) {
			return fmt.Errorf("%w: an element of groups is out of range", ErrMalformed)
		}
	}
	if len(groups) > 1 {
		sorted := slices.Sorted(slices.Values(groups))
		if len(slices.Compact(sorted)) != len(groups) {
			return fmt.Errorf("%w: groups has an element twice", ErrMalformed)
		}
	}
	return nil
}

// validIdentityText reports whether s may be a name, an email address or a group.
// Control characters are refused, because services put these texts into headers and
// logs.
func validIdentityText(s string) bool {
	if len(s) < 1 || len(s) > maxIdentityText || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
