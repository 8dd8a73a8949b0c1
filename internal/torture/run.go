package torture

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Load is the traffic of a run: people who sign in, services that check, somebody
// who revokes.
type Load struct {
	Cluster *Cluster
	Record  *Recorder
	Users   int
	Workers int
	Seed    uint64

	mu       sync.Mutex
	sessions []liveSession // the latest, dead ones among them
}

type liveSession struct{ user, id, token string }

const remembered = 60 // sessions

// Run makes traffic until ctx ends.
func (l *Load) Run(ctx context.Context) {
	var work sync.WaitGroup
	for w := range l.Workers {
		work.Go(func() {
			random := rand.New(rand.NewPCG(l.Seed, uint64(w))) //nolint:gosec // a seed, so that a run can be repeated
			for ctx.Err() == nil {
				l.step(ctx, random)
			}
		})
	}
	work.Wait()
}

func (l *Load) step(ctx context.Context, random *rand.Rand) {
	node := l.Cluster.Nodes[random.IntN(len(l.Cluster.Nodes))]
	user := fmt.Sprintf("user%d", random.IntN(l.Users))
	switch n := random.IntN(100); {
	case n < 12:
		l.begin(node, user)
	case n < 18:
		if s, ok := l.pick(random); ok {
			l.refresh(node, s)
		}
	case n < 24:
		l.revoke(node, user, liveSession{}, random)
	case n < 27:
		if s, ok := l.pick(random); ok {
			l.revoke(node, s.user, s, random)
		}
	default:
		if s, ok := l.pick(random); ok {
			l.Check(ctx, random.IntN(len(l.Cluster.Validators())), s, false)
		}
		time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
	}
}

func (l *Load) pick(random *rand.Rand) (liveSession, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sessions) == 0 {
		return liveSession{}, false
	}
	return l.sessions[random.IntN(len(l.sessions))], true
}

func (l *Load) begin(node *Process, user string) {
	e := Event{Op: OpBegin, Node: node.Name, User: user, Invoked: l.Record.Now()}
	raw, o, why := l.Cluster.Begin(node, user)
	e.Returned, e.Outcome, e.Reason = l.Record.Now(), o, why
	if o == OK {
		e.Session = sessionID(raw)
	}
	l.Record.Add(e) // before anybody can use it
	if o == OK {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.sessions = append(l.sessions, liveSession{user, e.Session, raw}); len(l.sessions) > remembered {
			l.sessions = l.sessions[1:]
		}
	}
}

// sessionID reads the sid of a token.
func sessionID(raw string) string {
	parts := strings.Split(raw, ".")
	var claims struct {
		SID string `json:"sid"`
	}
	if len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims) // the checker would miss it
	}
	return claims.SID
}

func (l *Load) refresh(node *Process, s liveSession) {
	e := Event{Op: OpRefresh, Node: node.Name, User: s.user, Session: s.id, Invoked: l.Record.Now()}
	next, o, why := l.Cluster.Refresh(node, s.token)
	e.Returned, e.Outcome, e.Reason = l.Record.Now(), o, why
	l.Record.Add(e)
	if o != OK {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.sessions {
		if l.sessions[i].id == s.id {
			l.sessions[i].token = next
		}
	}
}

func (l *Load) revoke(node *Process, user string, s liveSession, random *rand.Rand) {
	e := Event{Op: OpRevoke, Node: node.Name, User: user, Session: s.id, Invoked: l.Record.Now()}
	wait := time.Duration(random.IntN(3)) * time.Second
	r, o, why := l.Cluster.Revoke(node, user, s.id, wait)
	e.Returned, e.Outcome, e.Reason = l.Record.Now(), o, why
	if o == Unavailable {
		e.Outcome = Unknown // a commit may have been lost on its way back
	}
	e.Everywhere = r.Enforcement.EffectiveEverywhere
	if e.By = l.Record.At(r.Enforcement.EffectiveBy); o == OK && r.Epoch == 0 {
		e.By = e.Returned + int64(bound) // 204: no receipt that would say
	}
	l.Record.Add(e)
}

// bound is a lease and its margin.
const bound = Lease + time.Second

// Check asks a validator about a session.
func (l *Load) Check(ctx context.Context, validator int, s liveSession, final bool) {
	e := Event{
		Op: OpCheck, Node: l.Cluster.Validators()[validator], User: s.user, Session: s.id,
		Invoked: l.Record.Now(), Final: final,
	}
	e.Outcome, e.Reason = l.Cluster.Validate(ctx, validator, s.token)
	e.Returned = l.Record.Now()
	if ctx.Err() != nil && e.Outcome != OK {
		return // the run has ended, not the validator
	}
	l.Record.Add(e)
}

// Finish asks every validator about every session, once all has healed.
func (l *Load) Finish(ctx context.Context) {
	l.mu.Lock()
	sessions := append([]liveSession(nil), l.sessions...)
	l.mu.Unlock()
	for _, s := range sessions {
		for i := range l.Cluster.Validators() {
			l.Check(ctx, i, s, true)
		}
	}
}
