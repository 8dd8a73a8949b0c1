package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/feed"
	"example.com/curfew/token"
)

// changes is GET /v1/changes.
func changes(c *call) error {
	q, err := feed.ParseQuery(c.query)
	if err != nil {
		return err
	}
	q.FollowerName = c.caller.Actor.Name
	done := c.hold(q.Wait)
	defer done()
	answer, err := c.Feed.Changes(c.ctx, q)
	if err != nil {
		return err
	}
	c.private()
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	gzip := answer.Gzip() && acceptsGzip(c.r.Header)
	if gzip {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Length", strconv.Itoa(answer.Size(gzip)))
	c.w.WriteHeader(http.StatusOK)
	if err := answer.Write(c.w, gzip); err == nil {
		_ = http.NewResponseController(c.w).Flush() // the follower is gone if this fails
	}
	answer.Sent(c.ctx)
	return nil
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) as far as it is
// needed: gzip is named, and not with a weight of zero.
func acceptsGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				return weight(parameters) > 0
			}
		}
	}
	return false
}

// revokedBefore is GET /v1/revoked-before.
func revokedBefore(c *call) error {
	user, session := c.query.Get("user"), c.query.Get("session")
	switch {
	case !token.ValidSubject(user):
		return account.InvalidField("user", "must be a user's id")
	case !token.ValidSessionID(session):
		return account.InvalidField("session", "must be a session's id")
	}
	answer, err := c.Feed.RevokedBefore(c.ctx, user, session)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}
