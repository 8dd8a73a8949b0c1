package keyring_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// keyringTrusted returns the IDs of the keys that validators trust.
func keyringTrusted(n *node) (map[string]bool, error) {
	keys, err := keyring.Trusted(n.rows())
	ids := map[string]bool{}
	for _, k := range keys {
		ids[k.ID()] = true
	}
	return ids, err
}

func (n *node) trusts(kid string) bool {
	n.t.Helper()
	ids, err := keyringTrusted(n)
	noErr(n.t, err)
	return ids[kid]
}

func TestFirstKeys(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		_, err := n.Signing(t.Context())
		is(t, "before the first start", err, keyring.ErrNoKey)
		is(t, "before the first start", err, store.ErrUnavailable)
		n.maintain()
		if len(n.rows()) != 0 {
			t.Fatal("Maintain has made the first keys")
		}
		noErr(t, n.Init(t.Context(), caller))
		active, next := n.the(store.KeyActive), n.the(store.KeyNext)
		if n.signing() != active.ID || active.ActivatedAt != start.UnixMicro() || active.Algorithm != token.ES256 {
			t.Errorf("signing with %q, active is %+v", n.signing(), active)
		}
		if !n.trusts(active.ID) || !n.trusts(next.ID) {
			t.Error("a key is not published")
		}
		for _, k := range []store.Key{active, next} {
			keys, err := jwks.Parse([]byte(`{"keys":[` + k.PublicJWK + `]}`))
			noErr(t, err)
			if thumbprint, err := jwks.Thumbprint(keys[0].Public()); err != nil || thumbprint != k.ID {
				t.Errorf("the ID is %s, the thumbprint %s, %v", k.ID, thumbprint, err)
			}
			if !strings.HasPrefix(k.Sealed, "v1.") {
				t.Errorf("kept as %.10q", k.Sealed)
			}
		}
		noErr(t, n.Init(t.Context(), caller))
		n.maintain()
		if len(n.rows()) != 2 || len(n.audits(wire.ActionKeyCreate)) != 2 {
			t.Errorf("a second start leaves %d keys", len(n.rows()))
		}
		later := w.node() // opened when the keys were there
		if later.signing() != active.ID {
			t.Error("another node signs with another key")
		}
	})
}

// Two nodes start at once on an empty database: both sign with one key.
func TestFirstKeysAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.node(), w.node(), w.node()}
		errs := make(chan error)
		for _, n := range nodes {
			go func() { errs <- n.Init(context.Background(), caller) }()
		}
		for range nodes {
			noErr(t, <-errs)
		}
		active := nodes[0].the(store.KeyActive)
		nodes[0].the(store.KeyNext)
		for i, n := range nodes {
			if n.signing() != active.ID {
				t.Errorf("node %d signs with %q", i, n.signing())
			}
		}
	})
}

// A node that was opened on the empty database and comes second.
func TestInitTakesInWhatIsThere(t *testing.T) {
	w := sqlite(t)
	second := w.node()
	first := w.installed()
	noErr(t, second.Init(t.Context(), caller))
	if second.signing() == "" || second.signing() != first.signing() {
		t.Errorf("it signs with %q, the first with %q", second.signing(), first.signing())
	}
}

func TestRotate(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n, other := w.installed(), w.node()
		old, next := n.the(store.KeyActive), n.the(store.KeyNext)
		w.pass(lead)
		n.applied = nil
		k, from, err := n.Rotate(t.Context(), caller, "", "yearly")
		noErr(t, err)
		if k.ID != next.ID || k.State != store.KeyActive || k.Sealed != "" || !from.Equal(w.now()) || n.signing() != next.ID {
			t.Errorf("rotated to %+v at %v; %s signs", k, from, n.signing())
		}
		if len(n.applied) != 1 || n.applied[0] != k.Epoch || k.Epoch == 0 {
			t.Errorf("the view was told %v, the key says %d", n.applied, k.Epoch)
		}
		if other.signing() != old.ID {
			t.Error("a node knows before it has read")
		}
		noErr(t, other.Sync(t.Context(), n.rows()))
		if other.signing() != next.ID {
			t.Error("a node that has read does not sign with it")
		}

		retiring := n.the(store.KeyRetiring)
		if retiring.ID != old.ID || retiring.RetiringAt != w.now().UnixMicro() {
			t.Errorf("retiring: %+v", retiring)
		}
		if retiring.Sealed != "" {
			t.Error("the private key of a key that no longer signs is still there")
		}
		if left := time.UnixMicro(retiring.RetireAt).Sub(w.now()); left < longest+lead+token.Leeway || left > longest+48*time.Hour {
			t.Errorf("it verifies for another %v", left)
		}
		if standby := n.the(store.KeyNext); standby.ID == next.ID || standby.ID == old.ID {
			t.Error("no new key stands by")
		}
		for _, k := range n.rows() {
			if !n.trusts(k.ID) {
				t.Errorf("%s (%s) is not trusted", k.ID, k.State)
			}
		}
		for action, target := range map[string]string{wire.ActionKeyActivate: next.ID, wire.ActionKeyRotate: old.ID} {
			entries := n.audits(action)
			if len(entries) != 1 || entries[0].Actor != actor || entries[0].TargetID != target || entries[0].Reason != "yearly" ||
				entries[0].Epoch != k.Epoch || entries[0].TargetKind != "key" || !json.Valid([]byte(entries[0].Detail)) {
				t.Errorf("%s: %+v", action, entries)
			}
		}
	})
}

// A key signs when it has been published for the lead: just before, at, just after.
func TestLead(t *testing.T) {
	for _, tt := range []struct {
		age   time.Duration
		ready bool
	}{{0, false}, {lead - time.Microsecond, false}, {lead, true}, {lead + time.Microsecond, true}} {
		w := sqlite(t)
		n := w.installed()
		next := n.the(store.KeyNext).ID
		w.pass(tt.age)
		k, from, err := n.Rotate(t.Context(), caller, "", "")
		noErr(t, err)
		if tt.ready {
			if n.signing() != next || !from.Equal(w.now()) {
				t.Errorf("after %v: %s signs", tt.age, n.signing())
			}
			continue
		}
		if n.signing() == next || k.State != store.KeyNext || k.ID != next || !from.After(w.now()) {
			t.Errorf("after %v: it signs already, or %+v from %v", tt.age, k, from)
		}
		w.pass(lead - tt.age - time.Microsecond) // it is scheduled, and signs when it may
		n.maintain()
		if n.signing() == next {
			t.Errorf("after %v: it signs before it may", tt.age)
		}
		w.pass(time.Microsecond)
		n.maintain()
		if n.signing() != next {
			t.Errorf("after %v: it does not sign when it may", tt.age)
		}
		n.the(store.KeyNext)
	}
}

// A process that has only just begun goes by the date of the key, with room for
// clocks that differ; what it has seen itself is worth more.
func TestLeadOfAYoungProcess(t *testing.T) {
	w := sqlite(t)
	first := w.installed()
	next := first.the(store.KeyNext).ID
	w.pass(lead)
	young := w.node() // the key is old enough, by a date that another clock wrote
	_, _, err := young.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	if young.signing() == next {
		t.Fatal("it believes a date to the second")
	}
	first.maintain() // which has seen it for long enough
	if first.signing() != next {
		t.Error("the scheduled rotation is not done by those who know")
	}

	standby := first.the(store.KeyNext).ID
	w.pass(lead + token.Leeway + 2*time.Minute)
	if _, _, err := w.node().Rotate(t.Context(), caller, "", ""); err != nil {
		t.Fatal(err)
	}
	if got := first.the(store.KeyActive).ID; got != standby {
		t.Error("it does not believe a date that is long past either")
	}
}

// A node with a longer lease makes all nodes wait longer.
func TestLeadOfOtherNodes(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	noErr(t, n.store.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutNode(t.Context(), store.Node{ID: "slow", LeaseMS: time.Hour.Milliseconds()}, false)
	}))
	next := n.the(store.KeyNext).ID
	w.pass(time.Hour)
	_, _, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	if n.signing() == next {
		t.Fatal("a follower of the other node may not know it yet")
	}
	w.pass(4 * time.Minute) // its margin
	n.maintain()
	if n.signing() != next {
		t.Error("not after a lease and its margin either")
	}
}

func TestRotateTo(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	active := n.the(store.KeyActive).ID
	made, err := n.Import(t.Context(), caller, "imported", pkcs8(t, newKey(t)))
	noErr(t, err)
	w.pass(lead)
	k, _, err := n.Rotate(t.Context(), caller, "imported", "")
	noErr(t, err)
	if k.ID != made.ID || n.signing() != "imported" || len(n.in(store.KeyNext)) != 1 {
		t.Errorf("rotated to %s", k.ID)
	}
	for kid, want := range map[string]error{"imported": keyring.ErrNotNow, active: keyring.ErrNotNow, "nobody": store.ErrNotFound} {
		_, _, err := n.Rotate(t.Context(), caller, kid, "")
		is(t, kid, err, want, kid)
	}
}

// Asking again for a scheduled rotation does not delay it.
func TestRotateTwice(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	next := n.the(store.KeyNext).ID
	_, from, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	w.pass(lead / 2)
	k, again, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	if k.ID != next || !again.Equal(from) || len(n.audits(wire.ActionKeyRotate)) != 1 {
		t.Errorf("%s at %v, then %s at %v", next, from, k.ID, again)
	}
}

func TestRetiringEnds(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n, other := w.installed(), w.node()
		old := n.the(store.KeyActive).ID
		w.pass(lead)
		_, _, err := n.Rotate(t.Context(), caller, "", "")
		noErr(t, err)
		end := time.UnixMicro(n.the(store.KeyRetiring).RetireAt)
		w.clock.Store(end.UnixMicro() - 1)
		n.maintain()
		if !n.trusts(old) {
			t.Fatal("retired before its time")
		}
		w.pass(time.Microsecond)
		other.maintain() // whichever node comes first
		n.maintain()
		if k := n.the(store.KeyRetired); k.ID != old || n.trusts(old) || k.Sealed != "" || k.RetiredAt != w.now().UnixMicro() {
			t.Errorf("at its end: %+v", k)
		}
		if entries := n.audits(wire.ActionKeyRetired); len(entries) != 1 || entries[0].Actor.Kind != store.ActorSystem {
			t.Errorf("the audit says %+v", entries)
		}
	})
}

// A node that had not heard of a rotation may sign for as long as settings allow
// that came after it.
func TestRetiringWaitsForALongerMaximum(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	old := n.the(store.KeyActive).ID
	w.pass(lead)
	_, _, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	retiring := n.the(store.KeyRetiring)
	setLongest(t, n.store, settings.MaxDuration)
	w.clock.Store(retiring.RetireAt)
	n.maintain()
	if !n.trusts(old) {
		t.Fatal("retired while a token of it may be good")
	}
	if later := n.the(store.KeyRetiring).RetireAt; later < retiring.RetiringAt+settings.MaxDuration.Microseconds() {
		t.Errorf("it retires %v after it signed last", time.Duration(later-retiring.RetiringAt)*time.Microsecond)
	}
	w.clock.Store(n.the(store.KeyRetiring).RetireAt)
	n.maintain()
	if n.trusts(old) {
		t.Error("never retired")
	}
}

func TestRetireActive(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.installed()
		bad, next := n.the(store.KeyActive).ID, n.the(store.KeyNext).ID
		w.pass(lead)
		n.applied = nil
		epoch, err := n.Retire(t.Context(), caller, bad, "it leaked")
		noErr(t, err)
		if n.trusts(bad) || n.the(store.KeyRetired).Sealed != "" {
			t.Error("the key that leaked is still trusted, or still there")
		}
		if n.signing() != next { // at once: every validator knows it
			t.Errorf("%q signs", n.signing())
		}
		n.the(store.KeyNext)
		if len(n.applied) != 1 || n.applied[0] != epoch {
			t.Errorf("the view was told %v, want %d", n.applied, epoch)
		}
		if e := n.audits(wire.ActionKeyRetire); len(e) != 1 || e[0].TargetID != bad || e[0].Reason != "it leaked" || e[0].Epoch != epoch || e[0].Actor != actor {
			t.Errorf("the audit says %+v", e)
		}
		_, err = n.Retire(t.Context(), caller, bad, "")
		is(t, "again", err, keyring.ErrNotNow, bad)
		_, err = n.Retire(t.Context(), caller, "nobody", "")
		is(t, "an unknown one", err, store.ErrNotFound, "nobody")
	})
}

// No validator knows the standby key yet: signing nothing is better than signing
// tokens that are refused.
func TestRetireActiveTooEarly(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	bad, next := n.the(store.KeyActive).ID, n.the(store.KeyNext).ID
	w.pass(lead - time.Microsecond)
	_, err := n.Retire(t.Context(), caller, bad, "it leaked")
	noErr(t, err)
	n.maintain()
	_, err = n.Signing(t.Context())
	is(t, "for now", err, keyring.ErrNoKey)
	if len(n.in(store.KeyActive)) != 0 {
		t.Error("a key is active")
	}
	w.pass(time.Microsecond)
	n.maintain()
	if n.signing() != next {
		t.Errorf("%q signs when it may", n.signing())
	}
}

// Everything has leaked: the installation mends itself.
func TestRetireEverything(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	w.pass(lead)
	_, _, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	for _, k := range n.rows() {
		_, err := n.Retire(t.Context(), caller, k.ID, "everything leaked")
		noErr(t, err)
	}
	if n.signing() != "" || len(n.in(store.KeyRetired)) != 3 {
		t.Fatalf("%q signs, %d are retired", n.signing(), len(n.in(store.KeyRetired)))
	}
	w.pass(lead)
	n.maintain()
	if n.signing() == "" || n.signing() != n.the(store.KeyActive).ID {
		t.Error("no key signs again")
	}
	n.the(store.KeyNext)
}

func TestRetireNextAndRetiring(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	w.pass(lead)
	_, _, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	active := n.signing()
	for _, state := range []string{store.KeyRetiring, store.KeyNext} {
		kid := n.the(state).ID
		_, err := n.Retire(t.Context(), caller, kid, "")
		noErr(t, err)
		if n.trusts(kid) || n.signing() != active {
			t.Errorf("%s: trusted %v, %s signs", state, n.trusts(kid), n.signing())
		}
		n.the(store.KeyNext)
	}
}

// All nodes carry out a due change at the same instant: it is done once.
func TestMaintainAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.installed(), w.node(), w.node()}
		n := nodes[0]
		for round := range 5 {
			w.pass(lead)
			_, err := n.Retire(context.Background(), caller, n.the(store.KeyNext).ID, "")
			noErr(t, err)
			_, err = n.Retire(context.Background(), caller, n.the(store.KeyActive).ID, "")
			noErr(t, err)
			for _, other := range nodes {
				other.maintain()
			}
			w.pass(lead) // now the new one may sign, and another must stand by
			errs := make(chan error)
			for _, other := range nodes {
				go func() { errs <- other.Maintain(context.Background()) }()
			}
			for range nodes {
				noErr(t, <-errs)
			}
			active := n.the(store.KeyActive).ID
			n.the(store.KeyNext)
			if got := len(n.audits(wire.ActionKeyActivate)); got != round+1 {
				t.Errorf("round %d: activated %d times", round, got)
			}
			for _, other := range nodes {
				other.maintain()
				if other.signing() != active {
					t.Errorf("round %d: %q signs, not %q", round, other.signing(), active)
				}
			}
		}
	})
}

func TestRotateAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.installed(), w.node()}
		w.pass(lead)
		errs := make(chan error)
		for _, n := range nodes {
			go func() {
				_, _, err := n.Rotate(context.Background(), caller, "", "")
				errs <- err
			}()
		}
		for range nodes {
			noErr(t, <-errs)
		}
		// One was made active; the other found an unpublished key, and scheduled it.
		active := nodes[0].the(store.KeyActive).ID
		nodes[0].the(store.KeyRetiring)
		next := nodes[0].the(store.KeyNext).ID
		w.pass(lead)
		for _, n := range nodes {
			n.maintain()
		}
		w.pass(lead)
		nodes[1].maintain()
		if got := nodes[1].the(store.KeyActive).ID; got != next || got == active {
			t.Errorf("%s is active, want the scheduled one, %s", got, next)
		}
	})
}

func TestMaintainWritesOnlyWhatIsDue(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	w.pass(time.Hour)
	before, err := n.store.Clock(t.Context())
	noErr(t, err)
	for range 10 {
		n.maintain()
		w.pass(time.Minute)
	}
	if after, err := n.store.Clock(t.Context()); err != nil || after != before {
		t.Errorf("the clock went from %d to %d, %v", before, after, err)
	}
}

// An older reading that arrives late does not bring an old key back.
func TestSyncNeverGoesBack(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	old := n.rows()
	w.pass(lead)
	k, _, err := n.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	noErr(t, n.Sync(t.Context(), old))
	if n.signing() != k.ID {
		t.Errorf("%q signs", n.signing())
	}
}

func TestTrustedIsAllOrNothing(t *testing.T) {
	n := sqlite(t).installed()
	rows := n.rows()
	if keys, err := keyring.Trusted(nil); err != nil || len(keys) != 0 {
		t.Errorf("no rows: %v, %v", keys, err)
	}
	for what, change := range map[string]func(k *store.Key){
		"a state that is not known": func(k *store.Key) { k.State = "compromised" },
		"no state":                  func(k *store.Key) { k.State = "" },
	} {
		broken := append([]store.Key{}, rows...)
		change(&broken[1])
		keys, err := keyring.Trusted(broken)
		is(t, what, err, store.ErrCorrupt, broken[1].ID)
		if len(keys) != 0 {
			t.Errorf("%s: %d keys with the error", what, len(keys))
		}
	}
	rows[1].PublicJWK = `{"kty":"oct","k":"c2VjcmV0","kid":"x","alg":"HS256"}`
	_, err := keyring.Trusted(rows)
	is(t, "a shared secret", err, jwks.ErrInvalid)
}

// Neither a log, nor the audit, nor the list, nor the unsealed columns hold
// anything of a private key.
func TestNothingOfAPrivateKeyIsShown(t *testing.T) {
	w := sqlite(t)
	var log strings.Builder
	s := w.open()
	r, err := keyring.Open(t.Context(), keyring.Config{Store: s, KEK: kek, Lead: lead, Now: w.now,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Applied: func(context.Context, revocation.Epoch) error {
			return errors.New("the view is behind") // which is logged
		}})
	noErr(t, err)
	noErr(t, r.Init(t.Context(), caller))
	w.pass(lead)
	_, _, err = r.Rotate(t.Context(), caller, "", "")
	noErr(t, err)
	_, err = r.Import(t.Context(), caller, "", pkcs8(t, newKey(t)))
	noErr(t, err)
	stored, err := s.Keys(t.Context())
	noErr(t, err)
	shown, err := r.List(t.Context(), caller)
	noErr(t, err)
	audits, err := s.Audits(t.Context(), store.AuditFilter{}, 100)
	noErr(t, err)
	if !strings.Contains(log.String(), "the view is behind") {
		t.Error("a view that does not follow is not logged")
	}
	text := log.String() + fmt.Sprint(shown) + fmt.Sprint(audits)
	sealed := 0
	for _, k := range stored {
		if k.Sealed != "" {
			sealed++
			if strings.Contains(text, k.Sealed) {
				t.Errorf("the sealed part of %s is shown", k.ID)
			}
		}
		if strings.Contains(k.PublicJWK, `"d"`) {
			t.Errorf("%s is published with its private part", k.ID)
		}
	}
	if sealed != 3 { // active, standby and imported
		t.Errorf("%d keys are sealed, want 3", sealed)
	}
}

func TestStoreThatIsGone(t *testing.T) {
	n := sqlite(t).installed()
	signing := n.signing()
	noErr(t, n.store.Close())
	is(t, "Maintain", n.Maintain(t.Context()), store.ErrUnavailable)
	_, _, err := n.Rotate(t.Context(), caller, "", "")
	is(t, "Rotate", err, store.ErrUnavailable)
	_, err = n.Retire(t.Context(), caller, signing, "")
	is(t, "Retire", err, store.ErrUnavailable)
	if n.signing() != signing {
		t.Error("the key that signs is forgotten")
	}
}
