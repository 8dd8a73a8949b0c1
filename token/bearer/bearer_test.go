package bearer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// stub is a validator for which a token is good if it is in the map.
type stub map[string]error

func (v stub) Validate(_ context.Context, raw string) (*token.Session, error) {
	err, known := v[raw]
	if !known {
		return nil, errors.New("the test did not expect this token")
	}
	if err != nil {
		return nil, err
	}
	return &token.Session{Subject: "subject of " + raw}, nil
}

var _ bearer.Validator = (*token.Validator)(nil)

func TestFromRequest(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers []string
		want    string
		err     error
	}{
		{"good", []string{"Bearer a.b.c"}, "a.b.c", nil},
		{"small letters", []string{"bearer a.b.c"}, "a.b.c", nil},
		{"capitals", []string{"BEARER a.b.c"}, "a.b.c", nil},
		{"two spaces", []string{"Bearer  a.b.c"}, "a.b.c", nil},
		{"many spaces", []string{"bearer" + strings.Repeat(" ", 100) + "a.b.c"}, "a.b.c", nil},
		{"no header", nil, "", token.ErrMissing},
		{"empty header", []string{""}, "", token.ErrMissing},
		{"another scheme", []string{"Basic YTpi"}, "", token.ErrMissing},
		{"another scheme of six letters", []string{"Digest a.b.c"}, "", token.ErrMissing},
		{"a longer scheme", []string{"Bearers a.b.c"}, "", token.ErrMissing},
		{"a scheme with a dash", []string{"Bearer-Token a.b.c"}, "", token.ErrMissing},
		{"the token alone", []string{"a.b.c"}, "", token.ErrMissing},
		{"half the scheme", []string{"Bear"}, "", token.ErrMissing},
		{"the scheme alone", []string{"Bearer"}, "", token.ErrMalformed},
		{"the scheme and a space", []string{"Bearer "}, "", token.ErrMalformed},
		{"the scheme and spaces", []string{"Bearer    "}, "", token.ErrMalformed},
		{"spaces in front", []string{"  Bearer a.b.c"}, "", token.ErrMissing},
		{"two spaces in the token", []string{"Bearer  a.b.c  d.e.f"}, "", token.ErrMalformed},
		{"spaces and a tab", []string{"Bearer  \ta.b.c"}, "", token.ErrMalformed},
		{"a tab", []string{"Bearer\ta.b.c"}, "", token.ErrMalformed},
		{"a space and a tab", []string{"Bearer \ta.b.c"}, "", token.ErrMalformed},
		{"a space behind", []string{"Bearer a.b.c "}, "", token.ErrMalformed},
		{"two tokens", []string{"Bearer a.b.c d.e.f"}, "", token.ErrMalformed},
		{"two schemes in one header", []string{"Bearer a.b.c, Basic YTpi"}, "", token.ErrMalformed},
		{"two headers", []string{"Bearer a.b.c", "Bearer a.b.c"}, "", token.ErrMalformed},
		{"another scheme first", []string{"Basic YTpi", "Bearer a.b.c"}, "", token.ErrMalformed},
		{"a colon", []string{"Bearer: a.b.c"}, "", token.ErrMalformed},
		{"a colon for the space", []string{"Bearer:a.b.c"}, "", token.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?access_token=q.q.q", nil)
			for _, h := range test.headers {
				r.Header.Add("Authorization", h)
			}
			got, err := bearer.FromRequest(r)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("FromRequest = %q, %v; want %q, %v", got, err, test.want, test.err)
			}
		})
	}
}

// answer sends a request with the Authorization header given through h.
func answer(h http.Handler, authorization string) *http.Response {
	r := httptest.NewRequest("GET", "/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// who answers with the subject of the session, or a fixed word without a session.
var who = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	subject := "nobody"
	if s := bearer.Session(r.Context()); s != nil {
		subject = s.Subject
	}
	w.Header().Set("Who", subject)
})

func TestRequireAndOptional(t *testing.T) {
	v := stub{"good": nil, "revoked": fmt.Errorf("%w: by another user", token.ErrRevoked), "store": errors.New("the store is gone")}
	for _, test := range []struct {
		authorization string
		require       int
		optional      int
		who           string
	}{
		{"Bearer good", 200, 200, "subject of good"},
		{"", 401, 200, "nobody"},
		{"Basic YTpi", 401, 200, "nobody"},
		{"Bearer revoked", 401, 401, ""},
		{"Bearer", 401, 401, ""},
		{"Bearer store", 503, 503, ""},
	} {
		t.Run(test.authorization, func(t *testing.T) {
			for name, row := range map[string]struct {
				h    http.Handler
				want int
			}{
				"Require":  {bearer.Require(v)(who), test.require},
				"Optional": {bearer.Optional(v)(who), test.optional},
			} {
				got := answer(row.h, test.authorization)
				if got.StatusCode != row.want {
					t.Errorf("%s: status %d, want %d", name, got.StatusCode, row.want)
				}
				want := ""
				if row.want == 200 {
					want = test.who
				}
				if got.Header.Get("Who") != want {
					t.Errorf("%s: the handler saw %q, want %q", name, got.Header.Get("Who"), want)
				}
			}
		})
	}
}

func TestMiddlewareConfigured(t *testing.T) {
	var seen error
	m := bearer.Middleware{
		Validator: stub{"from the cookie": nil},
		Realm:     `the "inner" court`,
		Extract: func(r *http.Request) (string, error) {
			return r.Header.Get("Cookie"), nil
		},
	}
	if got := answer(m.Wrap(who), "Bearer good"); got.StatusCode != 401 ||
		got.Header.Get("WWW-Authenticate") != `Bearer realm="the \"inner\" court"` {
		t.Errorf("with nothing extracted: %d, %q; want a bare challenge", got.StatusCode, got.Header.Get("WWW-Authenticate"))
	}
	m.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		seen = err
		w.WriteHeader(418)
	}
	if got := answer(m.Wrap(who), ""); got.StatusCode != 418 || !errors.Is(seen, token.ErrMissing) {
		t.Errorf("own error handler: %d, %v; want 418 and %v", got.StatusCode, seen, token.ErrMissing)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", "from the cookie")
	w := httptest.NewRecorder()
	m.Wrap(who).ServeHTTP(w, r)
	if w.Header().Get("Who") != "subject of from the cookie" {
		t.Errorf("own extractor: %d, the handler saw %q", w.Code, w.Header().Get("Who"))
	}
}

func TestForgottenValidatorPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Wrap without a validator did not panic")
		}
	}()
	bearer.Middleware{}.Wrap(who)
}

func TestSessionOfAnEmptyContext(t *testing.T) {
	if s := bearer.Session(t.Context()); s != nil {
		t.Errorf("Session = %v, want nil", s)
	}
	want := &token.Session{}
	if s := bearer.Session(bearer.WithSession(t.Context(), want)); s != want {
		t.Errorf("Session = %p, want %p", s, want)
	}
}

func TestEveryReasonHasAnAnswer(t *testing.T) {
	described := map[string]token.Reason{}
	for _, reason := range token.Reasons() {
		t.Run(string(reason), func(t *testing.T) {
			sentence := bearer.Describe(reason)
			if other, twice := described[sentence]; twice {
				t.Errorf("described like %s: %q", other, sentence)
			}
			described[sentence] = reason
			if strings.ContainsAny(sentence, "\"\\") {
				t.Errorf("%q cannot stand in error_description", sentence)
			}

			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "7")
			secret := "eyJhbGciOi.c2VjcmV0.c2ln"
			bearer.WriteError(w, "", fmt.Errorf("%w: about %s", reason, secret))
			got := w.Result()
			body := w.Body.String()
			if strings.Contains(body+fmt.Sprint(got.Header), secret) {
				t.Errorf("the text of the error went out: %s", body)
			}
			var p struct {
				Type, Title, Detail, Code string
				Status                    int
			}
			if err := json.Unmarshal([]byte(body), &p); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			status, challenge, retry := 401, `Bearer realm="curfew", error="invalid_token", error_description="`+sentence+`"`, ""
			switch reason {
			case token.ErrMissing:
				challenge = `Bearer realm="curfew"`
			case token.ErrUnavailable:
				status, challenge, retry = 503, "", "1"
			}
			if got.StatusCode != status || p.Status != status || bearer.Status(reason) != status {
				t.Errorf("status %d, in the body %d, want %d", got.StatusCode, p.Status, status)
			}
			if p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail != sentence || p.Code != string(reason) {
				t.Errorf("problem %+v", p)
			}
			for name, want := range map[string]string{
				"WWW-Authenticate": challenge,
				"Retry-After":      retry,
				"Content-Type":     "application/problem+json",
				"Cache-Control":    "no-store",
				"Content-Length":   "",
			} {
				if v := got.Header.Get(name); v != want {
					t.Errorf("%s: %q, want %q", name, v, want)
				}
			}
		})
	}
}

// An error without a reason proves nothing about the token: 503, never 401.
func TestErrorsWithoutAReason(t *testing.T) {
	for _, err := range []error{errors.New("some failure"), token.Reason("made up"), nil} {
		w := httptest.NewRecorder()
		bearer.WriteError(w, "", err)
		if w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"unavailable"`) {
			t.Errorf("%v: %d %s; want 503 unavailable", err, w.Code, w.Body)
		}
	}
	if got := bearer.Status("made up"); got != 503 {
		t.Errorf("Status of a word that is no reason = %d, want 503", got)
	}
}

// A realm cannot break out of its quotes nor add a header line.
func TestChallengeQuotesTheRealm(t *testing.T) {
	got := bearer.Challenge("a\"b\\c\r\nSet-Cookie: é", token.ErrMissing)
	if want := `Bearer realm="a\"b\\cSet-Cookie: "`; got != want {
		t.Errorf("Challenge = %q, want %q", got, want)
	}
}
