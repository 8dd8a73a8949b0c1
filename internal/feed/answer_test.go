package feed

import (
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// A user's row that was pruned when everyone was raised must not be taken for a
// user who was never revoked by a node that has not heard of everyone yet.
func TestAnswersIncludeWhatWasPruned(t *testing.T) {
	for _, test := range []struct{ everyone, own, want revocation.Epoch }{{0, 0, 0}, {60, 0, 60}, {60, 50, 60}, {60, 70, 70}} {
		got := answerOf(store.RevokedBefore{Clock: 100, Everyone: test.everyone, User: test.own, Session: test.own, Remembered: 90})
		if want := (revocation.Answer{User: test.want, Session: test.want, AsOf: 100}); got != want {
			t.Errorf("everyone %d, own %d: %+v, want %+v", test.everyone, test.own, got, want)
		}
	}
}
