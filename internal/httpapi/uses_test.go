package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

const oneUse = `{"uses":[{"session":"AAAAAAAAAAAAAAAAAAAAAA","age_seconds":0}]}`

// takeAll returns the uses in a set, and leaves it empty.
func takeAll(set *uses.Set) map[string]time.Time {
	all := map[string]time.Time{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	set.Run(ctx, uses.Sender{
		Batch: 100, Every: time.Hour, Timeout: time.Hour, Again: func(error) bool { return false },
		Send: func(_ context.Context, batch []uses.Use) error {
			for _, u := range batch {
				all[u.Session] = u.At
			}
			return nil
		},
	})
	return all
}

// manyUses is a report of n sessions.
func manyUses(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"session":%q,"age_seconds":%d}`, token.NewSessionID(), i)
	}
	return `{"uses":[` + strings.Join(all, ",") + `]}`
}

func usesOf(list string) string { return `{"uses":[` + list + `]}` }

func useOf(age string) string {
	return usesOf(`{"session":"AAAAAAAAAAAAAAAAAAAAAA","age_seconds":` + age + `}`)
}

func TestReportUses(t *testing.T) {
	set := uses.NewSet()
	s := start(t, func(c *Config, _ *setup) { c.Uses = set })
	me := s.service("app", store.Follow)
	one, two := token.NewSessionID(), token.NewSessionID()
	before := time.Now()
	s.do("POST", "/v1/uses", usesOf(fmt.Sprintf(`{"session":%q,"age_seconds":0},{"age_seconds":7,"session":%q},{"session":%q,"age_seconds":86400}`, one, two, one)), me).must(204, nil)
	got := takeAll(set)
	if len(got) != 2 {
		t.Fatalf("%v is noted, want two sessions", got)
	}
	for session, age := range map[string]time.Duration{one: 0, two: 7 * time.Second} {
		if at := got[session].Add(age); at.Before(before) || at.After(time.Now()) {
			t.Errorf("used at %v, want %v before the report", got[session], age)
		}
	}
	for _, n := range []int{0, 1, uses.MaxReport - 1, uses.MaxReport} {
		s.do("POST", "/v1/uses", manyUses(n), me).must(204, nil)
		if got := takeAll(set); len(got) != n {
			t.Errorf("%d are noted of %d", len(got), n)
		}
	}
}

// A report that is wrong in one place is refused as a whole.
func TestHostileReports(t *testing.T) {
	set := uses.NewSet()
	s := start(t, func(c *Config, _ *setup) { c.Uses = set })
	me := s.service("app", store.Follow)
	good := `{"session":"AAAAAAAAAAAAAAAAAAAAAA","age_seconds":1}`
	for what, body := range map[string]string{
		"no member":               `{}`,
		"null":                    `{"uses":null}`,
		"an object for the array": `{"uses":` + good + `}`,
		"an unknown member":       `{"uses":[],"at":1}`,
		"twice":                   `{"uses":[],"uses":[]}`,
		"trailing data":           `{"uses":[]} {}`,
		"1001 uses":               manyUses(uses.MaxReport + 1),
		"null for a use":          usesOf(good + `,null`),
		"an instant":              usesOf(`{"session":"AAAAAAAAAAAAAAAAAAAAAA","at":1}`),
		"no age":                  usesOf(good + `,{"session":"AAAAAAAAAAAAAAAAAAAAAA"}`),
		"null for the age":        useOf(`null`),
		"in the future":           useOf(`-1`),
		"minus nothing":           useOf(`-9223372036854775808`),
		"a second too old":        useOf(`86401`),
		"older than time":         useOf(`9223372036854775807`),
		"more than 64 bits":       useOf(`9223372036854775808`),
		"a huge number":           useOf(`1e308`),
		"an exponent":             useOf(`1e1`),
		"a fraction":              useOf(`1.5`),
		"a string":                useOf(`"1"`),
		"two ages":                usesOf(`{"session":"AAAAAAAAAAAAAAAAAAAAAA","age_seconds":1,"age_seconds":2}`),
		"no session":              usesOf(good + `,{"age_seconds":1}`),
		"an empty id":             usesOf(good + `,{"session":"","age_seconds":1}`),
		"an id that is too short": usesOf(good + `,{"session":"AAAAAAAAAAAAAAAAAAAAA","age_seconds":1}`),
		"an id that is too long":  usesOf(good + `,{"session":"AAAAAAAAAAAAAAAAAAAAAAA","age_seconds":1}`),
		"an id of 132 bits":       usesOf(good + `,{"session":"AAAAAAAAAAAAAAAAAAAAAB","age_seconds":1}`),
		"NUL in an id":            usesOf(good + `,{"session":"AAAAAAAAAAA\u0000AAAAAAAAAA","age_seconds":1}`),
		"SQL in an id":            usesOf(good + `,{"session":"' OR 1=1 -- AAAAAAAAAA","age_seconds":1}`),
	} {
		s.doWith(plainClient, "POST", "/v1/uses", body, me).problem(400, "invalid_request")
		if got := takeAll(set); len(got) > 0 {
			t.Errorf("%s: %v is noted", what, got)
		}
	}
	s.doWith(plainClient, "POST", "/v1/uses", usesOf(strings.Repeat(" ", 256<<10)), me).problem(413, "too_large")
	s.doWith(plainClient, "POST", "/v1/uses?session=x", oneUse, me).problem(400, "invalid_request")
	s.doWith(plainClient, "POST", "/v1/uses", oneUse, bearerToken(s.token(s.admin))).must(401, nil)
	other := s.service("all but one", store.Introspect, store.Issue, store.Revoke)
	s.do("POST", "/v1/uses", oneUse, other).problem(403, "forbidden")
	if got := takeAll(set); len(got) > 0 {
		t.Errorf("%v is noted", got)
	}
	s.do("POST", "/v1/uses", oneUse, me).must(204, nil)
	if got := takeAll(set); len(got) != 1 {
		t.Errorf("%v is noted after a good report", got)
	}
}

// A client that reports more than it may takes no room from another.
func TestReportsAreBounded(t *testing.T) {
	set := uses.NewSet()
	s := start(t, func(c *Config, _ *setup) { c.Uses = set })
	loud, quiet := s.service("loud", store.Follow), s.service("quiet", store.Follow)
	for range 18 {
		s.do("POST", "/v1/uses", manyUses(uses.MaxReport), loud).must(204, nil)
	}
	s.do("POST", "/v1/uses", oneUse, quiet).must(204, nil)
	if _, dropped := set.Counts(); dropped != 18_000-16<<10 {
		t.Errorf("%d dropped", dropped)
	}
	if got := takeAll(set); len(got) != 16<<10+1 || got["AAAAAAAAAAAAAAAAAAAAAA"].IsZero() {
		t.Errorf("%d are noted, of the quiet client at %v", len(got), got["AAAAAAAAAAAAAAAAAAAAAA"])
	}
}

// The list of sessions has when each was last used, null if that is not known.
func TestLastUsedAt(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := start(t, engine(t)...)
			ann := s.user("ann")
			raw := s.token(ann)
			sid := claims(t, raw).ID
			list := func() wire.LiveSession {
				t.Helper()
				var list wire.LiveSessions
				s.do("GET", "/v1/users/me/sessions", nil, bearerToken(raw)).must(200, &list)
				for _, one := range list.Sessions {
					if one.ID == sid {
						return one
					}
				}
				t.Fatalf("%s is not in %+v", sid, list)
				return wire.LiveSession{}
			}
			if got := list(); got.LastUsedAt != nil || !got.LastSeenAt.Equal(got.BeganAt) {
				t.Errorf("after the sign-in: %+v", got)
			}
			used := time.Now().Add(time.Second).UTC().Truncate(time.Microsecond)
			record := func(at time.Time) {
				t.Helper()
				err := s.store.RecordUses(t.Context(), []store.Use{{Session: sid, At: at.UnixMicro(), Since: at.Add(-uses.Interval).UnixMicro()}})
				if err != nil {
					t.Fatal(err)
				}
			}
			record(used)
			if got := list(); got.LastUsedAt == nil || !got.LastUsedAt.Equal(used) || !got.LastSeenAt.Equal(got.BeganAt) {
				t.Errorf("after a use at %v: %+v", used, got)
			}
			record(used.Add(-time.Hour))
			record(used.Add(uses.Interval))
			if got := list(); !got.LastUsedAt.Equal(used) {
				t.Errorf("an earlier use, and one in the interval, are recorded: %+v", got)
			}
			record(used.Add(uses.Interval + time.Microsecond))
			if got := list(); !got.LastUsedAt.Equal(used.Add(uses.Interval + time.Microsecond)) {
				t.Errorf("the next use is not recorded: %+v", got)
			}
			// An ended session is not there, whatever is reported of it.
			s.do("DELETE", "/v1/session", nil, bearerToken(raw)).must(204, nil)
			record(used.Add(time.Hour))
			s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
			row, err := s.store.Session(t.Context(), sid)
			if err != nil || row.LastUsedAt != used.Add(uses.Interval+time.Microsecond).UnixMicro() || row.EndedAt == 0 {
				t.Errorf("%+v, %v", row, err)
			}
		})
	}
}
