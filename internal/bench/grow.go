package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/plot"
	"example.com/curfew/internal/wire"
)

// fill writes rows that years of use would have left. A node's own rows (the
// account admin, keys, settings) stay.
var fill = []struct{ what, statement string }{
	{"users", `WITH added AS (
		INSERT INTO users (id, name, name_key, email, email_key, permissions, administrator, disabled, password_hash, created_at, last_sign_in_at, words_of)
		SELECT 'grown-' || i, 'Person ' || i, 'person ' || i, 'person' || i || '@example.com', 'person' || i || '@example.com', '[]', 0, 0, '', $2::bigint + i, 0,
			'person ' || i || '/person' || i || '@example.com'
		FROM generate_series($1::bigint, $3::bigint) i RETURNING id, name_key, email_key)
		INSERT INTO user_words (word, user_id) SELECT split_part(name_key, ' ', 2), id FROM added UNION ALL SELECT email_key, id FROM added`},
	{"sessions", `INSERT INTO sessions (id, user_id, remember_me, epoch, key_id, device, address, began_at, last_seen_at, expires_at, ended_at)
		SELECT left(translate(encode(sha256(('s' || i)::bytea), 'base64'), '+/=', 'AAA'), 21) || 'A', 'grown-' || i, 0, $2::bigint + i, 'k', 'Firefox on Linux', '192.0.2.1',
			$2::bigint, $2::bigint, $2::bigint + 1000000::bigint * 1728000, 0
		FROM generate_series($1::bigint, $3::bigint) i`},
	{"revocations", `INSERT INTO revocations (kind, id, epoch)
		SELECT 'user', 'user-' || lpad(to_hex(i), 17, '0'), $2::bigint + i
		FROM generate_series($1::bigint, $3::bigint) i`},
}

// grow measures a node with much behind it.
func (b *bench) grow() (err error) {
	users, sessions, revocations := b.of(1_000_000, 100_000), b.of(100_000, 10_000), b.of(1_000_000, 100_000)
	dsn, err := b.database("grow")
	if err != nil {
		return err
	}
	first, err := b.startNode(dsn) // makes the schema
	if err != nil {
		return err
	}
	if _, err := first.client("followers", "follow"); err != nil {
		return errors.Join(err, first.close())
	}
	if err := first.close(); err != nil {
		return err
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	// Users come in steps, and each step is searched.
	search := plot.Line{Name: "user search, median"}
	validation := plot.Line{Name: "validation, /v1/verify, median"}
	began := time.Now().Add(-time.Hour).UnixMicro()
	done := 0
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		if n > users {
			break
		}
		b.say("  %s users", count(n))
		if err := insert(db, 0, done+1, n, began); err != nil {
			return err
		}
		done = n
		if n == users {
			break // searched below, with everything else there
		}
		s, v, err := b.searchOnce(dsn)
		if err != nil {
			return err
		}
		search.Points = append(search.Points, plot.Point{X: float64(n), Y: s.Median()})
		validation.Points = append(validation.Points, plot.Point{X: float64(n), Y: v.Median()})
	}
	b.say("  %s sessions, %s revocations", count(sessions), count(revocations))
	if err := errors.Join(insert(db, 1, 1, sessions, began), insert(db, 2, 1, revocations, began)); err != nil {
		return err
	}
	if _, err := db.Exec(`UPDATE clock SET epoch = greatest(epoch, $1)`, began+int64(revocations)); err != nil {
		return err
	}
	if _, err := db.Exec(`VACUUM ANALYZE`); err != nil {
		return err
	}

	var ready, memory measure.Series
	for range b.of(5, 3) {
		b.calm()
		n, err := b.startNode(dsn)
		if err != nil {
			return err
		}
		resident, err := n.resident()
		if err = errors.Join(err, n.close()); err != nil {
			return err
		}
		ready.Values = append(ready.Values, n.ready.Seconds())
		memory.Values = append(memory.Values, resident/(1<<20))
	}
	n, err := b.startNode(dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	s, v, err := n.search(b.rounds)
	if err != nil {
		return err
	}
	search.Points = append(search.Points, plot.Point{X: float64(users), Y: s.Median()})
	validation.Points = append(validation.Points, plot.Point{X: float64(users), Y: v.Median()})
	follower, err := b.followerStarts(n, revocations)
	if err != nil {
		return err
	}
	resident, err := n.resident()
	if err != nil {
		return err
	}

	with := fmt.Sprintf("node with %s users, %s live sessions, %s revocations, PostgreSQL: ", count(users), count(sessions), count(revocations))
	b.report.atMost("a follower's start with "+count(revocations)+" revocations, from a server's memory", 0.6, " s", follower)
	b.report.explain("a million revocations are 72 MB of JSON, sent page by page, and each page is compressed, unpacked, read and applied before the next is asked for")
	b.report.atMost(with+"start", 3, " s", ready)
	b.report.atMost(with+"resident memory", 300, " MiB", memory)
	b.report.remark("%s MiB after searches, validations, and followers that started", number(resident/(1<<20)))
	b.report.atMost(with+"user search", 50, " ms", s)
	b.costs["node start"], b.costs["node MiB"], b.costs["follower start"] = ready.Median(), memory.Median(), follower.Median()
	b.report.plot("users.svg", plot.Chart{Title: "What more users cost", X: "users in PostgreSQL", Y: "ms", Lines: []plot.Line{search, validation}})
	return nil
}

// insert writes the rows from…to of what fill describes.
func insert(db *sql.DB, what, from, to int, began int64) error {
	if _, err := db.Exec(fill[what].statement, from, began, to); err != nil {
		return fmt.Errorf("filling %s: %w", fill[what].what, err)
	}
	return nil
}

// searchOnce measures searches and validations on a node that ends again.
func (b *bench) searchOnce(dsn string) (search, validation measure.Series, err error) {
	n, err := b.startNode(dsn)
	if err != nil {
		return search, validation, err
	}
	search, validation, err = n.search(b.rounds)
	return search, validation, errors.Join(err, n.close())
}

// search looks users up as the console does, by the beginning of a name and by
// email, and validates the searcher's own session.
func (n *node) search(rounds int) (search, validation measure.Series, err error) {
	if err := n.signIn(); err != nil {
		return search, validation, err
	}
	clock := func(s *measure.Series, path string, to any) error {
		began := time.Now()
		err := n.call(http.MethodGet, path, n.admin, nil, to)
		s.Values = append(s.Values, time.Since(began).Seconds()*1000)
		return err
	}
	for i := range 5 * rounds {
		var found wire.Users
		path := fmt.Sprintf("/v1/users?search=person%%20%d", 1+i%900)
		if i%2 == 1 {
			path = fmt.Sprintf("/v1/users?search=person%d@", 1+i%900)
		}
		if err := clock(&search, path, &found); err != nil {
			return search, validation, err
		}
		if len(found.Users) == 0 {
			return search, validation, fmt.Errorf("%s finds no user", path)
		}
		if err := clock(&validation, "/v1/verify", nil); err != nil {
			return search, validation, err
		}
	}
	return search, validation, nil
}
