package console

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/keyring"
)

// confirmed is an action that asks before it acts: GET shows what it would do, and a
// form; POST to the same path does it.
type confirmed struct {
	path  string
	needs need
	// reasons are offered for the audit log, and one of them or a text is required;
	// nil: the action asks for none.
	reasons []string
	// ask returns the question.
	ask func(*exchange) (confirmView, error)
	// do acts. An error that is about what was typed, or about the moment, is shown
	// with the question again.
	do func(x *exchange, reason string) error
}

func (c confirmed) routes() []route {
	return []route{
		{pattern: "GET " + c.path, needs: c.needs, serve: func(x *exchange) error { return c.show(x, http.StatusOK, "") }},
		{pattern: "POST " + c.path, needs: c.needs, serve: c.act},
	}
}

func (c confirmed) show(x *exchange, status int, wrong string) error {
	view, err := c.ask(x)
	if err != nil {
		return err
	}
	view.Action, view.Error = x.r.URL.EscapedPath(), wrong
	view.Reasons, view.Reason, view.Note = c.reasons, x.text("reason"), x.text("note")
	return x.render(status, "confirm", view)
}

func (c confirmed) act(x *exchange) error {
	reason := ""
	if c.reasons != nil {
		var ok bool
		if reason, ok = x.reason(); !ok {
			return c.show(x, http.StatusUnprocessableEntity, sayWhy)
		}
	}
	err := c.do(x, reason)
	if errors.Is(err, keyring.ErrNotNow) {
		return c.show(x, http.StatusConflict, sentence(err))
	}
	if fields, known := fieldErrors(err); known {
		return c.show(x, http.StatusUnprocessableEntity, strings.Join(slices.Sorted(maps.Values(fields)), " "))
	}
	return err
}

// A confirmView is the step before something that cannot be undone.
type confirmView struct {
	frame
	Lines   []string
	Action  string // where the form goes; confirmed sets it, and what is below Choice
	Button  string
	Cancel  string // address of the page to go back to
	Harmful bool
	Fields  []heldField // sent along
	Choice  heldField   // a checkbox: Value is its label; zero: none
	Reasons []string    // offered; nil: none is asked for
	Reason  string      // as chosen
	Note    string      // as typed
	Error   string
}

// whyPart is the question why.
type whyPart struct {
	Reasons             []string
	Reason, Note, Wrong string
}

// Why returns the question why.
func (v confirmView) Why() whyPart { return whyPart{v.Reasons, v.Reason, v.Note, v.Error} }

// reasonsOffered are those that a person can choose from.
var reasonsOffered = []string{
	"Suspicious activity reported", "Malicious activity", "Offboarding", "Role change", "Lost device", other,
}

const other = "Other"

// reason returns the reason that was chosen, with what was added to it. ok is
// false if "Other" is all there is: the audit should say why.
func (x *exchange) reason() (reason string, ok bool) {
	choice, note := x.text("reason"), x.text("note")
	switch {
	case choice == other || choice == "":
		return note, note != ""
	case note == "":
		return choice, true
	}
	return choice + ": " + note, true
}
