package console

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// profilePages are a user's own account and sessions.
type profilePages struct {
	sessions *session.Service
	receipts *receiptPages
}

type profileView struct {
	frame
	User        store.User
	Permissions []string
	Groups      string
	Session     ownSession
	Sessions    []sessionView
	Receipt     *receiptView
	// HasPassword means that the user can sign in with a password, and change it. Others
	// sign in with Providers, or only services start their sessions.
	HasPassword  bool
	PasswordsOff bool
	Providers    string // names; "" if there is none
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

// sessionView is a session in a list, and on its page.
type sessionView struct {
	ID         string
	Path       string // of its page
	Device     string // in words
	Kind       string // of the device
	Agent      string // as it was sent
	Address    string
	Began      when
	Used       when // the last use that was reported; zero if there was none
	Seen       when // the last refresh, or the sign-in
	Expires    when // unless it is refreshed
	RememberMe bool
	Current    bool
	Revoke     string // address of the page that revokes it
}

func (p *profilePages) profile(x *exchange) error {
	return p.show(x, http.StatusOK, nil)
}

func (p *profilePages) show(x *exchange, status int, wrong map[string]string) error {
	id := x.session.Subject
	sessions, err := sessionsOf(x, p.sessions, id)
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
	}
	view.Errors = wrong
	ways, err := x.own.WaysAgain(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view.HasPassword = ways.Passwords && view.User.PasswordHash != ""
	view.PasswordsOff = !ways.Passwords && view.User.PasswordHash != ""
	view.Providers = strings.Join(ways.Providers, ", ")
	if !x.session.RememberMe {
		view.Session.Idle, view.Session.IdleLeft = x.when(end.idle), end.idle.Sub(end.now)
	}
	if view.Receipt, err = p.receipts.asked(x); err != nil {
		return err
	}
	return x.render(status, "profile", view)
}

func sessionsOf(x *exchange, from *session.Service, user string) ([]sessionView, error) {
	live, err := from.List(x.ctx, x.caller, user)
	if err != nil {
		return nil, err
	}
	views := make([]sessionView, len(live))
	for i, s := range live {
		views[i] = x.sessionView(s)
	}
	// The session of the request is first: its user knows it for certain.
	if i := slices.IndexFunc(views, func(v sessionView) bool { return v.Current }); i > 0 {
		current := views[i]
		views = slices.Insert(slices.Delete(views, i, i+1), 0, current)
	}
	return views, nil
}

func (x *exchange) sessionView(s session.Live) sessionView {
	in := x.inForce()
	path := userPath(s.UserID, "/sessions/", s.ID)
	v := sessionView{
		ID: s.ID, Path: path, Agent: s.Device, Address: s.Address,
		Began: x.micro(s.BeganAt), Used: x.micro(s.UsedAt()), Seen: x.micro(s.LastSeenAt),
		RememberMe: s.RememberMe, Current: s.Current, Revoke: path + "/revoke",
	}
	v.Device, v.Kind = device(s.Device)
	if s.Current {
		v.Used = x.when(x.now()) // for this page
	}
	expires := min(s.ExpiresAt, s.BeganAt+in.MaximumSessionDuration.Microseconds())
	if !s.RememberMe {
		expires = min(expires, s.LastSeenAt+in.SessionTimeout.Microseconds())
	}
	v.Expires = x.micro(expires)
	return v
}

func (p *profilePages) askRevoke(x *exchange) (confirmView, error) {
	n, err := p.sessions.CountLive(x.ctx, x.caller, x.session.Subject, "")
	if err != nil {
		return confirmView{}, err
	}
	ways, err := x.own.WaysAgain(x.ctx, x.caller)
	after := "You can sign in again afterwards."
	if ways.Passwords && x.caller.User.PasswordHash != "" {
		after += " If another person may know your password, change it instead: that also ends your other sessions."
	}
	return confirmView{
		frame: x.frame("Revoke all my sessions?", "/profile", "Account menu", "Profile"),
		Lines: []string{
			"This ends " + count(n.Sessions, "session") + " of yours, on every device, including this one. You are signed out here too.",
			after,
		},
		Button: "Revoke sessions", Cancel: "/profile", Harmful: true,
	}, err
}

// revoke revokes all sessions of the caller, this one included. The answer takes the
// cookie away, whatever a refresh had meant to put there.
func (p *profilePages) revoke(x *exchange, _ string) error {
	if _, err := p.sessions.RevokeUser(x.ctx, x.caller, x.session.Subject, "revoked by the user", false, 0); err != nil {
		return err
	}
	x.forget()
	return x.redirect("/sign-in", "why", "signed_out_everywhere")
}

func (p *profilePages) askElsewhere(x *exchange) (confirmView, error) {
	n, err := p.sessions.CountLive(x.ctx, x.caller, x.session.Subject, "")
	ends := "This ends " + count(n.Sessions-1, "other session") + " of yours."
	if n.Sessions <= 1 {
		ends = "You have no other live session. This makes sure that every other session is refused everywhere."
	}
	return confirmView{
		frame:  x.frame("Sign out everywhere else?", "/profile", "Account menu", "Profile"),
		Lines:  []string{ends + " The session that you are using now continues."},
		Button: "Sign out everywhere else", Cancel: "/profile", Harmful: true,
	}, err
}

func (p *profilePages) signOutElsewhere(x *exchange, _ string) error {
	r, err := p.sessions.RevokeUser(x.ctx, x.caller, x.session.Subject, "signed out everywhere else", true, 0)
	if err != nil {
		return err
	}
	x.keepOf(r)
	return x.redirect("/profile", "done", "elsewhere", "receipt", epochText(r.Epoch))
}

func (p *profilePages) changePassword(x *exchange) error {
	current := x.value("current")
	change := account.NewPassword{Current: &current, New: x.value("new")}
	if change.New != x.value("again") {
		// Everything that can be said without the current password, at once.
		wrong := map[string]string{"again": "The two new passwords differ."}
		if fields, known := fieldErrors(account.CheckPassword("new", change.New, x.caller.User.Name, x.caller.User.Email)); known {
			maps.Copy(wrong, fields)
		}
		return p.show(x, http.StatusUnprocessableEntity, wrong)
	}
	r, err := p.sessions.ChangePassword(x.ctx, x.caller, x.session.Subject, change, x.origin)
	if err != nil {
		fields, status, known := x.passwordErrors(err)
		if !known {
			return err
		}
		return p.show(x, status, fields)
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
