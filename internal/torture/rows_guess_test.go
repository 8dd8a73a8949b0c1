//go:build torture

package torture

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// The limits of a minute. The store counts failed attempts, and each node counts
// its attempts under way: at one instant each node may allow the rest, so that
// these limits hold once for each node. Once the answers are there, they hold for
// all nodes together.
const (
	triesAtAccount   = 10
	triesFromAddress = 30
	nodes            = 2
)

// guesses counts the tries whose answer said whether the password was right.
type guesses struct {
	t     *testing.T
	c     *Cluster
	most  int
	began time.Time // of the first

	mu       sync.Mutex
	verdicts int
}

// guess tries until the node has looked at the try, or said that it will not: a
// node whose queue is full has done neither. It reports whether it was looked at.
func (g *guesses) guess(at *Process, address, name, password string) bool {
	var got attempt
	var err error
	await.Holds(await.Limit, func() bool {
		got, err = signInFrom(g.c.http, at, address, name, password)
		return err != nil || got.status != http.StatusServiceUnavailable
	})
	switch {
	case err != nil:
		g.t.Errorf("%q from %s: %v", name, address, err)
	case got.status == http.StatusTooManyRequests:
	case got.status == http.StatusUnauthorized || got.status == http.StatusCreated:
		g.mu.Lock()
		defer g.mu.Unlock()
		g.verdicts++
		return true
	default:
		g.t.Errorf("%q from %s: %d %s", name, address, got.status, got.body)
	}
	return false
}

// used fails the test unless as many tries were looked at as a minute allows.
func (g *guesses) used(what string) {
	g.t.Helper()
	g.t.Logf("%s: %d were looked at, in %v", what, g.verdicts, time.Since(g.began))
	if g.verdicts < g.most || g.verdicts > g.most*nodes*g.minutes() {
		g.t.Errorf("%s: %d were looked at, want %d, and never more than %d", what, g.verdicts, g.most, g.most*nodes)
	}
}

// noMore fails the test if a try was looked at since there were so many.
func (g *guesses) noMore(what string, before int) {
	g.t.Helper()
	if n := g.minutes(); g.verdicts > before && n == 1 {
		g.t.Errorf("%s: %d more were looked at, want none", what, g.verdicts-before)
	} else if n > 1 {
		g.t.Logf("%s: %d more were looked at in the %d minutes that this machine took", what, g.verdicts-before, n)
	}
}

// minutes is how many have begun: a machine may be that slow.
func (g *guesses) minutes() int { return 1 + int(time.Since(g.began)/time.Minute) }

// An attacker who guesses one user's password gets ten tries a minute, from however
// many addresses, in every spelling of the name, at however many nodes, and a
// restart gives no more. An attacker who guesses many users' passwords from one
// address gets thirty.
func TestGuessing(t *testing.T) {
	c := onPostgres(t, must[string](t)(asShipped()))
	env := []string{"GOMAXPROCS=2"} // one password is hashed at a time
	one, two := c.node(t, env, "--trusted-proxies", "127.0.0.1/32"), c.node(t, env, "--trusted-proxies", "127.0.0.1/32")
	for _, name := range []string{"Zoë Müller", "bystander"} {
		status, body, err := c.call(http.MethodPost, one.Addr, "/v1/users", c.admin, map[string]string{"name": name, "password": adminPassword})
		if err != nil || status != http.StatusCreated {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	spellings := []string{
		"Zoë Müller", "zoë müller", "ZOË MÜLLER", "  Zoë   Müller\n",
		"Zoe\u0308 Mu\u0308ller", "ZOE\u0308 MU\u0308LLER", // with combining marks
	}

	g := &guesses{t: t, c: c, most: triesAtAccount, began: time.Now()}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			g.guess([]*Process{one, two}[i%2], fmt.Sprintf("198.51.100.%d", i+1), spellings[i%len(spellings)], fmt.Sprint("not the password ", i))
		})
	}
	all.Wait()
	g.used("60 tries at once")
	used := g.verdicts
	for i, name := range spellings {
		g.guess(one, fmt.Sprintf("203.0.113.%d", i+1), name, adminPassword) // the right one
	}
	g.noMore("the right password", used)
	if g.minutes() == 1 {
		consoleRefuses(t, c, two, spellings[1])
	}
	one.Kill()
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.ready(one); err != nil {
		t.Fatal(err)
	}
	for i, name := range spellings {
		g.guess([]*Process{one, two}[i%2], fmt.Sprintf("192.0.2.%d", i+1), name, adminPassword)
	}
	g.noMore("after a restart", used)

	// A name in full-width letters is another name: not one more try at this one.
	wide := spellingOfWidth("Zoë Müller")
	if got, err := signInFrom(c.http, two, "192.0.2.99", wide, adminPassword); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("%q: %d %s %v, want 401", wide, got.status, got.body, err)
	}

	const address = "198.51.100.200"
	g = &guesses{t: t, c: c, most: triesFromAddress, began: time.Now()}
	for i := range 80 {
		all.Go(func() {
			g.guess([]*Process{one, two}[i%2], address, fmt.Sprint("somebody", i), "a likely password")
		})
	}
	all.Wait()
	g.used("80 names from one address")
	used = g.verdicts
	two.Kill()
	if err := two.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.ready(two); err != nil {
		t.Fatal(err)
	}
	g.guess(two, address, "bystander", adminPassword)
	g.guess(one, "::ffff:"+address, "bystander", adminPassword)
	g.noMore("the right password, and after a restart", used)
	if got, err := signInFrom(c.http, two, "203.0.113.200", "bystander", adminPassword); err != nil || got.status != http.StatusCreated {
		t.Errorf("from another address: %d %s %v, want 201", got.status, got.body, err)
	}
}

// spellingOfWidth returns a name with its ASCII letters in full width.
func spellingOfWidth(name string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, name)
}

// consoleRefuses fails the test unless the sign-in form refuses to look at a
// password as well.
func consoleRefuses(t *testing.T, c *Cluster, at *Process, name string) {
	t.Helper()
	form := url.Values{"username": {name}, "password": {adminPassword}}
	req, err := http.NewRequest(http.MethodPost, "http://"+at.Addr+"/sign-in", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-For", "203.0.113.77")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the sign-in form: %d, Retry-After %q; want 429", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}
