package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

func addReceipts(t testing.TB, s store.Store, receipts ...store.Receipt) {
	t.Helper()
	update(t, s, func(tx store.Tx) error { return tx.AddReceipts(t.Context(), receipts...) })
}

func closeReceipt(t testing.TB, s store.Store, epoch revocation.Epoch, c store.Closing) (r store.Receipt) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		r, err = tx.CloseReceipt(t.Context(), epoch, c)
		return err
	})
	return r
}

var byLease = store.Closing{
	ClosedAt: 70, ClosedBy: store.ByLease, Validators: 3, Confirmed: 2,
	Lapsed: []store.Lapse{{Name: "node2 \"é\" <", At: 69}}, EffectiveBy: 80,
}

var receiptCases = []testCase{
	{"a receipt is read as it was written, open and closed", func(t *testing.T, open Open) {
		s := open(t)
		want := store.Receipt{
			Epoch: 7, Scope: "user", ScopeID: "bob", UserID: "bob", UserName: "Bob",
			Actor: store.Actor{Kind: store.ActorUser, ID: "ann", Name: "Ann"}, Reason: "left",
			Users: 1, Sessions: 3, Named: 2, CommittedAt: 5,
		}
		other := store.Receipt{Epoch: 8, Scope: "everyone", Users: store.NotCounted, Sessions: store.NotCounted, CommittedAt: 6}
		addReceipts(t, s, want, other)
		addReceipts(t, s)
		got, err := s.Receipt(t.Context(), 7)
		noErr(t, err)
		same(t, "open", got, want)
		want.Closing = byLease
		same(t, "as closed", closeReceipt(t, s, 7, byLease), want)
		got, err = open(t).Receipt(t.Context(), 7)
		noErr(t, err)
		same(t, "closed", got, want)
		got, err = s.Receipt(t.Context(), 8)
		noErr(t, err)
		same(t, "the other", got, other)
		_, err = s.Receipt(t.Context(), 9)
		is(t, err, store.ErrNotFound)
	}},
	{"an epoch has one receipt", func(t *testing.T, open Open) {
		s := open(t)
		addReceipts(t, s, store.Receipt{Epoch: 7, Reason: "first"})
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.AddReceipts(t.Context(), store.Receipt{Epoch: 7, Reason: "second"}) })
		if err == nil {
			t.Fatal("a second receipt was added")
		}
		got, err := s.Receipt(t.Context(), 7)
		noErr(t, err)
		same(t, "reason", got.Reason, "first")
	}},
	{"a receipt closes once, whichever process closes it first", func(t *testing.T, open Open) {
		first, second := open(t), open(t)
		addReceipts(t, first, store.Receipt{Epoch: 7})
		closed := closeReceipt(t, first, 7, byLease)
		again := closeReceipt(t, second, 7, store.Closing{ClosedAt: 99, ClosedBy: store.ByConfirmation, Validators: 2, Confirmed: 2})
		same(t, "the second closing", again, closed)
		got, err := second.Receipt(t.Context(), 7)
		noErr(t, err)
		same(t, "stored", got.Closing, byLease)
		err = first.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.CloseReceipt(t.Context(), 8, byLease)
			return err
		})
		is(t, err, store.ErrNotFound)
	}},
	{"open receipts come oldest first", func(t *testing.T, open Open) {
		s := open(t)
		for _, e := range []revocation.Epoch{5, 3, 9, 7} {
			addReceipts(t, s, store.Receipt{Epoch: e})
		}
		closeReceipt(t, s, 5, byLease)
		for limit, want := range map[int][]revocation.Epoch{1: {3}, 2: {3, 7}, 10: {3, 7, 9}} {
			got, err := s.OpenReceipts(t.Context(), limit)
			noErr(t, err)
			same(t, fmt.Sprint(limit), epochs(got), want)
		}
	}},
	{"filters select what a look at each receipt would", receiptFiltersAgree},
	{"receipts are pruned with the audit", func(t *testing.T, open Open) {
		s := open(t)
		addReceipts(t, s, store.Receipt{Epoch: 1, CommittedAt: 499}, store.Receipt{Epoch: 2, CommittedAt: 500}, store.Receipt{Epoch: 3, CommittedAt: 501})
		prune(t, s, noon, 0, 0, 500)
		got, err := s.Receipts(t.Context(), store.ReceiptFilter{}, 10)
		noErr(t, err)
		same(t, "left", epochs(got), []revocation.Epoch{3, 2})
	}},
	{"a node's row has its lapsed followers", func(t *testing.T, open Open) {
		s := open(t)
		want := []store.LapsedFollower{{Name: "billing", Validators: 4, Confirmed: 5, View: 9, At: 10}}
		for _, lapsed := range [][]store.LapsedFollower{want, nil} {
			update(t, s, func(tx store.Tx) error { return tx.PutNode(t.Context(), store.Node{ID: "n", Lapsed: lapsed}, false) })
			nodes, err := s.Nodes(t.Context())
			noErr(t, err)
			same(t, "lapsed", nodes[0].Lapsed, lapsed)
		}
	}},
}

func epochs(receipts []store.Receipt) []revocation.Epoch {
	var out []revocation.Epoch
	for _, r := range receipts {
		out = append(out, r.Epoch)
	}
	return out
}

// receiptFiltersAgree compares the selection with one in Go. The audit has an entry for
// each user that a receipt names.
func receiptFiltersAgree(t *testing.T, open Open) {
	s := open(t)
	random := rand.New(rand.NewPCG(5, 6))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var receipts []store.Receipt
	users := map[revocation.Epoch][]string{}
	for e := revocation.Epoch(1); e <= 60; e++ {
		actor := store.Actor{Kind: store.ActorUser, ID: pick("", "ann", "bob"), Name: pick("", "Ann", "bob")}
		r := store.Receipt{Epoch: e, Actor: actor, CommittedAt: int64(e / 3), Reason: pick("", "Lost device", "100% off_board", "LOST")}
		receipts = append(receipts, r)
		for range 1 + random.IntN(2) {
			id, name := pick("u1", "u2", "u3"), pick("Uma", "u1", "Ulf")
			users[e] = append(users[e], id, name)
			appendAudit(t, s, store.Audit{Epoch: e, Actor: actor, TargetID: id, TargetName: name})
		}
		appendAudit(t, s, store.Audit{Epoch: 1000, TargetID: "u9"}, store.Audit{TargetID: "u8"})
	}
	addReceipts(t, s, receipts...)
	slices.Reverse(receipts)
	for range 80 {
		f := store.ReceiptFilter{
			User: pick("", "u1", "Uma", "u9", "u8"), By: pick("", "", "ann", "bob", "Ann", "zed"), Text: pick("", "", "lost", "%", "_", "!"),
		}
		if random.IntN(2) == 0 {
			f.From, f.To = int64(random.IntN(12)), int64(random.IntN(22))
		}
		if random.IntN(3) == 0 {
			f.Before = revocation.Epoch(1 + random.IntN(60))
		}
		limit := 1 + random.IntN(20)
		want := slices.DeleteFunc(slices.Clone(receipts), func(r store.Receipt) bool {
			return f.Before != 0 && r.Epoch >= f.Before ||
				f.User != "" && !slices.Contains(users[r.Epoch], f.User) ||
				f.By != "" && r.Actor.ID != f.By && r.Actor.Name != f.By ||
				f.From != 0 && r.CommittedAt < f.From || f.To != 0 && r.CommittedAt >= f.To ||
				!strings.Contains(strings.ToLower(r.Reason), strings.ToLower(f.Text))
		})
		got, err := s.Receipts(t.Context(), f, limit)
		noErr(t, err)
		same(t, fmt.Sprintf("%+v", f), epochs(got), epochs(want[:min(len(want), limit)]))
	}
}
