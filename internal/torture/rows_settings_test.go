//go:build torture

package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

// pair is two nodes on one PostgreSQL and a follower of the first.
type pair struct {
	*Cluster
	t        *testing.T
	follower *follower.Follower
}

func newPair(t *testing.T, lease time.Duration, flags ...string) *pair {
	t.Helper()
	p := &pair{Cluster: onPostgres(t, must[string](t)(asShipped())), t: t}
	for range 2 {
		p.node(t, nil, append(flags, "--lease", lease.String())...)
	}
	var err error
	p.follower, err = follower.Open(t.Context(), follower.Config{
		Server: "http://" + p.Nodes[0].Addr, ClientID: p.client.id, ClientSecret: p.client.secret, Audience: "https://curfew.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.follower.Close() }) // nothing is kept
	return p
}

// validators is how many there are to ask.
const validators = 3

// ask asks the i-th of the validators about a token, as verify does.
func (p *pair) ask(ctx context.Context, i int, raw string) string {
	if i < len(p.Nodes) {
		return p.verify(p.Nodes[i], raw)
	}
	_, err := p.follower.Validator().Validate(ctx, raw)
	if errors.Is(err, token.ErrUnavailable) {
		return "unavailable"
	}
	return string(token.ReasonOf(err))
}

func (p *pair) everywhere(what, raw, want string) {
	p.t.Helper()
	for i := range validators {
		if got := p.ask(p.t.Context(), i, raw); got != want {
			p.t.Errorf("%s: validator %d says %q, want %q", what, i, got, want)
		}
	}
}

// soonEverywhere is everywhere for those that hear of it over a wire.
func (p *pair) soonEverywhere(what, raw, want string) {
	p.t.Helper()
	for i := range validators {
		var got string
		if !await.Holds(await.Limit, func() bool { got = p.ask(p.t.Context(), i, raw); return got == want }) {
			p.t.Errorf("%s: validator %d says %q, want %q", what, i, got, want)
		}
	}
}

// watch asks all validators about a token until the returned function is called,
// and complains once of an answer that it may not get.
func (p *pair) watch(what string, raw func() string, may func(got string) bool) (stop func() int64) {
	ctx, cancel := context.WithCancel(p.t.Context())
	var work sync.WaitGroup
	var asked atomic.Int64
	for i := range validators {
		work.Go(func() {
			for ctx.Err() == nil {
				r := raw()
				if got := p.ask(ctx, i, r); !may(got) && ctx.Err() == nil {
					p.t.Errorf("%s: validator %d says %q", what, i, got)
					return
				}
				asked.Add(1)
				time.Sleep(time.Millisecond) // paces the requests: the server under test needs a processor too
			}
		})
	}
	return func() int64 { cancel(); work.Wait(); return asked.Load() }
}

func same(raw string) func() string { return func() string { return raw } }

func valid(got string) bool { return got == "" }

// Settings that are shortened bind at once, the sessions that there are as well;
// lengthened again, and remember me switched off and on, bring nothing back.
func TestSettingsUnderLoad(t *testing.T) {
	p := newPair(t, time.Minute, "--insecure-short-timeouts") // no lease ends on the way
	here := p.Nodes[0]
	change := func(s authentication) {
		t.Helper()
		var err error
		if !await.Holds(await.Limit, func() bool { // the administrator's session is bound as all are
			if p.admin, err = p.signIn(); err != nil {
				return false
			}
			var ok bool
			ok, err = p.set(here, s)
			return ok
		}) {
			t.Fatal(err)
		}
	}
	long := authentication{1200, 1_728_000, true}
	change(long)
	var stops []func() int64
	stayDead := func(what, raw string) {
		stops = append(stops, p.watch(what+", which was dead", same(raw), func(got string) bool { return got != "" }))
	}

	idle, lasting := p.session(t, here, "idle", false), p.session(t, here, "lasting", true)
	p.everywhere("new", idle, "")
	age(t, idle, 2*time.Second)
	change(authentication{2, 1_728_000, true})
	p.wants(t, "a shorter timeout, at once", here, idle, "idle_timeout")
	p.soonEverywhere("a shorter timeout", idle, "idle_timeout")
	p.everywhere("remembered", lasting, "")
	stayDead("over its timeout", idle)
	change(long)
	p.everywhere("a longer timeout", idle, "idle_timeout")

	change(authentication{2, 3, true})
	age(t, lasting, 3*time.Second)
	p.wants(t, "a shorter maximum, at once", here, lasting, "maximum_duration")
	p.soonEverywhere("a shorter maximum", lasting, "maximum_duration")
	stayDead("over its maximum", lasting)
	change(long)
	p.everywhere("a longer maximum", lasting, "maximum_duration")

	fresh := p.session(t, here, "fresh", false)
	remembered := p.session(t, p.Nodes[1], "remembered", true)
	p.soonEverywhere("begun with the longer settings", remembered, "")
	bystander := p.watch("without remember me", same(fresh), valid)
	off := long
	off.RememberMe = false
	change(off)
	p.wants(t, "remember me off, at once", here, remembered, "revoked")
	p.soonEverywhere("remember me off", remembered, "revoked")
	stayDead("remembered", remembered)
	ordinary := p.session(t, p.Nodes[1], "ordinary", true) // asked for, and not to be had
	p.soonEverywhere("asked for while it is off", ordinary, "")
	change(long)
	p.everywhere("remember me on again", remembered, "revoked")
	p.soonEverywhere("remember me on again", p.session(t, here, "again", true), "")

	asked := bystander()
	for range 5 { // back and forth, while all are asked about
		change(authentication{2, 2, false})
		change(long)
	}
	for _, raw := range []string{idle, lasting, remembered} {
		for i := range validators {
			if p.ask(p.t.Context(), i, raw) == "" {
				t.Errorf("validator %d accepts what was dead", i)
			}
		}
	}
	for _, stop := range stops {
		asked += stop()
	}
	t.Logf("%d checks on the way", asked)
}

// Rotating keys under load ends no session. A key that is retired in an emergency
// is refused everywhere within the bound.
func TestKeyRotationUnderLoad(t *testing.T) {
	const lease = 6 * time.Second // short, since a key signs a lease after it was published
	p := newPair(t, lease)
	var current atomic.Pointer[string]
	first := p.session(t, p.Nodes[0], "alice", false)
	current.Store(&first)
	newest := func() string { return *current.Load() }
	old := p.watch("signed by the first key", same(first), valid)
	latest := p.watch("signed by the latest key", newest, valid)

	signed := map[string]bool{keyOf(t, first): true}
	for range 2 {
		before := keyOf(t, newest())
		if _, err := p.curfew("key", "rotate"); err != nil {
			t.Fatal(err)
		}
		if !await.Holds(await.Limit, func() bool {
			raw := p.session(t, p.Nodes[1], "alice", false)
			current.Store(&raw)
			return keyOf(t, raw) != before
		}) {
			t.Fatal("the next key does not come to sign")
		}
		signed[keyOf(t, newest())] = true
	}
	asked := old() + latest()
	t.Logf("%d checks over %d keys", asked, len(signed))
	if len(signed) != 3 || asked < 100 {
		t.Errorf("%d keys and %d checks: this proves little", len(signed), asked)
	}

	leaked := newest()
	if _, err := p.curfew("key", "retire", keyOf(t, leaked), "--yes", "--reason", "torture"); err != nil {
		t.Fatal(err)
	}
	retired := time.Now()
	// No check that is asked for later than this accepts it. On a slow machine a lease
	// ends no later, so this is Curfew's own bound.
	by := retired.Add(lease + time.Second)
	for i := range validators {
		var got string
		refused := await.Holds(await.Limit, func() bool {
			asked := time.Now()
			got = p.ask(p.t.Context(), i, leaked)
			return got != "" && got != "unavailable" || got == "" && asked.After(by)
		})
		if !refused || got == "" {
			t.Errorf("validator %d still says %q of what the retired key signed %v ago", i, got, time.Since(retired))
		}
	}
	t.Logf("refused everywhere after %v; the bound is %v", time.Since(retired), by.Sub(retired))
	dead := p.watch("signed by the retired key", same(leaked), func(got string) bool { return got != "" })
	p.everywhere("signed by another key", first, "")
	var next string // the key after it must be known to all before it signs
	if !await.Holds(await.Limit, func() bool {
		var o Outcome
		next, o, _ = p.Begin(p.Nodes[0], "alice")
		return o == OK
	}) {
		t.Error("no session begins after a key was retired")
	}
	p.soonEverywhere("begun afterwards", next, "")
	dead()
}

// age waits until a session was last refreshed that long ago. Its processes have the
// clock of the machine, so the time has to pass.
func age(t *testing.T, raw string, d time.Duration) {
	t.Helper()
	var claims struct {
		LastRefresh int64 `json:"last_refresh"`
	}
	if err := json.Unmarshal(part(raw, 1), &claims); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(time.Unix(claims.LastRefresh, 0).Add(d))) // the server is another process: its clock sends no event
}

// keyOf returns the id of the key that signed a token.
func keyOf(t *testing.T, raw string) string {
	t.Helper()
	var header struct{ Kid string }
	if err := json.Unmarshal(part(raw, 0), &header); err != nil {
		t.Fatal(fmt.Errorf("the header of a token: %w", err))
	}
	return header.Kid
}
