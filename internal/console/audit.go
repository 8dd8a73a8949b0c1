package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// auditPages are the audit log and its exports.
type auditPages struct {
	accounts *account.Service
	sessions *session.Service
}

type auditView struct {
	frame
	Filter  auditForm
	Actions []action
	Reasons []string // offered
	Unknown bool     // the filter's person is no user, and no entry has the name
	Entries []auditEntry
	Older   string // address of the next page; "" if this is the last
	Newest  string // address of the first page; "" if this is it
	exports
}

// auditForm holds the values typed.
type auditForm struct{ Person, Action, Reason, Address, Session, From, To string }

// Any reports whether anything is selected.
func (f auditForm) Any() bool { return f != auditForm{} }

func (f auditForm) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"person": f.Person, "action": f.Action, "reason": f.Reason, "address": f.Address, "session": f.Session, "from": f.From, "to": f.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

type auditEntry struct {
	ID          int64
	At          when
	Actor       string
	ActorPath   string
	SignedOut   bool // the actor had no session: a refused sign-in
	Action      string
	Words       string
	Subject     string // the user that it was done to; "" if there is none
	SubjectPath string
	Receipt     string // address of the receipt; "" if nothing was revoked
	Reason      string
	Address     string
	RequestID   string
	Detail      string // indented
}

const entriesPerPage = 50

// filter reads the form. Days are those of UTC, both included. unknown is set if the
// person is no user now: the audit may have the name of a client, or of a user of the
// past.
func (p *auditPages) filter(x *exchange) (form auditForm, f store.AuditFilter, unknown bool, wrong map[string]string, err error) {
	form = auditForm{
		Person: x.text("person"), Action: x.text("action"), Reason: x.text("reason"), Address: x.text("address"), Session: x.text("session"), From: x.text("from"), To: x.text("to"),
	}
	f = store.AuditFilter{Action: form.Action, Reason: form.Reason, Address: form.Address, Session: form.Session}
	f.From, f.To, wrong = x.days()
	if form.Session != "" && !token.ValidSessionID(form.Session) {
		wrong["session"] = "A session ID has 22 letters, digits, hyphens and underscores."
	}
	if form.Person != "" {
		var user bool
		f.Person, user, err = p.sessions.FindPerson(x.ctx, x.caller, form.Person)
		unknown = !user
		if errors.Is(err, account.ErrAmbiguous) {
			wrong["person"], err = sentence(err), nil
		}
	}
	return form, f, unknown, wrong, err
}

// days reads the days "from" and "to" of a form, in µs. Both are included, so the end
// is the start of the next day.
func (x *exchange) days() (from, to int64, wrong map[string]string) {
	wrong = map[string]string{}
	day := func(field string, add int) int64 {
		typed := x.text(field)
		if typed == "" {
			return 0
		}
		t, err := time.Parse(time.DateOnly, typed)
		if err != nil || t.Year() < 1970 || t.Year() > 9999 {
			wrong[field] = "Enter a date such as 2026-11-23."
			return 0
		}
		return t.AddDate(0, 0, add).UnixMicro()
	}
	from, to = day("from", 0), day("to", 1)
	if len(wrong) == 0 && from != 0 && to != 0 && from >= to {
		wrong["to"] = "The end date is before the start date."
	}
	return from, to, wrong
}

// export sends the entries that are selected, newest first.
func (p *auditPages) export(x *exchange) error {
	_, f, _, wrong, err := p.filter(x)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return errBadForm
	}
	return export[store.Audit]{
		name: "audit",
		page: func(ctx context.Context, limit int) ([]store.Audit, error) {
			entries, err := p.sessions.Audit(ctx, x.caller, f, limit)
			if len(entries) > 0 {
				f.Before = entries[len(entries)-1].ID
			}
			return entries, err
		},
		json: func(e store.Audit) any { return wireform.Audit(e) },
		header: []string{"id", "at", "actor_kind", "actor_id", "actor_name", "action",
			"target_kind", "target_id", "target_name", "reason", "address", "request_id", "epoch", "detail"},
		row: func(e store.Audit) []string {
			return []string{
				strconv.FormatInt(e.ID, 10), tableTime(e.At),
				e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Action, e.TargetKind, e.TargetID, e.TargetName,
				e.Reason, e.Actor.Address, e.Actor.RequestID, strconv.FormatInt(int64(e.Epoch), 10), e.Detail,
			}
		},
	}.send(x, p.accounts)
}

// add sets the addresses of the exports of a selection.
func (e *exports) add(path string, q url.Values) {
	q.Set("format", "jsonl")
	e.JSON = address(path, q)
	q.Set("format", "csv")
	e.CSV = address(path, q)
	q.Set("bom", "no")
	e.PlainCSV = address(path, q)
}

// exports are the addresses of the exports of a selection.
type exports struct {
	JSON     string
	CSV      string // for spreadsheets
	PlainCSV string // without a byte order mark
}

func (p *auditPages) audit(x *exchange) error {
	form, f, unknown, wrong, err := p.filter(x)
	if err != nil {
		return err
	}
	view := auditView{frame: x.frame("Audit", "/audit", "Configuration"), Filter: form, Actions: actions, Reasons: reasonsOffered}
	view.UTC, view.Errors = true, wrong
	if len(wrong) > 0 {
		return x.refusedForm("audit", view)
	}
	if before := x.text("before"); before != "" {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n <= 0 {
			return store.ErrNotFound
		}
		f.Before = n
		view.Newest = address("/audit", form.query())
	}
	entries, err := p.sessions.Audit(x.ctx, x.caller, f, entriesPerPage+1)
	if err != nil {
		return err
	}
	if len(entries) > entriesPerPage {
		entries = entries[:entriesPerPage]
		q := form.query()
		q.Set("before", strconv.FormatInt(entries[entriesPerPage-1].ID, 10))
		view.Older = address("/audit", q)
	}
	for _, e := range entries {
		view.Entries = append(view.Entries, x.auditEntry(e))
	}
	view.Unknown = unknown && len(entries) == 0
	view.add("/audit/export", form.query())
	return x.render(http.StatusOK, "audit", view)
}

func address(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (x *exchange) auditEntry(e store.Audit) auditEntry {
	entry := auditEntry{
		ID: e.ID, At: x.micro(e.At), Actor: actorName(e.Actor), Action: e.Action, Words: actionWords(e.Action),
		SignedOut: e.Actor.Kind == store.ActorUser && e.Actor.ID == "" && e.Actor.Name == "",
		Reason:    e.Reason, Address: e.Actor.Address, RequestID: e.Actor.RequestID, Detail: indented(e.Detail),
		Subject: firstOf(e.TargetName, e.TargetID),
	}
	if e.Actor.Kind == store.ActorUser && e.Actor.ID != "" {
		entry.ActorPath = userPath(e.Actor.ID)
	}
	if e.Actor.Kind == store.ActorClient {
		entry.ActorPath = "/services"
	}
	if e.Action == wire.ActionSignIn && e.Actor.Kind != store.ActorUser {
		entry.Words = "Started a session for a user"
	}
	if e.Reason == account.WrongCurrent || e.Reason == account.WrongConfirmation {
		entry.Words = "Password refused"
	}
	switch e.TargetKind {
	case "user":
		if e.TargetID != "" {
			entry.SubjectPath = userPath(e.TargetID)
		}
	case "session":
		entry.Subject = "session " + e.TargetID
		if e.Action == wire.ActionRevokeSession && e.TargetName != "" {
			entry.SubjectPath = userPath(e.TargetName)
		} else if e.Actor.Kind == store.ActorUser {
			entry.SubjectPath = userPath(e.Actor.ID)
		}
	case "client":
		entry.SubjectPath = "/services"
	case "provider":
		entry.SubjectPath = "/settings/authentication"
	case "key":
		entry.SubjectPath = "/keys"
	case "settings":
		entry.Subject, entry.SubjectPath = "Settings › Authentication", "/settings/authentication"
	case string(revocation.KindEveryone), string(revocation.KindRemembered):
		entry.Subject = ""
	}
	if e.Scope != "" && e.Epoch != 0 {
		entry.Receipt = "/revocations/" + epochText(int64(e.Epoch))
	}
	return entry
}
