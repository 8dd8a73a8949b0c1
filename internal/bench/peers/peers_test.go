package peers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store/pgtest"
)

// Nothing is timed before this has passed: an adapter that accepts what it should
// refuse, or reads nothing, would be fast.

func kit(t *testing.T) (*Kit, Samples) {
	t.Helper()
	k, err := NewKit()
	must(t, err)
	samples, err := k.Samples()
	must(t, err)
	return k, samples
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParsersAgree(t *testing.T) {
	k, samples := kit(t)
	curfew, err := NewCurfew(k, 0, nil)
	must(t, err)
	jwx, err := NewJWX(k)
	must(t, err)
	auth0, err := NewAuth0(k)
	must(t, err)
	for _, p := range []Parser{curfew, NewGolangJWT(k), NewGoJose(k), jwx, auth0} {
		t.Run(p.Name(), func(t *testing.T) {
			for range 2 { // Curfew remembers the second time
				got, err := p.Parse(samples.Good)
				must(t, err)
				if got != samples.Claims {
					t.Errorf("read\n%+v, want\n%+v", got, samples.Claims)
				}
				for what, raw := range map[string]string{
					"a flipped signature": samples.Flipped, "an expired token": samples.Expired, "a foreign audience": samples.WrongAudience,
				} {
					if c, err := p.Parse(raw); err == nil {
						t.Errorf("accepts %s: %+v", what, c)
					}
				}
			}
		})
	}
}

func TestGuardsAgree(t *testing.T) {
	k, samples := kit(t)
	curfew, err := NewCurfew(k, 0, nil)
	must(t, err)
	auth0, err := NewAuth0(k)
	must(t, err)
	for _, g := range []Guard{curfew, NewGolangJWT(k), auth0} {
		t.Run(g.Name(), func(t *testing.T) {
			tryGuard(t, g, "Authorization", samples.Claims.Subject,
				"Bearer "+samples.Good, "Bearer "+samples.Flipped, "Bearer "+samples.Expired, "Bearer "+samples.WrongAudience)
		})
	}
}

func TestSCSAgrees(t *testing.T) {
	lite, err := NewSCSWithSQLite(filepath.Join(t.TempDir(), "scs.db"), "here")
	must(t, err)
	pg, err := NewSCSWithPostgres(pgtest.DSN(t), "here")
	must(t, err)
	for _, s := range []*SCS{lite, pg} {
		t.Run(s.Name(), func(t *testing.T) {
			defer func() { must(t, s.Close()) }()
			signIn := func(audience string, left time.Duration) string {
				cookie, err := s.SignIn("ann", audience, time.Now().Add(left))
				must(t, err)
				return s.Cookie(cookie)
			}
			good := signIn("here", time.Hour)
			flipped := good[:len(good)-1] + string(good[len(good)-1]^1)
			tryGuard(t, s, "Cookie", "ann", good, flipped, signIn("here", -time.Second), signIn("elsewhere", time.Hour))
			var left float64
			query := "SELECT extract(epoch FROM expiry - now()) FROM sessions WHERE token = $1"
			if strings.Contains(s.Name(), "SQLite") {
				query = "SELECT (expiry - julianday('now')) * 86400 FROM sessions WHERE token = $1"
			}
			_, token, _ := strings.Cut(good, "=")
			must(t, s.database.QueryRow(query, token).Scan(&left))
			if left > 1201 || left < 1100 {
				t.Errorf("a request leaves %.1f s, want 1200: the idle timeout is not kept", left)
			}
		})
	}
}

func tryGuard(t *testing.T, g Guard, header, subject, good, flipped, expired, foreign string) {
	t.Helper()
	handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.WriteString(w, g.User(r))
		if err != nil {
			t.Error(err)
		}
	}))
	for range 2 {
		for _, row := range []struct {
			what, credential string
			status           int
		}{
			{"good", good, http.StatusOK},
			{"flipped", flipped, http.StatusUnauthorized},
			{"expired", expired, http.StatusUnauthorized},
			{"foreign audience", foreign, http.StatusUnauthorized},
			{"none", "", 0},
		} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if row.credential != "" {
				r.Header.Set(header, row.credential)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			switch {
			case row.status == 0 && (w.Code < 400 || w.Code >= 500):
				t.Errorf("%s: %d", row.what, w.Code)
			case row.status != 0 && w.Code != row.status:
				t.Errorf("%s: %d %s, want %d", row.what, w.Code, w.Body, row.status)
			case row.status == http.StatusOK && w.Body.String() != subject:
				t.Errorf("%s: the handler sees %q, want %q", row.what, w.Body, subject)
			}
		}
	}
}
