package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
)

var ann = store.User{
	ID: "id-ann", Name: "Ann", NameKey: "ann", Email: "Ann@Example.com",
	Permissions: []string{store.AdministerSystem, store.UserEdit}, Disabled: true,
	Groups:       []string{"Buchhaltung & Lohn", "ops", "Œuvre \"x\""},
	PasswordHash: "$argon2id$x", MustChangePassword: true, CreatedAt: 1_700_000_000_000_001, LastSignInAt: 1_700_000_000_000_002,
}

func insertUsers(t testing.TB, s store.Store, users ...store.User) {
	t.Helper()
	for some := range slices.Chunk(users, 200) { // a transaction has its time, on a slow machine too
		update(t, s, func(tx store.Tx) error {
			for _, u := range some {
				if err := tx.InsertUser(t.Context(), u); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func ids(users []store.User) []string {
	out := []string{}
	for _, u := range users {
		out = append(out, u.ID)
	}
	return out
}

var userCases = []testCase{
	{"a deleted user is gone, and the id stays taken", func(t *testing.T, open Open) {
		s := open(t)
		insert := func(u store.User) error {
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertUser(t.Context(), u) })
		}
		noErr(t, insert(store.User{ID: "gone", Name: "Ann", NameKey: "ann", Email: "ann@example.com"}))
		noErr(t, insert(store.User{ID: "bob", Name: "Bob", NameKey: "bob"}))
		update(t, s, func(tx store.Tx) error { return tx.DeleteUser(t.Context(), "gone", 5) })
		_, err := s.User(t.Context(), "gone")
		is(t, err, store.ErrNotFound)
		found, _, err := s.Users(t.Context(), store.UserSearch{Prefix: "ann"}, "", 10)
		noErr(t, err)
		same(t, "found by name and address", len(found), 0)
		is(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteUser(t.Context(), "gone", 6) }), store.ErrNotFound)
		for what, u := range map[string]store.User{
			"the id":                   {ID: "gone", Name: "Zoe", NameKey: "zoe"},
			"an id that looks like it": {ID: "g0ne", Name: "Zoe", NameKey: "zoe"},
			"the id as a name":         {ID: "zoe", Name: "Gone", NameKey: "gone"},
		} {
			if err := insert(u); !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: error %v, want %v", what, err, store.ErrConflict)
			}
		}
		is(t, s.Update(t.Context(), func(tx store.Tx) error {
			return tx.UpdateUser(t.Context(), store.User{ID: "bob", Name: "Gone", NameKey: "gone"})
		}), store.ErrConflict)
		noErr(t, insert(store.User{ID: "new", Name: "Ann", NameKey: "ann", Email: "ann@example.com"})) // the name is free
	}},

	{"a user is read as it was written", func(t *testing.T, open Open) {
		s := open(t)
		plain := store.User{ID: "id-bob", Name: "bob", NameKey: "bob"}
		insertUsers(t, s, ann, plain)
		for _, want := range []store.User{ann, plain} {
			got, err := s.User(t.Context(), want.ID)
			noErr(t, err)
			same(t, "by id", got, want)
			got, err = s.UserByName(t.Context(), want.NameKey)
			noErr(t, err)
			same(t, "by name", got, want)
			update(t, s, func(tx store.Tx) error {
				got, err := tx.LockUser(t.Context(), want.ID)
				same(t, "locked", got, want)
				return err
			})
		}
	}},
	{"who is not there is not found", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, ann)
		for _, id := range []string{"", "id-bob", "ID-ANN", "id-an", "id-anna", "ann"} {
			_, err := s.User(t.Context(), id)
			is(t, err, store.ErrNotFound)
			is(t, s.Update(t.Context(), func(tx store.Tx) error {
				_, err := tx.LockUser(t.Context(), id)
				return err
			}), store.ErrNotFound)
			is(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.TouchUser(t.Context(), id, 1) }), store.ErrNotFound)
		}
		for _, name := range []string{"", "Ann", "an", "anna", "id-ann"} {
			_, err := s.UserByName(t.Context(), name)
			is(t, err, store.ErrNotFound)
		}
	}},
	{"ids and names are unique, names of users and emails are not", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, ann)
		for _, c := range []struct {
			user store.User
			want error
		}{
			{store.User{ID: "id-ann", NameKey: "other"}, store.ErrConflict},
			{store.User{ID: "other", NameKey: "ann"}, store.ErrConflict},
			{store.User{ID: strings.Repeat("x", 1025), NameKey: "long"}, store.ErrConflict},
			{store.User{ID: "long", NameKey: strings.Repeat("x", 1025)}, store.ErrConflict},
			{store.User{ID: strings.Repeat("x", 1024), NameKey: strings.Repeat("x", 1024)}, nil},
			{store.User{ID: "other", NameKey: "other", Name: "Ann", Email: "Ann@Example.com"}, nil},
		} {
			is(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertUser(t.Context(), c.user) }), c.want)
		}
	}},
	{"no name or id passes for another", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, store.User{ID: "id-admin", NameKey: "admin"}, store.User{ID: "Subject.1", NameKey: "someone"})
		bob := store.User{ID: "id-bob", NameKey: "bob"}
		insertUsers(t, s, bob)
		for _, c := range []struct{ what, name string }{
			{"another's id", "id-admin"},
			{"another's id, folded", "subject.1"},
			{"Cyrillic a", "\u0430dmin"},
			{"dotless i", "adm\u0131n"},
			{"one-dot leader, like another's id", "subject\u20241"},
			{"l for 1, like another's id", "subject.l"},
			{"r and n for m", "adrnin"},
			{"full width", "\uff41\uff44\uff4d\uff49\uff4e"},
			{"mathematical", "\U0001d41a\U0001d41d\U0001d426\U0001d422\U0001d427"},
		} {
			err := s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: "new", NameKey: c.name})
			})
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: a user called %q: %v, want a conflict", c.what, c.name, err)
			}
			renamed := bob
			renamed.NameKey = c.name
			if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.UpdateUser(t.Context(), renamed) }); !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: bob renamed to %q: %v, want a conflict", c.what, c.name, err)
			}
		}
		for _, id := range []string{"admin", "ADMIN", "adrnin", "bob", "b0b", "subject.1"} {
			if err := s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: id, NameKey: "new"})
			}); !errors.Is(err, store.ErrConflict) {
				t.Errorf("a user with the id %q: %v, want a conflict", id, err)
			}
		}
		// One's own name and id may be the same, and a name that was given up is free.
		insertUsers(t, s, store.User{ID: "own", NameKey: "own"})
		renamed := bob
		renamed.NameKey = "bobby"
		update(t, s, func(tx store.Tx) error { return tx.UpdateUser(t.Context(), renamed) })
		insertUsers(t, s, store.User{ID: "another", NameKey: "b0b"})
		// A sign-in uses the exact name: similar-looking names find no user.
		for _, name := range []string{"\u0430dmin", "adm\u0131n", "bob"} {
			_, err := s.UserByName(t.Context(), name)
			is(t, err, store.ErrNotFound)
		}
		// After a conflict the transaction goes on.
		update(t, s, func(tx store.Tx) error {
			is(t, tx.InsertUser(t.Context(), store.User{ID: "new", NameKey: "\u0430dmin"}), store.ErrConflict)
			return tx.InsertUser(t.Context(), store.User{ID: "new", NameKey: "new"})
		})
	}},
	{"of two that take the same handle at once, as a name and as an id, one gets it", func(t *testing.T, open Open) {
		one, other := open(t), open(t)
		for i := range 20 {
			handle := fmt.Sprint("handle ", i)
			errs := make(chan error, 2)
			for _, c := range []struct {
				s store.Store
				u store.User
			}{{one, store.User{ID: handle, NameKey: fmt.Sprint("first ", i)}}, {other, store.User{ID: fmt.Sprint("id ", i), NameKey: handle}}} {
				go func() {
					errs <- c.s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertUser(t.Context(), c.u) })
				}()
			}
			if a, b := <-errs, <-errs; errors.Is(a, store.ErrConflict) == errors.Is(b, store.ErrConflict) {
				t.Fatalf("%v and %v, want one conflict", a, b)
			}
		}
	}},
	{"a change leaves id and dates alone", func(t *testing.T, open Open) {
		s := open(t)
		bob := store.User{ID: "id-bob", NameKey: "bob", CreatedAt: 5}
		insertUsers(t, s, ann, bob)
		next := store.User{
			ID: ann.ID, Name: "Anna", NameKey: "anna", Email: "anna@example.com", Permissions: []string{store.UserEdit},
			Groups: []string{"staff"}, PasswordHash: "other", CreatedAt: 1, LastSignInAt: 1,
		}
		update(t, s, func(tx store.Tx) error { return tx.UpdateUser(t.Context(), next) })
		next.CreatedAt, next.LastSignInAt = ann.CreatedAt, ann.LastSignInAt
		got, err := s.User(t.Context(), ann.ID)
		noErr(t, err)
		same(t, "changed", got, next)
		got, err = s.User(t.Context(), bob.ID)
		noErr(t, err)
		same(t, "another", got, bob)

		update(t, s, func(tx store.Tx) error { return tx.TouchUser(t.Context(), ann.ID, 7) })
		next.LastSignInAt = 7
		got, err = s.User(t.Context(), ann.ID)
		noErr(t, err)
		same(t, "touched", got, next)

		for _, c := range []struct {
			user store.User
			want error
		}{
			{store.User{ID: ann.ID, NameKey: "bob"}, store.ErrConflict},
			{store.User{ID: ann.ID, NameKey: strings.Repeat("x", 1025)}, store.ErrConflict},
			{store.User{ID: "id-cay", NameKey: "cay"}, store.ErrNotFound},
			{store.User{ID: "id-cay", NameKey: "bob"}, store.ErrNotFound},
			{store.User{ID: ann.ID, NameKey: "anna"}, nil}, // its own
			{store.User{ID: ann.ID, NameKey: "ann"}, nil},  // free again
		} {
			is(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.UpdateUser(t.Context(), c.user) }), c.want)
		}
	}},
	{"administrators are counted if they are enabled", func(t *testing.T, open Open) {
		s := open(t)
		count := func(want int64) {
			t.Helper()
			n, err := s.CountAdministrators(t.Context())
			noErr(t, err)
			same(t, "administrators", n, want)
		}
		count(0)
		root := store.User{ID: "root", NameKey: "root", Permissions: []string{store.AdministerSystem}}
		insertUsers(t, s, root, ann,
			store.User{ID: "editor", NameKey: "editor", Permissions: []string{store.UserEdit}},
			store.User{ID: store.AdministerSystem, NameKey: "AdministerSystem"})
		count(1)
		change := func(u store.User) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.UpdateUser(t.Context(), u) })
		}
		enabled := ann
		enabled.Disabled = false
		change(enabled)
		count(2)
		root.Permissions = []string{store.UserEdit}
		change(root)
		count(1)
		change(ann)
		count(0)
		n, err := s.CountUsers(t.Context())
		noErr(t, err)
		same(t, "users", n, int64(4))
	}},
	{"emails are compared without regard to ASCII case", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, ann,
			store.User{ID: "id-2", NameKey: "a", Email: "ANN@EXAMPLE.COM"},
			store.User{ID: "id-3", NameKey: "b", Email: "ann@example.co"},
			store.User{ID: "id-4", NameKey: "c", Email: "É@example.com"},
			store.User{ID: "id-5", NameKey: "d"})
		for email, want := range map[string][]string{
			"ann@example.com":  {"id-2", "id-ann"},
			"aNN@eXAMPLE.com":  {"id-2", "id-ann"},
			"ann@example.com ": {},
			"ann@example.c":    {},
			"É@EXAMPLE.com":    {"id-4"},
			"é@example.com":    {},
			"":                 {},
			"%":                {},
		} {
			got, err := s.UsersByEmail(t.Context(), email)
			noErr(t, err)
			same(t, email, ids(got), want)
		}
	}},
	{"an email address names a user if it is unique", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, ann,
			store.User{ID: "id-2", NameKey: "a", Email: "Shared@example.com"},
			store.User{ID: "id-3", NameKey: "b", Email: "shared@EXAMPLE.com"},
			store.User{ID: "id-4", NameKey: "c", Email: "shared@example.com"},
			store.User{ID: "id-5", NameKey: "d", Email: "É@example.com"},
			store.User{ID: "id-6", NameKey: "e"}, store.User{ID: "id-7", NameKey: "ann@example.com"})
		for email, want := range map[string]string{
			"ann@example.com": ann.ID, "aNN@eXAMPLE.com": ann.ID, "É@EXAMPLE.com": "id-5",
			"é@example.com": "", "shared@example.com": "", "nobody@example.com": "", "": "", "%": "", "ann@example.co": "",
		} {
			got, err := s.UserByEmail(t.Context(), email)
			if want == "" {
				is(t, err, store.ErrNotFound)
				continue
			}
			noErr(t, err)
			same(t, email, got.ID, want)
		}
		unknown := make([]string, 10_000)
		for i := range unknown {
			unknown[i] = fmt.Sprintf("unknown-%d@example.com", i)
		}
		got, err := s.UsersWithEmails(t.Context(), append(unknown, "", "ANN@example.com", "É@example.com", "shared@example.com"))
		noErr(t, err)
		found := ids(got)
		slices.Sort(found)
		same(t, "with one of the addresses, two of each", found, []string{"id-2", "id-3", "id-5", ann.ID})
		got, err = s.UsersWithEmails(t.Context(), nil)
		noErr(t, err)
		same(t, "with none", ids(got), []string{})
	}},
	{"many users by id or name", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s, ann, store.User{ID: "id-bob", NameKey: "bob"}, store.User{ID: "id-cay", NameKey: "cay"})
		unknown := make([]string, 10_000)
		for i := range unknown {
			unknown[i] = fmt.Sprint("unknown-", i)
		}
		for _, c := range []struct{ ids, names, want []string }{
			{nil, nil, []string{}},
			{[]string{"id-ann", "id-ann", "bob"}, nil, []string{"id-ann"}},
			{nil, []string{"bob", "id-ann", "Cay"}, []string{"id-bob"}},
			{[]string{"id-ann", "id-bob"}, []string{"bob", "cay"}, []string{"id-ann", "id-bob", "id-cay"}},
			{append(unknown, "id-cay"), append([]string{"bob"}, unknown...), []string{"id-bob", "id-cay"}},
		} {
			got, err := s.UsersNamed(t.Context(), c.ids, c.names)
			noErr(t, err)
			found := ids(got)
			slices.Sort(found)
			same(t, "found", found, c.want)
		}
	}},
}

var failureCases = []testCase{
	{"failures are counted by key, from an instant on", func(t *testing.T, open Open) {
		s := open(t)
		long := strings.Repeat("x", 10_000)
		for _, at := range []int64{1000, 2000, 2000, 3000} {
			update(t, s, func(tx store.Tx) error { return tx.AddFailure(t.Context(), at, "ann", "10.0.0.1", "ann", long) })
		}
		update(t, s, func(tx store.Tx) error { return tx.AddFailure(t.Context(), 2000, "10.0.0.1") })
		update(t, s, func(tx store.Tx) error { return tx.AddFailure(t.Context(), 2000) })
		for _, c := range []struct {
			key   string
			since int64
			want  int64
		}{
			{"ann", 0, 4}, {"ann", 1000, 4}, {"ann", 1001, 3}, {"ann", 1999, 3}, {"ann", 2000, 3}, {"ann", 2001, 1}, {"ann", 3000, 1}, {"ann", 3001, 0},
			{"10.0.0.1", 2000, 4}, {"Ann", 0, 0}, {"", 0, 0}, {long, 0, 4}, {long + "x", 0, 0}, {long[1:], 0, 0},
		} {
			n, err := s.Failures(t.Context(), c.key, c.since)
			noErr(t, err)
			same(t, fmt.Sprintf("failures of %.10s since %d", c.key, c.since), n, c.want)
		}
	}},
	{"a streak grows until it is ended", func(t *testing.T, open Open) {
		s := open(t)
		streak := func(key string, want store.Streak) {
			t.Helper()
			got, err := s.Streak(t.Context(), key)
			noErr(t, err)
			same(t, fmt.Sprintf("streak of %.10s", key), got, want)
		}
		long := strings.Repeat("x", 10_000)
		streak("ann", store.Streak{})
		for _, at := range []int64{10, 30, 20} {
			update(t, s, func(tx store.Tx) error {
				return errors.Join(tx.AddStreak(t.Context(), at, "ann"), tx.AddStreak(t.Context(), at, long))
			})
		}
		streak("ann", store.Streak{Count: 3, LastAt: 30})
		streak(long, store.Streak{Count: 3, LastAt: 30})
		streak("bob", store.Streak{})
		update(t, s, func(tx store.Tx) error { return tx.EndStreak(t.Context(), "ann", "bob") })
		streak("ann", store.Streak{})
		streak(long, store.Streak{Count: 3, LastAt: 30})
		update(t, s, func(tx store.Tx) error { return tx.AddStreak(t.Context(), 40, "ann") })
		streak("ann", store.Streak{Count: 1, LastAt: 40})
	}},
}
