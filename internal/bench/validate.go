package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/revocation"
)

// load is a number of tokens, and the order in which requests bring them.
type load struct {
	name   string
	curfew *peers.Curfew // has seen all of them
	tokens []string
	draws  []int32 // indexes into tokens; a power of two of them
	next   int
	bytes  int64 // of the heap that the validator takes with all of them
}

const (
	zipf  = 0.99 // the skew that YCSB uses
	draws = 1 << 20
)

// newLoad mints n tokens and lets a validator of their own see each.
func (b *bench) newLoad(n int) (*load, error) {
	l := &load{name: count(n) + " tokens", tokens: make([]string, n), draws: measure.Zipf(n, draws, zipf, uint64(n))}
	err := inParallel(n, func(i int) (err error) {
		l.tokens[i], err = b.kit.Mint(b.kit.Session(peers.User(i)))
		return err
	})
	if err != nil {
		return nil, err
	}
	before := heap()
	// The signature checks that a validator runs at a time follow from the number
	// of processors. Only for the warming-up there are to be more.
	processors := runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	l.curfew, err = peers.NewCurfew(b.kit, 1<<24, remember(n))
	runtime.GOMAXPROCS(processors)
	if err != nil {
		return nil, err
	}
	err = inParallel(n, func(i int) error {
		_, err := l.curfew.Validator.Validate(context.Background(), l.tokens[i])
		return err
	})
	l.bytes = heap() - before
	return l, err
}

// inParallel calls f for 0…n-1 on all processors.
func inParallel(n int, f func(i int) error) error {
	var group sync.WaitGroup
	parts := runtime.NumCPU()
	errs := make([]error, parts)
	for part := range parts {
		group.Go(func() {
			for i := part; i < n && errs[part] == nil; i += parts {
				errs[part] = f(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// heap returns the bytes in use when all garbage is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// validate validates n tokens as they are drawn, from a place that differs from
// call to call.
func (l *load) validate(n int) error {
	l.next += n
	return l.validateFrom(l.next, n)
}

func (l *load) validateFrom(start, n int) error {
	ctx := context.Background()
	for i := range n {
		if _, err := l.curfew.Validator.Validate(ctx, l.tokens[l.draws[(start+i)&(draws-1)]]); err != nil {
			return err
		}
	}
	return nil
}

// both validates n tokens on each of two goroutines.
func (l *load) both(n int) error {
	l.next += 2 * n
	var group sync.WaitGroup
	var errs [2]error
	for g := range errs {
		group.Go(func() { errs[g] = l.validateFrom(l.next+g*draws/2, n) })
	}
	group.Wait()
	return errors.Join(errs[:]...)
}

func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

// validate is everything about single validations.
func (b *bench) validate() error {
	sizes := []int{1, 10_000, b.of(1_000_000, 100_000)}
	loads := make([]*load, len(sizes))
	for i, n := range sizes {
		b.say("  minting and validating %s tokens", count(n))
		var err error
		if loads[i], err = b.newLoad(n); err != nil {
			return err
		}
	}
	if err := b.seen(loads); err != nil {
		return err
	}
	if err := b.parallel(loads); err != nil {
		return err
	}
	b.remembered(loads[len(loads)-1])
	if err := b.moving(loads); err != nil {
		return err
	}
	if err := b.tokensPlot(loads[len(loads)-1]); err != nil {
		return err
	}
	if err := b.revocationsPlot(loads[1]); err != nil {
		return err
	}
	return b.unseen(loads[1])
}

func parse(p peers.Parser, tokens []string) func(n int) error {
	at := 0
	return func(n int) error {
		for range n {
			at++
			if _, err := p.Parse(tokens[at%len(tokens)]); err != nil {
				return err
			}
		}
		return nil
	}
}

func (b *bench) seen(loads []*load) error {
	jwx, err := peers.NewJWX(b.kit)
	if err != nil {
		return err
	}
	few := loads[1].tokens
	cases := []measure.Case{
		{Name: "golang-jwt v5", Run: measure.PerOp(b.slice, parse(peers.NewGolangJWT(b.kit), few))},
		{Name: "go-jose v4", Run: measure.PerOp(b.slice, parse(peers.NewGoJose(b.kit), few))},
		{Name: "jwx v3", Run: measure.PerOp(b.slice, parse(jwx, few))},
	}
	for _, l := range loads {
		cases = append(cases, measure.Case{Name: "Curfew, " + l.name + " seen before", Run: measure.PerOp(b.slice, l.validate)})
	}
	series, err := measure.Rounds(b.rounds, b.round("tokens seen before"), cases...)
	if err != nil {
		return err
	}
	jwt := series[0]
	for i, least := range []float64{500, 200, 50} {
		l, s := loads[i], series[3+i]
		allocs, err := allocations(1000, func() error { return l.validate(1) })
		if err != nil {
			return err
		}
		what := fmt.Sprintf("validate a token seen before, of %s (Zipf %v): times faster than golang-jwt's Parse", count(len(l.tokens)), zipf)
		b.report.atLeast(what, least, "×", jwt.Over(s))
		b.report.remark("%s ns against %s µs", number(s.Median()), number(jwt.Median()/1000))
		if i > 0 {
			b.report.explain("the profile shows misses of the processor's caches, for the token, its place, its entry and its copy, and next to nothing else")
		}
		b.report.enter("allocations in it", "0", number(allocs), allocs == 0, 0)
		b.costs[fmt.Sprintf("seen %d", len(l.tokens))] = s.Median()
	}
	head, rows := seriesTable("ns", series, 0)
	b.report.table("A token seen before", "Signature check remembered, everything else decided anew: clock, settings, key, revocations. "+
		"The peers have nothing that remembers; their times are for a token's whole life.", head, rows...)
	return nil
}

// allocations returns how many objects a call allocates on average.
func allocations(n int, f func() error) (float64, error) {
	var before, after runtime.MemStats
	processors := runtime.GOMAXPROCS(1) // for this measurement alone
	defer runtime.GOMAXPROCS(processors)
	if err := f(); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&before)
	for range n {
		if err := f(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / uint64(n)), nil
}

func (b *bench) parallel(loads []*load) error {
	var cases []measure.Case
	for _, l := range loads {
		cases = append(cases,
			measure.Case{Name: l.name + ", one goroutine", Run: measure.PerOpWall(b.slice, l.validate)},
			measure.Case{Name: l.name + ", two goroutines", Run: measure.PerOpWall(b.slice, l.both)})
	}
	series, err := measure.Rounds(b.rounds, b.round("two goroutines"), cases...)
	if err != nil {
		return err
	}
	for i, l := range loads {
		one, two := series[2*i], series[2*i+1]
		gain := one.Over(two)
		for j := range gain.Values {
			gain.Values[j] *= 2 // two did twice the work
		}
		b.report.atLeast("the same on 2 goroutines, "+l.name+": throughput against one", 1.7, "×", gain)
		b.report.explain("nothing that is written is shared; on a busy machine there is no second processor to be had")
	}
	return nil
}

// remembered reports what the tokens seen weigh.
func (b *bench) remembered(l *load) {
	each := float64(l.bytes) / float64(len(l.tokens))
	b.report.atMost("memory per remembered token, at "+l.name, 650, " B", measure.Series{Values: []float64{each}})
	b.report.remark("the %d bytes of the token included", len(l.tokens[0]))
	b.report.explain("208 bytes are the entry with the session that is handed out, the rest the token without its header, subject and session id once more in plain text, and places for twice as many tokens")
	b.costs["bytes remembered"] = each
}

// moving compares validations while nothing happens with those while a million
// revocations are held and a thousand a second arrive.
func (b *bench) moving(loads []*load) error {
	held := b.of(1_000_000, 100_000)
	type pair struct{ still, moving *load }
	var cases []measure.Case
	stop := make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	defer close(stop)
	for _, l := range loads[:2] {
		c, err := peers.NewCurfew(b.kit, 1<<24, remember(len(l.tokens)))
		if err != nil {
			return err
		}
		p := pair{still: l, moving: &load{curfew: c, tokens: l.tokens, draws: l.draws}}
		hold(c.Revocations, held)
		for _, raw := range l.tokens {
			if _, err := c.Validator.Validate(context.Background(), raw); err != nil {
				return err
			}
		}
		group.Go(func() { revokeSteadily(b, c, held, 1000, stop) })
		cases = append(cases,
			measure.Case{Name: l.name + ", none held", Run: measure.PerOp(b.slice, p.still.validate)},
			measure.Case{Name: l.name + fmt.Sprintf(", %s held, 1 000 new a second", count(held)), Run: measure.PerOp(b.slice, p.moving.validate)})
	}
	series, err := measure.Rounds(b.rounds, b.round("revocations arriving"), cases...)
	if err != nil {
		return err
	}
	for i := range loads[:2] {
		b.report.atMost(fmt.Sprintf("the same with %s revocations held and 1 000 new ones a second, %s: time against without", count(held), loads[i].name),
			1.4, "×", series[2*i+1].Over(series[2*i]))
		b.report.explain("each arrival makes the next validation of every token look its user and session up again, in a table larger than the processor's caches")
	}
	head, rows := seriesTable("ns", series, 0)
	b.report.table("Revocations held and arriving", "", head, rows...)
	return nil
}

// hold applies n revocations of users who have no tokens.
func hold(c *revocation.Cache, n int) {
	const page = 10_000
	batch := make([]revocation.Revocation, 0, page)
	for i := range n {
		batch = append(batch, revocation.Revocation{Scope: revocation.User(peers.User(1<<28 + i)), Epoch: revocation.Epoch(1 + i)})
		if len(batch) == page || i == n-1 {
			c.Apply(batch...)
			batch = batch[:0]
		}
	}
}

// revokeSteadily applies rate revocations a second, each in a change of its own,
// and moves the view with them.
func revokeSteadily(b *bench, c *peers.Curfew, held, rate int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, done := time.Now(), 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for ; done < int(time.Since(began).Seconds()*float64(rate)); done++ {
			epoch := b.kit.Epoch + revocation.Epoch(done) + 1
			user := peers.User(1<<28 + rand.IntN(held))
			c.Revocations.Apply(revocation.Revocation{Scope: revocation.User(user), Epoch: epoch})
			c.View.Renew(epoch)
		}
	}
}

// unseen compares the whole check of a new token with its signature's alone. In
// each round all get the same tokens, which are new to them; Curfew's validator
// remembers ten thousand others.
func (b *bench) unseen(warm *load) error {
	n := max(100, int(b.slice/(80*time.Microsecond)))
	rounds := 2 * b.rounds
	tokens, err := b.kit.Tokens(1<<24, n*rounds)
	if err != nil {
		return err
	}
	bare, err := bareChecks(b.kit, tokens)
	if err != nil {
		return err
	}
	each := func(f func(i int) error) func() (float64, error) {
		round := 0
		return func() (float64, error) {
			first := round * n
			round++
			took, err := measure.ThreadTime(func() error {
				for i := first; i < first+n; i++ {
					if err := f(i); err != nil {
						return err
					}
				}
				return nil
			})
			return float64(took) / float64(n) / 1000, err
		}
	}
	parser := func(p peers.Parser) func() (float64, error) {
		return each(func(i int) error { _, err := p.Parse(tokens[i]); return err })
	}
	jwx, err := peers.NewJWX(b.kit)
	if err != nil {
		return err
	}
	auth0, err := peers.NewAuth0(b.kit)
	if err != nil {
		return err
	}
	series, err := measure.Rounds(rounds, b.round("tokens not seen before"),
		measure.Case{Name: "the bare signature check", Run: each(func(i int) error { return bare[i]() })},
		measure.Case{Name: "Curfew", Run: each(func(i int) error {
			_, err := warm.curfew.Validator.Validate(context.Background(), tokens[i])
			return err
		})},
		measure.Case{Name: "golang-jwt v5", Run: parser(peers.NewGolangJWT(b.kit))},
		measure.Case{Name: "go-jose v4", Run: parser(peers.NewGoJose(b.kit))},
		measure.Case{Name: "jwx v3", Run: parser(jwx)},
		measure.Case{Name: "auth0 v2", Run: parser(auth0)},
	)
	if err != nil {
		return err
	}
	b.report.atMost("a token not seen before, over the bare signature check, insertion included", 3, " µs", series[1].Minus(series[0]))
	b.report.explain("one to two µs are golang-jwt's way by big integers to crypto/ecdsa, the rest two JSON documents, base64 and the copy that is remembered")
	b.costs["unseen"] = series[1].Median() * 1000
	head, rows := seriesTable("µs", series, 0)
	for i := range rows {
		rows[i] = append(rows[i], number(series[i].Minus(series[0]).Median()))
	}
	b.report.table("A token not seen before", "The bare check is SHA-256 and crypto/ecdsa.VerifyASN1 with everything decoded beforehand.", append(head, "+ µs"), rows...)
	return nil
}

// bareChecks returns, for each token, the check of its signature alone.
func bareChecks(k *peers.Kit, tokens []string) ([]func() error, error) {
	checks := make([]func() error, len(tokens))
	for i, raw := range tokens {
		dot := strings.LastIndexByte(raw, '.')
		signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil || len(signature) != 64 {
			return nil, fmt.Errorf("the signature of token %d: %d bytes, %w", i, len(signature), err)
		}
		der, err := asn1Signature(signature)
		if err != nil {
			return nil, err
		}
		signed := []byte(raw[:dot])
		checks[i] = func() error {
			digest := sha256.Sum256(signed)
			if !ecdsa.VerifyASN1(&k.Private.PublicKey, digest[:], der) {
				return errors.New("the bare check refuses a good signature")
			}
			return nil
		}
	}
	return checks, nil
}

// asn1Signature turns r‖s (RFC 7518, section 3.4) into what crypto/ecdsa takes.
func asn1Signature(raw []byte) ([]byte, error) {
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
}
