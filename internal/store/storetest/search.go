package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
)

var searchCases = []testCase{
	{"what a search finds, in what order", func(t *testing.T, open Open) {
		s := open(t)
		insertUsers(t, s,
			store.User{ID: "u1", NameKey: "ann", Email: "Zed@Example.com"},
			store.User{ID: "u2", NameKey: "anna"},
			store.User{ID: "u3", NameKey: "bob", Email: "ann.b@example.com"},
			store.User{ID: "u4", NameKey: "zed", Email: "zed@example.com"},
			store.User{ID: "u5", NameKey: "50%_off\\"},
			store.User{ID: "u6", NameKey: "ænn"},
			store.User{ID: "u7", NameKey: "x\uD7FFy"},
			store.User{ID: "u9", NameKey: "y\uE000"},
			store.User{ID: "u8", NameKey: "x\U0010FFFFyy", Email: "\U0010FFFF@example.com"},
			store.User{ID: "u10", NameKey: "neither"},
		)
		for search, want := range map[string][]string{
			"":             {"u5", "u1", "u2", "u3", "u10", "u7", "u8", "u9", "u4", "u6"},
			"ann":          {"u1", "u2", "u3"},
			"anna":         {"u2"},
			"an":           {"u1", "u2", "u3"},
			"z":            {"u1", "u4"},
			"zed@":         {"u1", "u4"},
			"ZED@":         {"u1", "u4"}, // emails know no case; name keys come folded
			"u3":           {"u3"},
			"U3":           {},
			"nn":           {},
			"%":            {},
			"_":            {},
			"50%":          {"u5"},
			"50%_off\\":    {"u5"},
			"50_":          {},
			"æ":            {"u6"},
			"x\uD7FF":      {"u7"},
			"x\uD7FE":      {},
			"y\uD7FF":      {},
			"y":            {"u9"},
			"x\U0010FFFF":  {"u8"},
			"\U0010FFFF":   {"u8"},
			"x\U0010FFFFz": {},
			"'; DROP --":   {},
			"*":            {},
		} {
			got, err := s.Users(t.Context(), search, "", 100)
			noErr(t, err)
			same(t, fmt.Sprintf("search %q", search), ids(got), want)
		}
	}},
	{"pages go on where the last one ended, with few and many emails", func(t *testing.T, open Open) {
		s := open(t)
		random := rand.New(rand.NewPCG(1, 2))
		var users []store.User
		for i := range 2600 {
			u := store.User{ID: fmt.Sprint("id-", i), NameKey: fmt.Sprintf("%c%d", 'a'+random.IntN(3), i)}
			if i < 2400 { // more than are read at once without ado
				u.Email = fmt.Sprintf("M%c%d@Example.com", 'A'+random.IntN(2), i)
			}
			users = append(users, u)
		}
		insertUsers(t, s, users...)
		slices.SortFunc(users, func(a, b store.User) int { return cmp.Compare(a.NameKey, b.NameKey) })
		for _, c := range []struct {
			search string
			limit  int
		}{{"m", 1000}, {"ma", 400}, {"mb1", 7}, {"a", 500}, {"b12", 1}, {"m", 2600}, {"id-7", 1}, {"", 700}} {
			var want, got []string
			for _, u := range users {
				if strings.HasPrefix(u.NameKey, c.search) || strings.HasPrefix(strings.ToLower(u.Email), c.search) || u.ID == c.search {
					want = append(want, u.ID)
				}
			}
			for after := ""; ; {
				page, err := s.Users(t.Context(), c.search, after, c.limit)
				noErr(t, err)
				if len(page) > c.limit {
					t.Fatalf("a page of %d, limit %d", len(page), c.limit)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, ids(page)...)
				after = page[len(page)-1].NameKey
			}
			same(t, fmt.Sprintf("search %q by %d", c.search, c.limit), got, want)
		}
	}},
}
