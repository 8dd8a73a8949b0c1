package console

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// receiptPages are the receipts of revocations, on pages of their own and on others.
type receiptPages struct{ sessions *session.Service }

// A receiptView is the receipt of a revocation as it stands now.
type receiptView struct {
	Heading  string // "" on a page of its own
	Epoch    int64
	What     string
	Subject  string // address of the page of the user whose sessions were revoked; "" if there is none
	Before   when   // revoked before
	By       string
	ByPath   string
	Why      string
	Everyone bool

	Validators, Confirmed int64
	Waiting               []string
	Done                  bool // holds everywhere
	EffectiveBy           when
	Overdue               bool // no validator can still accept, confirmed or not
}

type receiptPage struct {
	frame
	Receipt receiptView
}

func epochText(epoch int64) string { return strconv.FormatInt(epoch, 10) }

// asked returns the receipt that the address asks for, if it asks for one.
func (p *receiptPages) asked(x *exchange) (*receiptView, error) {
	text := x.r.URL.Query().Get("receipt")
	if text == "" {
		return nil, nil
	}
	r, err := p.at(x, text)
	if r != nil {
		r.Heading = "Receipt"
	}
	return r, err
}

// at returns the receipt of the revocation that was made at an epoch.
func (p *receiptPages) at(x *exchange, text string) (*receiptView, error) {
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil || epoch <= 0 {
		return nil, fmt.Errorf("%w: %q is no epoch", store.ErrNotFound, text)
	}
	r, by, err := p.sessions.ReceiptBy(x.ctx, x.caller, revocation.Epoch(epoch))
	if err != nil {
		return nil, err
	}
	view := x.receiptView(r, by)
	return &view, nil
}

func (x *exchange) receiptView(r wire.Receipt, by store.Actor) receiptView {
	e := r.Enforcement
	view := receiptView{
		Epoch: r.Epoch, Before: x.micro(r.Epoch), Why: r.Reason, By: actorName(by),
		Validators: e.Validators, Confirmed: e.Confirmed, Waiting: e.Waiting,
		Done: e.EffectiveEverywhere, EffectiveBy: x.when(e.EffectiveBy),
		Overdue: !e.EffectiveBy.IsZero() && !x.now().Before(e.EffectiveBy),
	}
	if by.Kind == store.ActorUser && editUsers.met(x.caller) {
		view.ByPath = userPath(by.ID)
	}
	switch r.Scope {
	case string(revocation.KindEveryone):
		view.What = "All sessions of all users"
	case string(revocation.KindRemembered):
		view.What = "All remember-me sessions"
	case string(revocation.KindUser):
		view.What = "All sessions of one user"
		if r.ID == x.session.Subject {
			view.What = "All your sessions"
		}
		if editUsers.met(x.caller) {
			view.Subject = userPath(r.ID)
		}
	case "users":
		view.What = "The sessions of " + count(int64(r.Users), "person")
	case string(revocation.KindSession):
		view.What = "One session"
	}
	return view
}

// actorName says who did something.
func actorName(a store.Actor) string {
	switch a.Kind {
	case store.ActorCLI:
		return "The command line"
	case store.ActorSystem:
		return "Curfew (automatic)"
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
	if !administering.met(x.caller) {
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
