package console

import (
	"errors"
	"net/url"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// sessionPage is the page of one session, live or not.
type sessionPage struct {
	frame
	Session sessionView
	Through string // the way in which the user signed in
	Ended   *endView
	Audit   string // address of the audit of the session; "" for callers that may not read it
}

// endView is how a session ended.
type endView struct {
	At      when // zero if that is not known
	Words   string
	Receipt *receiptView // nil if there is none that the caller may see
}

// session shows one session. Users see their own.
func (p *userPages) session(x *exchange) error {
	user := x.r.PathValue("id")
	r, err := p.sessions.Record(x.ctx, x.caller, user, x.r.PathValue("sid"))
	if err != nil {
		return err
	}
	view := sessionPage{Session: x.sessionView(r.Live), Through: through(r)}
	title := "Session: " + view.Session.Device
	if x.caller.IsSelf(user) {
		view.frame = x.frame(title, "/profile", "Account menu", "Profile")
	} else {
		u, err := p.subject(x)
		if err != nil {
			return err
		}
		view.frame = x.frameBelow(u, title)
	}
	if x.caller.MayAdminister() == nil {
		view.Audit = address("/audit", url.Values{"person": {user}, "session": {r.ID}})
	}
	if r.End != nil {
		view.Ended = &endView{At: x.micro(r.End.At), Words: endWords(r.End)}
		if view.Ended.Receipt, err = p.receipts.of(x, r.End); err != nil {
			return err
		}
	}
	return x.ok("session", view)
}

// through says how the user of a session signed in.
func through(r session.Record) string {
	switch {
	case r.Provider != "":
		return "the provider " + r.Provider
	case r.BegunBy == store.ActorUser:
		return "password"
	case r.BegunBy == store.ActorClient:
		return "a service"
	}
	return "unknown"
}

// endWords says how a session ended.
func endWords(e *session.End) string {
	switch e.Reason {
	case token.ErrIdleTimeout:
		return "Session timeout: it was not used in time"
	case token.ErrMaximumDuration:
		return "Maximum session duration reached"
	case token.ErrUnknownKey:
		return "The key that signed it was retired"
	case token.ErrRevoked:
		if e.Action != "" {
			return actionWords(e.Action)
		}
		return "Revoked"
	default:
		return "Its last token expired"
	}
}

// of returns the receipt of what ended a session; nil if there is none that the caller
// may see.
func (p *receiptPages) of(x *exchange, e *session.End) (*receiptView, error) {
	if e.Epoch == 0 {
		return nil, nil
	}
	r, err := p.at(x, epochText(e.Epoch))
	if _, forbidden := errors.AsType[*authz.ErrForbidden](err); forbidden || errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return r, err
}
