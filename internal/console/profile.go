package console

import (
	"errors"
	"net/http"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
)

type profileView struct {
	frame
	User        store.User
	Permissions []string
	Groups      string
	Session     ownSession
	Sessions    []sessionView
	Receipt     *receiptView
	Password    passwordForm
}

// ownSession is how long the session has left, on both clocks.
type ownSession struct {
	Began      when
	RememberMe bool
	Idle       when // when it times out if nothing is done; zero with remember me
	IdleLeft   time.Duration
	Maximum    when
	Left       time.Duration // until the maximum
	Timeout    time.Duration
	Longest    time.Duration
}

// sessionView is a live session in a list.
type sessionView struct {
	ID         string
	Device     string // in words
	Agent      string // as it was sent
	Address    string
	Began      when
	Seen       when
	RememberMe bool
	Current    bool
	Revoke     string // address of the page that revokes it
}

// passwordForm is the form for the user's own password, or an administrator's for
// another user.
type passwordForm struct {
	Errors map[string]string // by field
}

// home is the overview for administrators, and the profile for other users.
func (c *console) home(x *exchange) error {
	if administering.met(x.caller) {
		return c.overview(x)
	}
	return x.showProfile(http.StatusOK, passwordForm{})
}

func (c *console) profile(x *exchange) error { return x.showProfile(http.StatusOK, passwordForm{}) }

func (x *exchange) showProfile(status int, form passwordForm) error {
	id := x.session.Subject
	sessions, err := x.sessionsOf(id)
	if err != nil {
		return err
	}
	in := x.inForce()
	end := x.exchangeEnds(x.session)
	view := profileView{
		frame: x.frame("Profile", "/profile", "Account menu"),
		User:  *x.caller.User, Permissions: x.caller.User.Permissions, Groups: groupsText(x.caller.User.Groups),
		Session: ownSession{
			Began: x.when(x.session.IssuedAt.Time()), RememberMe: x.session.RememberMe,
			Maximum: x.when(end.maximum), Left: end.maximum.Sub(end.now),
			Timeout: in.SessionTimeout, Longest: in.MaximumSessionDuration,
		},
		Sessions: sessions,
		Password: form,
	}
	if !x.session.RememberMe {
		view.Session.Idle, view.Session.IdleLeft = x.when(end.idle), end.idle.Sub(end.now)
	}
	if view.Receipt, err = x.receiptAsked(); err != nil {
		return err
	}
	return x.render(status, "profile", view)
}

func (x *exchange) sessionsOf(user string) ([]sessionView, error) {
	live, err := x.config.Sessions.List(x.ctx, x.caller, user)
	if err != nil {
		return nil, err
	}
	views := make([]sessionView, len(live))
	for i, s := range live {
		views[i] = sessionView{
			ID: s.ID, Device: device(s.Device), Agent: s.Device, Address: s.Address,
			Began: x.when(s.BeganAt), Seen: x.when(s.LastSeenAt),
			RememberMe: s.RememberMe, Current: s.Current,
			Revoke: userPath(user, "/sessions/", s.ID, "/revoke"),
		}
	}
	return views, nil
}

// A confirmView is the step before something that cannot be undone.
type confirmView struct {
	frame
	Lines   []string
	Action  string // where the form goes
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

func (c *console) confirmRevokeOwn(x *exchange) error {
	n, err := x.config.Sessions.CountLive(x.ctx, x.caller, x.session.Subject, "")
	if err != nil {
		return err
	}
	return x.ok("confirm", confirmView{
		frame: x.frame("Revoke all my sessions?", "/profile", "Account menu", "Profile"),
		Lines: []string{
			"This ends " + count(n.Sessions, "session") + " of yours, on every device, including this one. You are signed out here too.",
			"You can sign in again afterwards. If another person may know your password, change it instead: that also ends your other sessions.",
		},
		Action: "/profile/revoke", Button: "Revoke Sessions", Cancel: "/profile", Harmful: true,
	})
}

// revokeOwn revokes all sessions of the caller, this one included. The answer
// takes the cookie away, whatever a refresh had meant to put there.
func (c *console) revokeOwn(x *exchange) error {
	if _, err := c.config.Sessions.RevokeUser(x.ctx, x.caller, x.session.Subject, "revoked by the user", false, 0); err != nil {
		return err
	}
	x.forget()
	return x.redirect("/sign-in", "why", "signed_out_everywhere")
}

func (c *console) confirmElsewhere(x *exchange) error {
	n, err := x.config.Sessions.CountLive(x.ctx, x.caller, x.session.Subject, "")
	if err != nil {
		return err
	}
	return x.ok("confirm", confirmView{
		frame:  x.frame("Sign out everywhere else?", "/profile", "Account menu", "Profile"),
		Lines:  []string{"This ends " + count(max(0, n.Sessions-1), "other session") + " of yours. The session that you are using now continues."},
		Action: "/profile/elsewhere", Button: "Sign out everywhere else", Cancel: "/profile", Harmful: true,
	})
}

func (c *console) signOutElsewhere(x *exchange) error {
	r, err := c.config.Sessions.RevokeUser(x.ctx, x.caller, x.session.Subject, "signed out everywhere else", true, 0)
	if err != nil {
		return err
	}
	x.keepOf(r)
	return x.redirect("/profile", "done", "elsewhere", "receipt", epochText(r.Epoch))
}

func (c *console) changeOwnPassword(x *exchange) error {
	current := x.value("current")
	change := account.NewPassword{Current: &current, New: x.value("new")}
	if change.New != x.value("again") {
		return x.showProfile(http.StatusUnprocessableEntity, passwordForm{Errors: map[string]string{"again": "The two new passwords differ."}})
	}
	r, err := c.config.Sessions.ChangePassword(x.ctx, x.caller, x.session.Subject, change, x.origin)
	if err != nil {
		fields, status, known := x.passwordErrors(err)
		if !known {
			return err
		}
		return x.showProfile(status, passwordForm{Errors: fields})
	}
	x.keepOf(r)
	return x.redirect("/profile", "done", "own")
}

// passwordErrors returns the faults of a password, by field, and the status of the
// answer; known is false if err is about something else.
func (x *exchange) passwordErrors(err error) (fields map[string]string, status int, known bool) {
	limited := (*account.RateLimited)(nil)
	switch {
	case errors.Is(err, account.ErrBadCredentials):
		return map[string]string{"current": "This is not your current password."}, http.StatusUnprocessableEntity, true
	case errors.As(err, &limited):
		x.retryAfter(limited.RetryAfter)
		return map[string]string{"current": "Too many wrong attempts. Try again in " + duration(limited.RetryAfter.Round(time.Second)+time.Second) + "."},
			http.StatusTooManyRequests, true
	}
	fields, known = fieldErrors(err)
	return fields, http.StatusUnprocessableEntity, known
}
