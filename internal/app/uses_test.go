package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
	"example.com/curfew/token/tokentest"
)

// listed returns a session as a node lists it; nil if it does not.
func listed(t *testing.T, a *App, user, session string) *wire.LiveSession {
	t.Helper()
	live, err := a.sessions.List(t.Context(), administrator, user)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range live {
		if l.ID == session {
			w := wire.LiveSession{ID: l.ID, LastSeenAt: time.UnixMicro(l.LastSeenAt), BeganAt: time.UnixMicro(l.BeganAt)}
			if at := l.UsedAt(); at != 0 {
				used := time.UnixMicro(at)
				w.LastUsedAt = &used
			}
			return &w
		}
	}
	return nil
}

// A request at an application appears as the last use of its session, wherever the
// token was validated: at a node, at another one, at an edge, in an application that
// follows a node or an edge.
func TestUsesAppearAtTheServer(t *testing.T) {
	cfg := serverConfig(t)
	cfg.Database, cfg.KeyEncryptionKey = config.Database(migrated.Postgres(t)), make([]byte, 32)
	cfg.Issuer = "https://curfew.test"
	here, _ := runApp(t, cfg, Options{})
	there, _ := runApp(t, cfg, Options{})
	nodeURL := "http://" + there.Addr().String()
	client, secret := service(t, there, "app", store.Follow, store.Issue)
	edge := runEdge(t, client.ID, secret, nodeURL)
	edgeURL := "http://" + edge.Addr().String()
	application := func(server string) string {
		f, err := follower.Open(t.Context(), follower.Config{Server: server, ClientID: client.ID, ClientSecret: secret, Audience: cfg.Issuer})
		if err != nil {
			t.Fatal(err)
		}
		web := httptest.NewServer(bearer.Require(f.Validator())(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		t.Cleanup(func() { web.Close(); _ = f.Close() })
		return web.URL
	}
	for name, url := range map[string]string{
		"the node":                  "http://" + here.Addr().String() + "/v1/verify",
		"another node":              nodeURL + "/v1/verify",
		"an edge":                   edgeURL + "/v1/verify",
		"an application at a node":  application(nodeURL),
		"an application at an edge": application(edgeURL),
	} {
		var issued wire.Issued
		call(t, "POST", nodeURL+"/v1/users/ann/sessions", func(r *http.Request) { r.SetBasicAuth(client.ID, secret) }, `{}`, http.StatusCreated, &issued)
		if got := listed(t, here, "ann", issued.Session.ID); got == nil || got.LastUsedAt != nil {
			t.Fatalf("%s: %+v before the first use", name, got)
		}
		before := time.Now()
		for range 2 {
			if status, body := get(t, url, issued.Token); status != http.StatusOK {
				t.Fatalf("%s: %d %s", name, status, body)
			}
		}
		await.Until(t, "a use at "+name+" appears", func() bool {
			got := listed(t, here, "ann", issued.Session.ID)
			return got != nil && got.LastUsedAt != nil
		})
		got := listed(t, here, "ann", issued.Session.ID)
		// An age is in whole seconds.
		if got.LastUsedAt.Before(before.Truncate(time.Microsecond)) || got.LastUsedAt.After(time.Now()) || !got.LastSeenAt.Equal(got.BeganAt) {
			t.Errorf("%s: used at %v, seen at %v; the use was after %v", name, got.LastUsedAt, got.LastSeenAt, before)
		}
	}
}

// A report extends no session, and brings none back.
func TestReportsReviveNothing(t *testing.T) {
	cfg := serverConfig(t)
	cfg.AdminPassword = attackPassword
	clock := newFixtureClock(time.Now())
	a, _ := runApp(t, cfg, Options{Now: clock.now})
	url := "http://" + a.Addr().String()
	client, secret := service(t, a, "app", store.Follow)
	begin := func() (raw, user, id string) {
		raw = signInAs(t, url)
		s, err := a.validator.Validate(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		return raw, s.Subject, s.ID
	}
	idle, user, idleID := begin()
	over, _, overID := begin()
	report := func(id string) {
		t.Helper()
		call(t, "POST", url+"/v1/uses", func(r *http.Request) { r.SetBasicAuth(client.ID, secret) },
			`{"uses":[{"session":"`+id+`","age_seconds":0}]}`, http.StatusNoContent, nil)
	}
	refused := func(raw, code string) {
		t.Helper()
		status, body := get(t, url+"/v1/session", raw)
		var p wire.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusUnauthorized || p.Code != code {
			t.Errorf("%d %s, want 401 %s", status, body, code)
		}
	}
	if status, body := send(t, http.MethodDelete, url+"/v1/session", over, ""); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, body)
	}
	clock.ahead.Add(int64(19 * time.Minute))
	report(idleID)
	report(overID)
	await.Until(t, "the report is recorded", func() bool {
		got := listed(t, a, user, idleID)
		return got.LastUsedAt != nil && got.LastUsedAt.Sub(got.BeganAt) > 18*time.Minute
	})
	if listed(t, a, user, overID) != nil {
		t.Error("a session that was signed out is listed after a report")
	}
	refused(over, "revoked")
	clock.ahead.Add(int64(time.Minute))
	report(idleID)
	refused(idle, "idle_timeout")
	if listed(t, a, user, idleID) != nil {
		t.Error("a session that has timed out is listed after a report")
	}
}

// recorder is a store that records uses, or does not.
type recorder struct {
	store.Store
	record func(ctx context.Context, uses []store.Use) error
}

func (r *recorder) RecordUses(ctx context.Context, uses []store.Use) error {
	return r.record(ctx, uses)
}

// startRecording returns a validator whose uses are recorded in a store until stop is
// called.
func startRecording(t *testing.T, issuer *tokentest.Issuer, to store.Store) (v *token.Validator, a *App, stop func()) {
	t.Helper()
	a = &App{host: &host{uses: uses.NewSet(), log: slog.New(slog.DiscardHandler)}, store: to}
	c := issuer.Config()
	c.OnUse, c.Now = a.noteUse, time.Now
	v, err := token.NewValidator(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.recordUses(ctx); err != nil {
			t.Error(err)
		}
	})
	return v, a, func() { cancel(); running.Wait(); v.Close() }
}

// However many nodes validate a session and however often, it is written once in five
// minutes.
func TestUsesAreRecordedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := tokentest.New(t)
		issuer.SetNow(time.Now())
		raw := issuer.Token("ann", func(s *token.Session) { s.RememberMe = true })
		db, err := openStore(t.Context(), config.Store{Database: config.Database(migrated.SQLite(t))}, true, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var validators []*token.Validator
		for range 3 {
			v, _, stop := startRecording(t, issuer, db)
			defer stop()
			validators = append(validators, v)
		}
		first, err := validators[0].Validate(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), func(tx store.Tx) error {
			return tx.InsertSession(t.Context(), store.Session{ID: first.ID, UserID: "ann", RememberMe: true, BeganAt: time.Now().UnixMicro()})
		}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var written []int64
		last := int64(0)
		for i := 0; time.Since(began) < 61*time.Minute; i++ {
			nodes := min(len(validators), 1+int(time.Since(began)/(100*time.Second))) // one joins after the other
			if _, err := validators[i%nodes].Validate(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			row, err := db.Session(t.Context(), first.ID)
			if err != nil {
				t.Fatal(err)
			}
			if row.LastUsedAt != last {
				if last != 0 && row.LastUsedAt-last < uses.Interval.Microseconds() {
					t.Errorf("written %v after the last use that was written", time.Duration(row.LastUsedAt-last)*time.Microsecond)
				}
				if behind := time.Since(time.UnixMicro(row.LastUsedAt)); behind > 10*time.Second {
					t.Errorf("a use is recorded %v late", behind)
				}
				last = row.LastUsedAt
				written = append(written, last)
			}
		}
		if len(written) < 11 || len(written) > 13 {
			t.Errorf("%d writes in 61 minutes, want one in five", len(written))
		}
	})
}

// A store that does not answer delays no check, and the end of the process by a second
// at most. Lost uses are counted.
func TestStoreThatHangsDelaysNoCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := tokentest.New(t)
		issuer.SetNow(time.Now())
		var mu sync.Mutex
		written := map[string]bool{} // by session
		hangs := true
		db := &recorder{record: func(ctx context.Context, batch []store.Use) error {
			mu.Lock()
			stuck := hangs
			if !stuck {
				for _, u := range batch {
					written[u.Session] = true
				}
			}
			mu.Unlock()
			if stuck {
				<-ctx.Done()
				return store.ErrUnavailable
			}
			return nil
		}}
		v, a, stop := startRecording(t, issuer, db)
		var tokens []string
		for range 2000 {
			tokens = append(tokens, issuer.Token("ann", func(s *token.Session) { s.RememberMe = true; s.ID = token.NewSessionID() }))
		}
		check := func() {
			t.Helper()
			began := time.Now()
			for _, raw := range tokens {
				if _, err := v.Validate(t.Context(), raw); err != nil {
					t.Fatal(err)
				}
			}
			// The clock of the bubble stands still unless everything waits.
			if took := time.Since(began); took > 0 {
				t.Errorf("checks waited for %v", took)
			}
		}
		check()
		time.Sleep(2 * time.Second)
		check() // while a write hangs
		time.Sleep(time.Minute)
		if reported, dropped := a.uses.Counts(); reported != 0 || dropped == 0 || dropped > int64(len(tokens)) {
			t.Errorf("%d reported, %d dropped, want up to %d dropped", reported, dropped, len(tokens))
		}
		mu.Lock()
		hangs = false
		mu.Unlock()
		time.Sleep(uses.NoteEvery)
		check()
		time.Sleep(time.Minute)
		mu.Lock()
		if len(written) != len(tokens) {
			t.Errorf("uses of %d sessions are written after the store is back, want %d", len(written), len(tokens))
		}
		hangs = true
		mu.Unlock()
		time.Sleep(uses.NoteEvery)
		check()
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}
