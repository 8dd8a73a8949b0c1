package console_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// guarded is a service behind forward auth: it passes requests to its page only when
// /v1/verify has said 200, as a proxy in front of it would.
func guarded(t *testing.T, verify func() string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, verify(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		for _, name := range []string{"Cookie", "Accept"} {
			ask.Header[name] = r.Header[name]
		}
		for name, value := range map[string]string{"For": "127.0.0.1", "Proto": "http", "Host": r.Host, "Uri": r.RequestURI, "Method": r.Method} {
			ask.Header.Set("X-Forwarded-"+name, value)
		}
		answer, err := http.DefaultTransport.RoundTrip(ask)
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>service</title>The page of the service.")
			return
		}
		w.Header().Set("Location", answer.Header.Get("Location"))
		w.WriteHeader(answer.StatusCode)
	}))
	t.Cleanup(server.Close)
	return server
}

// A browser that signs in since a proxied service asked for it is back at the exact
// address at once, with a script and without, and never by way of a link.
func TestBrowserReturnsToService(t *testing.T) {
	t.Parallel()
	var p *program
	service := guarded(t, func() string { return p.url + "/v1/verify?sign_in=1" })
	host := strings.TrimPrefix(service.URL, "http://")
	p = run(t, onSQLite(t), "--trusted-proxies", "127.0.0.1", "--return-hosts", host)
	for _, l := range []look{{}, {noScript: true}} {
		for _, path := range []string{
			"/",
			"/list;v=1,2/it's?page=2&q=a%26b&r=c+d;url=http://evil.test/",
			"/%C3%BC%20%22x%22/%3Cb%3E?q=%22%C3%BC%22%20x&s='y'&j=javascript:alert(1)",
		} {
			w := p.open(t, l)
			w.visitSite(service.URL + path)
			w.at("/sign-in")
			w.says("You are signing in for " + host + ".")
			w.signIn("admin", "wrong password!", false)
			w.says("The name or password is wrong.", "You are signing in for "+host+".")
			w.signIn("admin", adminPassword, false)
			if !w.soon(func() bool { return strings.Contains(w.text(), "The page of the service.") }) {
				t.Fatalf("at %s, which says:\n%s", w.address(), w.text())
			}
			if got := w.brief("location.href"); got != service.URL+path && got != service.URL+strings.ReplaceAll(path, "'", "%27") {
				t.Errorf("returned to %s, want %s", got, service.URL+path)
			}
		}
	}

	// What a person typed, or a proxy put together without escaping it.
	w := p.open(t, look{})
	w.visit("/sign-in?return=" + url.QueryEscape(service.URL+`/ü "x"?q=a b`))
	w.signIn("admin", adminPassword, false)
	want := service.URL + "/%C3%BC%20%22x%22?q=a%20b"
	if !w.soon(func() bool { return w.brief("location.href") == want }) {
		t.Errorf("at %s, want %s", w.brief("location.href"), want)
	}
	// And where it must not lead.
	for _, to := range []string{"javascript:alert(1)", "http://evil.test/", "http://" + host + `\@evil.test/`, "data:text/html,x"} {
		w := p.open(t, look{})
		w.visit("/sign-in?return=" + url.QueryEscape(to))
		w.saysNot("You are signing in for")
		w.signIn("admin", adminPassword, false)
		w.at("/")
	}
}

// A browser drops the cookie of a page without TLS: the page says so, before and
// after.
func TestBrowserOverPlainHTTP(t *testing.T) {
	t.Parallel()
	p := run(t, onSQLite(t))
	_, port, _ := strings.Cut(strings.TrimPrefix(p.url, "http://"), ":")
	for _, l := range []look{{}, {noScript: true}} {
		w := p.open(t, l)
		w.visitSite("http://nas.test:" + port + "/users")
		w.says("This page is not encrypted", "http://localhost:"+port)
		w.signIn("admin", adminPassword, false)
		w.says("your browser did not keep the session cookie", "This page is not encrypted", "--tls-cert")
		w.visit("/sign-in")
		w.saysNot("This page is not encrypted")
	}
	if n := strings.Count(p.process.String(), "over plain HTTP"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}
