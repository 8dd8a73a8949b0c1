package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The bounds of a password, in characters: each code point counts as one (SP 800-63B,
// section 3.1.1.2). It is never truncated.
const (
	ShortestPassword = 12
	LongestPassword  = 1024
)

// The parameters of argon2id: OWASP's Password Storage Cheat Sheet, 19 MiB and
// two passes.
const (
	owaspMemory = 19 * 1024 // KiB
	hashTime    = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// CheckPassword refuses a password that is too short, too long or easy to guess
// with knowledge of the user: context is the user's name, email and the like. The
// error is an [*Invalid] about the field.
func CheckPassword(field, password string, context ...string) error {
	switch n := utf8.RuneCountInString(password); {
	case n < ShortestPassword:
		return InvalidField(field, "must have at least %d characters, but has %d", ShortestPassword, n)
	case n > LongestPassword:
		return InvalidField(field, "must have at most %d characters, but has %d", LongestPassword, n)
	case guessable(password, context...):
		return InvalidField(field, "is easy to guess: it is common, a sequence, a repetition, or based on a name; use several unrelated words, or a password manager")
	}
	return nil
}

// GeneratePassword returns a password of 100 random bits, in groups that are easy to
// read and type.
func GeneratePassword() string {
	t := rand.Text()
	return t[0:5] + "-" + t[5:10] + "-" + t[10:15] + "-" + t[15:20]
}

// hashPassword returns the argon2id hash in the form of the PHC string format.
func hashPassword(password string, memoryKiB uint32) string {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	hash := argon2.IDKey([]byte(password), salt, hashTime, memoryKiB, hashThreads, hashLength)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		memoryKiB, hashTime, hashThreads, enc.EncodeToString(salt), enc.EncodeToString(hash))
}

// A database row must not be able to make a sign-in take all memory, or minutes.
const (
	minHashMemory  = 8       // KiB: what the algorithm needs (RFC 9106, section 3.1)
	maxHashMemory  = 1 << 20 // KiB
	maxHashTime    = 32
	maxHashThreads = 16
)

var errHashForm = errors.New("not an argon2id hash in the PHC form that this version supports")

// argonHash is a parsed hash.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

// parseHash parses a result of hashPassword, also with other parameters.
func parseHash(text string) (argonHash, error) {
	var h argonHash
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errHashForm
	}
	const form = "m=%d,t=%d,p=%d"
	if _, err := fmt.Sscanf(parts[3], form, &h.memory, &h.time, &h.threads); err != nil ||
		parts[3] != fmt.Sprintf(form, h.memory, h.time, h.threads) {
		return h, errHashForm
	}
	if h.threads < 1 || h.threads > maxHashThreads || h.time < 1 || h.time > maxHashTime ||
		h.memory < minHashMemory*uint32(h.threads) || h.memory > maxHashMemory {
		return h, errHashForm
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return h, errHashForm
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errHashForm
	}
	return h, nil
}

// current reports whether hashPassword would use the same parameters now.
func (h argonHash) current(memoryKiB uint32) bool {
	return h.memory == memoryKiB && h.time == hashTime && h.threads == hashThreads &&
		len(h.salt) == saltLength && len(h.sum) == hashLength
}

// matches hashes a password and compares.
func (h argonHash) matches(password string) bool {
	got := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.sum))) // at most 64
	return subtle.ConstantTimeCompare(got, h.sum) == 1
}
