package sqlstore

import (
	"context"
	"encoding/json"
	"strings"

	"example.com/curfew/internal/store"
)

// UsersWhere returns a part of the users that a filter selects; see store.UserReader.
func (q *queries) UsersWhere(ctx context.Context, f store.UserFilter, offset, limit int) (page []store.User, total int64, err error) {
	where, args, err := selected(f)
	if err != nil {
		return nil, 0, err
	}
	if err := q.get(ctx, "count users", &total, `SELECT count(*) FROM users WHERE `+where, args...); err != nil {
		return nil, 0, err
	}
	if limit == 0 || int64(offset) >= total {
		return nil, total, nil
	}
	order := `name_key`
	if f.LatestFirst {
		order = `last_sign_in_at DESC, name_key`
	}
	page, err = q.users(ctx, `WHERE `+where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit, offset)...)
	return page, total, err
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
