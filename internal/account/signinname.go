package account

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// signInName is the text that was typed as a name at a sign-in.
type signInName struct {
	// key is what attempts are counted by: the name key of the text. An address and
	// the name of its user are counted apart. If they were counted together, an
	// attacker could find out which address belongs to which name: after too many
	// attempts with the one, the other would be refused as well.
	key   string
	email string // the text as an address; "" if it is none
}

// noNameKey begins the keys of texts that cannot be names. No name has a control
// character in its key.
const noNameKey = "\x01"

// readSignInName reads the name typed at a sign-in. It never fails: a text that is
// neither a name nor an address belongs to no user.
func readSignInName(text string) signInName {
	_, key, err := NormalizeName(text)
	if err != nil {
		key = noNameKey
	}
	address := emailTyped(text)
	if checkEmail(address) != nil {
		return signInName{key: key}
	}
	if err != nil { // longer than a name
		key = noNameKey + nameKey(address)
	}
	return signInName{key: key, email: address}
}

// emailTyped returns an email address as it is stored and looked up: in NFC, as
// keyboards write it, without spaces around it.
func emailTyped(text string) string { return norm.NFC.String(strings.TrimSpace(text)) }

// userTyped returns the user that a typed text names; the zero User if there is none.
// It makes the same queries whether there is one or not.
func (s *Service) userTyped(ctx context.Context, typed signInName) (store.User, error) {
	named, err := found(s.store.UserByName(ctx, typed.key))
	if err != nil || typed.email == "" {
		return named, err
	}
	mailed, err := found(s.store.UserByEmail(ctx, typed.email))
	if named.ID != "" {
		return named, err
	}
	return mailed, err
}

// found returns the zero User instead of store.ErrNotFound.
func found(u store.User, err error) (store.User, error) {
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, nil
	}
	return u, err
}

// unlikeOtherUsers refuses a new name that is the email address of another user, and a new
// address that is the name of another user: both are sign-in names, and operators name
// users by both. It checks only what differs from before, the zero User for a new one, so
// that users who break the rule already can be changed. It locks the names.
func unlikeOtherUsers(ctx context.Context, tx store.Tx, before, u store.User) error {
	named, mailed := u.NameKey != before.NameKey, store.EmailKey(u.Email) != store.EmailKey(before.Email)
	if !named && !mailed {
		return nil
	}
	if err := tx.LockNames(ctx); err != nil {
		return err
	}
	var wrong Invalid
	if named {
		taken, err := nameIsAddress(ctx, tx, u)
		if err != nil {
			return err
		}
		if taken {
			wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "name", Detail: "is the email address of another user"})
		}
	}
	if mailed {
		taken, err := addressIsName(ctx, tx, u)
		if err != nil {
			return err
		}
		if taken {
			wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "email", Detail: "is the sign-in name of another user"})
		}
	}
	if len(wrong.Fields) > 0 {
		return &wrong
	}
	return nil
}

// nameIsAddress reports whether the name of u is the email address of another user.
func nameIsAddress(ctx context.Context, tx store.Tx, u store.User) (bool, error) {
	mailed, err := tx.UsersWithEmails(ctx, []string{u.Name, u.NameKey})
	return slices.ContainsFunc(mailed, func(other store.User) bool { return other.ID != u.ID }), err
}

// addressIsName reports whether the email address of u is the name of another user.
func addressIsName(ctx context.Context, tx store.Tx, u store.User) (bool, error) {
	_, key, err := NormalizeName(u.Email)
	if err != nil {
		return false, nil //nolint:nilerr // no user has such a name
	}
	named, err := found(tx.UserByName(ctx, key))
	return named.ID != "" && named.ID != u.ID, err
}

// accountKeys are the keys by which failed sign-ins of a user are counted.
func accountKeys(u store.User) []string {
	keys := []string{accountKey(u.NameKey)}
	if u.Email != "" {
		keys = append(keys, accountKey(readSignInName(u.Email).key))
	}
	return keys
}
