package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/internal/bench/plot"
	"example.com/curfew/internal/wire"
)

// realFollowers among the crowds are package token/follower, whose validators
// have to refuse the very token that was revoked.
const realFollowers = 10

// propagate measures how long after its answer a revocation holds on the last of
// many followers.
func (b *bench) propagate() (err error) {
	dsn, err := b.database("propagate")
	if err != nil {
		return err
	}
	n, err := b.startNode(dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	c, err := n.client("followers", "follow", "issue")
	if err != nil {
		return err
	}
	real, err := startRefusers(n, c, realFollowers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, real.close()) }()
	typical, worst := plot.Line{Name: "the last, median"}, plot.Line{Name: "the last, p99"}
	var rows [][]string
	for _, size := range []struct {
		followers, revocations int
		most                   float64
	}{{realFollowers, 200, 0}, {100, 200, 5}, {1000, 100, 25}, {10_000, 30, 250}} {
		if b.quick && size.followers > 1000 {
			continue
		}
		revocations := b.of(size.revocations, min(size.revocations, 40))
		b.say("  %d followers, %d revocations", size.followers, revocations)
		middle, end, whole, err := b.spread(n, basic(c), real, size.followers, revocations)
		if err != nil {
			return err
		}
		ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
		p99 := ms(end.Quantile(0.99))
		x := float64(size.followers)
		typical.Points = append(typical.Points, plot.Point{X: x, Y: ms(whole.Quantile(0.5))})
		worst.Points = append(worst.Points, plot.Point{X: x, Y: ms(whole.Quantile(0.99))})
		rows = append(rows, []string{fmt.Sprint(size.followers), fmt.Sprint(revocations), number(ms(middle.Quantile(0.5))),
			number(ms(end.Quantile(0.5))), number(p99), number(ms(end.Max())),
			number(ms(whole.Quantile(0.5))), number(ms(whole.Quantile(0.99))), number(b.costs[fmt.Sprintf("answer %d", size.followers)]),
			number(b.costs[fmt.Sprintf("follower KiB %d", size.followers)])})
		b.costs[fmt.Sprintf("propagate %d p50", size.followers)] = ms(end.Quantile(0.5))
		b.costs[fmt.Sprintf("propagate %d p99", size.followers)] = p99
		if size.most > 0 {
			b.report.atMost(fmt.Sprintf("revocation answered → refused by the last of %d followers (PostgreSQL, p99 of %d)", size.followers, revocations),
				size.most, " ms", single(p99))
			b.report.explain(fmt.Sprintf("median %s ms; the node, PostgreSQL and all followers share two processors with their neighbours, and each answer is a write, a wake-up and a read on each side",
				number(ms(end.Quantile(0.5)))))
		}
	}
	b.report.table("From a revocation's answer to its last follower", "Times in ms from the answer to the one who revoked. Ten of the followers are package token/follower, "+
		"whose validators must refuse a token of the user; the others do on the wire what it does, and no more, since in production each has a processor of its own. All share these two. "+
		"The column before the last is all that the node does from one revocation to the next, divided by its followers: writing it, answering, and taking the next question.",
		[]string{"followers", "revocations", "half of them, median", "the last, median", "the last, p99", "the last, longest", "from the call to the last, median", "p99", "node's processor time a follower, µs", "node's memory a follower, KiB"}, rows...)
	b.report.plot("followers.svg", plot.Chart{Title: "From the call that revokes until the last follower refuses", X: "followers of one node", Y: "ms", Lines: []plot.Line{typical, worst}})
	return nil
}

// spread lets count followers follow, the real ones included, revokes users one
// after the other, each time waiting for the last follower, and returns how long
// half of the followers and the last took.
func (b *bench) spread(n *node, authorization string, real *refusers, count, revocations int) (half, last, whole *measure.Histogram, err error) {
	bare, err := n.resident()
	if err != nil {
		return nil, nil, nil, err
	}
	f, err := startFollowers(n, authorization, count-realFollowers)
	if err != nil {
		return nil, nil, nil, err
	}
	full, err := n.resident()
	if err != nil {
		return nil, nil, nil, err
	}
	b.costs[fmt.Sprintf("follower KiB %d", count)] = max(0, full-bare) / 1024 / float64(count)
	defer func() { err = errors.Join(err, f.close()) }()
	before, err := processorTime(n.command.Process.Pid)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		after, timeErr := processorTime(n.command.Process.Pid)
		err = errors.Join(err, timeErr)
		b.costs[fmt.Sprintf("answer %d", count)] = float64(after-before) / 1000 / float64(count*revocations)
	}()
	half, last, whole = &measure.Histogram{}, &measure.Histogram{}, &measure.Histogram{}
	for i := range revocations {
		b.calm()
		user := peers.User(i % 100)
		raw, err := n.begin(authorization, user)
		if err != nil {
			return nil, nil, nil, err
		}
		if err := real.watch(raw); err != nil {
			return nil, nil, nil, err
		}
		var receipt wire.Receipt
		called := time.Now()
		err = n.call(http.MethodPost, "/v1/users/"+user+"/revocations", n.admin, wire.RevokeUser{Reason: "bench"}, &receipt)
		answered := time.Now()
		if err != nil {
			return nil, nil, nil, err
		}
		refused, err := real.next()
		if err != nil {
			return nil, nil, nil, err
		}
		middle, end := refused, refused
		if len(f.crowds) > 0 {
			if middle, end, err = f.reach(receipt.Epoch); err != nil {
				return nil, nil, nil, err
			}
		}
		if refused.After(end) {
			end = refused
		}
		if i > 0 { // the first finds everything cold
			half.Add(middle.Sub(answered))
			last.Add(end.Sub(answered))
			whole.Add(end.Sub(called))
		}
		// Until the followers have asked again and stand by.
		time.Sleep(time.Duration(2+count/20) * time.Millisecond)
	}
	return half, last, whole, nil
}

// revoke compares revocations by many callers at once with nothing but their rows
// being written.
func (b *bench) revoke() (err error) {
	const callers, users = 32, 1000
	dsn, err := b.database("revoke")
	if err != nil {
		return err
	}
	n, err := b.startNode(dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if _, err := n.tokens(users); err != nil {
		return err
	}
	c, err := n.client("followers", "follow")
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxIdleConns(callers)
	// The same table, without a feed behind it.
	if _, err := db.Exec(`CREATE TABLE bare (LIKE revocations INCLUDING ALL)`); err != nil {
		return err
	}
	f, err := startFollowers(n, basic(c), 10)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	body := []byte(`{"reason":"bench"}`)
	requests := make([][]byte, users)
	for i := range requests {
		requests[i] = drive.RequestBody("POST", "/v1/users/"+peers.User(i)+"/revocations", n.address, body,
			"Authorization: "+n.admin, "Content-Type: application/json")
	}
	d := 12 * b.slice
	var epoch atomic.Int64
	write := func() (float64, error) {
		return writeFor(callers, d, func(i int) error {
			_, err := db.Exec(`INSERT INTO bare (kind, id, epoch) VALUES ('user', $1, $2)
				ON CONFLICT (kind, id) DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch > bare.epoch`, peers.User(i%users), epoch.Add(1))
			return err
		})
	}
	call := func() (float64, error) {
		return drive.Throughput(n.address, requests, callers, 1, d, http.StatusCreated)
	}
	inside, err := openService(context.Background(), dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.close()) }()
	direct := func() (float64, error) {
		return writeFor(callers, d, func(i int) error { return inside.revoke(i, users) })
	}
	for _, warm := range []func() (float64, error){call, direct} {
		if _, err := warm(); err != nil {
			return err
		}
	}
	pid := n.command.Process.Pid
	cost := &spent{
		names: []string{"client, µs each", "node, µs each", "PostgreSQL, µs each"},
		clocks: []func() (time.Duration, error){
			ownTime, func() (time.Duration, error) { return processorTime(pid) }, func() (time.Duration, error) { return family(b.postgres.PID()) },
		},
	}
	series, err := measure.Rounds(b.rounds, b.round("revocations by 32 callers"),
		cost.during("the upserts alone", write), cost.during("revocations over HTTP, 10 followers", call),
		cost.during("revocations by the service itself, 10 followers of another node", direct))
	if err != nil {
		return err
	}
	b.report.atLeast("revocations a second, 32 callers, PostgreSQL with 10 followers, against the same upserts without any feed", 0.8, "×", series[1].Over(series[0]))
	b.report.remark("%s a second, each with its audit entry, answered after the commit", number(series[1].Median()))
	b.report.explain(fmt.Sprintf("the service itself, with the audit entry and the feed but without HTTP, does %s times the upserts; each call is also an HTTP request and a permission read from the store, and all of it has the same two processors", number(series[2].Over(series[0]).Median())))
	b.costs["revocations per second"] = series[1].Median()
	head, rows := seriesTable("a second", series, 0)
	for i, s := range series {
		rows[i] = append(rows[i], cost.columns(s.Name)...)
	}
	b.report.table("Revocations", "32 callers on connections of their own. The upserts are single statements, each its own transaction, with fsync. "+
		"The service is called in the process of the client, so its time stands there. The last columns are processor time.", append(head, cost.names...), rows...)
	return nil
}

// writeFor lets callers call f for d and returns the calls a second.
func writeFor(callers int, d time.Duration, f func(i int) error) (float64, error) {
	var group sync.WaitGroup
	var done atomic.Int64
	errs := make([]error, callers)
	began := time.Now()
	for c := range callers {
		group.Go(func() {
			for i := c; time.Since(began) < d && errs[c] == nil; i += callers {
				errs[c] = f(i)
				done.Add(1)
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}
