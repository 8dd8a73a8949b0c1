package sqlstore_test

import (
	"fmt"
	"slices"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// Users that an earlier release has added, or has renamed, are found after the next
// start, and by nothing that they were.
func TestSearchFindsUsersOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			url := engine.empty(t)
			patiently := sqlstore.Config{URL: url, Budget: await.Limit}
			s := openWith(t, patiently)
			const users = 1203 // more than two batches
			noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
				for i := range users {
					u := store.User{ID: fmt.Sprintf("id-%04d", i), NameKey: fmt.Sprintf("anna%d smith%d", i, i), Email: fmt.Sprintf("mail%d@example.com", i)}
					if err := tx.InsertUser(t.Context(), u); err != nil {
						return err
					}
				}
				return nil
			}))
			find := func(s store.Store, prefix string) (found []string) {
				t.Helper()
				page, _, err := s.Users(t.Context(), store.UserSearch{Prefix: prefix}, "", 10)
				noErr(t, err)
				for _, u := range page {
					found = append(found, u.ID)
				}
				return found
			}
			sqlstore.Exec(t, s, `DELETE FROM user_words WHERE user_id <> 'id-0007'`)
			sqlstore.Exec(t, s, `UPDATE users SET words_of = '' WHERE id <> 'id-0007'`)
			sqlstore.Exec(t, s, `UPDATE users SET name_key = 'anna jones' WHERE id = 'id-0007'`)
			if got := find(s, "smith7"); slices.Contains(got, "id-0007") {
				t.Errorf("a renamed user is found by the name from before: %q", got)
			}
			for range 2 { // the second start finds nothing to do
				s = openWith(t, patiently)
				for prefix, want := range map[string][]string{
					"jones": {"id-0007"}, "smith1202": {"id-1202"}, "mail0@": {"id-0000"}, "smith700": {"id-0700"}, "mail7@": {"id-0007"},
				} {
					if got := find(s, prefix); !slices.Equal(got, want) {
						t.Errorf("search %q: %q, want %q", prefix, got, want)
					}
				}
				if got := find(s, "smith7"); slices.Contains(got, "id-0007") {
					t.Errorf("a renamed user is found by the name from before: %q", got)
				}
			}
		})
	}
}
