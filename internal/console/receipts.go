package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
)

type receiptsView struct {
	frame
	Filter   receiptsForm
	Reasons  []string // offered
	Receipts []receiptView
	Older    string // address of the next page; "" if this is the last
	Newest   string // address of the first page; "" if this is it
	Unknown  bool   // the filter's person is no user, and no receipt has the name
	exports
}

// receiptsForm holds the values typed.
type receiptsForm struct{ Person, Reason, From, To string }

// Any reports whether anything is selected.
func (f receiptsForm) Any() bool { return f != receiptsForm{} }

func (f receiptsForm) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"person": f.Person, "reason": f.Reason, "from": f.From, "to": f.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// filter reads the form, as that of the audit.
func (p *receiptPages) filter(x *exchange) (form receiptsForm, f store.ReceiptFilter, unknown bool, wrong map[string]string, err error) {
	form = receiptsForm{Person: x.text("person"), Reason: x.text("reason"), From: x.text("from"), To: x.text("to")}
	f.Text = form.Reason
	f.From, f.To, wrong = x.days()
	if form.Person != "" {
		var user bool
		f.User, user, err = p.sessions.FindPerson(x.ctx, x.caller, form.Person)
		unknown = !user
		if errors.Is(err, account.ErrAmbiguous) {
			wrong["person"], err = sentence(err), nil
		}
	}
	return form, f, unknown, wrong, err
}

// list is the page of the revocations, newest first.
func (p *receiptPages) list(x *exchange) error {
	form, f, unknown, wrong, err := p.filter(x)
	if err != nil {
		return err
	}
	view := receiptsView{frame: x.frame("Revocations", "/revocations", "Configuration"), Filter: form, Reasons: reasonsOffered}
	view.UTC, view.Errors = true, wrong
	if len(wrong) > 0 {
		return x.refusedForm("receipts", view)
	}
	if before := x.text("before"); before != "" {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n <= 0 {
			return store.ErrNotFound
		}
		f.Before = revocation.Epoch(n)
		view.Newest = address("/revocations", form.query())
	}
	receipts, err := p.sessions.Receipts(x.ctx, x.caller, f, entriesPerPage+1)
	if err != nil {
		return err
	}
	view.Unknown = unknown && len(receipts) == 0
	if len(receipts) > entriesPerPage {
		receipts = receipts[:entriesPerPage]
		q := form.query()
		q.Set("before", epochText(receipts[entriesPerPage-1].Epoch))
		view.Older = address("/revocations", q)
	}
	for _, r := range receipts {
		view.Receipts = append(view.Receipts, x.receiptView(r))
	}
	view.add("/revocations/export", form.query())
	return x.render(http.StatusOK, "receipts", view)
}

// exportList sends the receipts that are selected, newest first.
func (p *receiptPages) exportList(x *exchange) error {
	_, f, _, wrong, err := p.filter(x)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return errBadForm
	}
	return exportOf("revocations", func(ctx context.Context, limit int) ([]session.Receipt, error) {
		receipts, err := p.sessions.Receipts(ctx, x.caller, f, limit)
		if len(receipts) > 0 {
			f.Before = receipts[len(receipts)-1].Epoch
		}
		return receipts, err
	}).send(x, p.accounts)
}

// exportOne sends one receipt.
func (p *receiptPages) exportOne(x *exchange) error {
	epoch, err := epochIn(x.r.PathValue("epoch"))
	if err != nil {
		return err
	}
	return exportOf("revocation-"+epochText(epoch), func(ctx context.Context, _ int) ([]session.Receipt, error) {
		r, err := p.sessions.Receipt(ctx, x.caller, epoch, 0)
		return []session.Receipt{r}, err
	}).send(x, p.accounts)
}

func exportOf(name string, page func(context.Context, int) ([]session.Receipt, error)) export[session.Receipt] {
	return export[session.Receipt]{
		name: name, page: page,
		json: func(r session.Receipt) any { return wireform.Receipt(r) },
		header: []string{"epoch", "committed_at", "scope", "id", "user_id", "user_name", "users", "sessions", "by_kind", "by_id", "by_name", "reason",
			"validators", "confirmed", "closed_at", "closed_by", "lapsed"},
		row: func(r session.Receipt) []string {
			lapsed := make([]string, len(r.Enforcement.Lapsed))
			for i, l := range r.Enforcement.Lapsed {
				lapsed[i] = l.Name + " " + tableTime(l.At)
			}
			return []string{
				epochText(r.Epoch), tableTime(r.CommittedAt), r.Scope, r.ScopeID, r.UserID, r.UserName, counted(r.Users), counted(r.Sessions),
				r.Actor.Kind, r.Actor.ID, r.Actor.Name, r.Reason,
				epochText(r.Enforcement.Validators), epochText(r.Enforcement.Confirmed), tableTime(r.ClosedAt), r.ClosedBy, strings.Join(lapsed, "; "),
			}
		},
	}
}

// counted is a number in a table; "" if it is not known.
func counted(n int64) string {
	if n == store.NotCounted {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
