package authz

import (
	"context"
	"errors"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Store is a store that writes for a caller only after it has decided the caller in
// the same transaction. It is safe for concurrent use. Reads are not decided: a
// service that reads for a caller uses the caller's methods.
type Store struct {
	store.Reader
	raw store.Store
	now func() time.Time

	// ReauthenticateWithin is the maximum age of a user's authentication for the
	// operations that ask for a recent one: see Caller.CheckRecent. Zero asks for none.
	// Set it before the first use.
	ReauthenticateWithin time.Duration
}

// New returns a Store on s. now nil means time.Now.
func New(s store.Store, now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{Reader: s, raw: s, now: now}
}

// Tx is a transaction that writes for one decided caller.
type Tx struct {
	store.Tx
	// Caller is the caller with the permissions or the capabilities that the
	// transaction has read.
	Caller Caller
	// Epoch is the transaction's reading of the clock; 0 within [Store.Record].
	Epoch revocation.Epoch
	// InForce and SigningKeys are the values by which a session was decided; zero
	// and nil if the caller has none.
	InForce     settings.InForce
	SigningKeys []store.Key
}

// Update runs write in one transaction, as store.Store.Update does, for a change of
// shared state. It advances the epoch clock, whose lock orders the transaction
// among all revocations, and decides the caller. It calls write only if the caller
// may continue and satisfies need. Otherwise nothing is written, and the error is
// the same as for a new request.
func (s *Store) Update(ctx context.Context, c Caller, need Need, write func(Tx) error) error {
	return s.raw.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		return s.writeFor(ctx, Tx{Tx: tx, Epoch: epoch}, c, need, write)
	})
}

// Record is [Store.Update] for changes that validators do not need: a new user, or
// the begin or refresh of a session. It holds the epoch clock without advancing it,
// so that no revocation commits before the transaction has ended.
func (s *Store) Record(ctx context.Context, c Caller, need Need, write func(Tx) error) error {
	return s.raw.Update(ctx, func(tx store.Tx) error {
		if err := tx.HoldClock(ctx); err != nil {
			return err
		}
		return s.writeFor(ctx, Tx{Tx: tx}, c, need, write)
	})
}

// writeFor decides the caller at a time that it reads after the clock was locked, because a session may end while its transaction waits for the lock.
func (s *Store) writeFor(ctx context.Context, tx Tx, c Caller, need Need, write func(Tx) error) error {
	f, err := s.load(ctx, tx, []Caller{c}, nil)
	if err != nil {
		return err
	}
	if tx.Caller, err = f.decide(c, need); err != nil {
		return err
	}
	tx.InForce, tx.SigningKeys = f.settings, f.keys
	return write(tx)
}

// Batch is a transaction that writes for several callers. Decide decides each
// caller before anything is written for it.
type Batch struct {
	store.Tx
	Epoch revocation.Epoch // as in Tx
	facts *facts
}

// UpdateBatch is [Store.Update] for several callers. users are the ids of users
// that write gets from [Batch.Found]: they are read together with the callers'.
func (s *Store) UpdateBatch(ctx context.Context, callers []Caller, users []string, write func(*Batch) error) error {
	return s.raw.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		f, err := s.load(ctx, tx, callers, users)
		if err != nil {
			return err
		}
		return write(&Batch{Tx: tx, Epoch: epoch, facts: f})
	})
}

// Decide decides one of the batch's callers, and includes the revocations given to
// Revoke. Its results are those of the decision in [Store.Update].
func (b *Batch) Decide(c Caller, need Need) (Caller, error) { return b.facts.decide(c, need) }

// Revoke adds the revocations that the batch is about to write, so that later
// decisions include them.
func (b *Batch) Revoke(revocations ...revocation.Revocation) { b.facts.revoke(revocations...) }

// Found returns one of the users in UpdateBatch's users, and whether it exists.
func (b *Batch) Found(id string) (store.User, bool) {
	u, exists := b.facts.users[id]
	return u, exists
}

// UpdateWithoutCaller is store.Store.Update. It is for automatic changes, and for
// sign-ins, which have no caller yet: the first start, maintenance, the bookkeeping
// of sign-ins, the session that begins with a sign-in, and a sign-out, whose proof
// is the token of the session that ends.
func (s *Store) UpdateWithoutCaller(ctx context.Context, write func(store.Tx) error) error {
	return s.raw.Update(ctx, write)
}

// Decide decides a caller outside a transaction, for an answer that is about to be
// sent. It includes everything committed before the call.
func (s *Store) Decide(ctx context.Context, c Caller, need Need) (Caller, error) {
	f, err := s.load(ctx, s.Reader, []Caller{c}, nil)
	if err != nil {
		return Caller{}, err
	}
	return f.decide(c, need)
}

// UserCaller returns the caller of a session that has just been validated, with the
// user's current row. If the user does not exist or is disabled, the error wraps
// token.ErrRevoked.
func (s *Store) UserCaller(ctx context.Context, sess *token.Session, from Origin) (Caller, error) {
	u, err := s.User(ctx, sess.Subject)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Caller{}, err
	}
	if err := usable(u, err == nil); err != nil {
		return Caller{}, err
	}
	var began *store.Session
	if len(u.Permissions) > 0 {
		row, err := s.Session(ctx, sess.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Caller{}, err
		}
		if err == nil {
			began = &row
		}
	}
	u = Permitted(u, began)
	return Caller{
		Actor: store.Actor{Kind: store.ActorUser, ID: u.ID, Name: u.Name, Address: from.Address, RequestID: from.RequestID},
		User:  &u, Session: sess, old: tooOld(sess, s.ReauthenticateWithin, s.now()),
	}, nil
}
