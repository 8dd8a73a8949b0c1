package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// day is a store and a view of it, without a socket between them.
type day struct {
	mu      sync.Mutex
	epoch   revocation.Epoch
	revoked map[revocation.Scope]revocation.Epoch
	lease   token.Lease
	cache   *revocation.Cache
}

// Epoch, Trusted and CatchUp are token.View.
func (d *day) Epoch() revocation.Epoch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch
}

func (d *day) Trusted(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lease.Running(now)
}

func (d *day) CatchUp(context.Context) error { return nil }

// RevokedBefore is revocation.Source.
func (d *day) RevokedBefore(_ context.Context, user, session string) (revocation.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	everyone := d.revoked[revocation.Everyone()]
	return revocation.Answer{
		AsOf: d.epoch, User: max(everyone, d.revoked[revocation.User(user)]), Session: max(everyone, d.revoked[revocation.Session(session)]),
	}, nil
}

func (d *day) revoke(scope revocation.Scope) {
	d.mu.Lock()
	d.epoch = d.epoch.Next(time.Now())
	d.revoked[scope] = d.epoch
	r := revocation.Revocation{Scope: scope, Epoch: d.epoch}
	d.mu.Unlock()
	d.cache.Apply(r)
}

// prune drops entries that can no longer affect a decision, as the store does.
func (d *day) prune(before time.Time) {
	limit := revocation.Epoch(before.UnixMicro())
	d.mu.Lock()
	for scope, epoch := range d.revoked {
		if epoch <= limit {
			delete(d.revoked, scope)
		}
	}
	d.revoked[revocation.Everyone()] = max(limit, 0)
	d.mu.Unlock()
	d.cache.Apply(revocation.Revocation{Scope: revocation.Everyone(), Epoch: limit})
}

// A day of sessions that come and go leaves no memory behind, and no goroutine:
// 24 hours, in virtual time.
func TestDayLeavesMemoryFlat(t *testing.T) {
	issuer := tokentest.New(t)
	issuer.Settings.Set(issuer.Settings.Current().Change(settings.Settings{
		SessionTimeout: 20 * time.Minute, MaximumSessionDuration: time.Hour, RememberMeEnabled: true,
	}, time.Now(), 1))
	synctest.Test(t, func(t *testing.T) {
		d := &day{revoked: map[revocation.Scope]revocation.Epoch{}, epoch: revocation.Epoch(time.Now().UnixMicro())}
		const capacity = 500 // less than an hour brings: the cache is partial all day
		d.cache = revocation.NewCache(revocation.CacheConfig{Capacity: capacity, Source: d})
		defer d.cache.Close()
		validator, err := token.NewValidator(token.Config{
			Issuer: issuer.Name, Audience: issuer.Audience, Keys: &issuer.Keys, Settings: &issuer.Settings,
			Revocations: d.cache, View: d, RememberedBytes: 128 << 10,
		})
		if err != nil {
			t.Fatal(err)
		}
		type live struct {
			session token.Session
			raw     string
			dead    bool
		}
		recent := make([]live, 380) // none has idled for too long
		random := rand.New(rand.NewPCG(24, 24))
		var heap [2]uint64
		var goroutines [2]int
		counts := map[string]int{}
		measure := func(i int) {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap[i], goroutines[i] = m.HeapAlloc, runtime.NumGoroutine()
		}
		const every = 3 * time.Second
		for n := range int(24 * time.Hour / every) {
			if time.Duration(n)*every == 4*time.Hour { // the bounded structures are full
				measure(0)
			}
			if n%1200 == 0 {
				d.prune(time.Now().Add(-2 * time.Hour))
			}
			time.Sleep(every)
			now := time.Now()
			d.mu.Lock()
			d.lease = token.Lease{Start: now, Length: 15 * time.Second}
			epoch := d.epoch
			d.mu.Unlock()

			issuer.SetNow(now)
			s := issuer.Session(fmt.Sprintf("user%d", random.IntN(5000)), func(s *token.Session) {
				s.RememberMe, s.Epoch = n%5 == 0, epoch
			})
			recent[n%len(recent)] = live{session: s, raw: issuer.Mint(s)}
			for range 2 {
				l := &recent[random.IntN(len(recent))]
				if l.raw == "" {
					continue
				}
				_, err := validator.Validate(t.Context(), l.raw)
				reason := token.ReasonOf(err)
				counts[string(reason)]++
				want := token.Reason("")
				if l.dead {
					want = token.ErrRevoked
				}
				if reason != want {
					t.Fatalf("after %v: %v, want %q", time.Duration(n)*every, err, want)
				}
			}
			if n%3 == 0 {
				i := random.IntN(len(recent))
				if l := &recent[i]; l.raw != "" {
					if n%2 == 0 {
						d.revoke(revocation.Session(l.session.ID))
						l.dead = true
						continue
					}
					d.revoke(revocation.User(l.session.Subject))
					for j := range recent {
						recent[j].dead = recent[j].dead || recent[j].session.Subject == l.session.Subject
					}
				}
			}
		}
		measure(1)
		t.Logf("%v; heap %d kB after 4 hours, %d kB after 24; goroutines %v; the cache %+v", counts, heap[0]>>10, heap[1]>>10, goroutines, d.cache.Stats())
		if grown := int64(heap[1]) - int64(heap[0]); grown > 512<<10 {
			t.Errorf("a day left %d kB behind", grown>>10)
		}
		if goroutines[1] > goroutines[0] {
			t.Errorf("a day left %d goroutines behind", goroutines[1]-goroutines[0])
		}
		if entries := d.cache.Stats().Entries; entries > capacity {
			t.Errorf("the cache holds %d entries, and may hold %d", entries, capacity)
		}
		if counts[""] < 1000 || counts[string(token.ErrRevoked)] < 1000 {
			t.Errorf("the day was too quiet to prove anything: %v", counts)
		}
	})
}
