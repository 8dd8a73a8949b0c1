package keyring_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/settings"
)

// minted is a token, as far as its key goes.
type minted struct {
	kid string
	end time.Time // the latest instant at which it can be good
}

// published is what the store told validators from an instant on.
type published struct {
	from    time.Time
	trusted map[string]bool
}

// Whatever happens to the keys, and in whatever order: no token is refused before
// its end by a validator that knows the keys as they were published up to a lead
// ago, unless its key was retired in an emergency.
func TestNoGoodTokenIsRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &testDatabase{t: t, url: migrated.SQLite(t)}
		w.clock.Store(start.UnixMicro())
		ctx := context.Background()
		shared, err := sqlstore.Open(ctx, sqlstore.Config{URL: w.url, Create: true, Budget: await.Limit})
		noErr(t, err)
		defer func() { noErr(t, shared.Close()) }()
		setLongest(t, shared, longest)
		nodes := []*node{w.nodeOn(shared), w.nodeOn(shared)}
		n := nodes[0]
		for _, n := range nodes {
			noErr(t, n.Init(ctx, caller))
		}
		maximum := longest
		synced := []time.Time{w.now(), w.now()} // when each node last read the keys
		var tokens []minted
		var history []published
		emergency := map[string]bool{}
		imported := 0

		read := func(i int) {
			noErr(t, nodes[i].Sync(ctx, nodes[i].rows()))
			synced[i] = w.now()
		}
		publish := func() {
			trusted, err := keyringTrusted(n)
			noErr(t, err)
			history = append(history, published{w.now(), trusted})
		}
		publish()
		for range rapid.IntRange(10, 40).Draw(rt, "steps") {
			i := rapid.IntRange(0, 1).Draw(rt, "node")
			switch rapid.SampledFrom([]string{
				"mint", "mint", "mint", "maintain", "maintain", "read", "rotate", "rotate", "import", "emergency", "settings",
				"instant", "a while", "lead", "days", "lifetime",
			}).Draw(rt, "step") {
			case "mint":
				if w.now().Sub(synced[i]) >= lead {
					read(i) // a view that is older is not trusted
				}
				if kid := nodes[i].signing(); kid != "" {
					tokens = append(tokens, minted{kid, w.now().Add(maximum)})
				}
			case "maintain":
				nodes[i].maintain()
				synced[i] = w.now()
			case "read":
				read(i)
			case "rotate":
				_, _, err := nodes[i].Rotate(ctx, caller, "", "")
				noErr(t, err)
				synced[i] = w.now()
			case "import":
				imported++
				_, err := nodes[i].Import(ctx, caller, fmt.Sprintf("imported-%d", imported), pkcs8(t, newKey(t)))
				noErr(t, err)
				synced[i] = w.now()
			case "emergency":
				var candidates []store.Key
				for _, k := range n.rows() {
					if k.State != store.KeyRetired {
						candidates = append(candidates, k)
					}
				}
				k := rapid.SampledFrom(candidates).Draw(rt, "key")
				_, err := nodes[i].Retire(ctx, caller, k.ID, "")
				noErr(t, err)
				emergency[k.ID] = true
				synced[i] = w.now()
			case "settings":
				maximum = max(maximum, rapid.SampledFrom([]time.Duration{longest, 60 * 24 * time.Hour, settings.MaxDuration}).Draw(rt, "maximum"))
				setLongest(t, n.store, maximum)
			case "instant":
				w.pass(time.Microsecond)
			case "a while":
				w.pass(time.Duration(rapid.Int64Range(1, int64(lead)).Draw(rt, "while")))
			case "lead":
				w.pass(lead)
			case "days":
				w.pass(time.Duration(rapid.IntRange(1, 10).Draw(rt, "days")) * 24 * time.Hour)
			case "lifetime":
				w.pass(maximum)
			}
			publish()
			check(rt, w.now(), tokens, history, emergency)
			if len(n.in(store.KeyActive)) > 1 {
				rt.Fatal("two keys sign")
			}
		}
	})
}

func check(t *rapid.T, now time.Time, tokens []minted, history []published, emergency map[string]bool) {
	for h, view := range history {
		// A validator may hold this view until a lead after the next one came.
		if h+1 < len(history) && now.Sub(history[h+1].from) >= lead {
			continue
		}
		for _, m := range tokens {
			if now.Before(m.end) && !emergency[m.kid] && !view.trusted[m.kid] {
				t.Fatalf("at %v: a token of %s that is good until %v is refused by who knows the keys of %v", now, m.kid, m.end, view.from)
			}
		}
	}
}
