// Package keyring keeps the signing keys: a key's life from next to retired,
// sealed at rest.
//
// A key is published before it signs (next), signs (active), still verifies
// (retiring), and is no longer trusted (retired). There is always one active and
// one standby key, so that every rotation, also in an emergency, has a key that
// every validator knows.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

var (
	// ErrNoKey means that no key may sign at the moment. It passes by itself.
	ErrNoKey = fmt.Errorf("%w: no signing key is active", store.ErrUnavailable)
	// ErrWrongKEK means that the key-encryption key does not open the stored keys.
	ErrWrongKEK = errors.New("wrong key-encryption key: it did not seal the signing keys")
	// ErrNotNow is wrapped by the errors of calls that the state of a key does not
	// allow.
	ErrNotNow = fmt.Errorf("%w: signing key", store.ErrConflict)
)

// Config configures a [Ring]. Store and KEK are required.
type Config struct {
	Store store.Store
	KEK   []byte // 32 bytes
	// Lead is how long a key must have been published before it signs: a lease
	// plus the margin. Leases of other nodes that are longer count instead. Zero
	// means 16 s.
	Lead time.Duration
	// Applied, if not nil, is called after a commit, to bring this node's view up
	// to its epoch.
	Applied func(ctx context.Context, epoch revocation.Epoch) error
	// ReauthenticateWithin is the maximum age of a user's authentication for changes that
	// end or grant much at once: see authz.Caller.CheckRecent. Zero asks for none.
	ReauthenticateWithin time.Duration
	Now                  func() time.Time // nil means time.Now
	Logger               *slog.Logger     // nil discards
}

// Ring is safe for concurrent use.
type Ring struct {
	config Config
	store  *authz.Store
	sealer *Sealer
	now    func() time.Time
	log    *slog.Logger
	active atomic.Pointer[token.SigningKey]

	mu sync.Mutex // guards seen, and orders Sync
	// seen is when this process first saw a key. Only that, on this process's own
	// clock, proves how long a key has been published.
	seen  map[string]time.Time
	epoch revocation.Epoch // of the rows last synced
}

// Open reads the keys and refuses a key-encryption key that does not open them.
// It writes nothing.
func Open(ctx context.Context, config Config) (*Ring, error) {
	sealer, err := NewSealer(config.KEK)
	if err != nil {
		return nil, err
	}
	r := &Ring{config: config, sealer: sealer, now: config.Now, log: config.Logger, seen: map[string]time.Time{}}
	if r.now == nil {
		r.now = time.Now
	}
	r.store, r.config.Store = authz.New(config.Store, r.now), nil // writing takes a caller from here on
	r.store.ReauthenticateWithin = config.ReauthenticateWithin
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	rows, err := r.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Sealed == "" {
			continue
		}
		if _, err := r.unseal(row); err != nil {
			return nil, err
		}
	}
	return r, r.Sync(ctx, rows)
}

// Sync takes in the key rows as they are in the store. The feed calls it whenever
// they have changed.
func (r *Ring) Sync(_ context.Context, rows []store.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var epoch revocation.Epoch
	var active *store.Key
	for i, row := range rows {
		epoch = max(epoch, row.Epoch)
		if _, ok := r.seen[row.ID]; !ok && row.State != store.KeyRetired {
			r.seen[row.ID] = r.now()
		}
		if row.State == store.KeyActive {
			active = &rows[i]
		}
	}
	if epoch < r.epoch {
		return nil // an older reading came late
	}
	r.epoch = epoch
	if active == nil {
		r.active.Store(nil)
		return nil
	}
	if old := r.active.Load(); old != nil && old.ID() == active.ID {
		return nil
	}
	key, err := r.unseal(*active)
	if err != nil {
		r.active.Store(nil)
		return err
	}
	r.active.Store(key)
	return nil
}

// Signing returns the key that signs now. The error wraps [ErrNoKey].
func (r *Ring) Signing(context.Context) (*token.SigningKey, error) {
	if k := r.active.Load(); k != nil {
		return k, nil
	}
	return nil, ErrNoKey
}

// List returns all keys, the oldest first, without their sealed parts. The caller
// must administer the system.
func (r *Ring) List(ctx context.Context, c authz.Caller) ([]store.Key, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	rows, err := r.store.Keys(ctx)
	for i := range rows {
		rows[i].Sealed = ""
	}
	return rows, err
}

// clocksApart is how far the clocks of two nodes may differ before a date that
// another node wrote stops being believed.
const clocksApart = 2 * time.Minute

// ready reports whether k has been published for lead: by this process's own
// clock, or by so much that clocks that differ do not matter.
func (r *Ring) ready(k store.Key, lead time.Duration) bool {
	now := r.now()
	if now.Sub(time.UnixMicro(k.CreatedAt)) >= lead+clocksApart {
		return true
	}
	r.mu.Lock()
	first, ok := r.seen[k.ID]
	r.mu.Unlock()
	return ok && now.Sub(first) >= lead
}

// lead returns how long a key must have been published: the longest lease of any
// node, with its margin.
func (r *Ring) lead(ctx context.Context, reader store.NodeReader) (time.Duration, error) {
	lead := r.config.Lead
	if lead <= 0 {
		lead = 16 * time.Second
	}
	nodes, err := reader.Nodes(ctx)
	for _, n := range nodes {
		lease := time.Duration(n.LeaseMS) * time.Millisecond
		lead = max(lead, lease+max(time.Second, lease/15))
	}
	return lead, err
}

// Trusted returns the keys that tokens are verified with: next, active and
// retiring. It is all or nothing. An unknown state is an error, because it may mean
// that trust has ended.
func Trusted(rows []store.Key) ([]*token.Key, error) {
	var documents []string
	for _, row := range rows {
		switch row.State {
		case store.KeyNext, store.KeyActive, store.KeyRetiring:
			documents = append(documents, row.PublicJWK)
		case store.KeyRetired:
		default:
			return nil, fmt.Errorf("%w: signing key %s has the state %q", store.ErrCorrupt, row.ID, row.State)
		}
	}
	if len(documents) == 0 {
		return nil, nil
	}
	return jwks.Parse([]byte(`{"keys":[` + strings.Join(documents, ",") + `]}`))
}

// find returns the key kid, or an error that wraps store.ErrNotFound.
func find(rows []store.Key, kid string) (store.Key, error) {
	i := slices.IndexFunc(rows, func(k store.Key) bool { return k.ID == kid })
	if i < 0 {
		return store.Key{}, fmt.Errorf("%w: no signing key has the ID %q; `curfew key list` shows them", store.ErrNotFound, kid)
	}
	return rows[i], nil
}
