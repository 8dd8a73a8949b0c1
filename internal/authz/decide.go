package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// facts are the rows by which callers are decided, and the time.
type facts struct {
	now      time.Time
	within   time.Duration // see Store.ReauthenticateWithin
	settings settings.InForce
	issuers  store.Installation
	keys     []store.Key
	revoked  map[revocation.Scope]revocation.Epoch
	users    map[string]store.User
	sessions map[string]store.Session
	clients  map[string]store.Client
}

// load reads the rows by which the callers are decided, and the users with the
// given ids. It uses one statement for each kind of row, however many callers there
// are.
func (s *Store) load(ctx context.Context, r store.Reader, callers []Caller, users []string) (*facts, error) {
	f := &facts{now: s.now(), within: s.ReauthenticateWithin, clients: map[string]store.Client{}, sessions: map[string]store.Session{}}
	var sessions []*token.Session
	users = slices.Clone(users)
	for _, c := range callers {
		switch {
		case c.Trusted:
		case c.Session != nil:
			sessions = append(sessions, c.Session)
			users = append(users, c.Session.Subject)
		case c.Client != nil:
			f.clients[c.Client.ID] = store.Client{}
		}
	}
	if err := f.loadUsers(ctx, r, distinct(users)); err != nil {
		return nil, err
	}
	if err := f.loadClients(ctx, r); err != nil {
		return nil, err
	}
	if len(sessions) == 0 {
		return f, nil
	}
	return f, f.loadSessions(ctx, r, sessions)
}

// distinct sorts values and removes duplicates.
func distinct(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

func (f *facts) loadUsers(ctx context.Context, r store.Reader, ids []string) error {
	f.users = make(map[string]store.User, len(ids))
	if len(ids) == 0 {
		return nil
	}
	users, err := r.UsersNamed(ctx, ids, nil)
	for _, u := range users {
		f.users[u.ID] = u
	}
	return err
}

// loadClients reads the clients whose ids are in f.clients. There are only a few.
func (f *facts) loadClients(ctx context.Context, r store.Reader) error {
	for id := range f.clients {
		client, err := r.Client(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			delete(f.clients, id)
		case err != nil:
			return err
		default:
			f.clients[id] = client
		}
	}
	return nil
}

func (f *facts) loadSessions(ctx context.Context, r store.Reader, sessions []*token.Session) error {
	in, err := r.Settings(ctx)
	if err != nil {
		return err
	}
	f.settings = in.InForce
	// Without an installation no token has been issued.
	if f.issuers, err = r.Installation(ctx); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if f.keys, err = r.Keys(ctx); err != nil {
		return err
	}
	var subjects, ids, carrying []string
	for _, s := range sessions {
		subjects, ids = append(subjects, s.Subject), append(ids, s.ID)
		if len(f.users[s.Subject].Permissions) > 0 {
			carrying = append(carrying, s.ID)
		}
	}
	revoked, err := r.RevocationsOf(ctx, distinct(subjects), distinct(ids))
	if err != nil {
		return err
	}
	f.revoke(revoked...)
	if len(carrying) == 0 { // the row only says whether the session carries permissions
		return nil
	}
	rows, err := r.SessionsNamed(ctx, distinct(carrying))
	for _, row := range rows {
		f.sessions[row.ID] = row
	}
	return err
}

// revoke adds revocations to the facts.
func (f *facts) revoke(revocations ...revocation.Revocation) {
	if f.revoked == nil {
		f.revoked = map[revocation.Scope]revocation.Epoch{}
	}
	for _, r := range revocations {
		f.revoked[r.Scope] = max(f.revoked[r.Scope], r.Epoch)
	}
}

// errNoNeed is an error of a service: a call that does not say what it requires is
// refused.
var errNoNeed = errors.New("authz: the call does not say what it requires of its caller")

// decide is the only function that decides a caller. It returns the caller with the
// data of the facts, or the error that a new request would get: for a user an error
// of package token, for a client [ErrBadClient], and [ErrForbidden] for both.
func (f *facts) decide(c Caller, need Need) (Caller, error) {
	var err error
	switch {
	case c.Trusted:
	case c.Session != nil:
		c, err = f.decideSession(c)
	case c.Client != nil:
		c, err = f.decideClient(c)
	default:
		c = Caller{Actor: c.Actor} // a user or a secret without proof
	}
	if err != nil {
		return Caller{}, err
	}
	if need == nil {
		return Caller{}, errNoNeed
	}
	if err := need(c); err != nil {
		return Caller{}, err
	}
	if err := c.MayContinue(); err != nil {
		return Caller{}, err
	}
	return c, nil
}

// decideSession applies the rules of token.Validator that change with time, in
// its order, and then those about the user.
func (f *facts) decideSession(c Caller) (Caller, error) {
	s := c.Session
	if !slices.ContainsFunc(f.keys, func(k store.Key) bool { return k.ID == s.KeyID && trusted(k.State) }) {
		return c, fmt.Errorf("%w: the key is no longer trusted", token.ErrUnknownKey)
	}
	if !f.accepts(s.Issuer) {
		return c, fmt.Errorf("%w: want %q", token.ErrWrongIssuer, f.issuers.Issuer)
	}
	if err := s.CheckTime(&f.settings, f.now); err != nil {
		return c, err
	}
	before := max(f.revoked[revocation.Everyone()], f.revoked[revocation.User(s.Subject)], f.revoked[revocation.Session(s.ID)])
	if s.RememberMe {
		before = max(before, f.revoked[revocation.Remembered()])
	}
	if s.Epoch < before {
		return c, &token.RevokedError{Before: before}
	}
	u, exists := f.users[s.Subject]
	if err := usable(u, exists); err != nil {
		return c, err
	}
	var began *store.Session
	if row, ok := f.sessions[s.ID]; ok {
		began = &row
	}
	u = Permitted(u, began)
	c.User, c.Client, c.SecretHash = &u, nil, ""
	c.old = tooOld(s, f.within, f.now)
	return c, nil
}

// accepts reports whether tokens of an issuer are accepted: of the present one, and of
// a former one until its end.
func (f *facts) accepts(issuer string) bool {
	return issuer == f.issuers.Issuer || slices.ContainsFunc(f.issuers.Former, func(former store.FormerIssuer) bool {
		return former.Issuer == issuer && former.Until > f.now.Unix()
	})
}

// trusted reports whether tokens signed with a key in this state are accepted. An
// unknown state is not trusted, because it may mean that trust has ended.
func trusted(state string) bool {
	return state == store.KeyNext || state == store.KeyActive || state == store.KeyRetiring
}

// usable returns an error that wraps token.ErrRevoked for a user that does not
// exist or is disabled: such a user has no session.
func usable(u store.User, exists bool) error {
	switch {
	case !exists:
		return fmt.Errorf("%w: the user does not exist", token.ErrRevoked)
	case u.Disabled:
		return fmt.Errorf("%w: the user is disabled", token.ErrRevoked)
	}
	return nil
}

// decideClient checks the client and the secret that it has proven.
func (f *facts) decideClient(c Caller) (Caller, error) {
	client, exists := f.clients[c.Client.ID]
	if !exists || !HasSecret(client, c.SecretHash, f.now) {
		return c, ErrBadClient
	}
	c.Client, c.User, c.old = &client, nil, nil
	return c, nil
}
