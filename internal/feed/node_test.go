package feed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

func TestViewFollowsTheStore(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		var rows []store.Key
		n := w.node(feed.Config{Name: "one", OnKeys: func(_ context.Context, given []store.Key) error { rows = given; return nil }})
		v := validator(t, n)
		if len(rows) != 1 || n.Installation().Issuer != issuer {
			t.Fatalf("after Open: keys %v, installation %v", rows, n.Installation())
		}

		// This process commits and says so: the very next check is refused.
		ann := w.sign("ann")
		expect(t, v, ann, nil)
		n.Applied(w.revoke(revocation.User("ann"))...)
		expect(t, v, ann, token.ErrRevoked)
		expect(t, v, w.sign("ann"), nil)

		// Another process commits: another store on the same database.
		other := &world{tb: t, url: url, Store: openStore(t, url), key: w.key}
		bob := w.sign("bob")
		expect(t, v, bob, nil)
		began := time.Now()
		other.revoke(revocation.User("bob"))
		eventually(t, "bob is refused", func() bool {
			_, err := v.Validate(t.Context(), bob)
			return errors.Is(err, token.ErrRevoked)
		})
		t.Logf("refused %v after the commit began", time.Since(began))

		// Settings bind at once after AppliedUpTo.
		carl := w.sign("carl")
		e := other.update(func(tx store.Tx, e revocation.Epoch) error {
			in, err := tx.Settings(t.Context())
			if err != nil {
				return err
			}
			in.InForce = in.Change(settings.Settings{SessionTimeout: time.Hour, MaximumSessionDuration: 2 * time.Hour}, time.Now(), e)
			return tx.PutSettings(t.Context(), in)
		})
		if err := n.AppliedUpTo(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := n.Settings().Current().SessionTimeout; got != time.Hour || n.Epoch() < e {
			t.Fatalf("session timeout %v at %d, want 1h at %d", got, n.Epoch(), e)
		}
		expect(t, v, carl, nil)

		// An unknown key makes the view catch up; a retired one is refused.
		next := newKey(t, "second")
		other.update(func(tx store.Tx, e revocation.Epoch) error {
			return tx.PutKey(t.Context(), keyRow(t, next, store.KeyNext, e))
		})
		first := w.key
		w.key = next
		expect(t, v, w.sign("dora"), nil)
		e = other.update(func(tx store.Tx, e revocation.Epoch) error {
			row := keyRow(t, first, store.KeyRetired, e)
			row.Sealed = ""
			return tx.PutKey(t.Context(), row)
		})
		if err := n.AppliedUpTo(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		expect(t, v, carl, token.ErrUnknownKey)

		// A token with an epoch beyond the view makes it catch up; a token with an
		// epoch beyond the store's is malformed.
		e = other.revoke(revocation.User("else"))[0].Epoch
		expect(t, v, w.mint("emil", e), nil)
		expect(t, v, w.mint("emil", e+1), token.ErrMalformed)
	})
}

// ask asks like a follower does.
func ask(t testing.TB, n interface {
	Changes(context.Context, feed.Query) (feed.Answer, error)
}, q feed.Query) wire.Changes {
	t.Helper()
	a, err := n.Changes(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, &a)
}

// decode reads an answer both ways that it can be sent.
func decode(t testing.TB, a *feed.Answer) wire.Changes {
	t.Helper()
	var plain, zipped bytes.Buffer
	if err := errors.Join(a.Write(&plain, false), a.Write(&zipped, true)); err != nil {
		t.Fatal(err)
	}
	if plain.Len() != a.Size(false) || zipped.Len() != a.Size(true) {
		t.Errorf("wrote %d and %d bytes, said %d and %d", plain.Len(), zipped.Len(), a.Size(false), a.Size(true))
	}
	r, err := gzip.NewReader(&zipped)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(unzipped, plain.Bytes()) {
		t.Fatalf("compressed: %v, other bytes: %v", err, !bytes.Equal(unzipped, plain.Bytes()))
	}
	var c wire.Changes
	d := json.NewDecoder(&plain)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatalf("%v: %s", err, unzipped)
	}
	if c.Revocations == nil {
		t.Error("revocations is null")
	}
	return c
}

func TestChanges(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		n := w.node(feed.Config{Name: "one", Lease: 3 * time.Second})
		me := feed.Query{Follower: "f1", FollowerName: "billing"}

		first := ask(t, n, me)
		if first.Epoch != int64(n.Epoch()) || first.More || first.Issuer != issuer || len(first.Audience) != 2 ||
			first.Settings == nil || first.Settings.SessionTimeoutSeconds != 1200 || len(first.Keys) == 0 || len(first.Revocations) != 0 {
			t.Fatalf("the first answer: %+v", first)
		}
		if first.LeaseMS <= 0 || first.LeaseMS > 3000 {
			t.Errorf("lease_ms %d, want at most 3000", first.LeaseMS)
		}
		me.After, me.Confirmed, me.Wait = revocation.Epoch(first.Epoch), revocation.Epoch(first.Epoch), time.Minute

		// Nothing changes: an empty answer after a third of the lease.
		began := time.Now()
		idle := ask(t, n, me)
		if took := time.Since(began); took > slowness*time.Second || took < 200*time.Millisecond {
			t.Errorf("an idle answer after %v, want about a third of 3 s", took)
		}
		if idle.Epoch != first.Epoch || len(idle.Revocations) != 0 || idle.Settings != nil || idle.Keys != nil || idle.Issuer != "" ||
			idle.HeldMS < 200 || idle.HeldMS > slowness*1000 || idle.LeaseMS <= 0 {
			t.Errorf("an idle answer: %+v", idle)
		}

		// Something changes meanwhile.
		go func() {
			time.Sleep(50 * time.Millisecond) // the question is held by now; an earlier change is answered the same
			n.Applied(w.revoke(revocation.User("ann"), revocation.Session("s"))...)
		}()
		got := ask(t, n, me)
		if len(got.Revocations) != 2 || got.Revocations[0].Epoch != got.Epoch || got.Settings != nil {
			t.Errorf("after a revocation: %+v", got)
		}
		if s := n.Status(); s.Followers != 1 || s.Confirmed != me.Confirmed || len(s.Waiting) != 1 || s.Waiting[0] != "billing" {
			t.Errorf("status %+v, want one follower that waits", s)
		}
		me.After, me.Confirmed, me.Wait = revocation.Epoch(got.Epoch), revocation.Epoch(got.Epoch), 0
		ask(t, n, me)
		if s := n.Status(); s.Confirmed != me.Confirmed || len(s.Waiting) != 0 {
			t.Errorf("status %+v, want all confirmed", s)
		}

		// wait=0 reads the store afresh.
		other := &world{tb: t, url: url, Store: openStore(t, url), key: w.key}
		r := other.revoke(revocation.Everyone())[0]
		if got := ask(t, n, me); got.Epoch < int64(r.Epoch) || len(got.Revocations) != 1 || got.Revocations[0].Scope != "everyone" {
			t.Errorf("after a revocation by another process: %+v, want epoch %d", got, r.Epoch)
		}
		// A position that the view has not reached yet is no reason to start over …
		r = other.revoke(revocation.Remembered())[0]
		if got := ask(t, n, feed.Query{Follower: "f2", After: r.Epoch, Wait: time.Second}); got.Epoch < int64(r.Epoch) {
			t.Errorf("the view did not catch up with the follower: %+v", got)
		}
		// … but one above the store's clock is.
		if _, err := n.Changes(t.Context(), feed.Query{Follower: "f3", After: r.Epoch + 1, Wait: time.Second}); !errors.Is(err, feed.ErrStartOver) {
			t.Errorf("Changes = %v, want %v", err, feed.ErrStartOver)
		}
		// A confirmation above the clock counts for nothing, then and later.
		ask(t, n, feed.Query{Follower: "liar", FollowerName: "liar", Confirmed: r.Epoch + 1})
		other.revoke(revocation.Remembered())
		if err := n.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Status(); !slices.Contains(s.Waiting, "liar") {
			t.Errorf("waits for %q, want the follower that confirmed what was not there yet among them", s.Waiting)
		}
		// A follower without a name gets no lease.
		if got := ask(t, n, feed.Query{}); got.LeaseMS != 0 || got.Epoch == 0 {
			t.Errorf("an answer without a name: %+v", got)
		}
		// Close ends pending polls.
		failed := make(chan error, 1)
		go func() {
			_, err := n.Changes(context.Background(), feed.Query{Follower: "f4", After: n.Epoch(), Wait: time.Minute})
			failed <- err
		}()
		time.Sleep(20 * time.Millisecond) // the question is held by now; a later one is refused the same
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, token.ErrUnavailable) {
			t.Errorf("a request that was held when the node closed: %v, want %v", err, token.ErrUnavailable)
		}
	})
}

// unhurried is a store whose readings of changes may take longer than two seconds:
// with the race detector, a page of 10 000 rows does on a busy machine.
type unhurried struct{ store.Store }

func (s unhurried) ChangesAfter(ctx context.Context, after revocation.Epoch, limit int) (store.Changes, error) {
	return s.Store.ChangesAfter(context.WithoutCancel(ctx), after, limit)
}

func TestSnapshotInPages(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		const users = 25_000
		var scopes []revocation.Scope
		for i := range users {
			scopes = append(scopes, revocation.User(fmt.Sprintf("user-%d", i)))
		}
		w.revoke(scopes[:9_990]...)
		w.revoke(scopes[9_990:21_000]...) // would be split by a page of 10 000
		w.revoke(scopes[21_000:]...)
		n := w.node(feed.Config{Store: unhurried{w.Store}})
		seen := map[string]bool{}
		epochs := map[int64]int{}
		q := feed.Query{Follower: "f", Wait: time.Second}
		for page := 0; ; page++ {
			got := ask(t, n, q)
			for _, r := range got.Revocations {
				if seen[r.ID] {
					t.Fatalf("%s came twice", r.ID)
				}
				seen[r.ID] = true
				if was, split := epochs[r.Epoch]; split && was != page {
					t.Fatalf("epoch %d is on two pages", r.Epoch)
				}
				epochs[r.Epoch] = page
			}
			q.After = revocation.Epoch(got.Epoch)
			if !got.More {
				break
			}
			if got.LeaseMS != 0 {
				t.Error("an answer with more grants a lease")
			}
		}
		if len(seen) != users || n.Status().Followers != 1 {
			t.Errorf("%d users, %d followers; want %d, 1", len(seen), n.Status().Followers, users)
		}
	})
}
