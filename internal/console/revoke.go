package console

import (
	"errors"
	"net/http"

	"example.com/curfew/internal/store"
)

// lastReceipt returns the receipt of the last time that all sessions of a user
// were revoked; nil if that never happened.
func (x *exchange) lastReceipt(user string) (*receiptView, error) {
	epoch, err := x.config.Sessions.LastRevocation(x.ctx, x.caller, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := x.receiptOf(epochText(int64(epoch)))
	if r != nil {
		r.Heading = "Last revocation"
	}
	return r, err
}

func (c *console) confirmRevokeUser(x *exchange) error { return x.showRevokeUser(http.StatusOK, "") }

func (x *exchange) showRevokeUser(status int, wrong string) error {
	u, err := x.subject()
	if err != nil {
		return err
	}
	n, err := x.config.Sessions.CountLive(x.ctx, x.caller, u.ID, "")
	if err != nil {
		return err
	}
	name := clip(u.Name, 80)
	view := confirmView{
		frame:  x.frame("Revoke the sessions of "+name+"?", "/users", "Configuration", "Users", name),
		Lines:  []string{ending(n.Sessions, name) + " " + name + " can sign in again. To prevent that, disable the account instead."},
		Action: userPath(u.ID, "/revoke"), Button: "Revoke Sessions", Cancel: userPath(u.ID), Harmful: true,
		Reasons: reasonsOffered, Reason: x.text("reason"), Note: x.text("note"), Error: wrong,
	}
	if x.caller.IsSelf(u.ID) {
		view.Lines = append(view.Lines, "These are your own sessions. You are signed out here too.")
	}
	return x.render(status, "confirm", view)
}

// ending returns the sentence that says what revoking a user's sessions does.
func ending(sessions int64, name string) string {
	if sessions == 0 {
		return name + " has no live sessions. Every session started before now is refused everywhere."
	}
	return "This ends " + count(sessions, "live session") + " of " + name + " on every device, immediately."
}

func (c *console) revokeUser(x *exchange) error {
	u, err := x.subject()
	if err != nil {
		return err
	}
	reason, ok := x.reason()
	if !ok {
		return x.showRevokeUser(http.StatusUnprocessableEntity, sayWhy)
	}
	r, err := c.config.Sessions.RevokeUser(x.ctx, x.caller, u.ID, reason, false, 0)
	if fields, known := fieldErrors(err); err != nil && known {
		return x.showRevokeUser(http.StatusUnprocessableEntity, fields["reason"])
	}
	if err != nil {
		return err
	}
	if x.caller.IsSelf(u.ID) {
		x.forget()
		return x.redirect("/sign-in", "why", "signed_out_everywhere")
	}
	return x.redirect(userPath(u.ID), "done", "revoked", "receipt", epochText(r.Epoch))
}

// afterSession is where one was when revoking a session: on one's profile, or on
// the page of a user.
func (x *exchange) afterSession(user string) string {
	if x.caller.IsSelf(user) {
		return "/profile"
	}
	return userPath(user)
}

func (c *console) confirmRevokeSession(x *exchange) error {
	user, sid := x.r.PathValue("id"), x.r.PathValue("sid")
	sessions, err := x.sessionsOf(user)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.ID != sid {
			continue
		}
		line := "The session on " + s.Device + ", from " + firstOf(s.Address, "an unknown address") + ", started " + s.Began.Ago() + ". It ends immediately."
		view := confirmView{
			frame:  x.frame("Revoke this session?", "/users", "Configuration", "Users"),
			Lines:  []string{line},
			Action: userPath(user, "/sessions/", sid, "/revoke"), Button: "Revoke", Cancel: x.afterSession(user), Harmful: true,
		}
		if x.caller.IsSelf(user) {
			view.Here, view.Trail = "/profile", []string{"Account menu", "Profile"}
		}
		if s.Current {
			view.Lines = append(view.Lines, "This is the session that you are using now. You are signed out here.")
		}
		return x.ok("confirm", view)
	}
	return store.ErrNotFound
}

func (c *console) revokeSession(x *exchange) error {
	user, sid := x.r.PathValue("id"), x.r.PathValue("sid")
	r, err := c.config.Sessions.RevokeSession(x.ctx, x.caller, user, sid, "")
	if err != nil {
		return err
	}
	if sid == x.session.ID {
		x.forget()
		return x.redirect("/sign-in", "why", "signed_out")
	}
	return x.redirect(x.afterSession(user), "done", "session", "receipt", epochText(r.Epoch))
}
