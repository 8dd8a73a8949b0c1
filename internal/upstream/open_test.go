package upstream

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

func encode(w io.Writer, a wire.Changes) error { return json.NewEncoder(w).Encode(a) }

func TestConfigRefused(t *testing.T) {
	good := Config{Server: "https://curfew.example", ClientID: "billing", ClientSecret: "s3cret", Audience: "billing"}
	if servers, err := good.check(); err != nil || len(servers) != 1 {
		t.Fatalf("a good one: %v, %v", servers, err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no server", func(c *Config) { c.Server = "" }, "Config.Server"},
		{"no client", func(c *Config) { c.ClientID = "" }, "Config.ClientID"},
		{"no secret", func(c *Config) { c.ClientSecret = "" }, "Config.ClientSecret"},
		{"no audience", func(c *Config) { c.Audience = "" }, "Config.Audience"},
		{"no scheme", func(c *Config) { c.Server = "curfew.example" }, "want https://HOST"},
		{"another scheme", func(c *Config) { c.Server = "ftp://curfew.example" }, "want https://HOST"},
		{"no host", func(c *Config) { c.Server = "https://" }, "want https://HOST"},
		{"plain http", func(c *Config) { c.Server = "http://curfew.example" }, "InsecureHTTP"},
		{"plain http to what only looks like here", func(c *Config) { c.Server = "http://localhost.example" }, "InsecureHTTP"},
		{"plain http further down", func(c *Config) { c.Servers = []string{"http://192.0.2.1"} }, "InsecureHTTP"},
		{"a user", func(c *Config) { c.Server = "https://me:secret@curfew.example" }, "use ClientID"},
		{"a query", func(c *Config) { c.Server = "https://curfew.example?x=1" }, "leave it out"},
		{"a fragment", func(c *Config) { c.Server = "https://curfew.example#x" }, "leave it out"},
		{"no URL", func(c *Config) { c.Server = "https://cur few:secret@" }, "cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			f, err := Open(t.Context(), c)
			if f != nil || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Open = %v, %v; want an error that says %q", f, err, test.says)
			}
			if strings.Contains(err.Error(), "secret@") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
	for _, fine := range []string{"http://localhost:8420", "http://127.0.0.1", "http://127.8.0.1", "http://[::1]:1", "https://curfew.example/prefix"} {
		c := good
		c.Server = fine
		if _, err := c.check(); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
	c := good
	c.Server, c.InsecureHTTP = "http://curfew.example", true
	if _, err := c.check(); err != nil {
		t.Errorf("with InsecureHTTP: %v", err)
	}
}

// What does not go away by itself ends Open at once.
func TestOpenFailsAtOnce(t *testing.T) {
	answer := func(status int, code string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { fail(w, status, code); return true }
	}
	for _, test := range []struct {
		name    string
		config  func(*Config)
		respond func(w http.ResponseWriter, r *http.Request) bool
		want    error
		says    string
	}{
		{"wrong secret", func(c *Config) { c.ClientSecret = "wrong" }, nil, ErrCredentials, "ClientSecret"},
		{"no capability", nil, answer(http.StatusForbidden, wire.CodeForbidden), ErrForbidden, "follow"},
		{"another audience", func(c *Config) { c.Audience = "elsewhere" }, nil, ErrAudience, "elsewhere"},
		{"a redirect", nil, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://evil.example/", http.StatusTemporaryRedirect)
			return true
		}, errRedirect, "configure the address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, closeAll := newBench(t)
				defer closeAll()
				if test.config != nil {
					test.config(&b.config)
				}
				b.instead(test.respond)
				began := time.Now()
				f, err := Open(t.Context(), b.config)
				if f != nil || !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("Open = %v, %v; want %v that says %q", f, err, test.want, test.says)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %v", took)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error tells the secret: %v", err)
				}
			})
		})
	}
}

// What may go away is tried again until the time is up.
func TestOpenWaits(t *testing.T) {
	respond := map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"unavailable": func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable")
			return true
		},
		"a page of some other program": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, "<html>It works!</html>")
			return true
		},
		"an empty object": func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "{}"); return true },
		"no lease": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, `{"epoch":5,"lease_ms":0,"revocations":[]}`)
			return true
		},
		"pages in circles": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, `{"epoch":5,"more":true,"revocations":[]}`)
			return true
		},
		"not found": func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true },
		"silence":   func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
		"silence in the middle": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.WriteString(w, `{"epoch":5,`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		},
	}
	for name, do := range respond {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, closeAll := newBench(t)
				defer closeAll()
				b.config.StartTimeout = 10 * time.Second
				b.instead(do)
				began := time.Now()
				f, err := Open(t.Context(), b.config)
				if f != nil || err == nil || !strings.Contains(err.Error(), "localhost:1") {
					t.Fatalf("Open = %v, %v; want an error that names the server", f, err)
				}
				if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
					t.Errorf("gave up after %v, want 10 s", took)
				}
				// A while later the server is well.
				b.instead(nil)
				g := b.open()
				expect(t, g, b.sign("ann"), nil)
				closeFollower(t, g)
			})
		})
	}
	t.Run("no server at first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, closeAll := newBench(t)
			defer closeAll()
			b.config.Server = "http://127.0.0.3:1"
			stop := make(chan func(), 1)
			go func() {
				time.Sleep(20 * time.Second)
				stop <- b.start(b.net, "127.0.0.3")
			}()
			f := b.open()
			closeFollower(t, f)
			(<-stop)()
		})
	})
}

func TestDecodeRefuses(t *testing.T) {
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"epoch":0,"lease_ms":1,"revocations":[]}`, `{"epoch":-1,"lease_ms":1,"revocations":[]}`,
		`{"epoch":1,"lease_ms":-1,"revocations":[]}`, `{"epoch":1,"lease_ms":3600001,"revocations":[]}`,
		`{"epoch":1,"held_ms":-1,"revocations":[]}`, `{"epoch":1.5,"revocations":[]}`, `{"epoch":"1","revocations":[]}`,
		`{"epoch":1,"revocations":[{"scope":"planet","id":"","epoch":1}]}`,
		`{"epoch":1,"revocations":[{"scope":"user","id":"","epoch":1}]}`,
		`{"epoch":1,"revocations":[{"scope":"everyone","id":"ann","epoch":1}]}`,
		`{"epoch":1,"revocations":[{"scope":"user","id":"ann","epoch":0}]}`,
		`{"epoch":1,"revocations":[{"scope":"user","id":"ann","epoch":-3}]}`,
		`{"epoch":1,"revocations":[{"scope":"user","id":"ann","epoch":3}`,
		`{"epoch":1,"revocations":[]} trailing`,
		`{"epoch":1,"keys":{"keys":[{"kty":"oct","k":"AAAA"}]},"revocations":[]}`,
		`{"epoch":1,"settings":{"session_timeout_seconds":0,"maximum_session_duration_seconds":10},"revocations":[]}`,
	} {
		if a, err := decode([]byte(body)); err == nil {
			t.Errorf("decode(%s) = %+v, want an error", body, a)
		}
	}
}

// The list read by hand is the list that encoding/json reads.
func FuzzDecode(f *testing.F) {
	for _, list := range []string{
		``, `{"scope":"user","id":"ann","epoch":5}`, `{"scope":"user","id":"ann","epoch":5},{"scope":"everyone","id":"","epoch":1795453200123456}`,
		`{"scope":"user","id":"\u0061","epoch":5}`, `{"scope":"user","id":"a","epoch":05}`, `{"scope":"user","id":"a","epoch":5},`,
		`{"scope":"user","id":"a","epoch":5}{"scope":"user","id":"a","epoch":5}`, `{"scope":"user","id":"ü","epoch":5}`,
		`{ "scope":"user","id":"a","epoch":5}`, `{"scope":"user","id":"a","epoch":99999999999999999999}`, `{"scope":"user","id":"a","epoch":5}]}`,
	} {
		f.Add([]byte(`{"epoch":9,"lease_ms":5,"revocations":[` + list + `]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decode(body)
		if err != nil {
			return
		}
		var doc wire.Changes
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("decode took %q, encoding/json says %v", body, err)
		}
		if len(doc.Revocations) != len(a.Revocations) || int64(a.Epoch) != doc.Epoch || a.More != doc.More {
			t.Fatalf("decode(%q) = %+v, encoding/json says %+v", body, a, doc)
		}
		for i, r := range doc.Revocations {
			if got := a.Revocations[i]; string(got.Scope.Kind) != r.Scope || got.Scope.ID != r.ID || int64(got.Epoch) != r.Epoch {
				t.Fatalf("entry %d of %q is %+v, encoding/json says %+v", i, body, got, r)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"epoch":1795453200123456,"more":false,"held_ms":0,"lease_ms":15000,"now":"2026-11-23T17:00:00Z","revocations":[`)
	for i := range 10_000 {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"scope":"user","id":"0123456789abcdef012345","epoch":1795453200123456}`...)
	}
	body = append(body, "]}\n"...)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

var _ token.View = (*Follower)(nil)
