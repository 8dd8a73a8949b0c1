package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/token"
)

// When the store hangs, every call ends in time: with what needs no store, or with
// 503; never with anything that says a token is bad, and never touching a cookie.
func TestStoreHangs(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{})
	if err := pg.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *Config, set *setup) { set.database, c.Timeout = pg.DSN("curfew"), 0 })
	raw := s.token(s.admin)
	due := s.mint(s.admin, func(sess *token.Session) { sess.LastRefresh -= 400; sess.IssuedAt -= 400 })
	client := s.service("all", store.Capabilities()...)
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Resume(); err != nil {
			t.Error(err)
		}
	})
	bodies := map[string]string{
		"POST /v1/sessions":                   `{"username":"admin","password":"` + password + `"}`,
		"POST /v1/users/{id}/revocations":     `{}`,
		"PUT /v1/users/{id}/password":         `{"current":"` + password + `","new":"another horse battery staple"}`,
		"POST /v1/revocations":                `{"scope":"everyone"}`,
		"POST /v1/users":                      `{"name":"x"}`,
		"PATCH /v1/users/{id}":                `{"name":"x"}`,
		"POST /v1/providers":                  `{"name":"x","issuer":"https://login.example","client_id":"x"}`,
		"PATCH /v1/providers/{name}":          `{"client_id":"x"}`,
		"PATCH /v1/sign-in-methods":           `{"passwords":true}`,
		"POST /v1/clients":                    `{"name":"x","capabilities":["follow"]}`,
		"PUT /v1/settings/authentication":     defaultSettings,
		"POST /oauth/introspect":              "token=" + raw,
		"POST /oauth/revoke":                  "token=" + raw,
		"POST /oauth/backchannel-logout":      "logout_token=e30.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJhdWQiOiJ4In0.x",
		"POST /oauth/global-token-revocation": `{"sub_id":{"format":"opaque","id":"x"}}`,
	}
	needNoStore := map[string]bool{
		"GET /.well-known/jwks.json": true, "GET /.well-known/oauth-authorization-server": true,
		"GET /livez": true, "GET /readyz": true, "GET /openapi.yaml": true, // readiness is the app's to say
		"GET /v1/session/events": true, // while the lease lasts
	}
	var all sync.WaitGroup // at once, since each takes its time
	var mu sync.Mutex      // of the following
	took := map[string]time.Duration{}
	var machine time.Duration // the longest that a call took which needs no store
	for _, route := range Routes() {
		name := strings.TrimSpace(route.Method + " " + route.Pattern)
		all.Go(func() {
			path := strings.NewReplacer("{id}", s.admin.ID, "{sid}", claims(t, raw).ID, "{epoch}", "1").Replace(route.Pattern)
			path = strings.Replace(path, "{name}", "x", 1)
			if route.Pattern == "/v1/users/{id}/identities" {
				path += "?issuer=x&subject=x"
			}
			if route.Pattern == "/v1/revoked-before" {
				path += "?user=a&session=" + claims(t, raw).ID
			}
			var who credential = bearerToken(raw)
			if route.Who == Client {
				who = client
			}
			var body any
			if b, ok := bodies[name]; ok {
				body = b
			}
			method := route.Method
			if method == "" {
				method, who = "GET", cookie(due) // due for a refresh, which cannot be had
			}
			began := time.Now()
			a := s.do(method, path, body, who, header{"If-Match", "*"})
			if name == "GET /v1/session/events" {
				a.must(200, nil) // the lease runs when it begins; it lasts until that is over
				return
			}
			mu.Lock()
			took[name] = time.Since(began)
			if needNoStore[name] {
				machine = max(machine, took[name])
			}
			mu.Unlock()
			if a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: it touched the cookie: %v", name, a.Header["Set-Cookie"])
			}
			switch {
			case strings.HasPrefix(name, "/v1/verify"):
				s.identity(a, s.admin, claims(t, due).ID)
				fallthrough // the lease still runs: nothing has to be asked
			case needNoStore[name]:
				if a.StatusCode != 200 {
					t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
				}
			case a.StatusCode != 503 || a.code() != "unavailable" || a.Header.Get("Retry-After") == "":
				t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
			}
		})
	}
	all.Wait()
	// The store hangs still: what was answered did not wait for it. The calls that need
	// no store say what the machine adds to the 2 s that the others may wait.
	for name, took := range took {
		if bound := 3*time.Second + 10*machine; took > bound {
			t.Errorf("%s: it took %v; the bound is %v", name, took, bound)
		}
	}
}

// A view whose lease has run out says neither yes nor no.
func TestLeaseHasRunOut(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{})
	if err := pg.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(_ *Config, set *setup) { set.database, set.lease = pg.DSN("curfew"), feed.MinLease })
	raw := s.token(s.user("ann"))
	verify := func() int { return s.do("GET", "/v1/verify", nil, bearerToken(raw)).StatusCode }
	await.Until(t, "the view is trusted", func() bool { return verify() == http.StatusOK })
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the lease has run out", func() bool { return verify() != http.StatusOK })
	for _, with := range []credential{bearerToken(raw), cookie(raw)} {
		a := s.do("GET", "/v1/verify?sign_in=1", nil, with, header{"Accept", "text/html"})
		a.problem(503, "unavailable")
		s.noIdentity(a)
		if a.Header.Get("Set-Cookie") != "" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%v", a.Header)
		}
	}
	s.do("POST", "/oauth/revoke", "token="+raw).problem(503, "unavailable")
	// What proves nothing needs no view to be refused.
	s.do("GET", "/v1/verify", nil, bearerToken("x.y.z")).problem(401, "malformed")
	s.do("GET", "/v1/verify", nil).problem(401, "missing")
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the server has recovered", func() bool { return verify() == http.StatusOK })
}

func TestReadiness(t *testing.T) {
	var warnings atomic.Pointer[[]string]
	warnings.Store(new([]string))
	s := start(t, func(c *Config, _ *setup) { c.Warnings = func() []string { return *warnings.Load() } })
	if a := s.do("GET", "/readyz", nil); a.StatusCode != 200 || strings.Contains(string(a.body), "warnings") {
		t.Errorf("%d %s, want ready without warnings", a.StatusCode, a.body)
	}
	warnings.Store(&[]string{"changes come late"})
	var health struct {
		Status   string
		Warnings []string
	}
	s.do("GET", "/readyz", nil).must(200, &health)
	if health.Status != "ready" || !slices.Equal(health.Warnings, []string{"changes come late"}) {
		t.Errorf("%+v, want ready with the warning", health)
	}
	why := errors.New("about to end; password=hunter2")
	s.ready.Store(&why)
	a := s.do("GET", "/readyz", nil)
	a.problem(503, "unavailable")
	if strings.Contains(string(a.body), "hunter2") || !strings.Contains(s.logged.String(), "about to end") {
		t.Errorf("why is for the log alone: %s", a.body)
	}
	s.do("GET", "/livez", nil).must(200, nil)
}

// The feed over HTTP: which polls are held, granted and refused.
func TestFeed(t *testing.T) {
	s := start(t)
	client := s.service("billing", store.Follow)
	ann := s.user("ann")
	var snapshot struct {
		Epoch    int64
		LeaseMS  int64 `json:"lease_ms"`
		Issuer   string
		Audience []string
		Keys     struct{ Keys []any }
		Settings map[string]any
	}
	s.do("GET", "/v1/changes?after=0&follower=f1&wait=0", nil, client).must(200, &snapshot)
	if snapshot.Issuer != issuer || len(snapshot.Audience) != 2 || len(snapshot.Keys.Keys) != 2 || snapshot.Settings == nil || snapshot.LeaseMS <= 0 {
		t.Errorf("%+v", snapshot)
	}
	type revoked struct {
		Epoch       int64
		Issuer      string
		Revocations []struct {
			Scope, ID string
			Epoch     int64
		}
	}
	answer := make(chan revoked, 1)
	go func() {
		var r revoked
		s.do("GET", path("/v1/changes?after=%d&confirmed=%d&follower=f1&wait=10", snapshot.Epoch, snapshot.Epoch), nil, client).must(200, &r)
		answer <- r
	}()
	time.Sleep(100 * time.Millisecond) // no signal says that it is held; if it is not yet, it finds at once what it waits for
	receipt, err := s.sessions.RevokeUser(context.Background(), trusted, ann.ID, "", false, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := <-answer // a poll held to the end of its time would be empty
	if len(r.Revocations) != 1 || r.Revocations[0].Scope != "user" || r.Revocations[0].ID != ann.ID || r.Revocations[0].Epoch != int64(receipt.Epoch) || r.Issuer != "" {
		t.Errorf("%+v", r)
	}

	var before struct{ User, Session, Epoch int64 }
	s.do("GET", "/v1/revoked-before?user="+ann.ID+"&session="+token.NewSessionID(), nil, client).must(200, &before)
	if before.User != int64(receipt.Epoch) || before.Session != 0 || before.Epoch < int64(receipt.Epoch) {
		t.Errorf("%+v", before)
	}
	s.do("GET", path("/v1/changes?after=%d", r.Epoch+1_000_000_000), nil, client).problem(410, "start_over")
	for _, query := range []string{"after=-1", "after=x", "after=1.5", "after=99999999999999999999", "wait=-1", "confirmed=x", "behind=-1",
		"follower=" + strings.Repeat("a", 65), "after=1&after=2", "afterwards=1"} {
		s.do("GET", "/v1/changes?"+query, nil, client).problem(400, "invalid_request")
	}
	for _, query := range []string{"", "?user=a", "?session=" + token.NewSessionID(), "?user=a&session=x", "?user=a%20b&session=" + token.NewSessionID()} {
		s.do("GET", "/v1/revoked-before"+query, nil, client).problem(400, "invalid_request")
	}
}
