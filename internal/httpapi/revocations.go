package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
)

// revokeUser is POST /v1/users/{id}/revocations.
func revokeUser(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	var body wire.RevokeUser
	if err := decode(c.r, &body, true); err != nil {
		return err
	}
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.RevokeUser(c.ctx, c.caller, id, body.Reason, body.KeepCurrent, wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusCreated, receipt, wait)
}

// revokeMany is POST /v1/revocations.
func revokeMany(c *call) error {
	var body wire.RevokeMany
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	if body.Scope == session.ScopeUsers && len(body.Users) > 0 && c.caller.MayAdminister() == nil {
		var err error
		if body.Users, err = c.resolve(body.Users); err != nil {
			return err
		}
	}
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.RevokeMany(c.ctx, c.caller, session.Many(body), wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusCreated, receipt, wait)
}

// resolve returns the ids of the users that texts stand for: ids, names, "id:…" or
// "name:…". All of them must stand for one.
func (c *call) resolve(texts []string) ([]string, error) {
	if len(texts) > session.MaxUsers {
		return texts, nil // to be refused
	}
	found, unknown, err := c.Accounts.FindUsers(c.ctx, c.caller, texts)
	if err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		return nil, session.UnknownUsersError(unknown)
	}
	ids := make([]string, len(found))
	for i, u := range found {
		ids[i] = u.ID
	}
	return ids, nil
}

// receipt is GET /v1/revocations/{epoch}.
func receipt(c *call) error {
	epoch, err := strconv.ParseUint(c.r.PathValue("epoch"), 10, 63)
	if err != nil || epoch == 0 {
		return fmt.Errorf("%w: the path must end in an epoch", fault.ErrNotFound)
	}
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.Receipt(c.ctx, c.caller, revocation.Epoch(epoch), wait) // #nosec G115 -- 63 bits
	if err != nil {
		return err
	}
	return c.receipt(http.StatusOK, receipt, wait)
}

// wait returns how long the caller would have the answer held, and makes room for
// it. Call done at the end.
func (c *call) wait() (wait time.Duration, done func()) {
	wait, given := preferredWait(c.r.Header)
	if !given {
		return 0, func() {}
	}
	c.w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	return wait, c.hold(wait)
}

// receipt answers with a receipt. If the caller waited for it and it is not in force
// everywhere yet, the status is 202: it is stored, and will be in force by the instant
// that it names.
func (c *call) receipt(status int, r session.Receipt, wait time.Duration) error {
	if status == http.StatusCreated {
		c.w.Header().Set("Location", c.receiptAddress(r))
	}
	return c.json(effective(status, r, wait), wireform.Receipt(r))
}

// effective returns the status of an answer with a receipt: 202 if the caller has waited
// and not every validator has confirmed.
func effective(status int, r session.Receipt, wait time.Duration) int {
	if wait > 0 && !r.Enforcement.EffectiveEverywhere {
		return http.StatusAccepted
	}
	return status
}

// receiptAddress returns the address of a receipt, for the header Location.
func (c *call) receiptAddress(r session.Receipt) string {
	return c.Prefix + "/v1/revocations/" + strconv.FormatInt(int64(r.Epoch), 10)
}

// listReceipts is GET /v1/revocations.
func listReceipts(c *call) error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	filter, err := receiptFilter(c.query)
	if err != nil {
		return err
	}
	if filter.User != "" {
		if filter.User, _, err = c.Sessions.FindPerson(c.ctx, c.caller, filter.User); err != nil {
			return err
		}
	}
	receipts, err := c.Sessions.Receipts(c.ctx, c.caller, filter, n+1) // one more, to know whether there is a next page
	if err != nil {
		return err
	}
	var answer wire.Receipts
	if len(receipts) > n {
		receipts = receipts[:n]
		answer.NextCursor = cursor("revocations", strconv.FormatInt(int64(receipts[n-1].Epoch), 10))
	}
	answer.Revocations = make([]wire.Receipt, len(receipts))
	for i, r := range receipts {
		answer.Revocations[i] = wireform.Receipt(r)
	}
	return c.json(http.StatusOK, answer)
}

func receiptFilter(q url.Values) (store.ReceiptFilter, error) {
	f := store.ReceiptFilter{User: q.Get("user"), By: q.Get("by")}
	before, err := numberedPosition(q, "revocations")
	if err != nil {
		return f, err
	}
	f.Before = revocation.Epoch(before)
	f.From, f.To, err = period(q)
	return f, err
}
