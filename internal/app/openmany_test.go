//go:build torture

package app

import (
	"encoding/json"
	"fmt"
	"testing"
)

// Ten thousand open streams of 5 000 users on two followers of two nodes: when the
// answer says effective everywhere, those of one user, of a thousand and of everyone
// have been told, and no other has.
func TestTenThousandOpenConnections(t *testing.T) {
	const users = 5000
	w := startTwoFollowers(t)
	var open openStreams
	user := func(i int) string { return fmt.Sprintf("user-%d", i) }
	for i := range users {
		raw := w.begin(i%2, user(i))
		for _, v := range w.validators {
			watch, err := v.Watch(t.Context(), raw, 0)
			if err != nil {
				t.Fatal(err)
			}
			_ = watch.Context().Err() // something waits for it
			open.add(watch.Context(), user(i))
		}
	}
	open.check(t, "before", anyUser, 2*users, 0)
	w.revoke(0, "/v1/users/"+user(0)+"/revocations", `{"reason":"test"}`)
	open.check(t, "one user", anyUser, 2*(users-1), 2)
	var many []string
	for i := range 1000 {
		many = append(many, user(i+1))
	}
	body, err := json.Marshal(map[string]any{"scope": "users", "users": many, "reason": "test"})
	if err != nil {
		t.Fatal(err)
	}
	w.revoke(1, "/v1/revocations", string(body))
	open.check(t, "a thousand users", anyUser, 2*(users-1001), 2*1001)
	w.revoke(0, "/v1/revocations", `{"scope":"everyone","reason":"test"}`)
	open.check(t, "everyone", anyUser, 0, 2*users)
}
