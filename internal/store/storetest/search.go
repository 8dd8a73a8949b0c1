package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
)

// pages returns the users that a search finds, read in pages.
func pages(t *testing.T, s store.Store, search store.UserSearch, limit int) []string {
	t.Helper()
	found := []string{}
	for after := ""; ; {
		page, next, err := s.Users(t.Context(), search, after, limit)
		noErr(t, err)
		if len(page) > limit {
			t.Fatalf("a page of %d, limit %d", len(page), limit)
		}
		found = append(found, ids(page)...)
		if next == "" {
			return found
		}
		if next == after {
			t.Fatalf("after %q the next page is the same", after)
		}
		after = next
	}
}

var searchCases = []testCase{
	{"what a filter selects, in what order", filters},
	{"what a search finds, in what order", func(t *testing.T, open Open) {
		s := open(t)
		x, m := strings.Repeat("x", 70), strings.Repeat("m", 70)
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
			store.User{ID: "u11", NameKey: "cara maria-luise o'neill", Email: "ann@example.com"},
			store.User{ID: "u12", NameKey: "maria ann maria", Email: "Maria@example.com"},
			store.User{ID: "u13", NameKey: "山田太郎"},
			store.User{ID: "u14", NameKey: "zo\u00eb \u00e9mile", Email: "\u00c9@example.com"},
			store.User{ID: "u15", NameKey: "long " + x + "1", Email: m + "1@example.com"},
			store.User{ID: "u16", NameKey: "long " + x + "2", Email: m + "2@example.com"},
		)
		for search, want := range map[string][]string{
			"":             {"u5", "u1", "u2", "u3", "u11", "u15", "u16", "u12", "u10", "u7", "u8", "u9", "u4", "u14", "u6", "u13"},
			"ann":          {"u1", "u2", "u12", "u3", "u11"}, // by name, then "ann maria", "ann.b@…", "ann@…"
			"anna":         {"u2"},
			"an":           {"u1", "u2", "u12", "u3", "u11"},
			"z":            {"u4", "u14", "u1"},
			"zed@":         {"u1", "u4"},
			"u3":           {},
			"nn":           {},
			"%":            {},
			"_":            {},
			"50%":          {"u5"},
			"50%_off\\":    {"u5"},
			"off":          {"u5"},
			"50_":          {},
			"æ":            {"u6"},
			"x\uD7FF":      {"u7"},
			"x\uD7FE":      {},
			"y\uD7FF":      {},
			"yy":           {"u8"},
			"x\U0010FFFF":  {"u8"},
			"\U0010FFFF":   {"u8"},
			"x\U0010FFFFz": {},
			"'; DROP --":   {},
			"*":            {},
			"maria":        {"u12", "u11"},
			"maria-l":      {"u11"},
			"luise o'":     {"u11"},
			"neill":        {"u11"},
			"o'neill x":    {},
			"eill":         {},
			"cara luise":   {},
			"太郎":           {"u13"},
			"田":            {"u13"},
			"émi":          {"u14"},
			"é@":           {"u14"},
			"ë":            {},
			x[:64]:         {"u15", "u16"},
			x + "2":        {"u16"},
			m + "1":        {"u15"},
			m + "m":        {},
		} {
			for _, limit := range []int{1, 2, 3, 100} {
				same(t, fmt.Sprintf("search %q by %d", search, limit), pages(t, s, store.UserSearch{Prefix: search}, limit), want)
			}
		}
		for _, c := range []struct {
			search store.UserSearch
			want   []string
		}{
			{store.UserSearch{ID: "u3"}, []string{"u3"}},
			{store.UserSearch{ID: "U3"}, []string{}},
			{store.UserSearch{ID: "u3", Prefix: "u3"}, []string{"u3"}},
			{store.UserSearch{ID: "u12", Prefix: "ann"}, []string{"u12", "u1", "u2", "u3", "u11"}},
			{store.UserSearch{ID: "u2", Prefix: "ann"}, []string{"u2", "u1", "u12", "u3", "u11"}},
			{store.UserSearch{ID: "ann", Prefix: "ann"}, []string{"u1", "u2", "u12", "u3", "u11"}},
		} {
			for _, limit := range []int{1, 2, 100} {
				same(t, fmt.Sprintf("search %+v by %d", c.search, limit), pages(t, s, c.search, limit), c.want)
			}
		}
		// A user is found by what the name and the address are now.
		update(t, s, func(tx store.Tx) error {
			return tx.UpdateUser(t.Context(), store.User{ID: "u11", NameKey: "cara olsen", Email: "cara@example.com"})
		})
		for search, want := range map[string][]string{"olsen": {"u11"}, "neill": {}, "luise": {}, "ann@": {}, "cara@": {"u11"}, "maria": {"u12"}} {
			same(t, fmt.Sprintf("search %q after a change", search), pages(t, s, store.UserSearch{Prefix: search}, 2), want)
		}
	}},
	{"pages go on where the last one ended", func(t *testing.T, open Open) {
		s := open(t)
		random := rand.New(rand.NewPCG(1, 2))
		var users []store.User
		for i := range 2600 {
			u := store.User{ID: fmt.Sprint("id-", i), NameKey: fmt.Sprintf("%c%d m%d", 'a'+random.IntN(3), i, random.IntN(20))}
			if i < 2400 {
				u.Email = fmt.Sprintf("M%c%d@Example.com", 'A'+random.IntN(2), i)
			}
			users = append(users, u)
		}
		insertUsers(t, s, users...)
		slices.SortFunc(users, func(a, b store.User) int { return cmp.Compare(a.NameKey, b.NameKey) })
		for _, c := range []struct {
			search string
			limit  int
		}{{"m", 1000}, {"ma", 400}, {"mb1", 7}, {"a", 500}, {"b12", 1}, {"m", 2600}, {"m1", 90}, {"", 700}} {
			want := []string{}
			type other struct{ text, id string }
			var others []other
			for _, u := range users {
				email := strings.ToLower(u.Email)
				_, word, _ := strings.Cut(u.NameKey, " ")
				texts := slices.DeleteFunc([]string{word, email}, func(text string) bool { return text == "" || !strings.HasPrefix(text, c.search) })
				if strings.HasPrefix(u.NameKey, c.search) {
					want = append(want, u.ID)
				} else if len(texts) > 0 {
					others = append(others, other{slices.Min(texts), u.ID})
				}
			}
			slices.SortFunc(others, func(a, b other) int { return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.id, b.id)) })
			for _, o := range others {
				want = append(want, o.id)
			}
			same(t, fmt.Sprintf("search %q by %d", c.search, c.limit), pages(t, s, store.UserSearch{Prefix: c.search}, c.limit), want)
		}
	}},
}

func filters(t *testing.T, open Open) {
	s := open(t)
	in := settings.InForce{Settings: settings.Settings{SessionTimeout: time.Minute, MaximumSessionDuration: time.Hour, RememberMeEnabled: true}}
	now := noon.UnixMicro()
	insertUsers(t, s,
		store.User{ID: "u1", NameKey: "ann", Groups: []string{"ops", `say "x"`}, Permissions: []string{store.AdministerSystem}},
		store.User{ID: "u2", NameKey: "bob ann", Disabled: true, Groups: []string{"Ops"}},
		store.User{ID: "u3", NameKey: "cara", Email: "ann@example.com", Groups: []string{"ops", "sales"}},
		store.User{ID: "u4", NameKey: "dora", Disabled: true, Permissions: []string{store.AdministerSystem, store.UserEdit}, Groups: []string{"%"}},
		store.User{ID: "u5", NameKey: "eve", Groups: []string{"shops"}},
	)
	insertSessions(t, s,
		store.Session{ID: "live", UserID: "u3", BeganAt: now, LastSeenAt: now, ExpiresAt: now + 3_600_000_000},
		store.Session{ID: "live too", UserID: "u3", BeganAt: now, LastSeenAt: now, ExpiresAt: now + 3_600_000_000},
		store.Session{ID: "over", UserID: "u2", BeganAt: now - 600_000_000, LastSeenAt: now - 600_000_000, ExpiresAt: now + 3_600_000_000})
	noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.TouchUser(t.Context(), "u2", 20), tx.TouchUser(t.Context(), "u4", 30), tx.TouchUser(t.Context(), "u3", 20),
			tx.PutIdentity(t.Context(), store.Identity{Issuer: "https://a.example", Subject: "2", UserID: "u2", Provider: "a", LinkedAt: 1}),
			tx.PutIdentity(t.Context(), store.Identity{Issuer: "https://a.example", Subject: "3", UserID: "u3", Provider: "a", LinkedAt: 1}),
			tx.PutIdentity(t.Context(), store.Identity{Issuer: "https://b.example", Subject: "3", UserID: "u3", Provider: "b", LinkedAt: 1}))
	}))
	live := &store.Live{Now: now, Settings: in}
	for _, c := range []struct {
		filter store.UserFilter
		want   []string
	}{
		{store.UserFilter{}, []string{"u1", "u2", "u3", "u4", "u5"}},
		{store.UserFilter{Sort: store.UserSort{Descending: true}}, []string{"u5", "u4", "u3", "u2", "u1"}},
		{store.UserFilter{Sort: store.UserSort{ByLastSignIn: true}}, []string{"u1", "u5", "u2", "u3", "u4"}},
		{store.UserFilter{Sort: store.UserSort{ByLastSignIn: true, Descending: true}}, []string{"u4", "u3", "u2", "u5", "u1"}},
		{store.UserFilter{Disabled: true}, []string{"u2", "u4"}},
		{store.UserFilter{Administrators: true}, []string{"u1", "u4"}},
		{store.UserFilter{Administrators: true, Disabled: true}, []string{"u4"}},
		{store.UserFilter{Linked: true}, []string{"u2", "u3"}},
		{store.UserFilter{Linked: true, Disabled: true}, []string{"u2"}},
		{store.UserFilter{Group: "ops"}, []string{"u1", "u3"}},
		{store.UserFilter{Group: "Ops"}, []string{"u2"}},
		{store.UserFilter{Group: "op"}, nil},
		{store.UserFilter{Group: "%"}, []string{"u4"}},
		{store.UserFilter{Group: `say "x"`}, []string{"u1"}},
		{store.UserFilter{Group: `","`}, nil},
		{store.UserFilter{Live: live}, []string{"u3"}},
		{store.UserFilter{Live: live, Group: "ops"}, []string{"u3"}},
		{store.UserFilter{Live: live, Disabled: true}, nil},
		{store.UserFilter{Search: store.UserSearch{Prefix: "ann"}}, []string{"u1", "u2", "u3"}},
		{store.UserFilter{Search: store.UserSearch{Prefix: "ann", ID: "u5"}}, []string{"u1", "u2", "u3", "u5"}},
		{store.UserFilter{Search: store.UserSearch{ID: "u5"}}, []string{"u5"}},
		{store.UserFilter{Search: store.UserSearch{Prefix: "ann"}, Group: "ops", Sort: store.UserSort{ByLastSignIn: true, Descending: true}}, []string{"u3", "u1"}},
	} {
		for _, limit := range []int{0, 1, 2, 3, 5, 10} {
			var got []string
			for after, pages := "", 0; ; pages++ {
				page, next, total, err := s.UsersWhere(t.Context(), c.filter, after, limit)
				noErr(t, err)
				if total != int64(len(c.want)) {
					t.Errorf("%+v: %d in all, want %d", c.filter, total, len(c.want))
				}
				got = append(got, ids(page)...)
				if next == "" {
					break
				}
				if len(page) != limit || pages > len(c.want) {
					t.Fatalf("%+v, %d at a time: a page of %d, and more follow", c.filter, limit, len(page))
				}
				after = next
			}
			if want := c.want; limit > 0 && !slices.Equal(got, want) {
				t.Errorf("%+v, %d at a time: %v, want %v", c.filter, limit, got, want)
			}
		}
	}
	// A page goes on after its last user, also if users have come or gone meanwhile.
	byName := store.UserFilter{}
	_, next, _, err := s.UsersWhere(t.Context(), byName, "", 2)
	noErr(t, err)
	insertUsers(t, s, store.User{ID: "u0", NameKey: "aaron"})
	noErr(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteUser(t.Context(), "u2", 1) }))
	page, _, _, err := s.UsersWhere(t.Context(), byName, next, 2)
	noErr(t, err)
	same(t, "the second page", ids(page), []string{"u3", "u4"})
	for _, after := range []string{"x", "1", "99999999999999999999 a", "\x00"} {
		_, _, _, err := s.UsersWhere(t.Context(), store.UserFilter{Sort: store.UserSort{ByLastSignIn: true}}, after, 2)
		is(t, err, store.ErrNotFound)
	}
	_, _, _, err = s.UsersWhere(t.Context(), byName, "a\x00\xff", 2)
	noErr(t, err)
}
