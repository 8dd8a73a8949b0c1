package upstream

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// reported returns what the server was told of a session: when, and with which age.
func (s *server) reported(session string) []report {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []report
	for _, r := range s.reports {
		if _, ok := r.age[session]; ok {
			found = append(found, r)
		}
	}
	return found
}

func sessionID(tb testing.TB, f *Follower, raw string) string {
	tb.Helper()
	s, err := f.Validator().Validate(tb.Context(), raw)
	if err != nil {
		tb.Fatal(err)
	}
	return s.ID
}

// A session in use is reported soon after its first use, and then not more than once
// in five minutes, however often it is used.
func TestUsesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		ann, bob := b.sign("ann"), b.sign("bob")
		began := time.Now()
		id := sessionID(t, f, ann)
		time.Sleep(2 * time.Second)
		if got := b.reported(id); len(got) != 1 || got[0].at.Sub(began) > time.Second || got[0].age[id] != 0 {
			t.Fatalf("reports after one use: %+v, want one within a second", got)
		}
		var uses []time.Time
		for time.Since(began) < 16*time.Minute {
			time.Sleep(time.Second)
			expect(t, f, ann, nil)
			uses = append(uses, time.Now())
		}
		got := b.reported(id)
		if len(got) != 4 { // at 0:00, 5:10, 10:20 and 15:30
			t.Errorf("%d reports of %d uses in 16 minutes, want 4", len(got), len(uses))
		}
		for i, r := range got[1:] {
			if apart := r.at.Sub(got[i].at); apart < 5*time.Minute || apart > 6*time.Minute {
				t.Errorf("two reports are %v apart", apart)
			}
		}
		// A use just before the end is reported by Close.
		other := sessionID(t, f, bob)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if len(b.reported(other)) != 1 {
			t.Error("the use just before Close is not reported")
		}
	})
}

// Refused tokens are no uses.
func TestRefusedTokensAreNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		late := b.sign("ann")
		time.Sleep(time.Hour)
		expect(t, f, late, token.ErrIdleTimeout)
		expect(t, f, late[:len(late)-4]+"AAAA", token.ErrBadSignature)
		time.Sleep(time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.reports) > 0 {
			t.Errorf("reports of refused tokens: %+v", b.reports)
		}
	})
}

// While no server can be reached, uses wait, and their ages grow. Checks go on.
func TestUsesWaitForAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.lease = time.Hour
		f := b.open()
		defer closeFollower(t, f)
		ann := b.sign("ann")
		used := time.Now()
		b.instead(func(w http.ResponseWriter, r *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable")
			return true
		})
		id := sessionID(t, f, ann)
		time.Sleep(2 * time.Minute)
		expect(t, f, ann, nil)
		failed := len(b.reported(id))
		if failed < 4 || failed > 10 {
			t.Errorf("%d attempts in two minutes, want one in 15 seconds", failed)
		}
		b.instead(nil)
		time.Sleep(time.Minute)
		got := b.reported(id)
		if len(got) != failed+1 {
			t.Fatalf("%d reports after the server is back, want 1", len(got)-failed)
		}
		last := got[failed]
		if want := last.at.Sub(used).Truncate(time.Second); last.age[id] != int64(want/time.Second) {
			t.Errorf("the age is %d s, want %v", last.age[id], want)
		}
	})
}

// A use that is older than a report may contain is left out.
func TestUsesGetTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.config.Uses = uses.NewSet()
		f := b.open()
		defer closeFollower(t, f)
		b.config.Uses.Add("",
			uses.Use{Session: "at", At: time.Now().Add(-uses.MaxAge)},
			uses.Use{Session: "after", At: time.Now().Add(-uses.MaxAge - 2*time.Second)},
			uses.Use{Session: "ahead", At: time.Now().Add(time.Hour)})
		time.Sleep(uses.NoteEvery)
		for session, want := range map[string]int{"at": 1, "after": 0, "ahead": 1} {
			got := b.reported(session)
			if len(got) != want {
				t.Errorf("%s: %d reports, want %d", session, len(got), want)
			}
			if session == "ahead" && len(got) > 0 && got[0].age[session] != 0 {
				t.Errorf("a use in the future has the age %d", got[0].age[session])
			}
		}
	})
}

// A server of an earlier release is asked rarely, without a word in the log, and
// what it can't take is not kept for it. The feed is not disturbed.
func TestServerThatTakesNoUses(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter){
		"404":            func(w http.ResponseWriter) { fail(w, http.StatusNotFound, wire.CodeNotFound) },
		"405":            func(w http.ResponseWriter) { fail(w, http.StatusMethodNotAllowed, wire.CodeBadMethod) },
		"403 of a proxy": func(w http.ResponseWriter) { http.Error(w, "read only", http.StatusForbidden) },
		"404 of a proxy": func(w http.ResponseWriter) { http.Error(w, "not here", http.StatusNotFound) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, closeAll := newBench(t)
				defer closeAll()
				var log strings.Builder
				b.config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				old := func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/v1/uses" {
						return false
					}
					refuse(w)
					return true
				}
				b.instead(old)
				f := b.open()
				defer closeFollower(t, f)
				count := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.reports) }
				for range 60 { // an hour with a new session in each minute
					expect(t, f, b.sign("ann"), nil)
					time.Sleep(time.Minute)
				}
				if n := count(); n < 5 || n > 7 {
					t.Errorf("%d reports in an hour, want one in ten minutes", n)
				}
				if f.Status().Err != nil || strings.Contains(log.String(), "uses") || strings.Contains(log.String(), "404") {
					t.Errorf("status %+v, log %q", f.Status(), log.String())
				}
				// The server is updated.
				b.instead(nil)
				time.Sleep(10 * time.Minute)
				before := count()
				id := sessionID(t, f, b.sign("ann"))
				time.Sleep(time.Minute)
				got := b.reported(id)
				if len(got) != 1 || len(got[0].age) != 1 || count() != before+1 {
					t.Errorf("reports to the new server: %+v, want one of one session", got)
				}
			})
		})
	}
}
