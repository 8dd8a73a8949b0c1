package sqlstore

import (
	"context"
	"errors"
	"strings"

	"example.com/curfew/internal/store"
)

const (
	// maxWord is the maximum number of characters of a text that the index holds.
	maxWord = 64
	// maxWordsRead is the maximum number of entries of the index that one search
	// reads. A page is shorter if most of them are of users of earlier pages.
	maxWordsRead = 20_000
)

// The positions of a search: after a name key, or after an entry of user_words. The
// text of an earlier release is a name key alone.
const (
	afterName = "name:"
	afterWord = "word:"
)

// Users returns a page of users; see store.UserReader. Users found by the name come
// from the index of names, and users found by another text from user_words: each in
// the order of its index, so that a page costs the same wherever it is.
func (q *queries) Users(ctx context.Context, search store.UserSearch, after string, limit int) (page []store.User, next string, err error) {
	if search.ID != "" {
		u, err := q.User(ctx, search.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			search.ID = ""
			if search.Prefix == "" {
				return nil, "", nil
			}
		case err != nil:
			return nil, "", err
		case after == "":
			page = append(page, u)
		}
		if search.Prefix == "" {
			return page, "", nil
		}
	}
	word, inWords := strings.CutPrefix(after, afterWord)
	if !inWords {
		if page, next, err = q.usersNamed(ctx, search, strings.TrimPrefix(after, afterName), page, limit); err != nil || next != "" {
			return page, next, err
		}
		word = ""
	}
	if search.Prefix == "" {
		return page, "", nil
	}
	return q.usersByWord(ctx, search, word, page, limit)
}

// usersNamed adds users by name to the page. next is "" if there are no more.
func (q *queries) usersNamed(ctx context.Context, search store.UserSearch, after string, page []store.User, limit int) (all []store.User, next string, err error) {
	within, args := prefixAfter("name_key", search.Prefix, "(name_key)", after)
	args = append(args, limit-len(page)+2) // the user with the id, and one more than is asked for
	found, err := q.users(ctx, `WHERE `+within+` ORDER BY name_key LIMIT ?`, args...)
	if err != nil {
		return nil, "", err
	}
	next = afterName + after
	for _, u := range found {
		switch {
		case u.ID == search.ID:
		case len(page) >= limit:
			return page, next, nil
		default:
			page = append(page, u)
		}
		next = afterName + u.NameKey
	}
	return page, "", nil
}

// wordRow is an entry of user_words with its user.
type wordRow struct {
	Word string `db:"word"`
	userRow
}

// usersByWord adds users whom another text names than the beginning of the name. The
// position after is a word, a line break and an id, or "".
func (q *queries) usersByWord(ctx context.Context, search store.UserSearch, after string, page []store.User, limit int) (all []store.User, next string, err error) {
	word, id, _ := strings.Cut(after, "\n")
	next = afterWord + after
	for read := 0; read < maxWordsRead; {
		var rows []wordRow
		n := 2*limit + 50
		within, args := prefixAfter("word", shortWord(search.Prefix), "(word, user_id)", word, id)
		// CROSS JOIN keeps SQLite from beginning with the users.
		if err := q.all(ctx, "search users", &rows, `SELECT word, `+userColumns+` FROM user_words CROSS JOIN users
			WHERE users.id = user_words.user_id AND `+within+` ORDER BY word, user_id LIMIT ?`, append(args, n)...); err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			u, err := row.user()
			if err != nil {
				return nil, "", err
			}
			if foundByWord(search, u, row.Word) {
				if len(page) >= limit {
					return page, next, nil
				}
				page = append(page, u)
			}
			word, id = row.Word, u.ID
			next = afterWord + word + "\n" + id
		}
		if len(rows) < n {
			return page, "", nil
		}
		read += len(rows)
	}
	return page, next, nil
}

// foundByWord reports whether a search finds the user by this entry: not by the name
// or the id, which come first, nor by an earlier entry. The entry may be of a name that
// an earlier release has changed.
func foundByWord(search store.UserSearch, u store.User, word string) bool {
	if u.ID == search.ID || search.Begins(u.NameKey) {
		return false
	}
	first, found := "", false
	for _, text := range store.SearchTexts(u) {
		if w := shortWord(text); search.Begins(text) && (!found || w < first) {
			first, found = w, true
		}
	}
	return found && word == first
}

// shortWord returns the part of a text that the index holds.
func shortWord(text string) string {
	text = storableText(text)
	n := 0
	for i := range text {
		if n++; n > maxWord {
			return text[:i]
		}
	}
	return text
}

// wordsOf is the value of words_of, as SQL and for a user.
const wordsOf = `name_key || '/' || email_key`

func wordsOfUser(u store.User) string { return u.NameKey + "/" + store.EmailKey(u.Email) }

// putWords adds the entries of users to user_words.
func (t *tx) putWords(ctx context.Context, users ...store.User) error {
	var args []any
	for _, u := range users {
		for _, text := range store.SearchTexts(u) {
			args = append(args, shortWord(text), u.ID)
		}
	}
	return t.insert(ctx, "index users", `INSERT INTO user_words (word, user_id) VALUES `, func(int) string { return "(?,?)" }, ` ON CONFLICT DO NOTHING`, 2, args)
}

// dropWords removes the entries of users from user_words, one by one: a planner that has
// not seen the table yet would walk through it for many.
func (t *tx) dropWords(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, err := t.exec(ctx, "index users", `DELETE FROM user_words WHERE user_id = ?`, id); err != nil {
			return err
		}
	}
	return nil
}

// indexedAtOnce is the number of users whose entries are made in one transaction.
const indexedAtOnce = 500

// indexUsers makes the entries of users that an earlier release has written.
func (s *Store) indexUsers(ctx context.Context) error {
	for after := ""; ; {
		var batch []store.User
		err := s.Update(ctx, func(into store.Tx) (err error) {
			batch, err = into.(*tx).indexUsers(ctx, after) //nolint:errcheck // Update has no other
			return err
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		after = batch[len(batch)-1].ID
	}
}

// indexUsers makes the entries of the next users after an id that have none. It locks
// their rows, so that no name changes meanwhile.
func (t *tx) indexUsers(ctx context.Context, after string) ([]store.User, error) {
	t.expect(manyRows)
	batch, err := t.users(ctx, `WHERE words_of <> `+wordsOf+` AND id > ? ORDER BY id LIMIT ?`+t.d.lockRow, after, indexedAtOnce)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	ids := make([]string, len(batch))
	for i, u := range batch {
		ids[i] = u.ID
	}
	var renamed []string // by an earlier release; the others have no entries
	if err := t.all(ctx, "index users", &renamed, `SELECT id FROM users WHERE words_of <> '' AND id IN `+marks(len(ids)), anys(ids)...); err != nil {
		return nil, err
	}
	if err := errors.Join(t.dropWords(ctx, renamed...), t.putWords(ctx, batch...)); err != nil {
		return nil, err
	}
	_, err = t.exec(ctx, "index users", `UPDATE users SET words_of = `+wordsOf+` WHERE id IN `+marks(len(ids)), anys(ids)...)
	return batch, err
}
