package account

import (
	"context"
	"fmt"
	"strings"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// The prefixes of a text that names a user only by id, or only by name.
const (
	byIDPrefix   = "id:"
	byNamePrefix = "name:"
)

// parseHandle reads a text that names a user: "id:…", "name:…", or a name or an id
// without a prefix.
func parseHandle(text string) (handle string, byID, byName bool) {
	if id, ok := strings.CutPrefix(text, byIDPrefix); ok {
		return id, true, false
	}
	if name, ok := strings.CutPrefix(text, byNamePrefix); ok {
		return name, false, true
	}
	return text, true, true
}

// Ambiguous is the error for a text that is the name of one user and the id of
// another. Such users can no longer be created, but an earlier release could create
// them. It wraps [ErrAmbiguous].
type Ambiguous struct {
	Text          string
	Named, WithID store.User
	More          int // how many other texts are ambiguous, too
}

func (e *Ambiguous) Error() string {
	text := fmt.Sprintf("%q is ambiguous: it is the name of user %s and the id of user %q; write %s%s or %s%s",
		e.Text, e.Named.ID, e.WithID.Name, byNamePrefix, e.Text, byIDPrefix, e.Text)
	if e.More > 0 {
		text += fmt.Sprintf(" (and %d more such names)", e.More)
	}
	return text
}

func (e *Ambiguous) Unwrap() error { return ErrAmbiguous }

// FindUser returns the user with a name or an id; the prefixes "id:" and "name:"
// select one. The error wraps store.ErrNotFound, or is an [*Ambiguous].
func (s *Service) FindUser(ctx context.Context, text string) (store.User, error) {
	found, unknown, err := s.find(ctx, []string{text})
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("%w: no user has the name or id %q", store.ErrNotFound, text)
	}
	if err != nil {
		return store.User{}, err
	}
	return found[0], nil
}

// FindUsers returns the users that the texts name (see [Service.FindUser]), each
// once, in the order of first mention, and the texts that name no user. If a text
// is ambiguous, the error says so and no user is returned.
func (s *Service) FindUsers(ctx context.Context, c Caller, texts []string) (found []store.User, unknown []string, err error) {
	if err := c.MayEditUsers(); err != nil {
		return nil, nil, err
	}
	return s.find(ctx, texts)
}

func (s *Service) find(ctx context.Context, texts []string) (found []store.User, unknown []string, err error) {
	keys := make([]string, 0, len(texts))
	ids := make([]string, 0, len(texts))
	for _, text := range texts {
		handle, byID, byName := parseHandle(text)
		if _, key, err := NormalizeName(handle); byName && err == nil {
			keys = append(keys, key)
		}
		if byID && token.ValidSubject(handle) {
			ids = append(ids, handle)
		}
	}
	users, err := s.store.UsersNamed(ctx, ids, keys)
	if err != nil {
		return nil, nil, err
	}
	withID, named := map[string]store.User{}, map[string]store.User{}
	for _, u := range users {
		withID[u.ID], named[u.NameKey] = u, u
	}
	var ambiguous *Ambiguous
	seen := map[string]bool{}
	for _, text := range texts {
		handle, byID, byName := parseHandle(text)
		u, isID := withID[handle]
		isID = isID && byID
		other, isName := store.User{}, false
		if _, key, err := NormalizeName(handle); byName && err == nil {
			other, isName = named[key]
		}
		if isName && !isID {
			u = other
		}
		switch {
		case isID && isName && u.ID != other.ID && ambiguous != nil:
			ambiguous.More++
		case isID && isName && u.ID != other.ID:
			ambiguous = &Ambiguous{Text: text, Named: other, WithID: u}
		case !isID && !isName:
			unknown = append(unknown, text)
		case !seen[u.ID]:
			seen[u.ID] = true
			found = append(found, u)
		}
	}
	if ambiguous != nil {
		return nil, nil, ambiguous
	}
	return found, unknown, nil
}
