package session_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// Sessions of an issuer whose time is over stay over: the issuer can't come back in a
// way that keeps sessions. It can while it is still accepted, or if all sessions end.
// An audience that would end sessions isn't taken beside a promise to keep them.
func TestIssuerChangesKeepWhatIsOver(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		first := w.start(0, 0)
		later := w.start(0, 2*time.Hour)
		const second, third = "https://second.test", "https://third.test"
		for i, step := range []struct {
			node     *node
			to       string
			keep     time.Duration // 0: all sessions end
			audience []string
			field    string // that is refused; "" for none
		}{
			{first, second, time.Hour, []string{second}, "audience"},
			{first, second, time.Hour, []string{second, issuer}, "audience"},
			{first, second, time.Hour, []string{issuer, second}, ""},
			{later, issuer, 24 * time.Hour, nil, "keep_sessions_until"},
			{later, third, 24 * time.Hour, nil, ""},
			{later, issuer, time.Second, nil, "keep_sessions_until"},
			{later, second, 24 * time.Hour, nil, ""}, // is accepted still
			{later, issuer, 0, []string{"other"}, ""},
			{later, third, time.Hour, nil, ""}, // all that it had issued has ended
		} {
			before, err := later.store.Installation(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			change := session.IssuerChange{Issuer: step.to, Audience: step.audience}
			if step.keep > 0 {
				change.KeepUntil = step.node.now().Add(step.keep)
			}
			_, receipt, err := step.node.sessions.SetIssuer(t.Context(), cli, change)
			after, readErr := later.store.Installation(t.Context())
			if readErr != nil {
				t.Fatal(readErr)
			}
			if step.field != "" {
				invalid, ok := errors.AsType[*account.Invalid](err)
				if !ok || len(invalid.Fields) != 1 || invalid.Fields[0].Field != step.field || !reflect.DeepEqual(before, after) {
					t.Errorf("step %d: error %v, want one about %s; installation %+v", i, err, step.field, after)
				}
				continue
			}
			if err != nil || after.Issuer != step.to || (receipt == nil) != (step.keep > 0) {
				t.Fatalf("step %d: receipt %v, error %v, installation %+v", i, receipt, err, after)
			}
			if formers := map[bool][]store.FormerIssuer{true: after.Former}[step.keep == 0]; formers != nil {
				t.Errorf("step %d: accepted besides: %v", i, formers)
			}
		}
	})
}
