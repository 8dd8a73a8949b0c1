package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/store"
)

const userColumns = `id, name, name_key, email, permissions, member_of, disabled, password_hash, must_change_password, created_at, last_sign_in_at`

type userRow struct {
	ID           string `db:"id"`
	Name         string `db:"name"`
	NameKey      string `db:"name_key"`
	Email        string `db:"email"`
	Permissions  string `db:"permissions"`
	Groups       string `db:"member_of"`
	Disabled     int64  `db:"disabled"`
	PasswordHash string `db:"password_hash"`
	MustChange   int64  `db:"must_change_password"`
	CreatedAt    int64  `db:"created_at"`
	LastSignInAt int64  `db:"last_sign_in_at"`
}

func (r *userRow) user() (store.User, error) {
	permissions, err := unlist(r.Permissions)
	groups, groupsErr := unlist(r.Groups)
	return store.User{
		ID: r.ID, Name: r.Name, NameKey: r.NameKey, Email: r.Email, Permissions: permissions, Groups: groups,
		Disabled: r.Disabled != 0, PasswordHash: r.PasswordHash, MustChangePassword: r.MustChange != 0, CreatedAt: r.CreatedAt, LastSignInAt: r.LastSignInAt,
	}, errors.Join(err, groupsErr)
}

// User returns a user by id.
func (q *queries) User(ctx context.Context, id string) (store.User, error) {
	return q.user(ctx, `WHERE id = ?`, id)
}

// UserByName returns a user by name key.
func (q *queries) UserByName(ctx context.Context, nameKey string) (store.User, error) {
	return q.user(ctx, `WHERE name_key = ?`, nameKey)
}

// LockUser returns a user and locks the row until the transaction ends.
func (t *tx) LockUser(ctx context.Context, id string) (store.User, error) {
	return t.user(ctx, `WHERE id = ?`+t.d.lockRow, id)
}

func (q *queries) user(ctx context.Context, where string, args ...any) (store.User, error) {
	var row userRow
	if err := q.get(ctx, "read a user", &row, `SELECT `+userColumns+` FROM users `+where, args...); err != nil {
		return store.User{}, err
	}
	return row.user()
}

func (q *queries) users(ctx context.Context, where string, args ...any) ([]store.User, error) {
	var rows []userRow
	if err := q.all(ctx, "read users", &rows, `SELECT `+userColumns+` FROM users `+where, args...); err != nil {
		return nil, err
	}
	users := make([]store.User, len(rows))
	for i := range rows {
		var err error
		if users[i], err = rows[i].user(); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// UsersByEmail returns the users with an email, by name key.
func (q *queries) UsersByEmail(ctx context.Context, email string) ([]store.User, error) {
	return q.users(ctx, `WHERE email_key = ? AND email_key <> '' ORDER BY name_key`, store.EmailKey(email))
}

// UsersNamed returns the users with the ids or name keys given.
func (q *queries) UsersNamed(ctx context.Context, ids, nameKeys []string) ([]store.User, error) {
	var users []store.User
	seen := make(map[string]bool, len(ids)+len(nameKeys))
	by := func(column string, values []string) error {
		return chunks(values, func(values []string) error {
			found, err := q.users(ctx, `WHERE `+column+` IN `+marks(len(values)), anys(values)...)
			for _, u := range found {
				if !seen[u.ID] {
					seen[u.ID] = true
					users = append(users, u)
				}
			}
			return err
		})
	}
	if err := by("id", ids); err != nil {
		return nil, err
	}
	return users, by("name_key", nameKeys)
}

// UserByEmail returns the only user with an email address.
func (q *queries) UserByEmail(ctx context.Context, email string) (store.User, error) {
	const what = "read a user by email"
	found, err := q.users(ctx, `WHERE email_key <> '' AND email_key = ? ORDER BY name_key LIMIT 2`, store.EmailKey(email))
	switch {
	case err != nil:
		return store.User{}, err
	case len(found) == 0:
		return store.User{}, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	case len(found) > 1:
		return store.User{}, fmt.Errorf("%s: %w: several users have the address", what, store.ErrNotFound)
	}
	return found[0], nil
}

// UsersWithEmails returns users with the addresses given, at most two of each.
func (q *queries) UsersWithEmails(ctx context.Context, emails []string) ([]store.User, error) {
	keys := make([]string, 0, len(emails))
	for _, email := range emails {
		if key := store.EmailKey(email); key != "" {
			keys = append(keys, key)
		}
	}
	var users []store.User
	err := chunks(keys, func(keys []string) error {
		var rows []userRow
		if err := q.all(ctx, "read users by email", &rows, `
			SELECT `+userColumns+` FROM (
				SELECT `+userColumns+`, row_number() OVER (PARTITION BY email_key ORDER BY name_key) AS place
				FROM users WHERE email_key <> '' AND email_key IN `+marks(len(keys))+`) AS found
			WHERE place <= 2`, anys(keys)...); err != nil {
			return err
		}
		for _, row := range rows {
			u, err := row.user()
			if err != nil {
				return err
			}
			users = append(users, u)
		}
		return nil
	})
	return users, err
}

// CountAdministrators counts the enabled holders of AdministerSystem.
func (q *queries) CountAdministrators(ctx context.Context) (int64, error) {
	var n int64
	err := q.get(ctx, "count administrators", &n, `SELECT count(*) FROM users WHERE administrator = 1 AND disabled = 0`)
	return n, err
}

// CountUsers counts all users.
func (q *queries) CountUsers(ctx context.Context) (int64, error) {
	var n int64
	err := q.get(ctx, "count users", &n, `SELECT count(*) FROM users`)
	return n, err
}

// InsertUser adds a user. If the id or the name is taken, or looks like that of
// another user, the transaction continues on both engines.
func (t *tx) InsertUser(ctx context.Context, u store.User) error {
	const what = "add a user"
	if err := fits(what, u.ID, u.NameKey, u.Email); err != nil {
		return err
	}
	if err := t.LockNames(ctx); err != nil {
		return err
	}
	name, id := skeleton(u.NameKey), skeleton(u.ID)
	n, err := t.exec(ctx, what, `
		INSERT INTO users (id, name, name_key, email, email_key, permissions, member_of, password_hash, name_skeleton, id_skeleton, skeleton_of,
			words_of, administrator, disabled, must_change_password, created_at, last_sign_in_at)
		SELECT ?,?,?,?,?,?,?,?,?,?,?,?, CAST(? AS bigint), CAST(? AS bigint), CAST(? AS bigint), CAST(? AS bigint), CAST(? AS bigint)
		WHERE NOT EXISTS (SELECT 1 FROM users WHERE name_skeleton <> '' AND name_skeleton IN (?,?))
			AND NOT EXISTS (SELECT 1 FROM users WHERE id_skeleton <> '' AND id_skeleton IN (?,?))
			AND NOT EXISTS (SELECT 1 FROM deleted_users WHERE id_skeleton IN (?,?))
		ON CONFLICT DO NOTHING`,
		u.ID, u.Name, u.NameKey, u.Email, store.EmailKey(u.Email), list(u.Permissions), list(u.Groups), u.PasswordHash, name, id, u.NameKey,
		wordsOfUser(u), administrator(&u), bit(u.Disabled), bit(u.MustChangePassword), u.CreatedAt, u.LastSignInAt, name, id, name, id, name, id)
	switch {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%s: %w: another user has or had that name or id, or a similar-looking one", what, store.ErrConflict)
	}
	return t.putWords(ctx, u)
}

func administrator(u *store.User) int64 {
	return bit(slices.Contains(u.Permissions, store.AdministerSystem))
}

// UpdateUser replaces all but ID, CreatedAt and LastSignInAt.
func (t *tx) UpdateUser(ctx context.Context, u store.User) error {
	const what = "change a user"
	if err := fits(what, u.NameKey, u.Email); err != nil {
		return err
	}
	old, err := t.User(ctx, u.ID)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	name := skeleton(u.NameKey)
	if old.NameKey != u.NameKey {
		if err := t.LockNames(ctx); err != nil {
			return err
		}
		others, err := t.lookAlikes(ctx, u.ID, name)
		if err != nil {
			return err
		}
		var taken int64
		if err := t.get(ctx, what, &taken, `SELECT count(*) FROM deleted_users WHERE id_skeleton = ?`, name); err != nil {
			return err
		}
		if len(others) > 0 || taken > 0 {
			return fmt.Errorf("%s: %w: another user has that name or id, or a similar-looking one", what, store.ErrConflict)
		}
	}
	// A query finds a taken name, because the error of the statement would end a
	// transaction of PostgreSQL. If two take it at once, one still gets that error.
	n, err := t.exec(ctx, what, `
		UPDATE users SET name = ?, name_key = ?, email = ?, email_key = ?, permissions = ?, member_of = ?, administrator = ?, disabled = ?, password_hash = ?, must_change_password = ?,
			name_skeleton = ?, id_skeleton = ?, skeleton_of = CASE WHEN name_key = ? THEN skeleton_of ELSE ? END
		WHERE id = ? AND NOT EXISTS (SELECT 1 FROM users AS other WHERE other.name_key = ? AND other.id <> ?)`,
		u.Name, u.NameKey, u.Email, store.EmailKey(u.Email), list(u.Permissions), list(u.Groups), administrator(&u), bit(u.Disabled), u.PasswordHash, bit(u.MustChangePassword),
		name, skeleton(u.ID), u.NameKey, u.NameKey, u.ID, u.NameKey, u.ID)
	switch {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%s: %w: the name is taken", what, store.ErrConflict)
	case old.NameKey == u.NameKey && old.Email == u.Email:
		return nil
	}
	if err := errors.Join(t.dropWords(ctx, u.ID), t.putWords(ctx, u)); err != nil {
		return err
	}
	_, err = t.exec(ctx, what, `UPDATE users SET words_of = `+wordsOf+` WHERE id = ?`, u.ID)
	return err
}

// DeleteUser removes a user and the user's identities, and keeps the id, so that no
// other user gets it.
func (t *tx) DeleteUser(ctx context.Context, id string, at int64) error {
	const what = "delete a user"
	if err := t.LockNames(ctx); err != nil {
		return err
	}
	n, err := t.exec(ctx, what, `DELETE FROM users WHERE id = ?`, id)
	switch {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	if _, err = t.exec(ctx, what, `DELETE FROM identities WHERE user_id = ?`, id); err != nil {
		return err
	}
	_, err = t.exec(ctx, what, `INSERT INTO deleted_users (id, id_skeleton, deleted_at) VALUES (?,?,?)`, id, skeleton(id), at)
	return errors.Join(err, t.dropWords(ctx, id))
}

// TouchUser sets LastSignInAt.
func (t *tx) TouchUser(ctx context.Context, id string, lastSignInAt int64) error {
	n, err := t.exec(ctx, "note a sign-in", `UPDATE users SET last_sign_in_at = ? WHERE id = ?`, lastSignInAt, id)
	if err == nil && n == 0 {
		return fmt.Errorf("note a sign-in: %w", store.ErrNotFound)
	}
	return err
}

// prefix returns a condition for column to begin with text, as a range for which
// its index can be used.
func prefix(column, text string) (where string, args []any) {
	text = storableText(text)
	if end, ok := following(text); ok {
		return column + ` >= ? AND ` + column + ` < ?`, []any{text, end}
	}
	return column + ` >= ?`, []any{text}
}

// prefixAfter is prefix for the entries of an index after one: columns are those of the
// index, of which column is the first, and after are their values. "" as the first is
// before all. There is one lower bound, because SQLite looks only for the first of two.
func prefixAfter(column, text, columns string, after ...string) (where string, args []any) {
	where, args = prefix(column, text)
	if first := storableText(after[0]); first != "" && first >= storableText(text) {
		where = columns + ` > ` + marks(len(after)) + strings.TrimPrefix(where, column+` >= ?`)
		args = append(anys(after), args[1:]...)
	}
	return where, args
}

// following returns the lowest text after all texts that begin with text, in the
// order of bytes, which is the order of code points.
func following(text string) (string, bool) {
	runes := []rune(text)
	for i, r := range slices.Backward(runes) {
		switch r {
		case 0x10FFFF:
			continue
		case 0xD7FF: // the surrogates that come next are no characters
			return string(runes[:i]) + "\uE000", true
		default:
			return string(runes[:i]) + string(r+1), true
		}
	}
	return "", false
}
