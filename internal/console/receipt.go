package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// receiptPages are the receipts of revocations, on pages of their own and on others.
type receiptPages struct {
	accounts *account.Service
	sessions *session.Service
}

// A receiptView is the receipt of a revocation as it stands now.
type receiptView struct {
	Heading   string // "" on a page of its own
	Epoch     int64
	What      string
	User      string // name of the user whose sessions were revoked; "" if there is none
	Subject   string // address of the user's page; "" if there is none
	Ended     string // how many sessions of how many users; "" if that was not counted
	Before    when   // revoked before
	Committed when
	By        string
	ByPath    string
	Why       string

	Validators, Confirmed int64
	Waiting               []string
	Lapsed                []lapseView
	Done                  bool // in force everywhere
	Since                 when // when it was found to be; zero if that is not stored
	After                 time.Duration
	Unreadable            bool // the other servers could not be read
	EffectiveBy           when
	Overdue               bool // no validator can still accept, confirmed or not
}

// lapseView is a validator whose lease ran out before it confirmed.
type lapseView struct {
	Name string
	At   when
}

type receiptPage struct {
	frame
	Receipt receiptView
	Exports exports // zero for callers that may not export
}

func epochText[T ~int64](epoch T) string { return strconv.FormatInt(int64(epoch), 10) }

// epochIn reads an epoch in an address.
func epochIn(text string) (revocation.Epoch, error) {
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil || epoch <= 0 {
		return 0, fmt.Errorf("%w: %q is no epoch", store.ErrNotFound, text)
	}
	return revocation.Epoch(epoch), nil
}

// asked returns the receipt that the address asks for, if it asks for one.
func (p *receiptPages) asked(x *exchange) (*receiptView, error) {
	text := x.r.URL.Query().Get("receipt")
	if text == "" {
		return nil, nil
	}
	r, err := p.at(x, text)
	if r != nil {
		r.Heading = "Receipt"
		if x.text("done") == "elsewhere" {
			r.What = "All your other sessions"
		}
	}
	return r, err
}

// at returns the receipt of the revocation that was made at an epoch.
func (p *receiptPages) at(x *exchange, text string) (*receiptView, error) {
	epoch, err := epochIn(text)
	if err != nil {
		return nil, err
	}
	r, err := p.sessions.Receipt(x.ctx, x.caller, epoch, 0)
	if err != nil {
		return nil, err
	}
	view := x.receiptView(r)
	if r.Scope == string(revocation.KindSession) && r.UserID != "" {
		// The row may be pruned, or gone with its user.
		if of, err := p.sessions.Record(x.ctx, x.caller, r.UserID, r.ScopeID); err == nil {
			s := x.sessionView(of.Live)
			view.What = "One session: " + s.Device + ", from " + firstOf(s.Address, "an unknown address")
		}
	}
	return &view, nil
}

func (x *exchange) receiptView(r session.Receipt) receiptView {
	e := r.Enforcement
	view := receiptView{
		Epoch: int64(r.Epoch), Before: x.micro(int64(r.Epoch)), Committed: x.micro(r.CommittedAt), Why: r.Reason, By: actorName(r.Actor),
		What: revoked(r), User: r.UserName, Ended: ended(r.Receipt),
		Validators: e.Validators, Confirmed: e.Confirmed, Waiting: e.Waiting,
		Done: e.EffectiveEverywhere, Unreadable: e.Unreadable, EffectiveBy: x.when(e.EffectiveBy),
		Overdue: !e.EffectiveBy.IsZero() && !x.now().Before(e.EffectiveBy),
	}
	if r.Closed() {
		view.Since, view.After = x.micro(r.ClosedAt), time.Duration(r.ClosedAt-r.CommittedAt)*time.Microsecond
	}
	for _, l := range e.Lapsed {
		view.Lapsed = append(view.Lapsed, lapseView{l.Name, x.micro(l.At)})
	}
	if editUsers.met(x.caller) {
		if r.Actor.Kind == store.ActorUser {
			view.ByPath = userPath(r.Actor.ID)
		}
		if r.UserID != "" {
			view.Subject = userPath(r.UserID)
		}
	}
	return view
}

// revoked says which sessions a receipt is about.
func revoked(r session.Receipt) string {
	switch r.Scope {
	case string(revocation.KindEveryone):
		return "All sessions of all users"
	case string(revocation.KindRemembered):
		return "All remember-me sessions"
	case string(revocation.KindUser):
		return "All sessions of one user"
	case store.ScopeUsers:
		return "The sessions of " + count(r.Named, "user")
	case store.ScopeSettings:
		return "Sessions past the new limits"
	case store.ScopeKey:
		return "Sessions signed with one key"
	case store.ScopeProvider:
		return "Sessions begun at " + r.ScopeID
	}
	return "One session"
}

// ended says how many sessions a revocation ended.
func ended(r store.Receipt) string {
	switch {
	case r.Sessions == store.NotCounted:
		return ""
	case r.Users <= 1:
		return count(r.Sessions, "session")
	}
	return count(r.Sessions, "session") + " of " + count(r.Users, "user")
}

// actorName says who did something.
func actorName(a store.Actor) string {
	switch a.Kind {
	case store.ActorCLI:
		return "Command line"
	case store.ActorSystem:
		return "Automatic"
	case store.ActorClient:
		return "The service " + firstOf(a.Name, a.ID)
	}
	return firstOf(a.Name, a.ID)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// page is the page of a receipt. Without a script it fetches itself anew while
// some have not confirmed: there is nothing on it that this could take away.
func (p *receiptPages) page(x *exchange) error {
	r, err := p.at(x, x.r.PathValue("epoch"))
	if err != nil {
		return err
	}
	view := receiptPage{frame: x.frame("Receipt", "/revocations", "Configuration", "Revocations"), Receipt: *r}
	if administering.met(x.caller) {
		view.Exports.add("/revocations/"+epochText(r.Epoch)+"/export", url.Values{})
	} else {
		view.Here, view.Trail = "", nil
	}
	if !r.Done {
		view.Renew = "/revocations/" + epochText(r.Epoch) + "?" + renewed + "=1"
	}
	return x.ok("receipt", view)
}

// state is the part of the page that changes, for the script.
func (p *receiptPages) state(x *exchange) error {
	r, err := p.at(x, x.r.PathValue("epoch"))
	if err != nil {
		return err
	}
	return x.renderPart(http.StatusOK, "receipt", "receipt-state", *r)
}

// HoldsIn says how long it may take at most.
func (r receiptView) HoldsIn() time.Duration {
	return max(0, r.EffectiveBy.at.Sub(r.EffectiveBy.now)).Round(time.Second)
}
