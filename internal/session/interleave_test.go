package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/session"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// begun is a session as the model knows it.
type begun struct {
	user, sid  string
	rememberMe bool
	tokens     []session.Issued // the first and its refreshes: they live and die together
	dead       bool
}

// model is what must be true after each step, whatever the nodes' clocks say.
type model struct {
	*testDatabase
	t        *rapid.T
	sessions []*begun
}

var people = []string{"ann", "ben", "cy"}

func (m *model) kill(dies func(*begun) bool) {
	for _, s := range m.sessions {
		s.dead = s.dead || dies(s)
	}
}

// verify checks every token at every node. The node that acted knows at once; the
// others soon. Live sessions are accepted everywhere at once.
func (m *model) verify(acted *node) {
	m.t.Helper()
	for _, n := range m.nodes {
		for _, s := range m.sessions {
			for i, issued := range s.tokens {
				what := fmt.Sprintf("token %d of %s's session %.6s on %p (acted: %p)", i, s.user, s.sid, n, acted)
				switch got := n.check(issued.Token); {
				case !s.dead && got != "":
					m.t.Fatalf("%s is refused: %s", what, got)
				case s.dead && n == acted && got != token.ErrRevoked:
					m.t.Fatalf("%s: got %q at once, want %q", what, got, token.ErrRevoked)
				case s.dead && got != token.ErrRevoked:
					m.eventually(what, func() bool { return n.check(issued.Token) == token.ErrRevoked })
				}
			}
		}
	}
}

func (m *model) eventually(what string, holds func() bool) {
	m.t.Helper()
	await.Until(m.t, what+" is refused", holds)
}

// TestSequences runs random steps on two nodes whose clocks are up to 50 seconds
// off, and holds all sessions that ever were against both nodes after each step.
func TestSequences(t *testing.T) {
	for _, cacheSize := range []int{0, 3} {
		t.Run(fmt.Sprintf("cache=%d", cacheSize), func(t *testing.T) {
			engines(t, func(t *testing.T, w *testDatabase) {
				w.start(cacheSize, 25*time.Second)
				w.start(cacheSize, -25*time.Second)
				rapid.Check(t, func(t *rapid.T) { sequence(t, w) })
			})
		})
	}
}

func sequence(t *rapid.T, w *testDatabase) {
	ctx := context.Background()
	m := &model{testDatabase: w, t: t}
	pick := func() *node { return w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")] }
	some := func() *begun {
		return m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(t, "session")]
	}
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first, err := w.nodes[0].begin(people[0], false)
	done(err)
	m.sessions = append(m.sessions, &begun{user: people[0], sid: first.Session.ID, tokens: []session.Issued{first}})
	t.Repeat(map[string]func(*rapid.T){
		"begin": func(t *rapid.T) {
			n, user, remember := pick(), rapid.SampledFrom(people).Draw(t, "user"), rapid.Bool().Draw(t, "remember")
			i, err := n.begin(user, remember)
			done(err)
			m.sessions = append(m.sessions, &begun{user: user, sid: i.Session.ID, rememberMe: remember, tokens: []session.Issued{i}})
			m.verify(n)
		},
		"refresh": func(t *rapid.T) {
			n, s := pick(), some()
			i, err := n.sessions.Refresh(ctx, &s.tokens[len(s.tokens)-1].Session)
			if s.dead {
				if token.ReasonOf(err) != token.ErrRevoked {
					t.Fatalf("refreshing a dead session: got %v", err)
				}
				return
			}
			done(err)
			s.tokens = append(s.tokens, i)
			m.verify(n)
		},
		"revoke user": func(t *rapid.T) {
			n, user := pick(), rapid.SampledFrom(people).Draw(t, "user")
			_, err := n.accounts.EnsureUser(ctx, cli, user)
			done(err)
			_, err = n.sessions.RevokeUser(ctx, cli, user, "", false, 0)
			done(err)
			m.kill(func(s *begun) bool { return s.user == user })
			m.verify(n)
		},
		"revoke session": func(t *rapid.T) {
			n, s := pick(), some()
			_, err := n.sessions.RevokeSession(ctx, cli, s.user, s.sid, "")
			done(err)
			m.kill(func(o *begun) bool { return o.sid == s.sid }) // also what keep_current moved on
			m.verify(n)
		},
		"revoke everyone": func(*rapid.T) {
			n := pick()
			_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "everyone"}, 0)
			done(err)
			m.kill(func(*begun) bool { return true })
			m.verify(n)
		},
		"remember me off and on": func(*rapid.T) {
			n := pick()
			off := settings.Default()
			off.RememberMeEnabled = false
			for _, to := range []settings.Settings{off, settings.Default()} {
				_, _, err := n.sessions.ChangeSettings(ctx, cli, to, session.AnyTag)
				done(err)
			}
			m.kill(func(s *begun) bool { return s.rememberMe })
			m.verify(n)
		},
		"keep current": func(t *rapid.T) {
			n, s := pick(), some()
			c, err := n.accounts.UserCaller(ctx, &s.tokens[len(s.tokens)-1].Session, authz.Origin{})
			done(err)
			r, err := n.sessions.RevokeUser(ctx, c, s.user, "", true, 0)
			if s.dead {
				if token.ReasonOf(err) != token.ErrRevoked {
					t.Fatalf("keeping a dead session: got %v", err)
				}
				return
			}
			done(err)
			m.kill(func(o *begun) bool { return o.user == s.user })
			sess := s.tokens[len(s.tokens)-1].Session
			sess.Epoch = 0
			kept := &begun{user: s.user, sid: s.sid, rememberMe: s.rememberMe}
			i := session.Issued{Token: r.Issued.Token}
			got, err := n.validator.Validate(ctx, r.Issued.Token)
			done(err)
			i.Session = *got
			kept.tokens = []session.Issued{i}
			m.sessions = append(m.sessions, kept)
			moved := *got
			moved.Epoch = 0
			if moved.IssuedAt != sess.IssuedAt || moved.LastRefresh != sess.LastRefresh || moved.ExpiresAt != sess.ExpiresAt || moved.ID != sess.ID {
				t.Fatalf("keep_current changed more than the epoch: %+v, was %+v", moved, sess)
			}
			m.verify(n)
		},
		"prune": func(*rapid.T) {
			n := pick()
			done(n.sessions.Maintain(ctx))
			m.verify(n)
		},
		"restart": func(*rapid.T) {
			n := pick()
			n.restart()
			m.verify(n)
		},
	})
}

// TestRaces lets sign-ins, refreshes and revocations of one user run against each
// other on two nodes. Order is that of the calls: what was acknowledged before
// another call was made came before it.
func TestRaces(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		unbounded := func(c *session.Config) { c.MaxSessions = -1 } // there are more than a hundred, of one user
		w.startWith(0, 0, unbounded)
		w.startWith(3, 0, unbounded)
		ctx := t.Context()
		var clock atomic.Int64
		type span struct{ from, to int64 }
		type attempt struct {
			span
			token string
		}
		var mu sync.Mutex
		var sessions []attempt
		var revocations []span
		mustDo := func(err error) bool {
			if err != nil {
				t.Error(err)
			}
			return err == nil
		}
		if _, err := w.nodes[0].accounts.EnsureUser(ctx, cli, "ann"); err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		for i := range 6 {
			n := w.nodes[i%2]
			work.Go(func() {
				for range 25 {
					from := clock.Add(1)
					issued, err := n.begin("ann", false)
					if !mustDo(err) {
						return
					}
					first := attempt{span{from, clock.Add(1)}, issued.Token}
					// The refreshed token is as old as the session.
					tokens := []attempt{first}
					if again, err := n.sessions.Refresh(ctx, &issued.Session); err == nil {
						tokens = append(tokens, attempt{first.span, again.Token})
					} else if token.ReasonOf(err) != token.ErrRevoked {
						t.Error(err)
					}
					mu.Lock()
					sessions = append(sessions, tokens...)
					mu.Unlock()
				}
			})
		}
		for i := range 2 {
			n := w.nodes[i]
			work.Go(func() {
				for range 12 {
					from := clock.Add(1)
					if _, err := n.sessions.RevokeUser(ctx, cli, "ann", "", false, 0); !mustDo(err) {
						return
					}
					mu.Lock()
					revocations = append(revocations, span{from, clock.Add(1)})
					mu.Unlock()
					time.Sleep(rand.N(10 * time.Millisecond)) // spreads the revocations over the sign-ins
				}
			})
		}
		work.Wait()
		for _, n := range w.nodes {
			if err := n.feed.CatchUp(ctx); err != nil {
				t.Fatal(err)
			}
		}
		must := map[string]int{}
		for _, s := range sessions {
			dead, maybe := false, false
			for _, r := range revocations {
				dead = dead || s.to < r.from
				maybe = maybe || r.to > s.from
			}
			first, second := w.nodes[0].check(s.token), w.nodes[1].check(s.token)
			switch {
			case first != second:
				t.Errorf("the nodes disagree: %q and %q", first, second)
			case dead && first != token.ErrRevoked:
				t.Errorf("began before a revocation, and is %q", first)
			case !maybe && first != "":
				t.Errorf("began after every revocation, and is refused: %s", first)
			}
			must[fmt.Sprintf("dead=%v maybe=%v", dead, maybe)]++
		}
		if must["dead=true maybe=true"] == 0 {
			t.Errorf("no session was surely dead: the test proves nothing: %v", must)
		}
	})
}
