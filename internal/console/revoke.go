package console

import (
	"errors"

	"example.com/curfew/internal/store"
)

// last returns the receipt of the last revocation of all sessions of a user, or of one;
// nil if there was none.
func (p *receiptPages) last(x *exchange, user string) (*receiptView, error) {
	epoch, err := p.sessions.LastRevocation(x.ctx, x.caller, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := p.at(x, epochText(epoch))
	if r != nil {
		r.Heading = "Last revocation"
	}
	return r, err
}

func (p *userPages) askRevoke(x *exchange) (confirmView, error) {
	u, err := p.subject(x)
	if err != nil {
		return confirmView{}, err
	}
	n, err := p.sessions.CountLive(x.ctx, x.caller, u.ID, "")
	if err != nil {
		return confirmView{}, err
	}
	name := clip(u.Name, 80)
	view := confirmView{
		frame:  x.frameBelow(u, "Revoke the sessions of "+name+"?"),
		Lines:  []string{ending(n.Sessions, name) + " " + name + " can sign in again. To prevent that, disable the account instead."},
		Button: "Revoke sessions", Cancel: userPath(u.ID), Harmful: true,
	}
	if x.caller.IsSelf(u.ID) {
		view.Lines = append(view.Lines, "These are your own sessions. You are signed out here too.")
	}
	return view, nil
}

// ending returns the sentence that says what revoking a user's sessions does.
func ending(sessions int64, name string) string {
	if sessions == 0 {
		return name + " has no live sessions. Tokens of earlier sessions are refused everywhere from now on."
	}
	return "This ends " + count(sessions, "live session") + " of " + name + " on every device, immediately."
}

func (p *userPages) revoke(x *exchange, reason string) error {
	u, err := p.subject(x)
	if err != nil {
		return err
	}
	r, err := p.sessions.RevokeUser(x.ctx, x.caller, u.ID, reason, false, 0)
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

func (p *userPages) askRevokeSession(x *exchange) (confirmView, error) {
	user, sid := x.r.PathValue("id"), x.r.PathValue("sid")
	sessions, err := sessionsOf(x, p.sessions, user)
	if err != nil {
		return confirmView{}, err
	}
	for _, s := range sessions {
		if s.ID != sid {
			continue
		}
		view := confirmView{Button: "Revoke", Cancel: x.afterSession(user), Harmful: true}
		if x.caller.IsSelf(user) {
			view.frame = x.frame("Revoke this session?", "/profile", "Account menu", "Profile")
		} else {
			u, err := p.subject(x)
			if err != nil {
				return confirmView{}, err
			}
			view.frame = x.frameBelow(u, "Revoke this session of "+clip(u.Name, 80)+"?")
		}
		view.Lines = []string{"The session on " + s.Device + ", from " + firstOf(s.Address, "an unknown address") + ", started " + s.Began.Ago() + ". It ends immediately."}
		if s.Current {
			view.Lines = append(view.Lines, "This is the session that you are using now. You are signed out here.")
		}
		return view, nil
	}
	return confirmView{}, store.ErrNotFound
}

func (p *userPages) revokeSession(x *exchange, reason string) error {
	user, sid := x.r.PathValue("id"), x.r.PathValue("sid")
	r, err := p.sessions.RevokeSession(x.ctx, x.caller, user, sid, reason)
	if err != nil {
		return err
	}
	if sid == x.session.ID {
		x.forget()
		return x.redirect("/sign-in", "why", "signed_out")
	}
	return x.redirect(x.afterSession(user), "done", "session", "receipt", epochText(r.Epoch))
}
