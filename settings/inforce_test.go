package settings

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"example.com/curfew/revocation"
)

const now = 1_800_000_000 // Unix seconds

func TestIdle(t *testing.T) {
	f := InForce{Settings: Default(), IdleFloor: now - 100, IdleFloorEpoch: 50}
	for _, test := range []struct {
		name        string
		lastRefresh UnixTime
		epoch       revocation.Epoch
		want        bool
	}{
		{"just before the timeout", now - 1199, 50, false},
		{"at the timeout", now - 1200, 50, true},
		{"just after the timeout", now - 1201, 50, true},
		{"just above the floor", now - 99, 49, false},
		{"at the floor", now - 100, 49, true},
		{"just below the floor", now - 101, 49, true},
		{"below the floor, from the change itself", now - 101, 50, false},
		{"below the floor, from after the change", now - 101, 51, false},
		{"refreshed in the future", now + 30, 49, false},
	} {
		if got := f.Idle(test.lastRefresh, test.epoch, now); got != test.want {
			t.Errorf("%s: Idle = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestOver(t *testing.T) {
	const maximum = 20 * 86400
	f := InForce{Settings: Default(), MaximumFloor: now - 100, MaximumFloorEpoch: 50}
	for _, test := range []struct {
		name     string
		issuedAt UnixTime
		epoch    revocation.Epoch
		want     bool
	}{
		{"just before the end", now - maximum + 1, 50, false},
		{"at the end", now - maximum, 50, true},
		{"just after the end", now - maximum - 1, 50, true},
		{"just above the floor", now - 99, 49, false},
		{"at the floor", now - 100, 49, true},
		{"just below the floor", now - 101, 49, true},
		{"below the floor, from the change itself", now - 101, 50, false},
		{"below the floor, from after the change", now - 101, 51, false},
	} {
		if got := f.Over(test.issuedAt, test.epoch, now); got != test.want {
			t.Errorf("%s: Over = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestChange(t *testing.T) {
	at := time.Unix(now, 999_999_999)
	base := InForce{Settings: Settings{time.Hour, 10 * time.Hour, true}, Epoch: 5}
	with := func(timeout, maximum time.Duration) Settings { return Settings{timeout, maximum, false} }
	for _, test := range []struct {
		name string
		from InForce
		to   Settings
		want InForce
	}{
		{"nothing", base, with(time.Hour, 10*time.Hour), InForce{}},
		{"shorter", base, with(time.Minute, 2*time.Hour), InForce{}},
		{"a longer timeout", base, with(time.Hour+time.Second, 10*time.Hour), InForce{IdleFloor: now - 3600, IdleFloorEpoch: 9}},
		{"a longer maximum", base, with(time.Hour, 10*time.Hour+time.Second), InForce{MaximumFloor: now - 36000, MaximumFloorEpoch: 9}},
		{"both longer", base, with(2*time.Hour, 20*time.Hour), InForce{IdleFloor: now - 3600, IdleFloorEpoch: 9, MaximumFloor: now - 36000, MaximumFloorEpoch: 9}},
		{"floors stay where they are", InForce{Settings: base.Settings, IdleFloor: 7, IdleFloorEpoch: 3, MaximumFloor: 8, MaximumFloorEpoch: 4},
			with(time.Minute, time.Hour), InForce{IdleFloor: 7, IdleFloorEpoch: 3, MaximumFloor: 8, MaximumFloorEpoch: 4}},
		{"a floor never sinks", InForce{Settings: base.Settings, IdleFloor: now - 10, IdleFloorEpoch: 3, MaximumFloor: now - 20, MaximumFloorEpoch: 4},
			with(2*time.Hour, 20*time.Hour), InForce{IdleFloor: now - 10, IdleFloorEpoch: 9, MaximumFloor: now - 20, MaximumFloorEpoch: 9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Settings, test.want.Epoch = test.to, 9
			if got := test.from.Change(test.to, at, 9); got != test.want {
				t.Errorf("Change = %+v, want %+v", got, test.want)
			}
		})
	}
}

// Through any sequence of changes: a session that has ended once never becomes
// valid again, and a change never ends a session that begins after it.
func TestOnceDeadAlwaysDead(t *testing.T) {
	durations := []time.Duration{time.Minute, 2 * time.Minute, 10 * time.Minute, time.Hour, 5 * time.Hour, 24 * time.Hour}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		type session struct {
			name              string
			epoch             revocation.Epoch
			issued, refreshed UnixTime
			idle, over        bool
		}
		f := InForce{Settings: Default()}
		clock, epoch := UnixTime(now), revocation.Epoch(0)
		var sessions []*session
		for step := range 60 {
			clock += UnixTime(r.Int64N(20 * 60))
			switch r.IntN(3) {
			case 0:
				s := &session{name: fmt.Sprint(step), epoch: epoch, issued: clock, refreshed: clock}
				sessions = append(sessions, s)
				if f.Idle(s.refreshed, s.epoch, clock) || f.Over(s.issued, s.epoch, clock) {
					t.Fatalf("seed %d, step %d: a session that begins now is dead; %+v", seed, step, f)
				}
			case 1:
				epoch++
				a, b := durations[r.IntN(len(durations))], durations[r.IntN(len(durations))]
				f = f.Change(Settings{min(a, b), max(a, b), true}, clock.Time(), epoch)
			default:
				if len(sessions) > 0 { // a refresh, which a dead session does not get
					if s := sessions[r.IntN(len(sessions))]; !s.idle && !f.Idle(s.refreshed, s.epoch, clock) {
						s.refreshed = clock
					}
				}
			}
			for _, s := range sessions {
				idle, over := f.Idle(s.refreshed, s.epoch, clock), f.Over(s.issued, s.epoch, clock)
				if s.idle && !idle || s.over && !over {
					t.Fatalf("seed %d, step %d: session %s (%+v) lives again under %+v at %d", seed, step, s.name, *s, f, clock)
				}
				s.idle, s.over = s.idle || idle, s.over || over
			}
		}
	}
}

func TestValue(t *testing.T) {
	var v Value
	if got := *v.Current(); got != (InForce{Settings: Default()}) {
		t.Errorf("the zero Value holds %+v", got)
	}
	set := func(epoch revocation.Epoch, timeout time.Duration, want bool) {
		t.Helper()
		before := *v.Current()
		f := InForce{Settings: Settings{SessionTimeout: timeout}, Epoch: epoch}
		if got := v.Set(f); got != want {
			t.Errorf("Set(epoch %d) = %v, want %v", epoch, got, want)
		}
		if !want {
			f = before
		}
		if *v.Current() != f {
			t.Errorf("holds %+v, want %+v", *v.Current(), f)
		}
	}
	set(0, 1, true)
	set(5, 2, true)
	set(4, 3, false) // late
	set(5, 4, true)  // the same once more
	set(6, 5, true)
}

// An older value never replaces a newer one, in any order of calls.
func TestValueConcurrently(t *testing.T) {
	var v Value
	var all sync.WaitGroup
	for w := range revocation.Epoch(4) {
		all.Go(func() {
			for n := range revocation.Epoch(500) {
				epoch := 4*n + w
				v.Set(InForce{Epoch: epoch})
				if got := v.Current().Epoch; got < epoch {
					t.Errorf("epoch %d stands after %d was set", got, epoch)
					return
				}
			}
		})
	}
	all.Wait()
	if got := v.Current().Epoch; got != 1999 {
		t.Errorf("epoch %d at the end, want 1999", got)
	}
}
