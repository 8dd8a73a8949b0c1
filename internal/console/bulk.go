package console

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/revocation"
)

// revocationPages revoke the sessions of many users.
type revocationPages struct {
	accounts *account.Service
	sessions *session.Service
}

// maxNames is how many users one revocation may name.
const maxNames = 10_000

// bulkView is both steps of revoking the sessions of many: whose, and sure?
type bulkView struct {
	frame
	Scope   string // "users", "everyone" or "remembered"
	Names   string // as typed or uploaded
	Reasons []string
	Reason  string
	Note    string

	// The second step.
	Checked  bool
	IDs      string   // of the users found, a line each
	Found    int64    // how many users
	Sample   []string // the first of their names
	Unknown  []string // names that no user has, as typed; the first of them
	Unknowns int64    // how many there are
	Sessions int64    // live ones that would end; of all users, but for "users"
	Own      bool     // the caller is among them
}

const shownNames = 100

// Why returns the question why.
func (v bulkView) Why() whyPart { return whyPart{v.Reasons, v.Reason, v.Note, true, v.Errors} }

// Typed returns the field for the word that confirms what ends the sessions of all
// users.
func (v bulkView) Typed() wordPart { return wordPart{bulkWord(v.Scope), v.Errors["word"]} }

func bulkWord(scope string) string {
	switch scope {
	case string(revocation.KindEveryone):
		return "everyone"
	case string(revocation.KindRemembered):
		return "remember me"
	}
	return ""
}

// More returns how many users there are that Sample leaves out.
func (v bulkView) More() int64 { return v.Found - int64(len(v.Sample)) }

// MoreUnknown returns how many names there are that Unknown leaves out.
func (v bulkView) MoreUnknown() int64 { return v.Unknowns - int64(len(v.Unknown)) }

func (x *exchange) bulkView() bulkView {
	view := bulkView{
		frame:   x.frame("Revoke sessions of many users", "/revocations", "Configuration", "Revocations"),
		Scope:   "users",
		Reasons: reasonsOffered,
	}
	view.Errors = map[string]string{}
	return view
}

func (p *revocationPages) form(x *exchange) error { return x.ok("bulk", x.bulkView()) }

// check shows which users the names stand for, and which names no user has,
// before it changes anything.
func (p *revocationPages) check(x *exchange) error { return p.ask(x, nil) }

// ask shows the second step, with its errors; nil if it was not sent yet.
func (p *revocationPages) ask(x *exchange, wrong map[string]string) error {
	view := x.bulkView()
	view.Scope, view.Reason, view.Note = x.value("scope"), x.value("reason"), x.value("note")
	names, headings, err := x.names()
	if err != nil {
		return err
	}
	view.Names = strings.Join(names, "\n")
	if _, field, wrong := x.reason(); wrong != "" {
		view.Errors[field] = wrong
	}
	switch view.Scope {
	case "users":
		err = p.checkNames(x, names, headings, &view)
	case string(revocation.KindEveryone), string(revocation.KindRemembered):
		n, countErr := p.sessions.CountLive(x.ctx, x.caller, "", "")
		err = countErr
		view.Sessions, view.Found = n.Sessions, n.Users
		view.Own = view.Scope == string(revocation.KindEveryone) || x.session.RememberMe
	default:
		view.Errors["scope"] = "Choose whose sessions to revoke."
	}
	if err != nil {
		return err
	}
	if len(view.Errors) > 0 {
		return x.refusedForm("bulk", view)
	}
	view.Checked = true
	view.Errors = wrong
	view.Title = "Revoke these sessions?"
	view.Trail = append(view.Trail, crumb{"Revoke many", "/revocations/new"})
	if len(wrong) > 0 {
		return x.refusedForm("bulk", view)
	}
	return x.ok("bulk", view)
}

// checkNames finds the users. A heading that names no user is not reported as unknown.
func (p *revocationPages) checkNames(x *exchange, names, headings []string, view *bulkView) error {
	if len(names) == 0 {
		view.Errors["names"] = "Enter at least one name, one per line."
		return nil
	}
	if len(names) > maxNames {
		view.Errors["names"] = "The list has " + count(int64(len(names)), "name") + ". One revocation can have at most " + group(maxNames) + "."
		return nil
	}
	found, unknown, err := p.accounts.FindUsers(x.ctx, x.caller, names)
	if ambiguous, ok := errors.AsType[*account.Ambiguous](err); ok {
		view.Errors["names"] = sentence(ambiguous)
		return nil
	}
	if err != nil {
		return err
	}
	unknown = slices.DeleteFunc(unknown, func(name string) bool { return slices.Contains(headings, name) })
	ids := make([]string, len(found))
	for i, u := range found {
		ids[i] = u.ID
		if i < shownNames {
			view.Sample = append(view.Sample, u.Name)
		}
		view.Own = view.Own || x.caller.IsSelf(u.ID)
	}
	view.IDs, view.Found = strings.Join(ids, "\n"), int64(len(found))
	view.Unknown, view.Unknowns = unknown[:min(len(unknown), shownNames)], int64(len(unknown))
	if len(found) == 0 {
		view.Errors["names"] = "No user has " + map[bool]string{true: "this name", false: "any of these names"}[len(names) == 1] + "."
	}
	live, err := p.sessions.CountLiveByUser(x.ctx, x.caller, ids)
	for _, n := range live {
		view.Sessions += n
	}
	return err
}

// names returns the names that were typed or uploaded, each once, and those of them
// that are headings of columns.
func (x *exchange) names() (names, headings []string, err error) {
	lists := []account.List{account.ReadList([]byte(x.value("names")))}
	if x.r.MultipartForm != nil {
		for _, header := range x.r.MultipartForm.File["file"] {
			f, err := header.Open()
			if err != nil {
				return nil, nil, errBadForm
			}
			content, err := io.ReadAll(f)
			if err = errors.Join(err, f.Close()); err != nil {
				return nil, nil, errBadForm
			}
			lists = append(lists, account.ReadList(content))
		}
	}
	seen := map[string]bool{}
	for _, list := range lists {
		if list.Heading != "" {
			headings = append(headings, list.Heading)
		}
		for _, name := range list.Names {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names, headings, nil
}

// revoke makes the confirmed revocations: in one transaction, with one receipt.
func (p *revocationPages) revoke(x *exchange) error {
	if wrong := x.wordErrors(bulkWord(x.value("scope"))); len(wrong) > 0 {
		return p.ask(x, wrong)
	}
	reason, _, _ := x.reason()
	what := session.Many{Scope: x.value("scope"), Reason: reason}
	own := what.Scope == string(revocation.KindEveryone) || what.Scope == string(revocation.KindRemembered) && x.session.RememberMe
	if what.Scope == session.ScopeUsers {
		what.Users = strings.Fields(x.value("ids"))
		for _, id := range what.Users {
			own = own || x.caller.IsSelf(id)
		}
	}
	r, err := p.sessions.RevokeMany(x.ctx, x.caller, what, 0)
	if err != nil {
		return x.bulkFailed(err)
	}
	if own {
		x.forget()
		return x.redirect("/sign-in", "why", "revoked_many", "return", "/revocations/"+epochText(r.Epoch))
	}
	return x.redirect("/revocations/"+epochText(r.Epoch), "done", "revoked")
}

// bulkFailed shows the first step again when the second was refused: a user was
// deleted in between.
func (x *exchange) bulkFailed(err error) error {
	unknown := session.UnknownUsers(err)
	wrong, known := fieldErrors(err)
	if unknown == nil && !known {
		return err
	}
	view := x.bulkView()
	view.Scope, view.Reason, view.Note, view.Names = x.value("scope"), x.value("reason"), x.value("note"), x.value("ids")
	if unknown != nil {
		view.Errors["names"] = "Nothing was revoked: " + count(int64(len(unknown)), "user") + " of the list no longer " + existExists(len(unknown)) + ". The first is " + clip(unknown[0], 80) + "."
	}
	for field, problem := range wrong {
		if field == "users" {
			field = "names"
		}
		if field == "reason" {
			field = "note"
		}
		view.Errors[field] = problem
	}
	return x.render(http.StatusUnprocessableEntity, "bulk", view)
}

func existExists(n int) string {
	if n == 1 {
		return "exists"
	}
	return "exist"
}
