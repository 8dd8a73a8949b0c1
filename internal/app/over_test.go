package app_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/console"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// apart is for finding out which request left what: none of them shares its caller,
// its objects and its dump with others, which takes minutes.
var apart = flag.Bool("over.apart", false, "hold each request back by itself")

// Every route that may write is held back in TestNothingActsAfterItIsOver, or says
// why not.
func TestWritingRoutesAreHeldBack(t *testing.T) {
	rows, want := map[string]bool{}, map[string]bool{}
	for _, w := range writings() {
		rows[w.route] = true
	}
	for _, r := range httpapi.Routes() {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			want[strings.TrimSpace(r.Method+" "+r.Pattern)] = true
		}
	}
	for _, pattern := range console.Patterns() {
		if !strings.HasPrefix(pattern, "GET ") {
			want["console "+pattern] = true
		}
	}
	for route := range want {
		if rows[route] == (exceptions[route] != "") {
			t.Errorf("%s is to have either a row in writings or a reason in exceptions", route)
		}
	}
	for _, there := range []map[string]bool{rows, setOf(maps.Keys(exceptions))} {
		for route := range there {
			if !want[route] {
				t.Errorf("%s is not in the tables of routes", route)
			}
		}
	}
	if len(want) < 40 {
		t.Errorf("%d routes: the tables are gone", len(want))
	}
}

func setOf(keys func(func(string) bool)) map[string]bool {
	set := map[string]bool{}
	for k := range keys {
		set[k] = true
	}
	return set
}

// ending is a way in which a session, a permission or a client ends.
type ending struct {
	name       string
	rememberMe bool          // of the caller's session
	ago        time.Duration // since when the caller's session lasts
	ownKey     bool          // the caller's session is signed with a key of its own
	permission bool          // only what needs a permission ends
	client     bool          // the caller is a client
	outlived   bool          // by a session that was refreshed just before

	end  func(*deployment, *caller)
	undo func(*deployment) // nil: nothing is to be undone

	status int
	code   string
}

// caller is who makes the requests that are held back.
type caller struct {
	facts
	who store.User
	key *token.SigningKey // nil: the signing key
}

const (
	ago      = 4 * time.Minute // too short for a page to renew the session by itself
	due      = 6 * time.Minute // long enough
	shorter  = `{"session_timeout_seconds":120,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`
	shortest = `{"session_timeout_seconds":120,"maximum_session_duration_seconds":120,"remember_me_enabled":true}`
	usual    = `{"session_timeout_seconds":1200,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`
)

func change(settings string) func(*deployment) {
	return func(d *deployment) {
		d.Helper()
		d.administer(http.StatusOK, "PUT", "/v1/settings/authentication", settings, "If-Match", "*")
	}
}

func endings() []ending {
	revoked := string(token.ErrRevoked)
	return []ending{
		{name: "client deleted", client: true, status: 401, code: wire.CodeBadCredentials, end: func(d *deployment, c *caller) {
			d.administer(http.StatusNoContent, "DELETE", "/v1/clients/"+c.client, "")
			d.everywhere()
		}},
		{name: "secret replaced", client: true, status: 401, code: wire.CodeBadCredentials, end: func(d *deployment, c *caller) {
			for range 2 { // the one before works until the second
				d.administer(http.StatusCreated, "POST", "/v1/clients/"+c.client+"/secrets", "")
			}
			d.everywhere()
		}},
		{name: "secret revoked", client: true, status: 401, code: wire.CodeBadCredentials, end: func(d *deployment, c *caller) {
			d.administer(http.StatusCreated, "POST", "/v1/clients/"+c.client+"/secrets", `{"revoke_old":true}`)
			d.everywhere()
		}},
		{name: "session revoked", status: 401, code: revoked, end: func(d *deployment, c *caller) {
			d.administer(http.StatusNoContent, "DELETE", "/v1/users/"+c.id+"/sessions/"+c.sid, "")
			d.everywhere()
		}},
		{name: "user revoked", status: 401, code: revoked, end: func(d *deployment, c *caller) {
			d.revoke("/v1/users/"+c.id+"/revocations", `{"reason":"over"}`)
		}},
		{name: "user disabled", status: 401, code: revoked, end: func(d *deployment, c *caller) {
			d.administer(http.StatusOK, "PATCH", "/v1/users/"+c.id, `{"disabled":true}`)
			d.everywhere()
		}},
		{name: "user demoted", permission: true, status: 403, code: "forbidden", end: func(d *deployment, c *caller) {
			d.administer(http.StatusOK, "PATCH", "/v1/users/"+c.id, `{"permissions":[]}`)
			d.everywhere()
		}},
		{name: "session timeout shortened", outlived: true, ago: ago, status: 401, code: string(token.ErrIdleTimeout), undo: change(usual), end: func(d *deployment, _ *caller) {
			change(shorter)(d)
			d.everywhere()
		}},
		{name: "maximum session duration shortened", ago: ago, rememberMe: true, status: 401, code: string(token.ErrMaximumDuration), undo: change(usual), end: func(d *deployment, _ *caller) {
			change(shortest)(d)
			d.everywhere()
		}},
		{name: "key retired", outlived: true, ownKey: true, status: 401, code: string(token.ErrUnknownKey), end: func(d *deployment, c *caller) {
			a := d.ending.send(formRequest("/keys/retire", d.administrator(), form("kid", c.key.ID(), "reason", "Key compromised", "word", "retire")))
			if a.status != http.StatusSeeOther {
				d.Fatalf("retiring a key: %d %s", a.status, a.body)
			}
			d.everywhere()
		}},
		{name: "remembered revoked", rememberMe: true, status: 401, code: revoked, end: func(d *deployment, _ *caller) {
			d.revoke("/v1/revocations", `{"scope":"remembered","reason":"over"}`)
		}},
		{name: "everyone revoked", status: 401, code: revoked, end: func(d *deployment, _ *caller) {
			d.revoke("/v1/revocations", `{"scope":"everyone","reason":"over"}`)
		}},
	}
}

// caller makes the caller of requests that are held back until e.
func (d *deployment) caller(e ending) *caller {
	d.Helper()
	c := &caller{}
	if e.client {
		var made wire.Client
		d.administer(http.StatusCreated, "POST", "/v1/clients", fmt.Sprintf(`{"name":%q,"capabilities":["introspect","follow","issue","revoke"]}`, d.name("client"))).
			into(http.StatusCreated, &made)
		c.client, c.secret = made.ID, made.Secret
		return c
	}
	c.who = d.user("caller", store.AdministerSystem, store.UserEdit)
	c.token = d.signIn(d.held, c.who.Name, e.rememberMe)
	if e.ownKey {
		c.key = d.key()
	}
	if e.ownKey || e.ago > 0 {
		c.token = d.remint(c.token, c.key, e.ago)
	}
	c.id, c.sid = c.who.ID, d.sessionOf(c.token).ID
	return c
}

// objects returns what requests are about, with a key if one is needed.
func (d *deployment) objects(key bool) facts {
	d.Helper()
	user, disabled := d.user("object"), d.user("disabled")
	ctx := d.Context()
	yes := true
	_, _, err := d.other.accounts.ChangeUser(ctx, trusted, disabled.ID, account.UserChange{Disabled: &yes}, "")
	d.must(err)
	service, _, err := d.other.accounts.CreateClient(ctx, trusted, account.NewClient{Name: d.name("service"), Capabilities: []string{store.Follow}})
	d.must(err)
	raw := d.signIn(d.held, user.Name, false)
	provider := d.provider(user)
	about := facts{
		provider: provider, user: user.ID, email: user.Email, userToken: raw, userSession: d.sessionOf(raw).ID,
		disabled: disabled.ID, service: service.ID,
	}
	if key {
		about.kid = d.key().ID()
	}
	return about
}

// provider adds an identity provider that a user is linked to, and returns its name.
func (d *deployment) provider(u store.User) string {
	d.Helper()
	name := d.name("provider")
	issuer, id := "https://"+name+".example", "curfew"
	// The number of providers is bounded: those of objects that are long done go.
	all, err := d.other.accounts.Providers(d.Context(), trusted)
	d.must(err)
	if len(all) > 30 {
		slices.SortFunc(all, func(a, b store.Provider) int { return cmp.Compare(a.UpdatedAt, b.UpdatedAt) })
		for _, old := range all[:15] {
			_, err := d.other.accounts.DeleteProvider(d.Context(), trusted, old.Name, "")
			d.must(err)
		}
	}
	_, err = d.other.accounts.CreateProvider(d.Context(), trusted, name, account.ProviderChange{Issuer: &issuer, ClientID: &id})
	d.must(err)
	d.must(d.other.store.Update(d.Context(), func(tx store.Tx) error {
		return tx.PutIdentity(d.Context(), store.Identity{Issuer: issuer, Subject: u.ID, UserID: u.ID, Provider: name, LinkedAt: 1})
	}))
	return name
}

// with returns the facts of a request: who makes it, and what it is about.
func (d *deployment) with(c *caller, about facts) facts {
	about.name = d.name("made")
	about.token, about.id, about.sid, about.client, about.secret = c.token, c.id, c.sid, c.client, c.secret
	return about
}

// The ways in which a request waits until its caller's session has ended.
const (
	lastByte  = "the last byte is held back"
	hashQueue = "waiting to hash a password"
	commit    = "waiting to commit"
	again     = "waiting to be committed once more"
	second    = "waiting to commit after a first write"
)

// waits reports whether a request can wait in a way.
func (w writing) waits(how string) bool {
	switch how {
	case hashQueue:
		return w.hashes
	case commit, again:
		return !w.silent
	}
	return true
}

// concerns reports whether an ending is one of the requests' caller.
func (e ending) concerns(w writing) bool {
	return e.client == (w.capability != "") && (!e.permission || w.needs != anyUser)
}

// maxWait is for how long an event is waited for that never comes if something is
// wrong.
const maxWait = time.Minute

// hold starts requests, and returns when they wait; release lets them go on and
// returns the answers.
func (d *deployment) hold(how string, rows []writing, requests []request) (release func() []answer) {
	d.Helper()
	keep := 0
	next, letGo := func() {}, func() {}
	switch how {
	case lastByte:
		keep = 1
	case hashQueue:
		letGo = d.blockHashes()
	case commit, again, second:
		next, letGo = d.held.gate.shut(how == again)
	}
	d.Cleanup(letGo) // so that no request outlives the test
	var all []*pending
	arrived := 0
	for i, q := range requests {
		if how == second {
			d.held.gate.letPass(1)
		}
		p := d.held.start(i+1, q, keep)
		all = append(all, p)
		if how == second {
			select {
			case <-d.held.gate.arrived:
			case a := <-p.answer:
				d.Fatalf("%s, %s: answered before its time: %d %.300s", rows[i], how, a.status, a.body)
			case <-time.After(maxWait):
				d.Fatalf("%s, %s: does not wait", rows[i], how)
			}
		}
	}
	for i, p := range all {
		var event <-chan struct{}
		switch {
		case how == lastByte && requests[i].body != "":
			event = p.last
		case how == commit || how == again:
			event = d.held.gate.arrived
		default:
			continue // nothing of it has reached a handler, or the queue is looked at below
		}
		select {
		case <-event:
			arrived++
		case <-time.After(maxWait):
			d.Fatalf("%s: %d of %d requests wait", how, arrived, len(all))
		}
	}
	for how == hashQueue {
		// There is no event for it: the queue is looked at until all are in it.
		if _, waiting, _ := d.held.accounts.HashQueue(); waiting >= len(all) {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-time.After(maxWait):
			d.Fatal("the requests do not wait to hash")
		}
	}
	for i, p := range all {
		select {
		case a := <-p.answer:
			d.Errorf("%s, %s: answered before its time: %d %.300s", rows[i], how, a.status, a.body)
			p.answer <- a
		default:
		}
	}
	return func() []answer {
		d.Helper()
		if how == hashQueue {
			letGo()
		}
		// One after the other: none is to be refused because the machine is busy.
		answers, got := make([]answer, len(all)), make(chan int)
		for i, p := range all {
			go func() { // ends with the answer
				answers[i] = p.done()
				got <- i
			}()
		}
		for _, p := range all {
			p.write(p.rest)
			next()
			<-got
		}
		letGo()
		return answers
	}
}

// blockHashes has a sign-in stop in the middle of checking its password, so that
// all others wait.
func (d *deployment) blockHashes() (release func()) {
	d.Helper()
	u := d.userWith("this is no hash", "blocker")
	goOn := d.held.blocker.arm()
	p := d.held.start(0, jsonRequest("POST", "/v1/sessions", "", fmt.Sprintf(`{"username":%q,"password":"none"}`, u.Name)), 0)
	select {
	case <-d.held.blocker.blocked:
	case a := <-p.answer:
		d.Fatalf("the sign-in that is to block others was answered: %d %s", a.status, a.body)
	case <-time.After(maxWait):
		d.Fatal("no sign-in blocks the others")
	}
	return sync.OnceFunc(func() { goOn(); p.done() })
}

// over tries one ending against requests that wait for it.
func (d *deployment) over(e ending, how string, rows []writing, about facts) {
	d.Helper()
	c := d.caller(e)
	d.administrator() // could not sign in while the queue is full
	requests := make([]request, len(rows))
	for i, w := range rows {
		requests[i] = w.request(d.with(c, about))
	}
	release := d.hold(how, rows, requests)
	e.end(d, c)
	before := d.dump()
	answers := release()
	left := difference(before, d.dump())
	for i, w := range rows {
		a, want := answers[i], e.status
		if w.refused != 0 {
			want = w.refused
		}
		if a.status != want || !strings.HasPrefix(w.route, "console") && a.code() != e.code {
			d.Errorf("%s, %s, %s: answered %d %s, want %d %s", w, how, e.name, a.status, a.code(), want, e.code)
		}
		if cookies := strings.Join(a.header.Values("Set-Cookie"), " "); e.status == http.StatusUnauthorized && strings.Contains(cookies, "curfew_session=ey") {
			d.Errorf("%s, %s, %s: the refusal has a token in its cookie", w, how, e.name)
		}
		if fresh := d.held.send(requests[i]); fresh.gist() != a.gist() {
			d.Errorf("%s, %s, %s: answered %q, a new request %q", w, how, e.name, a.gist(), fresh.gist())
		}
	}
	if len(left) > 0 {
		d.Errorf("%s, %s: left in the store:\n%.8000s", how, e.name, strings.Join(left, "\n"))
	}
	if e.undo != nil {
		e.undo(d)
	}
}

// good tries requests that wait for nothing: each is answered as usual, and does
// what it is there for.
func (d *deployment) good(how string, rows []writing) {
	d.Helper()
	for _, w := range rows {
		c := d.caller(ending{client: w.capability != "", ago: ago}) // a refresh in the second of the sign-in changes nothing
		q := []request{w.request(d.with(c, d.objects(w.key)))}
		release := d.hold(how, []writing{w}, q)
		before := d.dump()
		a := release()[0]
		if a.status != w.want {
			d.Errorf("%s, %s, nothing ended: answered %d %.300s, want %d", w, how, a.status, a.body, w.want)
		}
		if wrote := len(difference(before, d.dump())) > 0; wrote == w.silent {
			d.Errorf("%s, %s, nothing ended: something is written: %v", w, how, wrote)
		}
	}
}

// What begins while a session is good and ends when it is over does nothing, and
// is answered as a new request would be: for every route that writes, every way in
// which a session ends, and every point at which a request can wait for it.
func TestNothingActsAfterItIsOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		postgres  bool
		elsewhere bool // the session is ended on the other node
		how       []string
		good      []string // as how, with nothing ended
	}{
		{"SQLite", false, false, []string{lastByte, hashQueue}, []string{lastByte, hashQueue}},
		{"SQLite, ended by another process", false, true, []string{again}, []string{again}},
		{"PostgreSQL", true, false, []string{lastByte, hashQueue}, nil},
		{"PostgreSQL, ended on another node", true, true, []string{lastByte, hashQueue, commit}, []string{commit}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			database := ""
			if tt.postgres {
				database = postgres(t)
			}
			d := deploy(t, database)
			d.ending = d.held
			if tt.elsewhere {
				d.ending = d.other
			}
			for _, how := range tt.how {
				about := d.objects(true)
				all := slices.DeleteFunc(writings(), func(w writing) bool { return !w.waits(how) })
				for _, e := range endings() {
					rows := slices.DeleteFunc(slices.Clone(all), func(w writing) bool { return !e.concerns(w) })
					if *apart {
						for _, w := range rows {
							d.over(e, how, []writing{w}, d.objects(w.key))
						}
					} else if len(rows) > 0 {
						d.over(e, how, rows, about)
					}
				}
			}
			for _, how := range tt.good {
				d.good(how, slices.DeleteFunc(writings(), func(w writing) bool { return !w.waits(how) }))
			}
		})
	}
}

// A cookie is renewed only for a session that has not ended when that is written
// down: by forward auth, and by pages.
func TestRenewalsAreDecidedAgain(t *testing.T) {
	t.Parallel()
	rows := []writing{
		{route: "GET /v1/verify", request: asPage("GET", "/v1/verify"), want: 200},
		{route: "POST /v1/verify", request: asPage("POST", "/v1/verify"), want: 200},
		{route: "console GET /profile", request: asPage("GET", "/profile"), want: 200, refused: 303},
		{route: "console GET /users", request: asPage("GET", "/users"), want: 200, refused: 303},
		{route: "console POST /profile/session", request: asBrowser("/profile/session"), want: 200},
	}
	d := deploy(t, "")
	d.ending = d.other
	about := d.objects(false)
	for _, e := range endings() {
		if e.client || e.permission {
			continue
		}
		e.ago = due
		d.over(e, again, rows, about)
	}
	for _, w := range rows {
		c := d.caller(ending{ago: due})
		release := d.hold(again, []writing{w}, []request{w.request(d.with(c, about))})
		a := release()[0]
		if cookies := a.header.Values("Set-Cookie"); a.status != w.want || len(cookies) != 1 || !strings.Contains(cookies[0], "curfew_session=ey") {
			t.Errorf("%s, nothing ended: %d with the cookies %q, want %d and a token", w, a.status, cookies, w.want)
		}
	}
}

// What takes two transactions is decided in both: the second writes nothing if the
// session, or the client, ended after the first.
func TestSecondWriteIsDecidedAgain(t *testing.T) {
	t.Parallel()
	d := deploy(t, "")
	d.ending = d.other
	about := d.objects(true)
	for _, e := range endings() {
		if e.outlived {
			continue
		}
		e.ago = due // pages renew the session first
		var rows []writing
		for _, w := range writings() {
			twice := w.what == "new user" || strings.HasPrefix(w.route, "console") && !w.silent
			if twice && e.concerns(w) {
				rows = append(rows, w)
			}
		}
		d.over(e, second, rows, about)
	}
}
