package storetest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

const (
	corp  = "https://id.corp.example"
	other = "https://id.other.example"
)

var providerCases = []testCase{
	{"providers are written, replaced and removed", func(t *testing.T, open Open) {
		s := open(t)
		list := func(want ...store.Provider) {
			t.Helper()
			got, err := s.Providers(t.Context())
			noErr(t, err)
			same(t, "providers", got, append([]store.Provider{}, want...))
		}
		put := func(p store.Provider) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.PutProvider(t.Context(), p) })
		}
		list()
		full := store.Provider{
			Name: "corp", Issuer: corp, ClientID: "curfew", SealedSecret: "v1.x", Scopes: []string{"openid", "email"}, NameClaim: "email",
			GroupsClaim: "groups", GroupPermissions: map[string][]string{"admins": {store.AdministerSystem}, `"ö`: {store.UserEdit, store.AdministerSystem}},
			CreateUsers: true, AllowedEmailDomains: []string{"corp.example"}, AllowedGroups: []string{"staff, all"}, ACRValues: []string{"b", "a"},
			LinkByEmail: true, CreatedAt: 3, UpdatedAt: 4,
		}
		second := store.Provider{Name: "also", Issuer: corp} // several may have one issuer
		put(full)
		put(second)
		list(second, full)
		got, err := s.Provider(t.Context(), "corp")
		noErr(t, err)
		same(t, "provider", got, full)
		for _, name := range []string{"", "Corp", "corp ", "none"} {
			_, err := s.Provider(t.Context(), name)
			is(t, err, store.ErrNotFound)
		}
		changed := store.Provider{Name: "corp", Issuer: other, ClientID: "c2", SealedSecret: "v1.y", NameClaim: "sub", UpdatedAt: 9}
		put(changed)
		list(second, changed)
		remove := func() error {
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteProvider(t.Context(), "corp") })
		}
		noErr(t, remove())
		list(second)
		is(t, remove(), store.ErrNotFound)
	}},
	{"an identity belongs to one user, by the bytes of its subject", func(t *testing.T, open Open) {
		s := open(t)
		put := func(i store.Identity) error {
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.PutIdentity(t.Context(), i) })
		}
		ann := store.Identity{Issuer: corp, Subject: "Ann", UserID: "u1", Provider: "corp", LinkedAt: 5, LastSignInAt: 5}
		lower := store.Identity{Issuer: corp, Subject: "ann", UserID: "u2", Provider: "corp", LinkedAt: 6}
		elsewhere := store.Identity{Issuer: other, Subject: "Ann", UserID: "u1", Provider: "other", LinkedAt: 7}
		for _, i := range []store.Identity{ann, lower, elsewhere} {
			noErr(t, put(i))
		}
		for _, want := range []store.Identity{ann, lower, elsewhere} {
			got, err := s.Identity(t.Context(), want.Issuer, want.Subject)
			noErr(t, err)
			same(t, "identity", got, want)
		}
		for _, subject := range []string{"", "ANN", "Ann ", "Ann\x00", "\xff"} {
			_, err := s.Identity(t.Context(), corp, subject)
			is(t, err, store.ErrNotFound)
		}
		taken := ann
		taken.UserID, taken.LastSignInAt = "u9", 99
		is(t, put(taken), store.ErrConflict)
		// A sign-in raises the date and changes nothing else.
		for _, c := range []struct{ at, want int64 }{{4, 5}, {5, 5}, {6, 6}} {
			noErr(t, put(store.Identity{Issuer: corp, Subject: "Ann", UserID: "u1", Provider: "renamed", LinkedAt: 50, LastSignInAt: c.at}))
			want := ann
			want.LastSignInAt = c.want
			got, err := s.Identity(t.Context(), corp, "Ann")
			noErr(t, err)
			same(t, "after a sign-in", got, want)
		}
		ann.LastSignInAt = 6
		got, err := s.Identities(t.Context(), "u1")
		noErr(t, err)
		same(t, "of a user", got, []store.Identity{ann, elsewhere})
		// Texts that would be stored as others are refused: two subjects must not become one.
		for _, subject := range []string{"a\x00b", "\xff", strings.Repeat("s", 1025)} {
			is(t, put(store.Identity{Issuer: corp, Subject: subject, UserID: "u1"}), store.ErrConflict)
		}
		remove := func() error {
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteIdentity(t.Context(), corp, "Ann") })
		}
		noErr(t, remove())
		is(t, remove(), store.ErrNotFound)
		_, err = s.Identity(t.Context(), corp, "ann")
		noErr(t, err)
	}},
	{"two sign-ins at once link an identity to one user", func(t *testing.T, open Open) {
		s := open(t)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				errs[i] = s.Update(t.Context(), func(tx store.Tx) error {
					return tx.PutIdentity(t.Context(), store.Identity{Issuer: corp, Subject: "s", UserID: string(rune('a' + i)), LinkedAt: 1})
				})
			})
		}
		wg.Wait()
		linked := 0
		for _, err := range errs {
			if err == nil {
				linked++
			} else {
				is(t, err, store.ErrConflict)
			}
		}
		same(t, "linked", linked, 1)
	}},
	{"a deleted user has no identities", func(t *testing.T, open Open) {
		s := open(t)
		update(t, s, func(tx store.Tx) error {
			for _, id := range []string{"u1", "u2"} {
				noErr(t, tx.InsertUser(t.Context(), store.User{ID: id, Name: id, NameKey: id}))
				noErr(t, tx.PutIdentity(t.Context(), store.Identity{Issuer: corp, Subject: id, UserID: id}))
			}
			return tx.DeleteUser(t.Context(), "u1", 9)
		})
		_, err := s.Identity(t.Context(), corp, "u1")
		is(t, err, store.ErrNotFound)
		_, err = s.Identity(t.Context(), corp, "u2")
		noErr(t, err)
	}},
	{"administrators that a provider can sign in", func(t *testing.T, open Open) {
		s := open(t)
		count := func(want int64) {
			t.Helper()
			got, err := s.CountProviderAdministrators(t.Context())
			noErr(t, err)
			same(t, "administrators", got, want)
		}
		count(0)
		admin := store.User{ID: "a", Name: "a", NameKey: "a", Permissions: []string{store.AdministerSystem}}
		update(t, s, func(tx store.Tx) error {
			for _, u := range []store.User{
				admin,
				{ID: "b", Name: "b", NameKey: "b", Permissions: []string{store.AdministerSystem}, Disabled: true},
				{ID: "c", Name: "c", NameKey: "c", Permissions: []string{store.UserEdit}},
				{ID: "d", Name: "d", NameKey: "d", Permissions: []string{store.AdministerSystem}},
			} {
				noErr(t, tx.InsertUser(t.Context(), u))
			}
			for _, id := range []string{"a", "b", "c"} {
				noErr(t, tx.PutIdentity(t.Context(), store.Identity{Issuer: corp, Subject: id, UserID: id}))
			}
			return tx.PutProvider(t.Context(), store.Provider{Name: "other", Issuer: other})
		})
		count(0) // their provider is not there
		update(t, s, func(tx store.Tx) error {
			noErr(t, tx.PutIdentity(t.Context(), store.Identity{Issuer: corp, Subject: "a2", UserID: "a"}))
			noErr(t, tx.PutProvider(t.Context(), store.Provider{Name: "corp2", Issuer: corp}))
			return tx.PutProvider(t.Context(), store.Provider{Name: "corp", Issuer: corp})
		})
		count(1) // once, however many ways there are
		admin.Disabled = true
		update(t, s, func(tx store.Tx) error { return tx.UpdateUser(t.Context(), admin) })
		count(0)
	}},
	{"provider sessions are found by what a provider says", func(t *testing.T, open Open) {
		s := open(t)
		rows := []store.ProviderSession{
			{SessionID: "s1", Provider: "corp", Issuer: corp, Subject: "ann", SID: "p1", SealedIDToken: "sealed"},
			{SessionID: "s2", Provider: "corp", Issuer: corp, Subject: "ann", SID: "p2"},
			{SessionID: "s3", Provider: "corp2", Issuer: corp, Subject: "bob", SID: "p1"},
			{SessionID: "s4", Provider: "other", Issuer: other, Subject: "ann", SID: "p1"},
			{SessionID: "s5", Provider: "corp", Issuer: corp, Subject: "bob"},
		}
		update(t, s, func(tx store.Tx) error {
			for i, row := range rows {
				sess := store.Session{ID: row.SessionID, UserID: "u-" + row.Subject, ExpiresAt: int64(100 + i)}
				if row.SessionID == "s2" {
					sess.EndedAt = 7
				}
				noErr(t, tx.InsertSession(t.Context(), sess))
				noErr(t, tx.InsertProviderSession(t.Context(), row))
			}
			return nil
		})
		is(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertProviderSession(t.Context(), rows[0]) }), store.ErrConflict)
		got, err := s.ProviderSession(t.Context(), "s1")
		noErr(t, err)
		same(t, "one", got, rows[0])
		_, err = s.ProviderSession(t.Context(), "s9")
		is(t, err, store.ErrNotFound)
		for name, c := range map[string]struct {
			filter store.ProviderSessionFilter
			want   string
		}{
			"all":                      {store.ProviderSessionFilter{}, "s1 s2 s3 s4 s5"},
			"a provider":               {store.ProviderSessionFilter{Provider: "corp"}, "s1 s2 s5"},
			"a provider that is not":   {store.ProviderSessionFilter{Provider: "none"}, ""},
			"a sid":                    {store.ProviderSessionFilter{Issuer: corp, SID: "p1"}, "s1 s3"},
			"a sid of a subject":       {store.ProviderSessionFilter{Issuer: corp, SID: "p1", Subject: "ann"}, "s1"},
			"a subject":                {store.ProviderSessionFilter{Issuer: corp, Subject: "ann"}, "s1 s2"},
			"a user":                   {store.ProviderSessionFilter{User: "u-bob"}, "s3 s5"},
			"open":                     {store.ProviderSessionFilter{OpenAt: 1}, "s1 s3 s4 s5"},
			"open just before the end": {store.ProviderSessionFilter{Issuer: other, OpenAt: 102}, "s4"},
			"open at the end":          {store.ProviderSessionFilter{Issuer: other, OpenAt: 103}, "s4"},
			"open just after the end":  {store.ProviderSessionFilter{Issuer: other, OpenAt: 104}, ""},
			"open, of a user":          {store.ProviderSessionFilter{Issuer: corp, User: "u-ann", OpenAt: 1}, "s1"},
		} {
			found, err := s.ProviderSessions(t.Context(), c.filter)
			noErr(t, err)
			ids := []string{}
			for _, f := range found {
				ids = append(ids, f.SessionID)
			}
			same(t, name, strings.Join(ids, " "), c.want)
		}
	}},
	{"live sessions are counted by the provider that they began at", func(t *testing.T, open Open) {
		s := open(t)
		const now = int64(1_800_000_000_000_000)
		live := store.Live{Now: now, Settings: settings.InForce{Settings: settings.Default()}}
		for i, of := range []struct{ id, user, provider string }{
			{"a", "ann", "corp"}, {"b", "ann", "corp"}, {"c", "bob", "corp"}, {"d", "ann", "other"}, {"e", "bob", ""}, {"f", "ann", "corp"}, {"g", "ann", "corp"},
		} {
			update(t, s, func(tx store.Tx) error {
				row := store.Session{ID: of.id, UserID: of.user, BeganAt: now, LastSeenAt: now, ExpiresAt: now + 60_000_000, Epoch: 10}
				if i == 5 {
					row.EndedAt = now
				}
				noErr(t, tx.InsertSession(t.Context(), row))
				if of.provider == "" {
					return nil
				}
				return tx.InsertProviderSession(t.Context(), store.ProviderSession{SessionID: of.id, Provider: of.provider, Issuer: corp, Subject: of.user})
			})
		}
		update(t, s, func(tx store.Tx) error {
			return tx.PutRevocations(t.Context(), revocation.Revocation{Scope: revocation.Session("g"), Epoch: 11})
		})
		for provider, want := range map[string]store.Counts{"corp": {Sessions: 3, Users: 2}, "other": {Sessions: 1, Users: 1}, "none": {}, "": {}} {
			got, err := s.CountLiveThrough(t.Context(), live, provider, store.Holders{})
			noErr(t, err)
			same(t, "through "+provider, got, want)
		}
		for name, of := range map[string]struct {
			issuer string
			held   []string
		}{"ann": {corp, []string{store.AdministerSystem, store.UserEdit}}, "bob": {corp, nil}, "cat": {corp, []string{store.UserEdit}}, "dan": {other, []string{store.AdministerSystem}}} {
			update(t, s, func(tx store.Tx) error {
				noErr(t, tx.InsertUser(t.Context(), store.User{ID: name, Name: name, NameKey: name, Permissions: of.held}))
				noErr(t, tx.PutIdentity(t.Context(), store.Identity{Issuer: of.issuer, Subject: name + " again", UserID: name}))
				return tx.PutIdentity(t.Context(), store.Identity{Issuer: of.issuer, Subject: name, UserID: name})
			})
		}
		for what, c := range map[string]struct {
			h    store.Holders
			want string
			also store.Counts // through "other"
		}{
			"none":             {store.Holders{}, "", store.Counts{Sessions: 1, Users: 1}},
			"no permission":    {store.Holders{Issuer: corp}, "", store.Counts{Sessions: 1, Users: 1}},
			"administrators":   {store.Holders{Issuer: corp, Permissions: []string{store.AdministerSystem}}, "ann", store.Counts{Sessions: 3, Users: 1}},
			"either":           {store.Holders{Issuer: corp, Permissions: store.Permissions()}, "ann cat", store.Counts{Sessions: 3, Users: 1}},
			"at the other":     {store.Holders{Issuer: other, Permissions: store.Permissions()}, "dan", store.Counts{Sessions: 1, Users: 1}},
			"another spelling": {store.Holders{Issuer: corp, Permissions: []string{"administersystem"}}, "", store.Counts{Sessions: 1, Users: 1}},
		} {
			users, err := s.Holders(t.Context(), c.h)
			noErr(t, err)
			names := []string{}
			for _, u := range users {
				names = append(names, u.ID)
			}
			same(t, what, strings.Join(names, " "), c.want)
			got, err := s.CountLiveThrough(t.Context(), live, "other", c.h)
			noErr(t, err)
			same(t, what+": sessions", got, c.also)
		}
	}},
	{"the end of a provider session stays known", func(t *testing.T, open Open) {
		s := open(t)
		end := func(sid, subject string, epoch revocation.Epoch) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.EndProviderSession(t.Context(), corp, sid, subject, epoch) })
		}
		end("p1", "ann", 100) // ends that one session, not all of ann's
		end("p9", "", 100)
		end("", "bob", 100)
		end("", "bob", 90) // never lowers
		for name, c := range map[string]struct {
			issuer, sid, subject string
			after                revocation.Epoch
			want                 bool
		}{
			"the session":                     {corp, "p1", "ann", 0, true},
			"the session, at any time":        {corp, "p1", "ann", 500, true},
			"another session of the subject":  {corp, "p2", "ann", 0, false},
			"the session at another provider": {other, "p1", "ann", 0, false},
			"no sid, before":                  {corp, "", "ann", 99, true},
			"no sid, at":                      {corp, "", "ann", 100, false},
			"no sid, after":                   {corp, "", "ann", 101, false},
			"no sid, a session of no subject": {corp, "", "cat", 0, false},
			"the subject, before":             {corp, "p3", "bob", 99, true},
			"the subject, at":                 {corp, "p3", "bob", 100, false},
			"the subject, after":              {corp, "p3", "bob", 101, false},
			"the subject, no sid":             {corp, "", "bob", 99, true},
			"the subject in capitals":         {corp, "", "BOB", 99, false},
			"no subject":                      {corp, "", "", 0, false},
		} {
			got, err := s.ProviderSessionEnded(t.Context(), c.issuer, c.sid, c.subject, c.after)
			noErr(t, err)
			same(t, name, got, c.want)
		}
	}},
	{"a logout token counts once", func(t *testing.T, open Open) {
		s := open(t)
		record := func(issuer, jti string) error {
			return s.Update(t.Context(), func(tx store.Tx) error { return tx.RecordLogoutToken(t.Context(), issuer, jti, 5) })
		}
		for _, jti := range []string{"j", "J", longText, longText + "1"} {
			noErr(t, record(corp, jti))
			is(t, record(corp, jti), store.ErrConflict)
			noErr(t, record(other, jti))
		}
		// What a transaction that fails has recorded does not count.
		is(t, s.Update(t.Context(), func(tx store.Tx) error {
			noErr(t, tx.RecordLogoutToken(t.Context(), corp, "again", 5))
			return store.ErrNotFound
		}), store.ErrNotFound)
		noErr(t, record(corp, "again"))
	}},
	{"sign-in methods are one row", func(t *testing.T, open Open) {
		s := open(t)
		for _, want := range []bool{true, false, true} {
			if !want {
				update(t, s, func(tx store.Tx) error { return tx.PutSignInMethods(t.Context(), store.SignInMethods{}) })
			}
			got, err := s.SignInMethods(t.Context())
			noErr(t, err)
			same(t, "methods", got, store.SignInMethods{Passwords: want})
			update(t, s, func(tx store.Tx) error { return tx.PutSignInMethods(t.Context(), store.SignInMethods{Passwords: true}) })
		}
	}},
	{"prune: provider sessions with their sessions, logouts after an hour", func(t *testing.T, open Open) {
		s := open(t)
		edge := noon.Add(-time.Hour).UnixMicro()
		update(t, s, func(tx store.Tx) error {
			noErr(t, tx.InsertSession(t.Context(), store.Session{ID: "over", ExpiresAt: 999}))
			noErr(t, tx.InsertSession(t.Context(), store.Session{ID: "lives", ExpiresAt: 1000}))
			for _, id := range []string{"over", "lives"} {
				noErr(t, tx.InsertProviderSession(t.Context(), store.ProviderSession{SessionID: id, Issuer: corp, Subject: "s"}))
			}
			for i, sid := range []string{"before", "at", "after"} {
				noErr(t, tx.EndProviderSession(t.Context(), corp, sid, "", revocation.Epoch(edge-1+int64(i))))
				noErr(t, tx.RecordLogoutToken(t.Context(), corp, sid, edge-1+int64(i)))
			}
			return nil
		})
		prune(t, s, noon, 0, 1000, 0)
		left, err := s.ProviderSessions(t.Context(), store.ProviderSessionFilter{})
		noErr(t, err)
		same(t, "left", left, []store.ProviderSession{{SessionID: "lives", Issuer: corp, Subject: "s"}})
		for sid, kept := range map[string]bool{"before": false, "at": true, "after": true} {
			ended, err := s.ProviderSessionEnded(t.Context(), corp, sid, "", 0)
			noErr(t, err)
			same(t, sid, ended, kept)
			err = s.Update(t.Context(), func(tx store.Tx) error { return tx.RecordLogoutToken(t.Context(), corp, sid, 0) })
			same(t, sid+" is remembered", err != nil, kept)
		}
	}},
}
