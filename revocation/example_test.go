package revocation_test

import (
	"fmt"
	"time"

	"example.com/curfew/revocation"
)

// A session is revoked if its epoch is below the last revocation of a scope that it
// belongs to.
func Example() {
	cache := revocation.NewCache(revocation.CacheConfig{})
	defer cache.Close()

	began := revocation.Epoch(0).Next(time.Date(2026, time.November, 28, 9, 0, 0, 0, time.UTC))
	revoked := began.Next(time.Date(2026, time.November, 28, 17, 0, 0, 0, time.UTC))
	cache.Apply(revocation.Revocation{Scope: revocation.User("ann"), Epoch: revoked})

	for _, user := range []string{"ann", "ben"} {
		before, complete := cache.Known(user, "a session", false)
		fmt.Println(user, "revoked:", began < before, "complete:", complete)
	}
	fmt.Println(revoked)
	// Output:
	// ann revoked: true complete: true
	// ben revoked: false complete: true
	// 2026-11-28T17:00:00.000000Z
}
