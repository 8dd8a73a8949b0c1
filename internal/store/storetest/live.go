package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

var liveCases = []testCase{
	{"how many lived, over time", liveOver},
	{"who lives is who the validator lets live", liveAgreesWithToken},
	{"at the very second of each end", func(t *testing.T, open Open) {
		s := open(t)
		in := settings.InForce{Settings: settings.Settings{SessionTimeout: time.Minute, MaximumSessionDuration: time.Hour, RememberMeEnabled: true}}
		began := noon.UnixMicro() + 700_000 // within the second
		end := noon.Add(50 * time.Hour).UnixMicro()
		insertSessions(t, s,
			store.Session{ID: "idle", UserID: "a", BeganAt: began, LastSeenAt: began, ExpiresAt: end},
			store.Session{ID: "long", UserID: "b", RememberMe: true, BeganAt: began, LastSeenAt: began, ExpiresAt: end},
			store.Session{ID: "short", UserID: "c", RememberMe: true, BeganAt: began, LastSeenAt: began, ExpiresAt: noon.Add(30 * time.Minute).UnixMicro()})
		for _, c := range []struct {
			now  time.Duration // from noon
			want []string
		}{
			{-60*time.Second - time.Microsecond, nil}, // 61 s ahead: the leeway is 60
			{-60 * time.Second, []string{"idle", "long", "short"}},
			{-time.Second, []string{"idle", "long", "short"}},
			{time.Minute - time.Microsecond, []string{"idle", "long", "short"}},
			{time.Minute, []string{"long", "short"}},
			{time.Minute + time.Microsecond, []string{"long", "short"}},
			{30*time.Minute - time.Microsecond, []string{"long", "short"}},
			{30 * time.Minute, []string{"long"}},
			{time.Hour - time.Microsecond, []string{"long"}},
			{time.Hour, nil},
		} {
			live := store.Live{Now: noon.Add(c.now).UnixMicro(), Settings: in}
			var got []string
			for _, user := range []string{"a", "b", "c"} {
				rows, err := s.LiveSessions(t.Context(), user, live)
				noErr(t, err)
				for _, row := range rows {
					got = append(got, row.ID)
				}
			}
			same(t, fmt.Sprintf("live at %v", c.now), got, c.want)
			n, err := s.CountLive(t.Context(), live, "", "")
			noErr(t, err)
			same(t, fmt.Sprintf("counted at %v", c.now), n, store.Counts{Sessions: int64(len(c.want)), Users: int64(len(c.want))})
		}
	}},
	{"the surplus are the live sessions beyond the newest", func(t *testing.T, open Open) {
		s := open(t)
		live := store.Live{Now: noon.UnixMicro(), Settings: settings.InForce{Settings: settings.Default()}}
		end := noon.Add(time.Hour).UnixMicro()
		for i := range 6 {
			at := noon.Add(time.Duration(i-6) * time.Second).UnixMicro()
			insertSessions(t, s,
				store.Session{ID: fmt.Sprint("s", i), UserID: "ann", Epoch: revocation.Epoch(10 + i), BeganAt: at, LastSeenAt: at, ExpiresAt: end},
				store.Session{ID: fmt.Sprint("bob", i), UserID: "bob", Epoch: revocation.Epoch(10 + i), BeganAt: at, LastSeenAt: at, ExpiresAt: end})
		}
		insertSessions(t, s, store.Session{ID: "expired", UserID: "ann", Epoch: 20, BeganAt: 1, LastSeenAt: 1, ExpiresAt: noon.UnixMicro()})
		surplus := func(keep, limit int, want ...string) {
			t.Helper()
			rows, err := s.SurplusSessions(t.Context(), "ann", live, keep, limit)
			noErr(t, err)
			got := []string{}
			for _, row := range rows {
				got = append(got, row.ID)
			}
			same(t, fmt.Sprintf("surplus of %d", keep), got, append([]string{}, want...))
		}
		surplus(0, 100, "s5", "s4", "s3", "s2", "s1", "s0")
		surplus(5, 100, "s0")
		surplus(6, 100)
		surplus(7, 100)
		surplus(2, 2, "s3", "s2")
		update(t, s, func(tx store.Tx) error { return tx.EndSession(t.Context(), "s4", 1) })
		surplus(4, 100, "s0")
		update(t, s, func(tx store.Tx) error { return tx.PutRevocations(t.Context(), at(12, revocation.User("ann"))...) })
		surplus(1, 100, "s3", "s2")
		surplus(3, 100)
	}},
	{"at the very second of each floor, below its epoch only", func(t *testing.T, open Open) {
		s := open(t)
		now := noon.Unix()
		for i, began := range []int64{now - 101, now - 100, now - 99} {
			for _, epoch := range []revocation.Epoch{6, 7} {
				for _, remember := range []bool{false, true} {
					for k, jitter := range []int64{0, 999_999} {
						insertSessions(t, s, store.Session{
							ID: fmt.Sprint(i, epoch, remember, k), UserID: fmt.Sprint(began - now), RememberMe: remember, Epoch: epoch,
							BeganAt: began*1e6 + jitter, LastSeenAt: began*1e6 + jitter, ExpiresAt: (now + 1000) * 1e6,
						})
					}
				}
			}
		}
		count := func(in settings.InForce) (counts []int64) {
			in.Settings = settings.Default()
			for _, user := range []string{"-101", "-100", "-99"} {
				n, err := s.CountLive(t.Context(), store.Live{Now: now * 1e6, Settings: in}, user, "")
				noErr(t, err)
				counts = append(counts, n.Sessions)
			}
			return counts
		}
		same(t, "no floor", count(settings.InForce{}), []int64{8, 8, 8})
		same(t, "a floor of the maximum", count(settings.InForce{MaximumFloor: settings.UnixTime(now - 100), MaximumFloorEpoch: 7}), []int64{4, 4, 8})
		same(t, "an idle floor", count(settings.InForce{IdleFloor: settings.UnixTime(now - 100), IdleFloorEpoch: 7}), []int64{6, 6, 8})
	}},
	{"revoked below an epoch, not at it", func(t *testing.T, open Open) {
		for _, c := range []struct {
			scope revocation.Scope
			want  int64 // of six sessions with the epochs 9, 10, 11, with and without remember me
		}{
			{revocation.User("ann"), 4}, {revocation.User("bob"), 6}, {revocation.User("9 true"), 6},
			{revocation.Session("9 true"), 5}, {revocation.Session("10 true"), 6}, {revocation.Session("11 true"), 6}, {revocation.Session("ann"), 6},
			// Pruning does not take these back, so they come last; the second does more.
			{revocation.Remembered(), 5}, {revocation.Everyone(), 4},
		} {
			s := open(t)
			update(t, s, func(tx store.Tx) error { return tx.Prune(t.Context(), 100, 1<<60, 0) })
			for _, epoch := range []revocation.Epoch{9, 10, 11} {
				for _, remember := range []bool{false, true} {
					insertSessions(t, s, store.Session{
						ID: fmt.Sprint(int64(epoch), remember), UserID: "ann", RememberMe: remember, Epoch: epoch,
						BeganAt: noon.UnixMicro(), LastSeenAt: noon.UnixMicro(), ExpiresAt: noon.Add(time.Minute).UnixMicro(),
					})
				}
			}
			update(t, s, func(tx store.Tx) error { return tx.PutRevocations(t.Context(), at(10, c.scope)...) })
			live := store.Live{Now: noon.UnixMicro(), Settings: settings.InForce{Settings: settings.Default()}}
			n, err := s.CountLive(t.Context(), live, "", "")
			noErr(t, err)
			same(t, fmt.Sprintf("live after revoking %v", c.scope), n.Sessions, c.want)
		}
	}},
	{"switching remember me off ends those sessions", func(t *testing.T, open Open) {
		s := open(t)
		in := settings.InForce{Settings: settings.Default()}
		at := noon.UnixMicro()
		for i, remembered := range []bool{true, true, false} {
			insertSessions(t, s, store.Session{ID: fmt.Sprint(i), UserID: "ann", RememberMe: remembered, BeganAt: at, LastSeenAt: at, ExpiresAt: at + 1e9})
		}
		off := in
		off.RememberMeEnabled = false
		for _, c := range []struct {
			now, next settings.InForce
			want      store.Counts
		}{
			{in, in, store.Counts{}},
			{in, off, store.Counts{Sessions: 2, Users: 1}},
			{off, off, store.Counts{}},
			{off, in, store.Counts{}},
		} {
			n, err := s.CountEnding(t.Context(), store.Live{Now: at, Settings: c.now}, store.Live{Now: at, Settings: c.next})
			noErr(t, err)
			same(t, "ending", n, c.want)
		}
	}},
}

// A sessionModel is a random set of sessions and of what may have ended them, in
// memory: the model that a store is compared with.
type sessionModel struct {
	sessions []store.Session
	revoked  map[revocation.Scope]revocation.Epoch
	retired  map[string]bool
}

// lives is sections 2.5 and 2.6 of the contract, the former in token's own words.
func (w *sessionModel) lives(row store.Session, l store.Live) bool {
	s := token.Session{
		IssuedAt: seconds(row.BeganAt), LastRefresh: seconds(row.LastSeenAt), ExpiresAt: seconds(row.ExpiresAt),
		RememberMe: row.RememberMe, Epoch: row.Epoch,
	}
	before := max(w.revoked[revocation.Everyone()], w.revoked[revocation.User(row.UserID)], w.revoked[revocation.Session(row.ID)])
	if row.RememberMe {
		before = max(before, w.revoked[revocation.Remembered()])
	}
	return row.EndedAt == 0 && !w.retired[row.KeyID] && row.Epoch >= before &&
		s.CheckTime(&l.Settings, time.UnixMicro(l.Now)) == nil
}

func seconds(micros int64) token.UnixTime { return token.UnixTime(time.UnixMicro(micros).Unix()) }

// randomModel draws a world whose dates lie around the ends that l sets.
func randomModel(random *rand.Rand, l store.Live) *sessionModel {
	w := &sessionModel{revoked: map[revocation.Scope]revocation.Epoch{}, retired: map[string]bool{"k2": true}}
	now := time.UnixMicro(l.Now).Unix()
	pick := func(around ...int64) int64 {
		second := around[random.IntN(len(around))] + int64(random.IntN(5)-2)
		return second*1e6 + []int64{0, 1, 999_999, random.Int64N(1e6)}[random.IntN(4)]
	}
	timeout, maximum := settings.Seconds(l.Settings.SessionTimeout), settings.Seconds(l.Settings.MaximumSessionDuration)
	for i := range 400 {
		row := store.Session{
			ID: fmt.Sprint("s", i), UserID: fmt.Sprint("u", random.IntN(40)), RememberMe: random.IntN(2) == 0,
			Epoch: revocation.Epoch(random.IntN(12)), KeyID: fmt.Sprint("k", random.IntN(4)),
			BeganAt:    pick(now, now-10, now+60, now-maximum, now-maximum/2, int64(l.Settings.MaximumFloor)),
			LastSeenAt: pick(now, now-10, now+60, now-timeout, int64(l.Settings.IdleFloor)),
			ExpiresAt:  pick(now+1000, now+1000, now+1000, now),
		}
		if random.IntN(8) == 0 {
			row.EndedAt = 1
		}
		w.sessions = append(w.sessions, row)
	}
	for range 12 {
		w.revoked[revocation.User(fmt.Sprint("u", random.IntN(40)))] = revocation.Epoch(random.IntN(13))
		w.revoked[revocation.Session(fmt.Sprint("s", random.IntN(400)))] = revocation.Epoch(random.IntN(13))
	}
	w.revoked[revocation.Everyone()] = revocation.Epoch(random.IntN(3))
	w.revoked[revocation.Remembered()] = revocation.Epoch(random.IntN(6))
	return w
}

func someLive(random *rand.Rand) store.Live {
	timeout := int64(60 + random.IntN(120))
	maximum := timeout + int64(random.IntN(600))
	now := noon.Unix() + int64(random.IntN(30))
	return store.Live{
		Now: now*1e6 + random.Int64N(1e6),
		Settings: settings.InForce{
			Settings: settings.Settings{
				SessionTimeout: time.Duration(timeout) * time.Second, MaximumSessionDuration: time.Duration(maximum) * time.Second,
				RememberMeEnabled: true,
			},
			IdleFloor: settings.UnixTime(now - 40), IdleFloorEpoch: revocation.Epoch(random.IntN(12)),
			MaximumFloor: settings.UnixTime(now - 200), MaximumFloorEpoch: revocation.Epoch(random.IntN(12)),
		},
	}
}

func liveAgreesWithToken(t *testing.T, open Open) {
	s := open(t)
	random := rand.New(rand.NewPCG(20261123, 1))
	first := someLive(random)
	w := randomModel(random, first)
	insertSessions(t, s, w.sessions...)
	update(t, s, func(tx store.Tx) error {
		var rs []revocation.Revocation
		for scope, e := range w.revoked {
			rs = append(rs, at(e, scope)...)
		}
		noErr(t, tx.PutRevocations(t.Context(), rs...))
		noErr(t, tx.PutKey(t.Context(), store.Key{ID: "k1", State: store.KeyRetiring}))
		return tx.PutKey(t.Context(), store.Key{ID: "k2", State: store.KeyRetired})
	})
	for range 12 {
		live := first
		next := someLive(random)
		next.Now = live.Now
		compareLive(t, s, random, w, live, next)
		first = someLive(random)
	}
}

func compareLive(t *testing.T, s store.Store, random *rand.Rand, w *sessionModel, live, next store.Live) {
	t.Helper()
	count := func(keep func(store.Session) bool) (n store.Counts) {
		users := map[string]bool{}
		for _, row := range w.sessions {
			if keep(row) {
				n.Sessions++
				users[row.UserID] = true
			}
		}
		n.Users = int64(len(users))
		return n
	}
	all, err := s.CountLive(t.Context(), live, "", "")
	noErr(t, err)
	same(t, "live", all, count(func(r store.Session) bool { return w.lives(r, live) }))
	if all.Sessions == 0 || all.Sessions == int64(len(w.sessions)) {
		t.Fatalf("%d of %d sessions live: this compares nothing", all.Sessions, len(w.sessions))
	}
	ending, err := s.CountEnding(t.Context(), live, next)
	noErr(t, err)
	same(t, "ending", ending, count(func(r store.Session) bool { return w.lives(r, live) && !w.lives(r, next) }))
	for _, key := range []string{"k0", "k1", "k2", "unknown"} {
		n, err := s.CountLive(t.Context(), live, "", key)
		noErr(t, err)
		same(t, "live with key "+key, n, count(func(r store.Session) bool { return w.lives(r, live) && r.KeyID == key }))
	}
	var users []string
	want := map[string]int64{}
	for i := range 41 { // the last has none
		user := fmt.Sprint("u", i)
		users = append(users, user)
		of := func(r store.Session) bool { return w.lives(r, live) && r.UserID == user }
		n := count(of)
		if n.Sessions > 0 {
			want[user] = n.Sessions
		}
		if random.IntN(5) > 0 {
			continue // all are counted below; looking at some is enough
		}
		got, err := s.CountLive(t.Context(), live, user, "")
		noErr(t, err)
		same(t, "live of "+user, got, n)
		var rows []store.Session
		for _, r := range w.sessions {
			if of(r) {
				rows = append(rows, r)
			}
		}
		slices.SortFunc(rows, func(a, b store.Session) int {
			return cmp.Or(cmp.Compare(b.BeganAt, a.BeganAt), cmp.Compare(a.ID, b.ID))
		})
		listed, err := s.LiveSessions(t.Context(), user, live)
		noErr(t, err)
		same(t, "sessions of "+user, listed, append([]store.Session{}, rows...))
	}
	byUser, err := s.CountLiveByUser(t.Context(), live, users)
	noErr(t, err)
	same(t, "live by user", byUser, want)
}
