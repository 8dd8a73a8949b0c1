package feed

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/revocation"
)

// ErrStartOver: the position that a follower claims lies above the store's clock
// as read afresh, so the store was restored from a backup. The follower begins
// again from 0 and keeps the higher epochs that it knows.
var ErrStartOver = errors.New("feed: the store is behind that position: start over from after=0")

// ErrBadQuery is wrapped by errors about a question that is not well formed.
var ErrBadQuery = errors.New("feed: bad query")

// Query is a follower's question.
type Query struct {
	// After is the follower's position: it has everything up to here.
	After revocation.Epoch
	// Confirmed is the last epoch that it has applied from an answer without
	// more; what it and all behind it enforce.
	Confirmed revocation.Epoch
	// Wait is how long it would wait if there is nothing newer. Zero asks the
	// store before answering: the follower wants to catch up.
	Wait time.Duration
	// Follower is the random name of the follower's process. Without one the
	// answer grants no lease.
	Follower string
	// FollowerName is what people call it: the name of its client.
	FollowerName string
	// Behind is the number of live followers behind it.
	Behind int64
}

// The bounds of what a query may say.
const (
	longestWait       = 5 * time.Minute
	longestFollowerID = 64
	mostBehind        = 1 << 40
)

// ParseQuery reads the query string of GET /v1/changes. FollowerName is left to
// the caller. Errors wrap [ErrBadQuery].
func ParseQuery(values url.Values) (Query, error) {
	var q Query
	for name, into := range map[string]func(n int64) error{
		"after":     func(n int64) error { q.After = revocation.Epoch(n); return nil },
		"confirmed": func(n int64) error { q.Confirmed = revocation.Epoch(n); return nil },
		"wait": func(n int64) error {
			q.Wait = min(longestWait, time.Duration(min(n, int64(longestWait/time.Second)))*time.Second)
			return nil
		},
		"behind": func(n int64) error {
			if n > mostBehind {
				return fmt.Errorf("%w: behind=%d is more than anybody can have", ErrBadQuery, n)
			}
			q.Behind = n
			return nil
		},
	} {
		given := values[name]
		if len(given) == 0 {
			continue
		}
		n, err := strconv.ParseUint(given[0], 10, 63)
		if err != nil || len(given) > 1 {
			return Query{}, fmt.Errorf("%w: %s=%.40q, want one whole number, zero or more", ErrBadQuery, name, given[0])
		}
		if err := into(int64(n)); err != nil { //nolint:gosec // 63 bits
			return Query{}, err
		}
	}
	q.Follower = values.Get("follower")
	if len(q.Follower) > longestFollowerID {
		return Query{}, fmt.Errorf("%w: follower has %d bytes, at most %d are allowed", ErrBadQuery, len(q.Follower), longestFollowerID)
	}
	return q, nil
}
