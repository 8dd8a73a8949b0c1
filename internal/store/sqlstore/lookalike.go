package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.mau.fi/util/confusable"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"example.com/curfew/internal/store"
)

// skeleton returns the value by which a name key or an id is compared, so that it
// cannot look like another. It is a hash of the Unicode UTS 39 skeleton (section 4)
// of the compatibility form, which maps full-width letters and the like to letters,
// without regard to letter case. The hash has a fixed size; a skeleton may be many
// times as long as the name.
func skeleton(text string) string {
	// The skeleton of a lower-case letter may be a capital letter, whose lower case
	// may have another skeleton: 0, O, o. Two rounds are enough for all known
	// cases.
	const maxRounds = 4
	seen := text
	for range maxRounds {
		next := cases.Fold().String(confusable.Skeleton(cases.Fold().String(norm.NFKD.String(seen))))
		if next == seen {
			break
		}
		seen = next
	}
	if seen == "" {
		seen = text // of invisible characters, which account refuses
	}
	sum := sha256.Sum256([]byte(seen))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// LockNames orders transactions that compare names. If two give the same name at
// once, or one gives the name that the other gives as an id, the second sees the
// first.
func (t *tx) LockNames(ctx context.Context) error {
	if t.d.lockNames == "" || t.names {
		return nil // SQLite has one writer at a time
	}
	_, err := t.exec(ctx, "lock names", t.d.lockNames)
	t.names = err == nil
	return err
}

// lookAlikes returns users other than id whose names or ids have one of the given
// skeletons.
func (q *queries) lookAlikes(ctx context.Context, id string, skeletons ...string) ([]store.User, error) {
	values := append(append(append(append([]any{}, anys(skeletons)...), id), anys(skeletons)...), id)
	return q.users(ctx, `WHERE id IN (
		SELECT id FROM users WHERE name_skeleton <> '' AND name_skeleton IN `+marks(len(skeletons))+` AND id <> ?
		UNION SELECT id FROM users WHERE id_skeleton <> '' AND id_skeleton IN `+marks(len(skeletons))+` AND id <> ?)
		ORDER BY id LIMIT 1`, values...)
}

// checkedAtOnce is the number of names compared in one transaction, with a fixed
// number of statements.
const checkedAtOnce = 500

// checkNames compares the names and ids that an earlier release has written. Those
// that look like another are kept and logged, at each start until one of the two is
// renamed.
func (s *Store) checkNames(ctx context.Context, logger *slog.Logger) error {
	for after := ""; ; {
		var batch []store.User
		var alike [][2]store.User
		err := s.Update(ctx, func(into store.Tx) (err error) {
			batch, alike, err = into.(*tx).checkNames(ctx, after) //nolint:errcheck // Update has no other
			return err
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, pair := range alike {
			logger.WarnContext(ctx, "two users' names or ids are the same or look alike: rename one of them; until then say id:… for the user that is meant",
				"name", pair[0].Name, "id", pair[0].ID, "other_name", pair[1].Name, "other_id", pair[1].ID)
		}
		after = batch[len(batch)-1].ID
	}
}

// checkNames compares the next users after an id that were not compared yet. Of two
// that look alike, the one compared later stays marked as not compared.
func (t *tx) checkNames(ctx context.Context, after string) (batch []store.User, alike [][2]store.User, err error) {
	const what = "compare names"
	t.expect(manyRows)
	if err := t.LockNames(ctx); err != nil {
		return nil, nil, err
	}
	batch, err = t.users(ctx, `WHERE skeleton_of <> name_key AND id > ? ORDER BY id LIMIT ?`, after, checkedAtOnce)
	if err != nil || len(batch) == 0 {
		return nil, nil, err
	}
	byID := make(map[string]store.User, len(batch))
	ids := make([]string, len(batch))
	rows := make([]string, len(batch))
	made := make(map[string][]string, 2*len(batch))
	var values []any
	for i, u := range batch {
		byID[u.ID], ids[i], rows[i] = u, u.ID, "(?,?,?)"
		name, id := skeleton(u.NameKey), skeleton(u.ID)
		values = append(values, u.ID, name, id)
		made[name] = append(made[name], u.ID)
		if id != name {
			made[id] = append(made[id], u.ID)
		}
	}
	if _, err := t.exec(ctx, what, `WITH made (id, of_name, of_id) AS (VALUES `+strings.Join(rows, ",")+`)
		UPDATE users SET name_skeleton = made.of_name, id_skeleton = made.of_id, skeleton_of = '' FROM made WHERE users.id = made.id`, values...); err != nil {
		return nil, nil, err
	}
	pairs, err := t.alike(ctx, made)
	if err != nil {
		return nil, nil, err
	}
	for _, pair := range pairs {
		other, later := byID[pair.Other]
		if later && pair.Other > pair.ID {
			continue // found from the other user
		}
		if !later {
			if other, err = t.User(ctx, pair.Other); err != nil {
				return nil, nil, err
			}
		}
		if len(alike) == 0 || alike[len(alike)-1][0].ID != pair.ID {
			alike = append(alike, [2]store.User{byID[pair.ID], other})
		}
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		return slices.ContainsFunc(alike, func(pair [2]store.User) bool { return pair[0].ID == id })
	})
	if len(ids) > 0 {
		_, err = t.exec(ctx, what, `UPDATE users SET skeleton_of = name_key WHERE id IN `+marks(len(ids)), anys(ids)...)
	}
	return batch, alike, err
}

// alikePair are the ids of two users of which the first passes for the other.
type alikePair struct{ ID, Other string }

// alike returns the pairs of a user of made, which has the ids of users by their
// skeletons, and any other user with such a skeleton. The skeletons are compared here
// and not by a join: a planner that has seen the columns while they were empty would
// walk through all users for each.
func (t *tx) alike(ctx context.Context, made map[string][]string) ([]alikePair, error) {
	var others []struct {
		ID   string `db:"id"`
		Name string `db:"name_skeleton"`
		Own  string `db:"id_skeleton"`
	}
	skeletons := anys(slices.Collect(maps.Keys(made)))
	in := marks(len(skeletons))
	err := t.all(ctx, "compare names", &others, `
		SELECT id, name_skeleton, id_skeleton FROM users WHERE name_skeleton <> '' AND name_skeleton IN `+in+`
		UNION SELECT id, name_skeleton, id_skeleton FROM users WHERE id_skeleton <> '' AND id_skeleton IN `+in,
		append(skeletons, skeletons...)...)
	if err != nil {
		return nil, err
	}
	var pairs []alikePair
	for _, o := range others {
		for _, id := range append(slices.Clone(made[o.Name]), made[o.Own]...) {
			if id != o.ID {
				pairs = append(pairs, alikePair{id, o.ID})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b alikePair) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Other, b.Other))
	})
	return slices.Compact(pairs), nil
}
