package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/wire"
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
	wait, done := c.wait()
	defer done()
	receipt, err := c.Sessions.RevokeMany(c.ctx, c.caller, body, wait)
	if err != nil {
		return err
	}
	return c.receipt(http.StatusCreated, receipt, wait)
}

// receipt is GET /v1/revocations/{epoch}.
func receipt(c *call) error {
	epoch, err := strconv.ParseUint(c.r.PathValue("epoch"), 10, 63)
	if err != nil || epoch == 0 {
		return fmt.Errorf("%w: the path does not end in an epoch", fault.ErrNotFound)
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

// receipt answers with a receipt. One that was waited for and does not hold
// everywhere yet is 202: it is stored and will hold by the instant that it names.
func (c *call) receipt(status int, r wire.Receipt, wait time.Duration) error {
	if status == http.StatusCreated {
		c.w.Header().Set("Location", "/v1/revocations/"+strconv.FormatInt(r.Epoch, 10))
		if wait > 0 && !r.Enforcement.EffectiveEverywhere {
			status = http.StatusAccepted
		}
	}
	return c.json(status, r)
}
