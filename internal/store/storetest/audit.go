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

func appendAudit(t testing.TB, s store.Store, entries ...store.Audit) {
	t.Helper()
	update(t, s, func(tx store.Tx) error { return tx.AppendAudit(t.Context(), entries...) })
}

var auditCases = []testCase{
	{"an entry is read as it was written", func(t *testing.T, open Open) {
		s := open(t)
		want := store.Audit{
			At: 5, Actor: store.Actor{Kind: store.ActorUser, ID: "ann", Name: "Ann", Address: "10.0.0.1", RequestID: "r1"},
			Action: "sessions.revoke", TargetKind: "user", TargetID: "bob", TargetName: "Bob", Reason: "left",
			Epoch: 7, Scope: revocation.KindUser, Detail: `{"x":1}`,
		}
		appendAudit(t, s, want, store.Audit{})
		appendAudit(t, s)
		got, err := s.Audits(t.Context(), store.AuditFilter{}, 10)
		noErr(t, err)
		same(t, "entries", len(got), 2)
		want.ID = got[1].ID
		same(t, "the first", got[1], want)
		same(t, "the second", got[0], store.Audit{ID: got[0].ID})
	}},
	{"ids ascend in the order of the entries, and of the transactions", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		var n int64
		for i, size := range []int{1, 3, 2200, 2} { // more than fit into one statement
			var entries []store.Audit
			for range size {
				n++
				entries = append(entries, store.Audit{At: n})
			}
			on := []store.Store{s, other}[i%2]
			update(t, on, func(tx store.Tx) error {
				noErr(t, tx.AppendAudit(t.Context(), entries[:1]...))
				return tx.AppendAudit(t.Context(), entries[1:]...)
			})
		}
		var f store.AuditFilter
		for at := n; at > 0; {
			page, err := s.Audits(t.Context(), f, 700)
			noErr(t, err)
			if len(page) == 0 {
				t.Fatalf("entries end at %d", at)
			}
			for _, e := range page {
				same(t, "entry", e.At, at)
				if f.Before != 0 && e.ID >= f.Before {
					t.Fatalf("id %d comes after %d", e.ID, f.Before)
				}
				f.Before = e.ID
				at--
			}
		}
		page, err := s.Audits(t.Context(), f, 700)
		noErr(t, err)
		same(t, "beyond the first", len(page), 0)
	}},
	{"filters select what a look at each entry would", filtersAgree},
	{"an entry of an earlier release about a session is found under its user", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s, store.Session{ID: "s1", UserID: "ann", ExpiresAt: 1e6}, store.Session{ID: "s2", UserID: "bob", ExpiresAt: 1e6})
		appendAudit(t, s,
			store.Audit{At: 1, TargetKind: "session", TargetID: "s1"}, store.Audit{At: 2, TargetKind: "session", TargetID: "s2"},
			store.Audit{At: 3, TargetKind: "user", TargetID: "ann"}, store.Audit{At: 4, TargetKind: "client", TargetID: "s1"})
		for what, f := range map[string]store.AuditFilter{"target": {Target: "ann"}, "person": {Person: "ann"}} {
			got, err := s.Audits(t.Context(), f, 10)
			noErr(t, err)
			var at []int64
			for _, e := range got {
				at = append(at, e.At)
			}
			same(t, what, at, []int64{3, 1})
		}
	}},
	{"entries are counted by stretches of time", func(t *testing.T, open Open) {
		s := open(t)
		for _, e := range []struct {
			at     int64
			action string
		}{{999, "a"}, {1000, "a"}, {1009, "a"}, {1010, "a"}, {1010, "b"}, {1019, "b"}, {1035, "a"}, {1012, "c"}} {
			appendAudit(t, s, store.Audit{At: e.at, Action: e.action})
		}
		for _, at := range []int64{1012, 1013} {
			appendAudit(t, s, store.Audit{At: at, Action: "c", Actor: store.Actor{ID: "ann"}})
		}
		for _, c := range []struct {
			actions []string
			want    []store.Bucket
		}{
			{[]string{"a", "b"}, []store.Bucket{{Start: 1000, Action: "a", Count: 2}, {Start: 1010, Action: "a", Count: 1}, {Start: 1010, Action: "b", Count: 2}, {Start: 1030, Action: "a", Count: 1}}},
			{[]string{"c"}, []store.Bucket{{Start: 1010, Action: "c", Count: 1}, {Start: 1010, Action: "c", Known: true, Count: 2}}},
			{[]string{"d"}, nil},
			{nil, nil},
		} {
			got, err := s.AuditBuckets(t.Context(), 1000, 10, c.actions)
			noErr(t, err)
			same(t, fmt.Sprint(c.actions), got, c.want)
		}
	}},
}

// matches is the meaning of a filter.
func matches(e store.Audit, f store.AuditFilter) bool {
	actor := func(name string) bool { return e.Actor.ID == name || e.Actor.Name == name }
	target := func(name string) bool { return e.TargetID == name || e.TargetName == name }
	return (f.Before == 0 || e.ID < f.Before) &&
		(f.Actor == "" || actor(f.Actor)) && (f.Target == "" || target(f.Target)) &&
		(f.Person == "" || actor(f.Person) || target(f.Person)) &&
		(f.Action == "" || e.Action == f.Action || strings.HasSuffix(f.Action, ".") && strings.HasPrefix(e.Action, f.Action)) &&
		(f.Reason == "" || strings.Contains(strings.ToLower(e.Reason), strings.ToLower(f.Reason))) &&
		(f.Address == "" || e.Actor.Address == f.Address || strings.HasSuffix(f.Address, ".") && strings.HasPrefix(e.Actor.Address, f.Address)) &&
		(f.Session == "" || e.TargetKind == "session" && e.TargetID == f.Session || strings.Contains(e.Detail, `"session":"`+f.Session+`"`)) &&
		(f.From == 0 || e.At >= f.From) && (f.To == 0 || e.At < f.To) &&
		(f.Epoch == 0 || e.Epoch == f.Epoch) && (!f.Scoped || e.Scope != "")
}

func filtersAgree(t *testing.T, open Open) {
	s := open(t)
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var entries []store.Audit
	for range 300 {
		entries = append(entries, store.Audit{
			At:     int64(1 + random.IntN(20)),
			Actor:  store.Actor{ID: pick("", "ann", "bob"), Name: pick("", "Ann", "bob"), Address: pick("", "192.0.2.1", "192.0.2.17", "192.0.20.1")},
			Reason: pick("", "Lost device", "lost 100% of it_all", `back\slash`),
			Action: pick("user.disable", "user.enable", "user", "users.x", "key.rotate"), TargetID: pick("", "ann", "bob", "cay"), TargetName: pick("", "Ann", "cay"),
			Epoch: revocation.Epoch(random.IntN(5)), Scope: revocation.Kind(pick("", "", "user", "everyone")),
			TargetKind: pick("user", "session"), Detail: pick("", `{"session":"ann"}`, `{"session":"ann-2","device":"ann"}`, `{"device":"bob"}`),
		})
	}
	appendAudit(t, s, entries...)
	stored, err := s.Audits(t.Context(), store.AuditFilter{}, 1000)
	noErr(t, err)
	same(t, "entries", len(stored), len(entries))
	for range 80 {
		f := store.AuditFilter{
			Actor: pick("", "", "ann", "Ann", "bob", "zed"), Target: pick("", "", "ann", "cay", "zed"), Person: pick("", "", "ann", "bob", "Ann"),
			Action: pick("", "", "user.", "user", "user.disable", "none"), Scoped: random.IntN(4) == 0,
			Reason: pick("", "", "", "LOST", "0%", "%", "_", `\`, "none"), Address: pick("", "", "", "192.0.2.1", "192.0.2.", "192.0.2"),
			Session: pick("", "", "", "ann", "bob", "ann-"),
		}
		if random.IntN(2) == 0 {
			f.From, f.To = int64(random.IntN(10)), int64(random.IntN(22))
		}
		if random.IntN(3) == 0 {
			f.Before = stored[random.IntN(len(stored))].ID
		}
		if random.IntN(4) == 0 {
			f.Epoch = revocation.Epoch(random.IntN(5))
		}
		limit := 1 + random.IntN(40)
		want := slices.DeleteFunc(slices.Clone(stored), func(e store.Audit) bool { return !matches(e, f) })
		got, err := s.Audits(t.Context(), f, limit)
		noErr(t, err)
		same(t, fmt.Sprintf("%+v", f), got, want[:min(len(want), limit)])
	}
}
