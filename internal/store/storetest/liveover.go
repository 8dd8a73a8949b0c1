package storetest

import (
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// liveOver has a session for each way to end, and one for each place where it may
// begin and end, between the instants 0, 10, … 50 s. Each case has a day of its
// own.
func liveOver(t *testing.T, open Open) {
	s := open(t)
	in := settings.InForce{Settings: settings.Settings{SessionTimeout: 20 * time.Second, MaximumSessionDuration: 30 * time.Second, RememberMeEnabled: true}}
	day := noon
	after := func(s float64) int64 { return day.UnixMicro() + int64(s*1e6) }
	type session struct {
		began, seen, expires, ended float64
		remember                    bool
	}
	long := session{5, 5, 1000, 0, true} // until the maximum, 35
	for _, c := range []struct {
		name    string
		session session
		revoked revocation.Scope // at 25, if any
		retired bool             // its key, at 25
		want    []int64
	}{
		{"none of its own", session{100, 100, 200, 0, false}, revocation.Scope{}, false, []int64{0, 0, 0, 0, 0, 0}},
		{"until the timeout", session{5, 5, 1000, 0, false}, revocation.Scope{}, false, []int64{0, 1, 1, 0, 0, 0}},
		{"refreshed", session{5, 12, 1000, 0, false}, revocation.Scope{}, false, []int64{0, 1, 1, 1, 0, 0}},
		{"until the maximum", long, revocation.Scope{}, false, []int64{0, 1, 1, 1, 0, 0}},
		{"until its own end", session{5, 5, 15, 0, true}, revocation.Scope{}, false, []int64{0, 1, 0, 0, 0, 0}},
		{"until signed out", session{5, 5, 1000, 15, true}, revocation.Scope{}, false, []int64{0, 1, 0, 0, 0, 0}},
		{"before the first instant and after the last", session{-10, 45, 1000, 0, true}, revocation.Scope{}, false, []int64{1, 1, 0, 0, 0, 0}},
		{"over before the first", session{-50, -50, -5, 0, true}, revocation.Scope{}, false, []int64{0, 0, 0, 0, 0, 0}},
		{"from an instant to an instant", session{10, 10, 30, 0, true}, revocation.Scope{}, false, []int64{0, 1, 1, 0, 0, 0}},
		{"just after an instant, just after an instant", session{10.000001, 11, 30.000001, 0, true}, revocation.Scope{}, false, []int64{0, 0, 1, 1, 0, 0}},
		{"between two instants", session{11, 11, 19, 0, true}, revocation.Scope{}, false, []int64{0, 0, 0, 0, 0, 0}},
		{"everyone revoked", long, revocation.Everyone(), false, []int64{0, 1, 1, 0, 0, 0}},
		{"remembered revoked", long, revocation.Remembered(), false, []int64{0, 1, 1, 0, 0, 0}},
		{"remembered revoked, and not one of them", session{5, 12, 1000, 0, false}, revocation.Remembered(), false, []int64{0, 1, 1, 1, 0, 0}},
		{"the user revoked", long, revocation.User("ann"), false, []int64{0, 1, 1, 0, 0, 0}},
		{"another user revoked", long, revocation.User("bob"), false, []int64{0, 1, 1, 1, 0, 0}},
		{"the session revoked", long, revocation.Session("s"), false, []int64{0, 1, 1, 0, 0, 0}},
		{"the key retired", long, revocation.Scope{}, true, []int64{0, 1, 1, 0, 0, 0}},
		{"begun after the revocation", session{26, 26, 1000, 0, true}, revocation.User("ann"), false, []int64{0, 0, 0, 1, 1, 1}},
	} {
		day = day.Add(24 * time.Hour)
		own := func(id string) string { return id + day.String() } // of this case
		row := store.Session{
			ID: own("s"), UserID: own("ann"), KeyID: own("k"), RememberMe: c.session.remember, Epoch: revocation.Epoch(after(c.session.began)),
			BeganAt: after(c.session.began), LastSeenAt: after(c.session.seen), ExpiresAt: after(c.session.expires),
		}
		if c.session.ended != 0 {
			row.EndedAt = after(c.session.ended)
		}
		insertSessions(t, s, row)
		update(t, s, func(tx store.Tx) error {
			if scope := c.revoked; scope.Kind != "" {
				if scope.ID != "" {
					scope.ID = own(scope.ID)
				}
				if err := tx.PutRevocations(t.Context(), at(revocation.Epoch(after(25)), scope)...); err != nil {
					return err
				}
			}
			if !c.retired {
				return nil
			}
			return tx.PutKey(t.Context(), store.Key{ID: own("k"), State: store.KeyRetired, RetiredAt: after(25)})
		})
		got, err := s.LiveOver(t.Context(), store.Live{Settings: in}, after(0), 10e6, 6)
		noErr(t, err)
		same(t, c.name, got, c.want)
	}
	for _, n := range []int{0, -1} {
		got, err := s.LiveOver(t.Context(), store.Live{Settings: in}, 0, 1, n)
		noErr(t, err)
		same(t, "no instants", len(got), 0)
	}
}
