package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// listAudit is GET /v1/audit.
func listAudit(c *call) error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	filter, err := auditFilter(c.query)
	if err != nil {
		return err
	}
	for _, name := range []*string{&filter.Person, &filter.Actor, &filter.Target} {
		if *name == "" {
			continue
		}
		if *name, _, err = c.Sessions.FindPerson(c.ctx, c.caller, *name); err != nil {
			return err
		}
	}
	entries, err := c.Sessions.Audit(c.ctx, c.caller, filter, n+1) // one more, to know whether there is a next page
	if err != nil {
		return err
	}
	var answer wire.AuditEntries
	if len(entries) > n {
		entries = entries[:n]
		answer.NextCursor = cursor("audit", strconv.FormatInt(entries[n-1].ID, 10))
	}
	answer.Entries = make([]wire.AuditEntry, len(entries))
	for i, e := range entries {
		answer.Entries[i] = wireform.Audit(e)
	}
	return c.json(http.StatusOK, answer)
}

func auditFilter(q url.Values) (store.AuditFilter, error) {
	f := store.AuditFilter{
		Person: q.Get("person"), Actor: q.Get("actor"), Target: q.Get("target"), Action: q.Get("action"),
		Reason: q.Get("reason"), Address: q.Get("address"), Session: q.Get("session"),
	}
	var err error
	if f.Before, err = numberedPosition(q, "audit"); err != nil {
		return f, err
	}
	f.From, f.To, err = period(q)
	return f, err
}

// period reads ?from= and ?to=; 0 for what is not given.
func period(q url.Values) (from, to int64, err error) {
	if from, err = instant(q, "from"); err != nil {
		return 0, 0, err
	}
	to, err = instant(q, "to")
	return from, to, err
}

// instant reads a parameter that is a date and time (RFC 3339); 0 if it is not
// given.
func instant(q url.Values, name string) (int64, error) {
	if !q.Has(name) {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, q.Get(name))
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return 0, account.InvalidField(name, "must be a time such as 2026-11-23T17:00:00Z")
	}
	return t.UnixMicro(), nil
}
