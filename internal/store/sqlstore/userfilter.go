package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"example.com/curfew/internal/store"
)

// UsersWhere returns a page of the users that a filter selects; see store.UserReader.
func (q *queries) UsersWhere(ctx context.Context, f store.UserFilter, after string, limit int) (page []store.User, next string, total int64, err error) {
	where, args, err := selected(f)
	if err != nil {
		return nil, "", 0, err
	}
	if err := q.get(ctx, "count users", &total, `SELECT count(*) FROM users WHERE `+where, args...); err != nil || limit == 0 {
		return nil, "", total, err
	}
	columns, order, beyond := []string{"name_key"}, "", " > "
	if f.Sort.ByLastSignIn {
		columns = []string{"last_sign_in_at", "name_key"}
	}
	if f.Sort.Descending {
		order, beyond = " DESC", " < "
	}
	if after != "" {
		position, err := positionIn(f.Sort, after)
		if err != nil {
			return nil, "", 0, err
		}
		where += ` AND (` + strings.Join(columns, ", ") + `)` + beyond + marks(len(columns))
		args = append(args, position...)
	}
	page, err = q.users(ctx, `WHERE `+where+` ORDER BY `+strings.Join(columns, order+", ")+order+` LIMIT ?`, append(args, limit+1)...)
	if err == nil && len(page) > limit {
		page = page[:limit]
		next = positionOf(f.Sort, page[limit-1])
	}
	return page, next, total, err
}

// positionOf returns the position after a user in an order: the name key, after the last
// sign-in if that comes first.
func positionOf(sort store.UserSort, u store.User) string {
	if sort.ByLastSignIn {
		return strconv.FormatInt(u.LastSignInAt, 10) + " " + u.NameKey
	}
	return u.NameKey
}

// positionIn returns the values of a position in an order.
func positionIn(sort store.UserSort, after string) ([]any, error) {
	if !sort.ByLastSignIn {
		return []any{storableText(after)}, nil
	}
	first, name, found := strings.Cut(after, " ")
	at, err := strconv.ParseInt(first, 10, 64)
	if err != nil || !found {
		return nil, fmt.Errorf("read users: %w: %q is no position in the order of the last sign-in", store.ErrNotFound, after)
	}
	return []any{at, storableText(name)}, nil
}

// selected returns the condition for a row of users to be selected by a filter.
func selected(f store.UserFilter) (where string, args []any, err error) {
	all := []string{`1 = 1`}
	add := func(condition string, values ...any) {
		all = append(all, condition)
		args = append(args, values...)
	}
	if f.Search != (store.UserSearch{}) {
		either := []string{}
		var values []any
		if f.Search.ID != "" {
			either, values = append(either, `id = ?`), append(values, f.Search.ID)
		}
		if f.Search.Prefix != "" {
			named, namedArgs := prefix("name_key", f.Search.Prefix)
			word, wordArgs := prefix("word", shortWord(f.Search.Prefix))
			either = append(either, named, `id IN (SELECT user_id FROM user_words WHERE `+word+`)`)
			values = append(append(values, namedArgs...), wordArgs...)
		}
		add(`(`+strings.Join(either, ` OR `)+`)`, values...)
	}
	if f.Disabled {
		add(`disabled = 1`)
	}
	if f.Administrators {
		add(`administrator = 1`)
	}
	if f.Linked {
		add(`id IN (SELECT user_id FROM identities)`)
	}
	if f.Group != "" {
		name, err := json.Marshal(storableText(f.Group))
		if err != nil {
			return "", nil, err
		}
		// The list is JSON, and every quotation mark within a name is escaped in it. The
		// operator LIKE ignores letter case on SQLite.
		add(`replace(member_of, ?, '') <> member_of`, string(name))
	}
	if f.Live != nil {
		live, liveArgs := living(*f.Live)
		add(`id IN (SELECT s.user_id FROM sessions AS s WHERE `+live+`)`, liveArgs...)
	}
	return strings.Join(all, ` AND `), args, nil
}
