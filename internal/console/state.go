package console

import (
	"encoding/json"
	"net/http"

	"example.com/curfew/token"
)

// A state tells the script about the session of its page. Asking extends nothing.
type state struct {
	State string `json:"state"` // "live", "ended" or "unknown"
	User  string `json:"user,omitempty"`
	Name  string `json:"name,omitempty"`
	// How long the session has left, in milliseconds; IdleMS is -1 without a
	// session timeout.
	IdleMS    int64  `json:"idle_ms"`
	MaximumMS int64  `json:"maximum_ms"`
	Why       string `json:"why,omitempty"` // for people
}

func (x *exchange) state() (int, state) {
	reason := token.ReasonOf(x.refused)
	switch {
	case x.session != nil:
		c := clocksOf(x.session, x.exchangeEnds(x.session))
		return http.StatusOK, state{State: "live", User: x.session.Subject, Name: x.caller.Actor.Name, IdleMS: c.IdleMS, MaximumMS: c.MaximumMS}
	case reason == token.ErrUnavailable:
		return http.StatusServiceUnavailable, state{State: "unknown"}
	}
	why := whyEnded(x.whyRefused(x.refused))
	if reason == token.ErrMissing {
		why = "You have signed out."
	}
	return http.StatusOK, state{State: "ended", Why: why}
}

func (x *exchange) answerState() error {
	status, s := x.state()
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	x.begin()
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body)
	return nil
}

// sessionState answers the script that watches over an open page.
func sessionState(x *exchange) error { return x.answerState() }

// staySignedIn is for the person who says, by a button, that they are still
// there. That alone has renewed the session, if it was due.
func staySignedIn(x *exchange) error { return x.answerState() }
