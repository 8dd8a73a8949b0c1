package feed

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/revocation"
)

// ErrStartOver means that the follower's position is above the store's clock as
// just read, so the store was restored from a backup. The follower begins again
// from 0 and keeps the higher epochs that it knows.
var ErrStartOver = errors.New("feed: the store is behind that position; start over from after=0")

// ErrBadQuery is wrapped by errors about a malformed query.
var ErrBadQuery = errors.New("feed: bad query")

// Query is a follower's poll.
type Query struct {
	// After is the follower's position: it has everything up to this epoch.
	After revocation.Epoch
	// Confirmed is the epoch that the follower and all followers behind it enforce:
	// the last epoch that it has applied from an answer without more.
	Confirmed revocation.Epoch
	// Wait is the maximum wait if there is nothing newer. Zero asks the store
	// before answering, for a follower that catches up.
	Wait time.Duration
	// Follower is the random name of the follower's process. Without one the
	// answer grants no lease.
	Follower string
	// Client is the id of its client, and FollowerName the client's display name.
	Client       string
	FollowerName string
	// Behind is the number of live followers behind it.
	Behind int64
	// Credential is checked again if clients have changed since the view had
	// ClientsEpoch. Nil is never checked.
	Credential   Credential
	ClientsEpoch revocation.Epoch
}

// Credential is the proof with which a client was authenticated.
type Credential interface {
	// Check returns nil if the client may still follow at the view's current epoch.
	// The error is the answer to the follower. It must be safe for concurrent use.
	Check(ctx context.Context) error
}

// The bounds of a query.
const (
	maxWait       = 5 * time.Minute
	maxFollowerID = 64
)

// ParseQuery reads the query string of GET /v1/changes. The caller sets Client,
// FollowerName, Credential and ClientsEpoch. Errors wrap [ErrBadQuery].
func ParseQuery(values url.Values) (Query, error) {
	var q Query
	for name, into := range map[string]func(n int64){
		"after":     func(n int64) { q.After = revocation.Epoch(n) },
		"confirmed": func(n int64) { q.Confirmed = revocation.Epoch(n) },
		"wait": func(n int64) {
			q.Wait = min(maxWait, time.Duration(min(n, int64(maxWait/time.Second)))*time.Second)
		},
		"behind": func(n int64) { q.Behind = n },
	} {
		given := values[name]
		if len(given) == 0 {
			continue
		}
		n, err := strconv.ParseUint(given[0], 10, 63)
		if err != nil || len(given) > 1 {
			return Query{}, fmt.Errorf("%w: %s=%.40q, want one whole number, zero or more", ErrBadQuery, name, given[0])
		}
		into(int64(n)) // 63 bits
	}
	q.Follower = values.Get("follower")
	if len(q.Follower) > maxFollowerID {
		return Query{}, fmt.Errorf("%w: follower has %d bytes, at most %d are allowed", ErrBadQuery, len(q.Follower), maxFollowerID)
	}
	return q, nil
}
