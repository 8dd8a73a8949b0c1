package httpapi

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"example.com/curfew/internal/authz"
	"example.com/curfew/revocation"
)

// followers remembers which clients were found to be good at the epoch that the
// view has. Without it, ten thousand followers that were told of one revocation
// would come back with ten thousand questions to the store, all with one answer,
// while the rest of them still wait to be told.
//
// Every change of a client advances the clock, so an answer read at one epoch of
// the view holds until the view moves. It is used for the change feed, which comes
// from that same view. Changes by this node are forgotten at once. Other
// capabilities than following are looked up at each call.
type followers struct {
	clients Clients
	epoch   func() revocation.Epoch // of the view
	now     func() time.Time
	timeout time.Duration // of one look-up

	loading singleflight.Group

	mu         sync.Mutex // guards what follows
	at         revocation.Epoch
	known      map[[sha256.Size]byte]authz.Caller
	generation int
}

// maxRemembered bounds the number of cached answers; installations have a handful
// of clients.
const maxRemembered = 4096

// caller is ClientCaller of [Clients].
func (f *followers) caller(ctx context.Context, id, secret string, from authz.Origin) (authz.Caller, error) {
	proof := sha256.Sum256([]byte(id + "\x00" + secret))
	epoch := f.epoch()
	caller, found, generation := f.recall(proof, epoch)
	if !found {
		// The epoch is part of the name, so that a caller never joins a query from
		// when the view was older.
		flight := fmt.Sprintf("%x %d %d", proof, epoch, generation)
		loaded, err, _ := f.loading.Do(flight, func() (any, error) {
			if caller, found, _ := f.recall(proof, epoch); found {
				return caller, nil // another's question was answered a moment ago
			}
			// Several callers wait for it, not only the first.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
			defer cancel()
			caller, err := f.clients.ClientCaller(ctx, id, secret, from)
			if err == nil {
				f.remember(proof, caller, epoch, generation)
			}
			return caller, err
		})
		if err != nil {
			return authz.Caller{}, err
		}
		caller = loaded.(authz.Caller) //nolint:errcheck,forcetypeassert // see above
	}
	caller.Actor.Address, caller.Actor.RequestID = from.Address, from.RequestID
	return caller, nil
}

func (f *followers) recall(proof [sha256.Size]byte, epoch revocation.Epoch) (caller authz.Caller, found bool, generation int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == epoch {
		caller, found = f.known[proof]
	}
	// An old secret stops working by itself.
	if found && caller.Client.OldSecretUntil > 0 && f.now().UnixMicro() >= caller.Client.OldSecretUntil {
		found = false
	}
	return caller, found, f.generation
}

func (f *followers) remember(proof [sha256.Size]byte, caller authz.Caller, epoch revocation.Epoch, generation int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if generation != f.generation || epoch < f.at {
		return
	}
	if epoch > f.at || len(f.known) >= maxRemembered {
		f.at, f.known = epoch, map[[sha256.Size]byte]authz.Caller{}
	}
	f.known[proof] = caller
}

// forget is for when this node has changed a client: the view may not know yet.
func (f *followers) forget() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = map[[sha256.Size]byte]authz.Caller{}
	f.generation++
}
