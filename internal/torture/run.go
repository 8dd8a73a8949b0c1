package torture

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Load is the traffic of a run: users who sign in, services that check, an
// administrator who revokes.
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
			random := rand.New(rand.NewPCG(l.Seed, uint64(w)))
			for ctx.Err() == nil {
				l.step(ctx, random)
			}
		})
	}
	work.Wait()
}

// Calm does one thing after the other until ctx ends: a session begins, is revoked
// on one node, and is looked at elsewhere. Nothing else goes on that could bring
// the news along by chance.
func (l *Load) Calm(ctx context.Context) {
	random := rand.New(rand.NewPCG(l.Seed, 0))
	for i := 0; ctx.Err() == nil; i++ {
		node, elsewhere := l.Cluster.Nodes[0], 1
		user := fmt.Sprintf("calm%d", i%3)
		s, ok := l.begin(node, user)
		if !ok {
			continue
		}
		l.revoke(node, user, liveSession{}, 0)
		for began := time.Now(); time.Since(began) < 800*time.Millisecond && ctx.Err() == nil; {
			if l.Check(ctx, elsewhere, s, false) == Refused {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
	}
}

// Race lets look-ups and revocations of the same user overtake each other on one
// node, again and again until ctx ends.
func (l *Load) Race(ctx context.Context) {
	var work sync.WaitGroup
	for w := range l.Workers {
		work.Go(func() {
			node, user := l.Cluster.Nodes[0], fmt.Sprintf("racer%d", w)
			for ctx.Err() == nil {
				s, ok := l.begin(node, user)
				if !ok {
					continue
				}
				var revoked sync.WaitGroup
				revoked.Go(func() { l.revoke(node, user, liveSession{}, 0) })
				l.Check(ctx, 0, s, false) // this session was never checked: a look-up
				revoked.Wait()
				for range 3 {
					l.Check(ctx, 0, s, false)
				}
			}
		})
	}
	work.Wait()
}

func (l *Load) step(ctx context.Context, random *rand.Rand) {
	node := l.Cluster.Nodes[random.IntN(len(l.Cluster.Nodes))]
	user := l.user(random.IntN(l.Users))
	switch n := random.IntN(100); {
	case n < 12:
		l.begin(node, user)
	case n < 18:
		if s, ok := l.pick(random); ok {
			l.refresh(node, s)
		}
	case n < 24:
		l.revoke(node, user, liveSession{}, time.Duration(random.IntN(3))*time.Second)
		l.begin(node, user) // at once, perhaps at the very epoch
	case n < 27:
		if s, ok := l.pick(random); ok {
			l.revoke(node, s.user, s, 0)
		}
	case n < 28:
		// Far above the length of any run, so that it signs no user out.
		l.change(node, int64(3600+random.IntN(3600)))
	case n < 34:
		if s, ok := l.pick(random); ok {
			l.show(random.IntN(len(l.Cluster.shows())), s)
		}
	default:
		if s, ok := l.pick(random); ok {
			l.Check(ctx, random.IntN(len(l.Cluster.Validators())), s, false)
		}
		time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
	}
}

func (l *Load) user(i int) string { return fmt.Sprintf("user%d", i) }

func (l *Load) pick(random *rand.Rand) (liveSession, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sessions) == 0 {
		return liveSession{}, false
	}
	return l.sessions[random.IntN(len(l.sessions))], true
}

func (l *Load) begin(node *Process, user string) (liveSession, bool) {
	e := Event{Op: OpBegin, Node: node.Name, User: user, Invoked: l.Record.Now()}
	raw, o, why := l.Cluster.Begin(node, user)
	e.Returned, e.Outcome, e.Reason = l.Record.Now(), o, why
	if o == OK {
		e.Session = sessionID(raw)
	}
	l.Record.Add(e) // before it can be used
	s := liveSession{user, e.Session, raw}
	if o != OK {
		return s, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions = append(l.sessions, s); len(l.sessions) > remembered {
		l.sessions = l.sessions[1:]
	}
	return s, true
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

func (l *Load) revoke(node *Process, user string, s liveSession, wait time.Duration) {
	e := Event{Op: OpRevoke, Node: node.Name, User: user, Session: s.id, Invoked: l.Record.Now()}
	r, o, why := l.Cluster.Revoke(node, user, s.id, wait)
	e.Returned, e.Outcome, e.Reason = l.Record.Now(), o, why
	if o == Unavailable {
		e.Outcome = Unknown // a commit may have been lost on its way back
	}
	e.Epoch, e.Everywhere = r.Epoch, r.Enforcement.EffectiveEverywhere
	if e.By = l.Record.At(r.Enforcement.EffectiveBy); o == OK && r.Epoch == 0 {
		e.By = e.Returned + int64(bound) // 204: no receipt that would say
	}
	l.Record.Add(e)
}

// change changes the session timeout.
func (l *Load) change(node *Process, timeout int64) {
	e := Event{Op: OpChange, Node: node.Name, Shown: timeout, Invoked: l.Record.Now()}
	e.Outcome, e.Reason = l.Cluster.ChangeTimeout(node, timeout)
	e.Returned = l.Record.Now()
	if e.Outcome == Unavailable {
		e.Outcome = Unknown // as with revocations
	}
	l.Record.Add(e)
}

// show asks a node or an edge for the revoked-before of a session and its user.
func (l *Load) show(i int, s liveSession) {
	p := l.Cluster.shows()[i]
	of := Event{Op: OpShow, Node: p.Name, User: s.user, Invoked: l.Record.Now()}
	user, session, o, why := l.Cluster.RevokedBefore(p, s.user, s.id)
	of.Returned, of.Outcome, of.Reason = l.Record.Now(), o, why
	it := of
	it.Session = s.id
	of.Shown, it.Shown = user, session
	l.Record.Add(of)
	l.Record.Add(it)
}

// bound is a lease and its margin.
const bound = Lease + time.Second

// Check asks a validator about a session.
func (l *Load) Check(ctx context.Context, validator int, s liveSession, final bool) Outcome {
	e := Event{
		Op: OpCheck, Node: l.Cluster.Validators()[validator], User: s.user, Session: s.id,
		Invoked: l.Record.Now(), Final: final,
	}
	e.Outcome, e.Reason = l.Cluster.Validate(ctx, validator, s.token)
	e.Returned = l.Record.Now()
	if ctx.Err() != nil && e.Outcome != OK {
		return e.Outcome // the run has ended, not the validator
	}
	l.Record.Add(e)
	return e.Outcome
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
	for _, node := range l.Cluster.Nodes {
		l.state(node, StateUsers, "")
		l.state(node, StateAudit, "")
		l.state(node, StateSettings, "")
		for i := range l.Users {
			l.state(node, StateLive, l.user(i))
		}
	}
}

// state records a node's answer about one part of the state.
func (l *Load) state(node *Process, what, user string) {
	e := Event{Op: OpState, Node: node.Name, User: user, State: what, Outcome: OK, Invoked: l.Record.Now()}
	var err error
	if e.Items, err = l.Cluster.State(node, what, user); err != nil {
		e.Outcome, e.Reason = Unknown, err.Error()
	}
	slices.Sort(e.Items)
	e.Returned = l.Record.Now()
	l.Record.Add(e)
}
