package settings_test

import (
	"errors"
	"fmt"
	"time"

	"example.com/curfew/settings"
)

// A session that one setting has ended stays ended when the setting is loosened.
func Example() {
	in := settings.InForce{Settings: settings.Default()}
	began := settings.UnixTime(1_800_000_000)
	now := began.Add(30 * time.Minute)
	fmt.Println("session timeout:", in.SessionTimeout, "idle:", in.Idle(began, 1, now))

	next := in.Settings
	next.SessionTimeout = time.Hour
	in = in.Change(next, now.Time(), 2)
	fmt.Println("session timeout:", in.SessionTimeout, "idle:", in.Idle(began, 1, now))

	next.SessionTimeout = time.Second
	err := next.Validate(0)
	fmt.Println(errors.Is(err, settings.ErrInvalid), err)
	// Output:
	// session timeout: 20m0s idle: true
	// session timeout: 1h0m0s idle: true
	// true session_timeout_seconds: 1 second is too short; the minimum is 60 seconds
}
