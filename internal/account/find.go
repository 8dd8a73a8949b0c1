package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/authz"
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

// Handle returns a text that names a user without its prefix.
func Handle(text string) string {
	handle, _, _ := parseHandle(text)
	return handle
}

// Ambiguous is the error for a text that names several users: it is the name, the id
// or the email address of different ones, or an address that several have. It wraps
// [ErrAmbiguous].
type Ambiguous struct {
	Text string
	More int // how many other texts are ambiguous, too

	meanings []meaning // two
}

// meaning is one user that a text names, and what of the user it is.
type meaning struct {
	what string // "name", "id" or "email address"
	user store.User
}

func (e *Ambiguous) Error() string {
	var is, write []string
	for _, m := range e.meanings {
		switch m.what {
		case "name":
			is = append(is, "the name of user "+m.user.ID)
			write = append(write, byNamePrefix+e.Text)
		case "id":
			is = append(is, fmt.Sprintf("the id of user %q", m.user.Name))
			write = append(write, byIDPrefix+e.Text)
		default:
			is = append(is, fmt.Sprintf("the %s of user %q", m.what, m.user.Name))
			write = append(write, byIDPrefix+m.user.ID)
		}
	}
	text := fmt.Sprintf("%q is ambiguous: it is %s; write %s", e.Text, strings.Join(is, " and "), strings.Join(write, " or "))
	if e.More > 0 {
		text += fmt.Sprintf(" (and %d more such names)", e.More)
	}
	return text
}

func (e *Ambiguous) Unwrap() error { return ErrAmbiguous }

// FindUser returns the user with a name or an id, or the only user with an email
// address; the prefixes "id:" and "name:" select one. The error wraps
// store.ErrNotFound, or is an [*Ambiguous].
func (s *Service) FindUser(ctx context.Context, text string) (store.User, error) {
	named, err := s.named(ctx, []string{text})
	if err != nil {
		return store.User{}, err
	}
	return named.one(text)
}

// Match returns the user that a text names as FindUser does, for a program without a
// store. Candidates are the user whose id the text is, and the users whose name or
// email address begins with it: see [Searches].
func Match(text string, candidates []store.User) (store.User, error) {
	n := names{map[string]store.User{}, map[string]store.User{}, map[string][]store.User{}}
	for _, u := range candidates {
		if _, known := n.byID[u.ID]; known {
			continue
		}
		n.byID[u.ID] = u
		if _, key, err := NormalizeName(u.Name); err == nil {
			n.byKey[key] = u
		}
		if u.Email != "" {
			key := store.EmailKey(u.Email)
			n.byEmail[key] = append(n.byEmail[key], u)
		}
	}
	return n.one(text)
}

// Searches returns what to look for to have the candidates of [Match]: a user with
// an id, and users whose name or email address begins with a text. "" means nothing.
func Searches(text string) (id, beginning string) {
	h := readHandle(text)
	beginning = h.email
	if h.key != "" {
		rest, _, _ := parseHandle(text)
		beginning, _, _ = NormalizeName(rest) // without an error, as there is a key
	}
	return h.id, beginning
}

// one returns the user that a text names.
func (n names) one(text string) (store.User, error) {
	switch meant := n.by(text); len(meant) {
	case 0:
		return store.User{}, fmt.Errorf("%w: no user has the name, id or email address %q", store.ErrNotFound, text)
	case 1:
		return meant[0].user, nil
	default:
		return store.User{}, &Ambiguous{Text: text, meanings: meant[:2]}
	}
}

// FindUsers returns the users that the texts name (see [Service.FindUser]), each
// once, in the order of first mention, and the texts that name no user. If a text
// is ambiguous, the error says so and no user is returned.
func (s *Service) FindUsers(ctx context.Context, c authz.Caller, texts []string) (found []store.User, unknown []string, err error) {
	if err := c.MayEditUsers(); err != nil {
		return nil, nil, err
	}
	return s.find(ctx, texts)
}

func (s *Service) find(ctx context.Context, texts []string) (found []store.User, unknown []string, err error) {
	named, err := s.named(ctx, texts)
	if err != nil {
		return nil, nil, err
	}
	var ambiguous *Ambiguous
	seen := map[string]bool{}
	for _, text := range texts {
		switch meant := named.by(text); {
		case len(meant) == 0:
			unknown = append(unknown, text)
		case len(meant) > 1 && ambiguous != nil:
			ambiguous.More++
		case len(meant) > 1:
			ambiguous = &Ambiguous{Text: text, meanings: meant[:2]}
		case !seen[meant[0].user.ID]:
			seen[meant[0].user.ID] = true
			found = append(found, meant[0].user)
		}
	}
	if ambiguous != nil {
		return nil, nil, ambiguous
	}
	return found, unknown, nil
}

// names are users by what may name them.
type names struct {
	byID, byKey map[string]store.User
	byEmail     map[string][]store.User // by key of the address
}

// named reads all users that any of the texts may name.
func (s *Service) named(ctx context.Context, texts []string) (names, error) {
	n := names{map[string]store.User{}, map[string]store.User{}, map[string][]store.User{}}
	var ids, keys, emails []string
	for _, text := range texts {
		h := readHandle(text)
		if h.id != "" {
			ids = append(ids, h.id)
		}
		if h.key != "" {
			keys = append(keys, h.key)
		}
		if h.email != "" {
			emails = append(emails, h.email)
		}
	}
	users, err := s.store.UsersNamed(ctx, ids, keys)
	if err != nil {
		return n, err
	}
	for _, u := range users {
		n.byID[u.ID], n.byKey[u.NameKey] = u, u
	}
	if users, err = s.store.UsersWithEmails(ctx, emails); err != nil {
		return n, err
	}
	for _, u := range users {
		key := store.EmailKey(u.Email)
		n.byEmail[key] = append(n.byEmail[key], u)
	}
	return n, nil
}

// by returns the different users that a text names.
func (n names) by(text string) []meaning {
	h := readHandle(text)
	var meant []meaning
	add := func(what string, u store.User) {
		if !slices.ContainsFunc(meant, func(m meaning) bool { return m.user.ID == u.ID }) {
			meant = append(meant, meaning{what, u})
		}
	}
	if u, ok := n.byKey[h.key]; ok && h.key != "" {
		add("name", u)
	}
	if u, ok := n.byID[h.id]; ok && h.id != "" {
		add("id", u)
	}
	if h.email != "" {
		for _, u := range n.byEmail[store.EmailKey(h.email)] {
			add("email address", u)
		}
	}
	return meant
}

// handle is what a text may be: a user's id, name key or email address. "" means that
// it cannot be one.
type handle struct{ id, key, email string }

func readHandle(text string) handle {
	var h handle
	rest, byID, byName := parseHandle(text)
	if byID && token.ValidSubject(rest) {
		h.id = rest
	}
	if _, key, err := NormalizeName(rest); byName && err == nil {
		h.key = key
	}
	if address := emailTyped(rest); byID && byName && checkEmail(address) == nil {
		h.email = address
	}
	return h
}
