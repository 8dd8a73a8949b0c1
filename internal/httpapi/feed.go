package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/longpoll"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// changes is GET /v1/changes.
func changes(c *call) error {
	q, err := feed.ParseQuery(c.query)
	if err != nil {
		return err
	}
	q.Client, q.FollowerName = c.caller.Actor.ID, c.caller.Actor.Name
	q.Credential, q.ClientsEpoch = &proof{c.api, c.r, c.origin()}, c.clientsEpoch
	if q.Wait > 0 {
		if parked := c.Parking.Park(c.w, c.r); parked != nil {
			w := &waiting{Parked: parked}
			defer w.recoverPanic()
			if answer, pending, err := c.Feed.Submit(c.ctx, q, w); !pending {
				w.Deliver(answer, err)
				w.Release()
			}
			return nil
		}
	}
	done := c.hold(q.Wait)
	defer done()
	answer, err := c.Feed.Changes(c.ctx, q)
	if err != nil {
		return err
	}
	sendChanges(c.w, c.r, &answer)
	return nil
}

// proof is the credential of a follower. It implements feed.Credential.
type proof struct {
	api     *api
	request *http.Request
	from    authz.Origin
}

// Check implements feed.Credential.
func (p *proof) Check(ctx context.Context) error {
	_, err := p.api.identify(ctx, p.request, store.Follow, p.from)
	return err
}

func sendChanges(w http.ResponseWriter, r *http.Request, answer *feed.Answer) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	gzip := answer.Gzip() && inbound.AcceptsGzip(r.Header)
	if gzip {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Length", strconv.Itoa(answer.Size(gzip)))
	w.WriteHeader(http.StatusOK)
	_ = answer.Write(w, gzip) // the follower is gone if this fails
}

// waiting is a follower whose connection is parked.
type waiting struct {
	*longpoll.Parked
	async bool // another goroutine sends the answer, and releases the poll
}

const (
	// A small answer finds room in the buffers of the connection, or else its
	// reader is no reason for the others to wait.
	smallAnswer  = 16 << 10
	smallTimeout = 250 * time.Millisecond
	largeTimeout = 30 * time.Second
)

// recoverPanic answers a request whose handler has panicked. Deferred.
func (w *waiting) recoverPanic() {
	if cause := recover(); cause != nil { //nolint:revive // the method is what is deferred
		w.Answer(smallTimeout, func(http.ResponseWriter, *http.Request) { panic(cause) })
		w.Parked.Release()
	}
}

// Deliver implements feed.Waiter.
func (w *waiting) Deliver(answer feed.Answer, err error) {
	switch {
	case err != nil:
		w.Answer(smallTimeout, func(rw http.ResponseWriter, r *http.Request) { fail(rw, r, err) })
	case answer.Size(false) <= smallAnswer:
		w.Answer(smallTimeout, func(rw http.ResponseWriter, r *http.Request) { sendChanges(rw, r, &answer) })
	default:
		w.async = true
		go func() { // ends with its timeout
			w.Answer(largeTimeout, func(rw http.ResponseWriter, r *http.Request) { sendChanges(rw, r, &answer) })
			w.Parked.Release()
		}()
	}
}

// Release implements feed.Waiter.
func (w *waiting) Release() {
	if !w.async {
		w.Parked.Release()
	}
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
