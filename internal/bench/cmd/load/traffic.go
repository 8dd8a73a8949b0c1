package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/wire"
)

// person is one user, who does one thing at a time.
type person struct {
	id, name, password string
	token              string
}

// traffic is one run.
type traffic struct {
	options
	client client
	people []person
	left   atomic.Int64 // requests that may still be sent

	times  [kinds]measure.Histogram
	odd    [kinds]atomic.Int64 // answers that were not what they should have been
	mu     sync.Mutex          // guards what follows
	oddity string              // the first of them, in words
}

// run does all of it. failed says that a node answered what it should not have.
func run(ctx context.Context, args []string, password string, out, progress io.Writer) (failed bool, err error) {
	o, err := parseOptions(args, progress)
	if err != nil {
		return false, err
	}
	if o.password = password; password == "" {
		return false, errors.New("set CURFEW_ADMIN_PASSWORD to the password of the account that makes the users")
	}
	t := &traffic{options: o, client: newClient(2 * o.workers)}
	t.left.Store(o.requests)
	admin, err := t.signInAs(ctx, o.admin, o.password)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.disable(context.WithoutCancel(ctx), progress)) }()
	if err := t.makePeople(ctx, admin, progress); err != nil {
		return false, err
	}
	began := time.Now()
	t.drive(ctx, progress)
	took := time.Since(began)
	return t.failed(), t.report(out, took)
}

func (t *traffic) signInAs(ctx context.Context, name, password string) (string, error) {
	token, status, err := t.client.signIn(ctx, t.targets[0], name, password)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%s answers the sign-in of %s with %d", t.targets[0], name, status)
	}
	return token, err
}

// makePeople makes the users and signs each in.
func (t *traffic) makePeople(ctx context.Context, admin string, progress io.Writer) error {
	fmt.Fprintf(progress, "making %d users, each with a session\n", t.users)
	t.people = make([]person, t.users)
	label := rand.Text()[:8]
	errs := make([]error, t.workers)
	var group sync.WaitGroup
	for w := range t.workers {
		group.Go(func() {
			for i := w; i < t.users && errs[w] == nil; i += t.workers {
				errs[w] = t.makePerson(ctx, admin, i, fmt.Sprintf("load-%s-%d", label, i))
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (t *traffic) makePerson(ctx context.Context, admin string, i int, name string) error {
	password := rand.Text()
	var user wire.User
	status, err := t.client.call(ctx, http.MethodPost, t.targets[0]+"/v1/users", admin, wire.UserChange{Name: &name, Password: &password}, &user)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("making the user %s is answered with %d", name, status)
	}
	if err != nil {
		return err
	}
	t.people[i] = person{id: user.ID, name: name, password: password}
	t.people[i].token, err = t.signInAs(ctx, name, password)
	return err
}

// disable disables the users that were made, which also ends their sessions.
func (t *traffic) disable(ctx context.Context, progress io.Writer) error {
	fmt.Fprintf(progress, "disabling the users\n")
	admin, err := t.signInAs(ctx, t.admin, t.password)
	if err != nil {
		return err
	}
	yes := true
	for _, p := range t.people {
		if p.id == "" {
			continue
		}
		status, err := t.client.call(ctx, http.MethodPatch, t.targets[0]+"/v1/users/"+p.id, admin, wire.UserChange{Disabled: &yes}, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("disabling the user %s is answered with %d", p.name, status)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drive lets the workers work until time or number is up.
func (t *traffic) drive(ctx context.Context, progress io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, t.duration)
	defer cancel()
	var group sync.WaitGroup
	for w := range t.workers {
		group.Go(func() { t.work(ctx, w) })
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	if t.every <= 0 {
		<-done
		return
	}
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			t.progress(progress, time.Since(began))
		}
	}
}

// work lets every workers-th person, in turn, do something.
func (t *traffic) work(ctx context.Context, w int) {
	for i := w; ; i += t.workers {
		if i >= t.users {
			i = w
		}
		if ctx.Err() != nil || t.left.Add(-1) < 0 {
			return
		}
		p := &t.people[i]
		kind := t.mix.draw(mathrand.IntN(t.mix.total()))
		took, err := t.act(ctx, p, kind)
		if ctx.Err() != nil && err != nil {
			return // cut short by the end, not by the node
		}
		t.times[kind].Add(took)
		if err != nil {
			t.note(kind, p, err)
			if p.token, _, err = t.client.signIn(ctx, t.node(), p.name, p.password); err != nil {
				t.note(signIn, p, err)
			}
		}
	}
}

func (t *traffic) node() string { return t.targets[mathrand.IntN(len(t.targets))] }

// act does one thing, and returns how long the request that it is about took. The
// error says what the node should have answered.
func (t *traffic) act(ctx context.Context, p *person, kind int) (took time.Duration, err error) {
	began, node := time.Now(), t.node()
	status, want := 0, http.StatusOK
	switch kind {
	case validate:
		status, err = t.client.verify(ctx, node, p.token)
	case refresh:
		var fresh string
		if fresh, status, err = t.client.refresh(ctx, node, p.token); status == want {
			p.token = fresh
		}
	case signIn:
		want = http.StatusCreated
		var fresh string
		if fresh, status, err = t.client.signIn(ctx, node, p.name, p.password); status == want {
			p.token = fresh
		}
	case revoke:
		return t.revoke(ctx, p, node)
	}
	took = time.Since(began)
	if err == nil && status != want {
		err = fmt.Errorf("%s answers %d, want %d", node, status, want)
	}
	return took, err
}

// revoke ends the person's sessions, sees that every node refuses the old token,
// and begins a new session.
func (t *traffic) revoke(ctx context.Context, p *person, node string) (took time.Duration, err error) {
	began := time.Now()
	everywhere, status, err := t.client.revoke(ctx, node, p.token)
	took = time.Since(began)
	if err == nil && (status != http.StatusCreated || !everywhere) {
		err = fmt.Errorf("%s answers a revocation with %d, effective everywhere: %v", node, status, everywhere)
	}
	if err != nil {
		return took, err
	}
	for _, node := range t.targets {
		status, err := t.client.verify(ctx, node, p.token)
		if err != nil {
			return took, err
		}
		if status != http.StatusUnauthorized {
			return took, fmt.Errorf("%s answers %d to a session that was revoked everywhere, want 401", node, status)
		}
	}
	var fresh string
	if fresh, status, err = t.client.signIn(ctx, t.node(), p.name, p.password); err == nil && status != http.StatusCreated {
		err = fmt.Errorf("a sign-in after the revocation is answered with %d", status)
	}
	p.token = fresh
	return took, err
}

func (t *traffic) note(kind int, p *person, err error) {
	t.odd[kind].Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.oddity == "" {
		t.oddity = fmt.Sprintf("%s by %s: %v", kindNames[kind], p.name, err)
	}
}
