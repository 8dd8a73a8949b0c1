package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func TestFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)

		ann := b.sign("ann")
		expect(t, f, ann, nil)
		b.revoke(revocation.User("ann"))
		synctest.Wait() // the question was held; the answer is here without time passing
		expect(t, f, ann, token.ErrRevoked)
		expect(t, f, b.sign("ann"), nil)

		// Settings.
		bob := b.sign("bob")
		time.Sleep(2 * time.Minute)
		expect(t, f, bob, nil)
		b.change(func() { b.issuer.ChangeSettings(shorter(time.Minute)); b.settings = b.epoch })
		synctest.Wait()
		expect(t, f, bob, token.ErrIdleTimeout)

		// Keys: a token signed with a new one arrives before the change does.
		carl := b.sign("carl")
		old := b.issuer.Keys.Current().All()
		next, err := tokentest.NewKey(token.EdDSA)
		if err != nil {
			t.Fatal(err)
		}
		b.issuer.UseKey(next)
		b.mu.Lock()
		b.epoch++
		b.keys = b.epoch // without waking the question that is held
		b.mu.Unlock()
		b.issuer.SetNow(time.Now())
		expect(t, f, b.issuer.MintWith(token.EdDSA, b.issuer.Session("dora", func(s *token.Session) { s.Epoch = 1000 })), nil)
		expect(t, f, carl, nil)
		set, err := token.NewKeySet(&next.Key)
		if err != nil {
			t.Fatal(err)
		}
		b.change(func() { b.issuer.Keys.Set(set); b.keys = b.epoch })
		synctest.Wait()
		expect(t, f, carl, token.ErrUnknownKey)
		if len(old) == 0 {
			t.Error("there was no key before")
		}

		// Everything that was applied was confirmed at once.
		questions := b.questions()
		last := questions[len(questions)-1]
		if want := fmt.Sprint(int64(b.now())); last.Get("after") != want || last.Get("confirmed") != want || last.Get("follower") == "" {
			t.Errorf("the last question was %v, want after and confirmed %s", last, want)
		}
		if s := f.Status(); !s.Trusted || s.Epoch != b.now() || s.Err != nil || s.Server != "localhost:1" || !s.Cache.Complete {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestIdleFollowerAsksThreeTimesALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		ann := b.sign("ann")
		before := len(b.questions())
		for range 600 {
			time.Sleep(time.Second)
			if !f.Trusted(time.Now()) {
				t.Fatal("the lease ran out")
			}
		}
		expect(t, f, ann, nil)
		if asked := len(b.questions()) - before; asked < 115 || asked > 125 {
			t.Errorf("%d questions in ten minutes, want 120", asked)
		}
	})
}

// A server with a long lease that goes silent is left long before it ends, and no
// server is left while it may hold the question.
func TestPatience(t *testing.T) {
	const second = time.Second
	for _, test := range []struct {
		lease, ago        time.Duration // granted, and when
		wait, readTimeout time.Duration
	}{
		{0, 0, 0, firstReadTimeout},
		{time.Millisecond, 0, second, 1500 * time.Millisecond},
		{2 * second, 0, second, 2*second/3 + second},
		{3 * second, 0, second, 2 * second},
		{15 * second, 0, 5 * second, 7500 * time.Millisecond},
		{15 * second, 15*second - 1, 5 * second, 7500 * time.Millisecond},
		{15 * second, 15 * second, 0, 4500 * time.Millisecond},
		{time.Millisecond, second, 0, 3 * second},
		{time.Hour, 0, maxWait, 55 * second},
	} {
		now := time.Now()
		f := &Follower{now: func() time.Time { return now }, replica: replica.New(replica.Config{Now: func() time.Time { return now }})}
		f.View = &f.replica.View
		f.granted.Store(int64(test.lease))
		granted := replica.Changes{Epoch: 1, Lease: token.Lease{Start: now.Add(-test.ago), Length: test.lease}}
		if _, err := f.replica.Update(t.Context(), func(context.Context, revocation.Epoch, revocation.Epoch) (replica.Changes, error) {
			return granted, nil
		}); err != nil {
			t.Fatal(err)
		}
		wait, readTimeout := f.pollTimes()
		if wait != test.wait || readTimeout != test.readTimeout {
			t.Errorf("with a lease of %v, %v ago: %v and %v, want %v and %v", test.lease, test.ago, wait, readTimeout, test.wait, test.readTimeout)
		}
		if wait > 0 && readTimeout < min(wait, max(test.lease, 15*second)/3)+second/2 {
			t.Errorf("with a lease of %v: a question held for %v is given up after %v", test.lease, wait, readTimeout)
		}
	}
}

// A server whose store fails grants shorter and shorter leases, and none in the
// end. When the store is back nothing has changed, so a poll may be held for a
// third of the lease. The follower recovers at once, though no caller asks it.
func TestBackAfterTheServersLeaseRanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		time.Sleep(12 * time.Second)
		lease := func(left time.Duration) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.lease = left
		}
		for left := 15 * time.Second; left >= time.Millisecond; left -= left / 3 {
			lease(left)
			time.Sleep(left / 3)
		}
		b.instead(func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable")
			return true
		})
		time.Sleep(time.Minute)
		if f.Trusted(time.Now()) {
			t.Fatal("trusted, although no server answers")
		}
		lease(15 * time.Second)
		b.instead(nil)
		time.Sleep(maxBackoff)
		for range 60 {
			if s := f.Status(); !s.Trusted || s.Err != nil {
				t.Fatalf("the server is back: %+v", s)
			}
			time.Sleep(time.Second)
		}
	})
}

// From its lease's end on a follower that was cut off says unavailable, and not
// one valid answer later; healed, it has caught up before it answers again.
func TestCutOff(t *testing.T) {
	for _, how := range []string{"silent", "refusing", "failing"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, closeAll := newBench(t)
				defer closeAll()
				f := b.open()
				defer closeFollower(t, f)
				ann := b.sign("ann")
				time.Sleep(12 * time.Second)
				questions := len(b.questions())
				cut := time.Now()
				b.instead(func(w http.ResponseWriter, r *http.Request) bool {
					switch how {
					case "silent":
						<-r.Context().Done()
					case "refusing":
						panic(http.ErrAbortHandler)
					default:
						fail(w, http.StatusServiceUnavailable, "unavailable")
					}
					return true
				})
				// The answer to the question that is held is the last one.
				b.mu.Lock()
				b.epoch++
				close(b.changed)
				b.changed = make(chan struct{})
				b.mu.Unlock()
				synctest.Wait()
				time.Sleep(15*time.Second - time.Nanosecond)
				expect(t, f, ann, nil)
				time.Sleep(time.Nanosecond)
				began := time.Now()
				expect(t, f, ann, token.ErrUnavailable)
				if took := time.Since(began); took > catchUpTime {
					t.Errorf("it took %v to say so", took)
				}
				if s := f.Status(); s.Trusted || s.Err == nil {
					t.Errorf("status: %+v", s)
				}
				time.Sleep(time.Minute)
				expect(t, f, ann, token.ErrUnavailable)
				if asked := len(b.questions()) - questions; asked > 200 {
					t.Errorf("%d questions in a minute: that is no backing off", asked)
				}
				b.revoke(revocation.User("ann"))
				b.instead(nil)
				time.Sleep(time.Second) // longer than a failure is remembered
				expect(t, f, ann, token.ErrRevoked)
				expect(t, f, b.sign("ann"), nil)
				if time.Since(cut) < time.Minute {
					t.Error("no time has passed")
				}
			})
		})
	}
}

// The lease runs from the instant at which the question was sent.
func TestLeaseRunsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		const late = 4 * time.Second
		b.instead(func(w http.ResponseWriter, r *http.Request) bool {
			b.mu.Lock()
			a := b.answerLocked(0, 0)
			b.mu.Unlock()
			if r.URL.Query().Get("after") != "0" {
				<-r.Context().Done() // one answer is all there is
				return true
			}
			a.HeldMS = (time.Hour).Milliseconds() // longer than the request took
			time.Sleep(late)
			writeJSON(w, a)
			return true
		})
		sent := time.Now()
		f := b.open()
		defer closeFollower(t, f)
		if took := time.Since(sent); took != late {
			t.Fatalf("Open took %v", took)
		}
		// The held time counts up to the duration of the request, never more.
		for _, at := range []struct {
			since   time.Duration
			trusted bool
		}{{b.lease, true}, {b.lease + late - 1, true}, {b.lease + late, false}, {b.lease + late + 1, false}} {
			if got := f.Trusted(sent.Add(at.since)); got != at.trusted {
				t.Errorf("trusted %v after the question: %v, want %v", at.since, got, at.trusted)
			}
		}
	})
}

func TestCatchUpIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		release := make(chan struct{})
		b.instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("wait") == "0" {
				<-release
			}
			return false
		})
		synctest.Wait()
		// The store moves on, and the question that is held does not notice.
		b.mu.Lock()
		b.epoch += 5
		b.mu.Unlock()
		ahead := b.sign("ann")
		before := len(b.questions())
		var running sync.WaitGroup
		for range 100 {
			running.Go(func() { expect(t, f, ahead, nil) })
		}
		synctest.Wait()
		if asked := len(b.questions()) - before; asked != 1 {
			t.Errorf("%d questions for 100 callers, want 1", asked)
		}
		// A caller that comes during a request needs another one.
		late := make(chan error, 1)
		go func() { late <- f.CatchUp(t.Context()) }()
		synctest.Wait()
		close(release)
		running.Wait()
		if err := <-late; err != nil {
			t.Error(err)
		}
		fresh := 0
		for _, q := range b.questions()[before:] {
			if q.Get("wait") == "0" {
				fresh++
			}
		}
		if fresh != 2 {
			t.Errorf("%d questions for those who came before and those who came during one, want 2", fresh)
		}
	})
}

func TestTokenFromNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		expect(t, f, b.issuer.Token("ann", func(s *token.Session) { s.Epoch = b.now() + 1 }), token.ErrMalformed)

		// Unknown keys cause one question an interval.
		stranger := tokentest.New(t)
		stranger.SetNow(time.Now())
		key, err := tokentest.NewKey(token.ES256)
		if err != nil {
			t.Fatal(err)
		}
		stranger.UseKey(key)
		forged := stranger.Token("ann")
		before := len(b.questions())
		for range 100 {
			expect(t, f, forged, token.ErrUnknownKey)
		}
		if asked := len(b.questions()) - before; asked > 2 { // a held one may have come in between
			t.Errorf("%d questions because of an unknown key, want 1", asked)
		}
	})
}

func TestStartOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		var mu sync.Mutex
		var events []EventKind
		b.config.OnEvent = func(e Event) { mu.Lock(); events = append(events, e.Kind); mu.Unlock() }
		f := b.open()
		defer closeFollower(t, f)
		ann, bob := b.sign("ann"), b.sign("bob")
		b.revoke(revocation.User("ann"))
		synctest.Wait()
		expect(t, f, ann, token.ErrRevoked)

		// A backup from before that takes the store's place, in which bob is revoked.
		b.mu.Lock()
		b.revoked, b.epoch = nil, 1000
		b.epoch = 900
		b.mu.Unlock()
		old := b.sign("bob")
		_ = old
		blocked := make(chan struct{})
		b.instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("after") == "0" {
				<-blocked
			}
			return false
		})
		time.Sleep(5*time.Second + time.Millisecond) // the question that was held
		// Between the two histories nothing is known, and nothing accepted.
		if f.Trusted(time.Now()) {
			t.Error("trusted while it starts over")
		}
		b.revoke(revocation.User("bob"))
		close(blocked)
		time.Sleep(time.Second)
		if f.Epoch() != b.now() || !f.Trusted(time.Now()) {
			t.Errorf("the view is at %d, want %d", f.Epoch(), b.now())
		}
		// The higher epochs are kept; tokens from the lost history are none of this one.
		if before, _ := f.Cache().Known("ann", "", false); before != 1001 {
			t.Errorf("ann's revoked-before is %d, want 1001 as before", before)
		}
		expect(t, f, bob, token.ErrMalformed)
		mu.Lock()
		defer mu.Unlock()
		started := 0
		for _, k := range events {
			if k == EventStartedOver {
				started++
			}
		}
		if started != 1 {
			t.Errorf("started over %d times: %v", started, events)
		}
	})
}

func TestPagesAndDownstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.pageSize = 3
		for i := range 10 {
			b.revoke(revocation.User(fmt.Sprint("u", i)), revocation.Session(fmt.Sprint("s", i)))
		}
		d := &recorder{}
		b.config.Downstream = d
		f := b.open()
		defer closeFollower(t, f)
		if len(d.states) != 1 || d.states[0].Log.Len() != 20 || d.states[0].Epoch != b.now() || d.states[0].Settings == nil || d.states[0].Keys.JSON == nil || d.states[0].Installation.Issuer == "" {
			t.Fatalf("states: %+v", d.states)
		}
		// Pages with more confirm nothing.
		for _, q := range b.questions() {
			if q.Get("confirmed") != "0" {
				t.Errorf("confirmed %s before everything had come", q.Get("confirmed"))
			}
		}
		d.set(b.now()-5, 7)
		b.revoke(revocation.User("ann"))
		synctest.Wait()
		questions := b.questions()
		last := questions[len(questions)-1]
		if last.Get("confirmed") != fmt.Sprint(int64(b.now()-6)) || last.Get("behind") != "7" {
			t.Errorf("asked %v, want what Downstream confirms", last)
		}
		// A later confirmation is reported without waiting.
		d.set(b.now(), 7)
		f.Report()
		synctest.Wait()
		questions = b.questions()
		last = questions[len(questions)-1]
		if last.Get("confirmed") != fmt.Sprint(int64(b.now())) || last.Get("wait") != "0" {
			t.Errorf("reported %v", last)
		}
		// A follower confirms only what its view has.
		d.set(b.now()+100, 7)
		f.Report()
		synctest.Wait()
		questions = b.questions()
		if got := questions[len(questions)-1].Get("confirmed"); got != fmt.Sprint(int64(b.now())) {
			t.Errorf("confirmed %s, and the view is at %d", got, b.now())
		}
	})
}

type recorder struct {
	mu        sync.Mutex
	states    []replica.State
	confirmed revocation.Epoch
	behind    int64
}

func (r *recorder) Publish(s replica.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, s)
}

func (r *recorder) set(e revocation.Epoch, behind int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed, r.behind = e, behind
}

func (r *recorder) Confirmed(revocation.Epoch) (revocation.Epoch, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.confirmed, r.behind
}

func TestSeveralServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		stopSecond := b.start(b.net, "127.0.0.2")
		defer stopSecond()
		b.config.Servers = []string{"http://127.0.0.2:1"}
		f := b.open()
		defer closeFollower(t, f)
		ann := b.sign("ann")
		// The first goes silent, connections and all.
		b.net.mu.Lock()
		b.net.dead["localhost"] = true
		b.net.mu.Unlock()
		b.instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Host == "localhost:1" {
				<-r.Context().Done()
				return true
			}
			return false
		})
		for range 60 {
			time.Sleep(time.Second)
			if !f.Trusted(time.Now()) {
				t.Fatal("the lease ran out, although another server answers")
			}
		}
		if s := f.Status(); s.Server != "127.0.0.2:1" {
			t.Errorf("it follows %s", s.Server)
		}
		b.revoke(revocation.User("ann"))
		synctest.Wait()
		expect(t, f, ann, token.ErrRevoked)
	})
}

func TestPartialCacheLooksUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		for i := range 20 {
			b.revoke(revocation.User(fmt.Sprint("u", i)))
		}
		b.config.CacheSize = 4
		f := b.open()
		defer closeFollower(t, f)
		e := b.now()
		old := b.issuer.Token("u3", func(s *token.Session) { s.Epoch = 1000 })
		good := b.issuer.Token("u3", func(s *token.Session) { s.Epoch = e })
		expect(t, f, old, token.ErrRevoked)
		expect(t, f, good, nil)
		if b.lookups == 0 {
			t.Error("nothing was looked up")
		}
		was := b.lookups
		expect(t, f, good, nil)
		if b.lookups != was {
			t.Error("an answer was not remembered")
		}
		// An answer that comes after its lease is none.
		b.instead(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/revoked-before" {
				return false
			}
			time.Sleep(time.Second)
			_ = json.NewEncoder(w).Encode(wire.RevokedBefore{Epoch: int64(e), LeaseMS: time.Second.Milliseconds()})
			return true
		})
		expect(t, f, b.issuer.Token("u5", func(s *token.Session) { s.Epoch = e }), token.ErrUnavailable)
		// A server that cannot be asked is no reason to accept.
		b.instead(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v1/revoked-before" {
				fail(w, http.StatusServiceUnavailable, "unavailable")
				return true
			}
			return false
		})
		expect(t, f, b.issuer.Token("u7", func(s *token.Session) { s.Epoch = 1000 }), token.ErrUnavailable)
	})
}

func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		ann := b.sign("ann")
		closeFollower(t, f)
		closeFollower(t, f)
		expect(t, f, ann, token.ErrUnavailable)
		if err := f.CatchUp(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("CatchUp = %v, want %v", err, ErrClosed)
		}
		f.Report()
		if s := f.Status(); s.Trusted || !errors.Is(s.Err, ErrClosed) {
			t.Errorf("status: %+v", s)
		}
		// The bubble ends here: no goroutine of the follower is left.
	})
}

func TestIssuerThatChangesEndsTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		b.instead(func(w http.ResponseWriter, _ *http.Request) bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			a := b.answerLocked(0, 0)
			a.Issuer = "https://another.example"
			writeJSON(w, a)
			return true
		})
		if err := f.CatchUp(t.Context()); !errors.Is(err, ErrIssuer) || !errors.Is(err, token.ErrUnavailable) {
			t.Errorf("CatchUp = %v, want %v", err, ErrIssuer)
		}
		if f.Trusted(time.Now()) {
			t.Error("still trusted")
		}
	})
}

func TestAnswerFits(t *testing.T) {
	for _, test := range []struct {
		epoch revocation.Epoch
		more  bool
		lease time.Duration
		fits  bool
	}{
		{9, false, 1, false}, {10, false, 1, true}, {11, false, 1, true},
		{10, false, 0, false}, {10, true, 0, false}, {11, true, 0, true},
	} {
		a := answer{Changes: replica.Changes{Epoch: test.epoch, More: test.more}, lease: test.lease}
		if err := a.fits(10); (err == nil) != test.fits {
			t.Errorf("%+v to a poll after 10: %v", test, err)
		}
	}
}

// The follower stops reading an answer without end.
func TestEndlessAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		b.instead(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("wait") != "0" {
				return false
			}
			b.mu.Lock()
			writeJSON(w, b.answerLocked(b.epoch, 0)) // a good one, as far as it goes
			b.mu.Unlock()
			blank := bytes.Repeat([]byte(" "), 1<<20)
			for range maxAnswer>>20 + 1 {
				if _, err := w.Write(blank); err != nil {
					break
				}
			}
			return true
		})
		if err := f.CatchUp(t.Context()); !errors.Is(err, errNotCurfew) {
			t.Errorf("CatchUp = %v, want %v", err, errNotCurfew)
		}
	})
}

func writeJSON(w http.ResponseWriter, a wire.Changes) { _ = encode(w, a) }
