package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"

	"go.mau.fi/util/confusable"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"example.com/curfew/internal/store"
)

// skeleton returns what a name key or an id is compared by, so that it does not
// pass for another: a hash of its skeleton by Unicode UTS 39, section 4, of the
// compatibility form (which takes full-width letters and the like for letters) and
// without regard to letter case. The hash has one size, while a skeleton may be many times
// as long as the name.
func skeleton(text string) string {
	// The skeleton of a lower-case letter may be a capital one, whose lower case may
	// have another skeleton: 0, O, o. Two rounds settle all that are known.
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
		seen = text // of characters that are not seen, which account refuses
	}
	sum := sha256.Sum256([]byte(seen))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// lockNames orders transactions that compare names: of two that give the same name
// at once, or one's name to the other as an id, the second sees the first.
func (t *tx) lockNames(ctx context.Context) error {
	if t.d.lockNames == "" || t.names {
		return nil // SQLite has one writer at a time
	}
	_, err := t.exec(ctx, "lock names", t.d.lockNames)
	t.names = err == nil
	return err
}

// lookAlikes returns users other than id whose names or ids look like one of the
// skeletons given.
func (q *queries) lookAlikes(ctx context.Context, id string, skeletons ...string) ([]store.User, error) {
	values := append(append(append(append([]any{}, anys(skeletons)...), id), anys(skeletons)...), id)
	return q.users(ctx, `WHERE id IN (
		SELECT id FROM users WHERE name_skeleton <> '' AND name_skeleton IN `+marks(len(skeletons))+` AND id <> ?
		UNION SELECT id FROM users WHERE id_skeleton <> '' AND id_skeleton IN `+marks(len(skeletons))+` AND id <> ?)
		ORDER BY id LIMIT 1`, values...)
}

// checkedAtOnce is how many names are compared in one transaction.
const checkedAtOnce = 200

// checkNames compares the names and ids that an earlier release has written, once
// it is known how. Those that pass for another are kept and logged, at each start
// until one of the two is renamed.
func (s *Store) checkNames(ctx context.Context, logger *slog.Logger) error {
	for after := ""; ; {
		var batch []store.User
		var alike [][2]store.User
		err := s.Update(ctx, func(into store.Tx) (err error) {
			batch, alike, err = into.(*tx).checkNames(ctx, after)
			return err
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, pair := range alike {
			logger.WarnContext(ctx, "two users' names or ids are the same or look alike: rename one of them; until then say id:… for the one that is meant",
				"name", pair[0].Name, "id", pair[0].ID, "other_name", pair[1].Name, "other_id", pair[1].ID)
		}
		after = batch[len(batch)-1].ID
	}
}

// checkNames compares the next users after an id that were not compared yet.
func (t *tx) checkNames(ctx context.Context, after string) (batch []store.User, alike [][2]store.User, err error) {
	if err := t.lockNames(ctx); err != nil {
		return nil, nil, err
	}
	batch, err = t.users(ctx, `WHERE skeleton_of <> name_key AND id > ? ORDER BY id LIMIT ?`, after, checkedAtOnce)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range batch {
		name, id := skeleton(u.NameKey), skeleton(u.ID)
		others, err := t.lookAlikes(ctx, u.ID, name, id)
		if err != nil {
			return nil, nil, err
		}
		checked := u.NameKey
		if len(others) > 0 {
			alike = append(alike, [2]store.User{u, others[0]})
			checked = ""
		}
		if _, err := t.exec(ctx, "compare names", `UPDATE users SET name_skeleton = ?, id_skeleton = ?, skeleton_of = ? WHERE id = ?`,
			name, id, checked, u.ID); err != nil {
			return nil, nil, err
		}
	}
	return batch, alike, nil
}
