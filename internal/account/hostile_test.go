//go:build torture

package account_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/token"
)

// A user signs in again and again while 64 connections attack. At least 99 of 100
// sign-ins succeed, and none takes longer than what the queue holds: the number
// of hashes, not the machine, decides how long it takes.
func TestHonestUserAmongHostileConnections(t *testing.T) {
	const (
		honest       = 60
		maxHashesFor = 33 // of all users, while one honest sign-in is under way: what the queue holds
	)
	here := authz.Origin{Address: "192.0.2.1"}
	for _, tt := range []struct {
		name      string
		presented bool // the user's browser still has the token of an earlier session
		hostile   func(i, round int) (name, password, address string)
	}{
		{"wrong passwords for other accounts, from the same address", false, func(i, round int) (string, string, string) {
			return fmt.Sprintf("other%d-%d", i, round), "wrong horse battery", here.Address
		}},
		{"wrong passwords for the same account and others, from the same address", true, func(i, round int) (string, string, string) {
			return []string{"alice", fmt.Sprintf("other%d-%d", i, round)}[i%2], "wrong horse battery", here.Address
		}},
		{"wrong passwords for the same account, from many addresses", false, func(i, _ int) (string, string, string) {
			return "alice", "wrong horse battery", fmt.Sprintf("198.51.100.%d", i)
		}},
		{"wrong passwords for many accounts, from many networks", false, func(i, round int) (string, string, string) {
			return fmt.Sprintf("other%d-%d", i, round), "wrong horse battery", fmt.Sprintf("2001:db8:%x:%x::1", i, round)
		}},
		{"another user who signs in all the time", false, func(int, int) (string, string, string) { return "bob", good, here.Address }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := sqlite(t)
			// The hash costs more than the store's answers, as in production; else
			// their order would be that of the answers.
			n := w.with(account.Config{MaxHashes: 1, HashMemoryKiB: 2048})
			alice, bob := n.add("alice"), n.add("bob")
			n.begin(alice, here.Address, start)
			n.begin(bob, here.Address, start)
			from := here
			if tt.presented {
				from.Presented = &token.Session{Subject: alice.ID, ID: token.NewSessionID()}
			}
			// This node knows where she comes from. Without that, and with a queue that is
			// full of attempts from many networks, she might have to come twice.
			_, _, err := n.Authenticate(t.Context(), "alice", good, from)
			noErr(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			var hostile sync.WaitGroup
			for i := range 64 {
				hostile.Go(func() { // ends with ctx
					for round := 0; ctx.Err() == nil; round++ {
						name, password, address := tt.hostile(i, round)
						_, _, _ = n.Authenticate(ctx, name, password, authz.Origin{Address: address})
					}
				})
			}
			const password = good
			succeeded, most := 0, uint64(0)
			for range honest {
				_, _, before := n.HashQueue()
				_, _, err := n.Authenticate(t.Context(), "alice", password, from)
				_, _, after := n.HashQueue()
				if err == nil {
					succeeded++
				} else {
					t.Log(err)
				}
				most = max(most, after-before)
				w.pass(time.Second)
			}
			cancel()
			hostile.Wait()
			t.Logf("%d of %d succeeded, while at most %d passwords were hashed", succeeded, honest, most)
			if succeeded*100 < honest*99 {
				t.Errorf("%d of %d sign-ins succeeded, want 99 of 100", succeeded, honest)
			}
			if most > maxHashesFor {
				t.Errorf("%d passwords were hashed while one sign-in waited, want at most %d", most, maxHashesFor)
			}
			if running, waiting, _ := n.HashQueue(); running != 0 || waiting != 0 || n.Gates() != 0 {
				t.Errorf("%d running, %d waiting, %d counters held at the end", running, waiting, n.Gates())
			}
		})
	}
}
