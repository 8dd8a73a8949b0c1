package console

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Nothing in a page but its own links looks like one: what users have typed is not
// changed.
func TestBelowChangesOnlyLinks(t *testing.T) {
	links := below("/curfew")
	all := parsed(t)
	for name, view := range views() {
		for _, text := range []string{` href="/evil"`, ` src="/evil`, ` action='/evil`, `<a href="/evil">`, ` content="2; url=/evil`} {
			var b bytes.Buffer
			if err := all[name].ExecuteTemplate(&b, "layout", full(view, text)); err != nil {
				t.Fatal(err)
			}
			if page := links.Replace(b.String()); strings.Contains(page, "/curfew/evil") {
				t.Errorf("%s: %q has become a link", name, text)
			}
		}
	}
	for page, want := range map[string]string{
		`<a class="x" href="/">`:                  `<a class="x" href="/curfew/">`,
		`<a href="/users?a=/b">`:                  `<a href="/curfew/users?a=/b">`,
		`<form method="post" action="/sign-out">`: `<form method="post" action="/curfew/sign-out">`,
		`<meta content="2; url=/revocations/1">`:  `<meta content="2; url=/curfew/revocations/1">`,
		`<a href="#main">`:                        `<a href="#main">`,
		`<a href="https://app.test/">`:            `<a href="https://app.test/">`,
		`<input value="/users">`:                  `<input value="/users">`,
	} {
		if got := links.Replace(page); got != want {
			t.Errorf("%s becomes %s, want %s", page, got, want)
		}
		if got := below("").Replace(page); got != page {
			t.Errorf("at the root %s becomes %s", page, got)
		}
	}
}

func TestTidy(t *testing.T) {
	for _, tt := range []struct{ prefix, path, want string }{
		{"/curfew", "//sign-in?a=b", "/curfew/sign-in?a=b"},
		{"/curfew", "/x/../users", "/curfew/users"},
		{"/curfew", "//evil.test/", "/curfew/evil.test"},
		{"", "//evil.test/", "/evil.test"},
		{"/curfew", "//a%2Fb%20c?d=%2F", "/curfew/a%2Fb%20c?d=%2F"},
		{"", "/users/..%2F..", ""},
		{"", "/users/%2e%2e", ""},
		{"", "/users", ""},
		{"/curfew", "/users/", ""},
		{"/curfew", "/", ""},
	} {
		w := httptest.NewRecorder()
		passed := false
		r := httptest.NewRequest(http.MethodGet, "http://console.test"+tt.path, nil)
		tidy(tt.prefix, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != tt.want || passed != (tt.want == "") {
			t.Errorf("below %q: %s leads to %q, want %q", tt.prefix, tt.path, got, tt.want)
		}
	}
}
