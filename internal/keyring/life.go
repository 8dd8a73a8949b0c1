package keyring

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// overlap is for how long a retiring key is trusted beyond the longest session that
// it can have signed. It allows for clocks that are badly off, since a retired key
// stays retired everywhere. It costs nothing, because a token that old is refused
// by its dates.
const overlap = 24 * time.Hour

// system is the caller of automatic actions.
var system = authz.Caller{Actor: store.Actor{Kind: store.ActorSystem, Name: "curfew"}, Trusted: true}

// generate makes an ES256 key, named by its thumbprint (RFC 7638), which does not
// begin with the hyphen of a command line's flag.
func generate() (*token.SigningKey, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		key, err := named("", private)
		if err != nil || key.ID()[0] != '-' {
			return key, err
		}
	}
}

// named returns a signing key with the ID given, or its thumbprint.
func named(kid string, private crypto.Signer) (*token.SigningKey, error) {
	if kid == "" {
		var err error
		if kid, err = jwks.Thumbprint(private.Public()); err != nil {
			return nil, err
		}
	}
	return token.NewSigningKey(kid, private)
}

// change is one transaction on the keys: all of them as read, and the writes.
type change struct {
	ctx   context.Context
	ring  *Ring
	tx    authz.Tx
	actor store.Actor
	now   time.Time
	epoch revocation.Epoch
	rows  []store.Key
	lead  time.Duration
}

// update runs write for a caller that administers the system and may do op, with the clock held,
// and brings this node up to it.
func (r *Ring) update(ctx context.Context, caller authz.Caller, op authz.Operation, write func(*change) error) (revocation.Epoch, error) {
	var epoch revocation.Epoch
	err := r.store.Update(ctx, caller, authz.Recently(op, authz.Caller.MayAdminister), func(tx authz.Tx) (err error) {
		c := &change{ctx: ctx, ring: r, tx: tx, actor: tx.Caller.Actor, now: r.now(), epoch: tx.Epoch}
		if c.rows, err = tx.Keys(ctx); err != nil {
			return err
		}
		if c.lead, err = r.lead(ctx, tx); err != nil {
			return err
		}
		epoch = c.epoch
		return write(c)
	})
	if err != nil {
		return 0, err
	}
	rows, err := r.store.Keys(ctx)
	if err == nil {
		err = r.Sync(ctx, rows)
	}
	if err == nil && r.config.Applied != nil {
		err = r.config.Applied(ctx, epoch)
	}
	if err != nil {
		// It is on disk, and the feed will bring it; nothing is undone by that.
		r.log.WarnContext(ctx, "signing keys changed; this node could not read them back yet and tries again", "error", err)
	}
	return epoch, nil
}

// put writes a key and its audit entry.
func (c *change) put(k store.Key, action, reason string) error {
	if err := c.write(k); err != nil {
		return err
	}
	return c.audit(k, action, reason)
}

func (c *change) write(k store.Key) error {
	k.Epoch = c.epoch
	if err := c.tx.PutKey(c.ctx, k); err != nil {
		return err
	}
	if i := slices.IndexFunc(c.rows, func(o store.Key) bool { return o.ID == k.ID }); i >= 0 {
		c.rows[i] = k
	} else {
		c.rows = append(c.rows, k)
	}
	return nil
}

// shown returns a key as the transaction leaves it, without its sealed part.
func (c *change) shown(kid string) (store.Key, error) {
	k, err := find(c.rows, kid)
	k.Sealed = ""
	return k, err
}

func (c *change) audit(k store.Key, action, reason string) error {
	return c.tx.AppendAudit(c.ctx, store.Audit{
		At: c.now.UnixMicro(), Actor: c.actor, Action: action, TargetKind: "key", TargetID: k.ID, TargetName: k.ID,
		Reason: reason, Epoch: c.epoch, Detail: fmt.Sprintf(`{"algorithm":%q,"state":%q}`, k.Algorithm, k.State),
	})
}

func (c *change) in(state string) []store.Key {
	var out []store.Key
	for _, k := range c.rows {
		if k.State == state {
			out = append(out, k)
		}
	}
	return out
}

func (c *change) create(state string) error {
	key, err := generate()
	if err != nil {
		return err
	}
	row, err := c.ring.newRow(key, state, c.now)
	if err != nil {
		return err
	}
	if state == store.KeyActive {
		row.ActivatedAt = row.CreatedAt
	}
	return c.put(row, wire.ActionKeyCreate, "")
}

// standBy makes a next key if there is none.
func (c *change) standBy() error {
	if len(c.in(store.KeyNext)) > 0 {
		return nil
	}
	return c.create(store.KeyNext)
}

// retireAt returns until when a key that stopped signing at since verifies: for as
// long as a token that it signed can live. That is the longest maximum session
// duration ever in force, and what another node may sign before it hears of this.
func (c *change) retireAt(since int64) (int64, error) {
	in, err := c.tx.Settings(c.ctx)
	if err != nil {
		return 0, err
	}
	return time.UnixMicro(since).Add(settings.FromSeconds(in.LongestMaximum) + c.lead + overlap).UnixMicro(), nil
}

// activate lets k sign, and retires the key that did so far. It signs nothing any
// more, so its private key is deleted.
func (c *change) activate(k store.Key, action, reason string) error {
	for _, old := range c.in(store.KeyActive) {
		var err error
		old.State = store.KeyRetiring
		old.Sealed = ""
		old.RetiringAt = c.now.UnixMicro()
		if old.RetireAt, err = c.retireAt(old.RetiringAt); err != nil {
			return err
		}
		if err := c.put(old, wire.ActionKeyRotate, reason); err != nil {
			return err
		}
	}
	k.State = store.KeyActive
	k.ActivatedAt = c.now.UnixMicro()
	return c.put(k, action, reason)
}

// Init makes the first keys: a key that is active at once, since no token of
// another key exists, and a standby key. It does nothing where there are keys.
func (r *Ring) Init(ctx context.Context, caller authz.Caller) error {
	rows, err := r.store.Keys(ctx)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return r.Sync(ctx, rows) // perhaps made since Open, by another node
	}
	_, err = r.update(ctx, caller, authz.RotateKey, func(c *change) error {
		if len(c.rows) > 0 {
			return nil // another node was quicker
		}
		if err := c.create(store.KeyActive); err != nil {
			return err
		}
		return c.standBy()
	})
	return err
}

// Rotate makes a next key active: kid, or with "" the oldest. A key that has not
// been published long enough is scheduled, and signs from the instant returned;
// otherwise that is now. The previous key then still verifies the tokens that it
// signed.
func (r *Ring) Rotate(ctx context.Context, caller authz.Caller, kid, reason string) (store.Key, time.Time, error) {
	var chosen store.Key
	var from time.Time
	_, err := r.update(ctx, caller, authz.RotateKey, func(c *change) (err error) {
		if chosen, err = c.choose(kid); err != nil {
			return err
		}
		from = c.now
		if r.ready(chosen, c.lead) {
			if err := c.activate(chosen, wire.ActionKeyActivate, reason); err != nil {
				return err
			}
			if chosen, err = c.shown(chosen.ID); err != nil {
				return err
			}
			return c.standBy()
		}
		if chosen.ActivatedAt == 0 { // else it is scheduled already
			chosen.ActivatedAt = c.now.Add(c.lead).UnixMicro()
			if err := c.put(chosen, wire.ActionKeyRotate, reason); err != nil {
				return err
			}
		}
		from = time.UnixMicro(chosen.ActivatedAt)
		chosen, err = c.shown(chosen.ID)
		return err
	})
	return chosen, from, err
}

// choose returns the next key to rotate to: kid, or with "" the oldest.
func (c *change) choose(kid string) (store.Key, error) {
	if kid != "" {
		k, err := find(c.rows, kid)
		if err == nil && k.State != store.KeyNext {
			err = fmt.Errorf("%w %s is %s; rotate to a key in the state next (`curfew key list`)", ErrNotNow, kid, k.State)
		}
		return k, err
	}
	if err := c.standBy(); err != nil {
		return store.Key{}, err
	}
	return c.in(store.KeyNext)[0], nil // the oldest first
}

// Import adds a private key (PEM, PKCS #8) as a next key: it verifies at once, and
// signs when it is rotated to. kid "" means its thumbprint. An ID that is or was in
// use is refused, since it would stand for two keys; so is the same key under
// another ID, so that a key which was retired because it leaked cannot come back
// under a new name.
func (r *Ring) Import(ctx context.Context, caller authz.Caller, kid string, pem []byte) (store.Key, error) {
	private, err := parsePEM(pem)
	if err != nil {
		return store.Key{}, err
	}
	key, err := named(kid, private)
	if err != nil {
		return store.Key{}, err
	}
	var row store.Key
	_, err = r.update(ctx, caller, authz.ImportKey, func(c *change) (err error) {
		for _, k := range c.rows {
			if k.ID == key.ID() {
				return fmt.Errorf("%w %s already exists (%s); choose another --kid", ErrNotNow, k.ID, k.State)
			}
			if sameKey(k, key) {
				return fmt.Errorf("%w: this key is already imported as %s (%s)", ErrNotNow, k.ID, k.State)
			}
		}
		if row, err = r.newRow(key, store.KeyNext, c.now); err != nil {
			return err
		}
		if err := c.put(row, wire.ActionKeyImport, ""); err != nil {
			return err
		}
		row, err = c.shown(row.ID)
		return err
	})
	return row, err
}

// sameKey reports whether a row holds the public key of key, under whatever ID.
func sameKey(row store.Key, key *token.SigningKey) bool {
	keys, err := jwks.Parse([]byte(`{"keys":[` + row.PublicJWK + `]}`))
	if err != nil || len(keys) != 1 {
		return false
	}
	k, err := token.NewKey(key.ID(), keys[0].Public())
	return err == nil && k.Equal(&key.Key)
}

// Retire is for emergencies: from its epoch on no validator trusts the key, and
// every token that it signed is over. If it was the active key, the standby key
// takes over, at once if every validator knows it, else as soon as they do.
func (r *Ring) Retire(ctx context.Context, caller authz.Caller, kid, reason string) (revocation.Epoch, error) {
	ending := r.store.CountForReceipt(ctx, func(ctx context.Context, live store.Live) (store.Counts, error) {
		return r.store.CountLive(ctx, live, "", kid)
	})
	return r.update(ctx, caller, authz.RetireKey, func(c *change) error {
		k, err := find(c.rows, kid)
		if err != nil {
			return err
		}
		if k.State == store.KeyRetired {
			return fmt.Errorf("%w %s is already retired", ErrNotNow, kid)
		}
		receipt := c.tx.NewReceipt(c.now, store.ScopeKey, reason)
		receipt.ScopeID, receipt.Sessions, receipt.Users = kid, ending.Sessions, ending.Users
		if err := c.tx.AddReceipts(c.ctx, receipt); err != nil {
			return err
		}
		wasActive := k.State == store.KeyActive
		if err := c.retire(k, wire.ActionKeyRetire, reason); err != nil {
			return err
		}
		if wasActive {
			if err := c.takeOver(reason); err != nil {
				return err
			}
		}
		return c.standBy()
	})
}

func (c *change) retire(k store.Key, action, reason string) error {
	k.State = store.KeyRetired
	k.Sealed = ""
	k.RetiredAt = c.now.UnixMicro()
	return c.put(k, action, reason)
}

// takeOver activates the oldest next key that is ready, if no key is active.
func (c *change) takeOver(reason string) error {
	if len(c.in(store.KeyActive)) > 0 {
		return nil
	}
	for _, k := range c.in(store.KeyNext) {
		if c.ring.ready(k, c.lead) {
			return c.activate(k, wire.ActionKeyActivate, reason)
		}
	}
	return nil
}

// Maintain does what time brings: scheduled keys begin to sign, a retiring key's
// time is up, a key stands by. Every node calls it every few seconds; the
// transaction looks again, so several may.
func (r *Ring) Maintain(ctx context.Context) error {
	rows, err := r.store.Keys(ctx)
	if err != nil {
		return err
	}
	if err := r.Sync(ctx, rows); err != nil {
		return err
	}
	lead, err := r.lead(ctx, r.store)
	if err != nil {
		return err
	}
	now := r.now().UnixMicro()
	if len(rows) == 0 || !r.due(&change{ring: r, rows: rows, lead: lead}, now) {
		return nil
	}
	_, err = r.update(ctx, system, authz.RotateKey, func(c *change) error {
		for _, k := range c.in(store.KeyRetiring) {
			if k.RetireAt > now {
				continue
			}
			if err := c.retireDue(k, now); err != nil {
				return err
			}
		}
		for _, k := range c.in(store.KeyNext) {
			if r.scheduled(k, c.lead) {
				if err := c.activate(k, wire.ActionKeyActivate, "scheduled"); err != nil {
					return err
				}
			}
		}
		if err := c.takeOver("there was no active key"); err != nil {
			return err
		}
		return c.standBy()
	})
	return err
}

// retireDue retires a key whose time is up, unless a longer maximum session duration
// came into force while it still signed somewhere: then it is trusted for longer.
func (c *change) retireDue(k store.Key, now int64) error {
	due, err := c.retireAt(k.RetiringAt)
	if err != nil {
		return err
	}
	if due > now {
		k.RetireAt = due
		return c.write(k)
	}
	return c.retire(k, wire.ActionKeyRetired, "all sessions that it signed have ended")
}

// scheduled reports whether k was rotated to and has been published long enough.
func (r *Ring) scheduled(k store.Key, lead time.Duration) bool {
	return k.ActivatedAt > 0 && r.ready(k, lead)
}

// due reports whether Maintain has anything to write.
func (r *Ring) due(c *change, now int64) bool {
	for _, k := range c.in(store.KeyRetiring) {
		if k.RetireAt <= now {
			return true
		}
	}
	noneActive := len(c.in(store.KeyActive)) == 0
	next := c.in(store.KeyNext)
	for _, k := range next {
		if r.scheduled(k, c.lead) || noneActive && r.ready(k, c.lead) {
			return true
		}
	}
	return len(next) == 0
}
