package console

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

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
	// optional means that the reason may be left out, and is not asked for where the
	// account {id} is the caller's own.
	optional bool
	// word is to be typed, for what ends the sessions of many users at once; "": none.
	word string
	// ask returns the question.
	ask func(*exchange) (confirmView, error)
	// do acts. An error that is about what was typed, or about the moment, is shown
	// with the question again.
	do func(x *exchange, reason string) error
}

func (c confirmed) routes() []route {
	return []route{
		{pattern: "GET " + c.path, needs: c.needs, serve: func(x *exchange) error { return c.show(x, http.StatusOK, nil) }},
		{pattern: "POST " + c.path, needs: c.needs, serve: c.act},
	}
}

func (c confirmed) show(x *exchange, status int, wrong map[string]string) error {
	view, err := c.ask(x)
	if err != nil {
		return err
	}
	view.Action, view.Errors = x.r.URL.EscapedPath(), wrong
	view.Word = c.word
	view.Reasons, view.Reason, view.Note = c.reasonsOf(x), x.text("reason"), x.text("note")
	view.ReasonRequired = !c.optional
	return x.render(status, "confirm", view)
}

// reasonsOf returns the reasons to offer; nil if none is asked for.
func (c confirmed) reasonsOf(x *exchange) []string {
	if c.optional && x.caller.IsSelf(x.r.PathValue("id")) {
		return nil
	}
	return c.reasons
}

func (c confirmed) act(x *exchange) error {
	wrong := x.wordErrors(c.word)
	reason := ""
	if c.reasons != nil {
		var field, about string
		reason, field, about = x.reason()
		if about != "" && (!c.optional || x.text("reason") != "" || x.text("note") != "") {
			wrong[field] = about
		}
	}
	if len(wrong) > 0 {
		return c.show(x, http.StatusUnprocessableEntity, wrong)
	}
	err := c.do(x, reason)
	if errors.Is(err, keyring.ErrNotNow) {
		return c.show(x, http.StatusConflict, map[string]string{whole: sentence(err)})
	}
	if fields, known := fieldErrors(err); known {
		for field, words := range fields {
			if field == "reason" {
				wrong["note"] = words
			} else {
				wrong[whole] = words // a question has no other fields
			}
		}
		return c.show(x, http.StatusUnprocessableEntity, wrong)
	}
	return err
}

// A confirmView is the step before something that cannot be undone.
type confirmView struct {
	frame
	Lines   []string
	Action  string // where the form goes; confirmed sets it, and the part below Choice
	Button  string
	Cancel  string // address of the page to go back to
	Harmful bool
	Fields  []heldField // sent along
	Choice  heldField   // a checkbox: Value is its label; zero: none
	Reasons []string    // offered; nil: none is asked for
	Reason  string      // as chosen
	Note    string      // as typed
	// ReasonRequired means that the form is not sent before a reason is chosen.
	ReasonRequired bool
	Word           string // to be typed; "": none
}

// wordPart is the field for a word to be typed.
type wordPart struct{ Word, Wrong string }

// Typed returns the field for the word.
func (v confirmView) Typed() wordPart { return wordPart{v.Word, v.Errors["word"]} }

// wordErrors returns the errors of the word that was typed; word "" asks for
// none.
func (x *exchange) wordErrors(word string) map[string]string {
	if word == "" || strings.EqualFold(x.text("word"), word) {
		return map[string]string{}
	}
	return map[string]string{"word": "Type “" + word + "” to confirm."}
}

// whyPart is the question why.
type whyPart struct {
	Reasons      []string
	Reason, Note string
	Required     bool
	Errors       map[string]string // of the fields "reason" and "note"
}

// Why returns the question why.
func (v confirmView) Why() whyPart {
	return whyPart{v.Reasons, v.Reason, v.Note, v.ReasonRequired, v.Errors}
}

// reasonsOffered are those that a person can choose from.
var reasonsOffered = []string{
	"Suspicious activity reported", "Malicious activity", "Offboarding", "Role change", "Lost device", other,
}

const other = "Other"

// reason returns the reason that was chosen, with what was added to it; or the error in
// it and the field to correct. "Other" alone is wrong: the audit should say why. Details
// without a choice are a reason too.
func (x *exchange) reason() (reason, field, wrong string) {
	choice, note := x.text("reason"), x.text("note")
	switch {
	case note == "" && choice == "":
		return "", "reason", "Choose a reason."
	case note == "" && choice == other:
		return "", "note", "Enter a short reason. The audit log keeps it, and the user can read it on the receipt."
	case utf8.RuneCountInString(note) > maxNote:
		return "", "note", "Shorten the details to " + group(maxNote) + " characters."
	case choice == other || choice == "":
		return note, "", ""
	case note == "":
		return choice, "", ""
	}
	return choice + ": " + note, "", ""
}

// maxNote is the maximum length of the details of a reason, in characters. The form has
// the same.
const maxNote = 900
