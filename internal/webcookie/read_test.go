package webcookie

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/token"
)

// decide is a validator for which a token says in its first part what becomes of it,
// in its second whose session it is, and in its third when it was refreshed.
func decide(_ context.Context, raw string) (*token.Session, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, token.ErrMalformed
	}
	switch parts[0] {
	case "good":
		return &token.Session{ID: parts[1], LastRefresh: token.UnixTime(len(parts[2]))}, nil
	case "foreign":
		return nil, token.ErrUnknownKey
	case "forged":
		return nil, token.ErrBadSignature
	case "other":
		return nil, token.ErrWrongIssuer
	case "revoked":
		return nil, token.ErrRevoked
	case "down":
		return nil, token.ErrUnavailable
	}
	return nil, token.ErrMalformed
}

func TestRead(t *testing.T) {
	const name = "__Host-curfew_session="
	several := func(values ...string) []string { return []string{name + strings.Join(values, "; "+name)} }
	two := errors.New("two sessions")
	for _, tt := range []struct {
		name    string
		jar     Jar
		cookies []string
		want    string
		err     error
	}{
		{"none", Jar{}, nil, "", token.ErrMissing},
		{"others", Jar{}, []string{"a=b; curfew_session=x"}, "", token.ErrMissing},
		{"the one", Jar{}, []string{"a=b; __Host-curfew_session=x.y.z; c=d"}, "x.y.z", nil},
		{"in one of three pieces", Jar{}, []string{"a=b", "__Host-curfew_session=x.y.z", "c=d"}, "x.y.z", nil},
		{"no space between", Jar{}, []string{"a=b;__Host-curfew_session=x.y.z;c=d"}, "x.y.z", nil},
		{"letter case", Jar{}, []string{"__host-curfew_session=x.y.z"}, "", token.ErrMissing},
		{"that of several hosts is not that of one", Jar{}, []string{"__Secure-curfew_session=x.y.z"}, "", token.ErrMissing},
		{"that of one host is not that of several", Jar{Domain: "example.com"}, []string{"__Host-curfew_session=x.y.z"}, "", token.ErrMissing},
		{"a name of its own", Jar{CookieName: "corp"}, []string{"__Host-curfew_session=a.b.c; corp=x.y.z"}, "x.y.z", nil},
		{"cleared", Jar{}, []string{"__Host-curfew_session="}, "", token.ErrMissing},
		{"in quotes", Jar{}, []string{`__Host-curfew_session="x.y.z"`}, "", token.ErrMalformed},
		{"one that is no token", Jar{}, []string{"__Host-curfew_session=a b!"}, "a b!", nil},

		{"one good, one foreign", Jar{}, several("good.a.", "foreign.b."), "good.a.", nil},
		{"one foreign, one good", Jar{}, several("foreign.b.", "good.a."), "good.a.", nil},
		{"one good among many", Jar{}, several("forged.b.", "other.b.", "x", `"good.c."`, "", "good.a.", "revoked.b."), "good.a.", nil},
		{"in two headers", Jar{}, []string{name + "foreign.b.", name + "good.a."}, "good.a.", nil},
		{"twice the same", Jar{}, several("good.a.", "good.a."), "good.a.", nil},
		{"the newer of a session", Jar{}, several("good.a.1", "good.a.333", "good.a.22"), "good.a.333", nil},
		{"the newer of a session comes first", Jar{}, several("good.a.333", "good.a.1"), "good.a.333", nil},
		{"two sessions", Jar{}, several("good.a.", "good.b."), "", two},
		{"two sessions and others", Jar{}, several("x", "good.a.", "revoked.c.", "good.b."), "", two},
		{"over", Jar{}, several("foreign.a.", "revoked.a.", "forged.a."), "", token.ErrRevoked},
		{"none is ours", Jar{}, several("x", "foreign.a."), "", token.ErrUnknownKey},
		{"none has a value", Jar{}, several("", ""), "", token.ErrMissing},
		{"unknown", Jar{}, several("good.a.", "down.b."), "", token.ErrUnavailable},
		{"as many as there may be", Jar{}, several(slices.Repeat([]string{"good.a."}, maxValues)...), "good.a.", nil},
		{"too many", Jar{}, several(slices.Repeat([]string{"good.a."}, maxValues+1)...), "", token.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Cookie": tt.cookies}}
			got, err := tt.jar.Read(t.Context(), r, decide)
			twoSessions := (*TwoSessions)(nil)
			if isTwo := errors.As(err, &twoSessions); isTwo != (tt.err == two) {
				t.Errorf("Read = %q, %v; want %v", got, err, tt.err)
			} else if isTwo {
				if !errors.Is(err, token.ErrMalformed) || !strings.Contains(twoSessions.Detail(), tt.jar.Name()) {
					t.Errorf("%v: %s", err, twoSessions.Detail())
				}
				return
			}
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Read = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	r := &http.Request{Header: http.Header{"Cookie": {"x=good.a.; x=good.a.22; x=foreign.z.; x=good.b.; x=revoked.c."}}}
	got, err := Jar{CookieName: "x"}.Sessions(t.Context(), r, decide)
	if err != nil || len(got) != 2 || got[0].ID != "a" || got[0].LastRefresh != 2 || got[1].ID != "b" {
		t.Errorf("Sessions = %v, %v", got, err)
	}
	r = &http.Request{Header: http.Header{"Cookie": {"x=good.a.; x=down.b."}}}
	if _, err := (Jar{CookieName: "x"}).Sessions(t.Context(), r, decide); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("error %v, want %v", err, token.ErrUnavailable)
	}
	if got, err := (Jar{}).Sessions(t.Context(), r, decide); err != nil || len(got) != 0 {
		t.Errorf("Sessions = %v, %v; want none", got, err)
	}
}

// Of tokens, Single finds what net/http finds, and nothing else.
func FuzzSingle(f *testing.F) {
	for _, line := range []string{
		"x=a.b.c", "a=b; x=a.b.c", "x=a.b.c; x=d", "x", "x=", " x = a ", "x=\"a\"", "x=a b", "x=a=b", "xx=a; x=b", "x;=a", "\tx=a\t;", "x=a\x00", "=x", ";;x=a;;",
		"x=a\r", "x\n=a", "x=a,b", "x=\xff", "\u00a0x=a",
	} {
		f.Add(line, "")
		f.Add(line, "y=z; x=a")
	}
	f.Fuzz(func(t *testing.T, line, other string) {
		r := &http.Request{Header: http.Header{"Cookie": {line, other}}}
		raw, ok := Jar{CookieName: "x"}.Single(r)
		found := r.CookiesNamed("x")
		if ok && isToken(raw) && (len(found) != 1 || found[0].Value != raw || found[0].Quoted) {
			t.Errorf("%q, %q: Single = %q, net/http finds %v", line, other, raw, found)
		}
		if !ok && len(found) == 1 && isToken(found[0].Value) && !found[0].Quoted && strings.Count(line+other, "x") == 1 {
			t.Errorf("%q, %q: Single finds nothing, net/http %v", line, other, found)
		}
	})
}

func TestSingleAllocatesNothing(t *testing.T) {
	r := &http.Request{Header: http.Header{"Cookie": {fmt.Sprint("a=b; ", Jar{}.Name(), "=x.y.z; c=d")}}}
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := (Jar{}).Single(r); !ok {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Both ways to read the cookie find nothing among more cookies than net/http reads.
func TestSingleAmongMany(t *testing.T) {
	for _, n := range []int{maxCookies - 1, maxCookies, maxCookies + 1} {
		r := &http.Request{Header: http.Header{"Cookie": {"x=y.z.w" + strings.Repeat(";a=b", n-1)}}}
		_, ok := Jar{CookieName: "x"}.Single(r)
		if found := len(r.CookiesNamed("x")) == 1; ok != found || ok != (n <= maxCookies) {
			t.Errorf("%d cookies: Single finds the one: %v, net/http: %v", n, ok, found)
		}
	}
}
