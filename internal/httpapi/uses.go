package httpapi

import (
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// reportUses is POST /v1/uses. The answer does not wait for the database, and does not
// say which sessions exist.
func reportUses(c *call) error {
	var body wire.Uses
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	if n := len(body.Uses); body.Uses == nil || n > uses.MaxReport {
		return account.InvalidField("uses", "must be an array of at most %d uses, but has %d", uses.MaxReport, n)
	}
	now := c.now()
	reported := make([]uses.Use, 0, len(body.Uses))
	for _, u := range body.Uses {
		const maxAge = int64(uses.MaxAge / time.Second)
		if !token.ValidSessionID(u.Session) {
			return account.InvalidField("uses.session", "must be a session's id")
		}
		if u.AgeSeconds == nil || *u.AgeSeconds < 0 || *u.AgeSeconds > maxAge {
			return account.InvalidField("uses.age_seconds", "must be from 0 to %d", maxAge)
		}
		reported = append(reported, uses.Use{Session: u.Session, At: now.Add(-time.Duration(*u.AgeSeconds) * time.Second)})
	}
	c.Uses.Add(c.caller.Actor.ID, reported...)
	return c.nothing()
}
