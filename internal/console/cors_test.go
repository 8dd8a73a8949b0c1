package console_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// application serves the page of a single-page application.
func application(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><title>application</title>`)
	}))
	t.Cleanup(server.Close)
	return server
}

// The life of a session in a page of another origin: sign-in, refresh, the stream that
// tells of its end, sign-out. Refusals can be read, too.
const life = `(async (curfew, password) => {
	const call = (method, path, token, body) => fetch(curfew + path, {method, credentials: "include",
		headers: {...(token && {Authorization: "Bearer " + token}), ...(body && {"Content-Type": "application/json"})}, body: body && JSON.stringify(body)});
	const wrong = await call("POST", "/v1/sessions", null, {username: "admin", password: "wrong password!"});
	if (wrong.status !== 401 || (await wrong.json()).code !== "bad_credentials") return "a wrong password: " + wrong.status;
	const signedIn = await (await call("POST", "/v1/sessions", null, {username: "admin", password})).json();
	const refreshed = await (await call("POST", "/v1/session/refresh", signedIn.token)).json();
	const events = await call("GET", "/v1/session/events", refreshed.token);
	const reader = events.body.pipeThrough(new TextDecoderStream()).getReader();
	const list = await call("GET", "/v1/users/me/sessions", refreshed.token);
	if (list.status !== 200) return "list: " + list.status;
	const out = await call("DELETE", "/v1/session", refreshed.token);
	if (out.status !== 204) return "sign-out: " + out.status;
	let text = "";
	for (;;) { const {done, value} = await reader.read(); if (done) break; text += value; }
	if (!text.includes("event: ended") || !text.includes("revoked")) return "events: " + text;
	const over = await call("GET", "/v1/session", refreshed.token);
	if (over.status !== 401 || !over.headers.get("WWW-Authenticate").includes("invalid_token")) return "afterwards: " + over.status;
	const keys = await (await fetch(curfew + "/.well-known/jwks.json")).json();
	return keys.keys.length > 0 ? "done" : "no keys";
})`

// Pages of a listed origin, of the same site and of another, live with the API; pages
// of others can't read a word.
func TestBrowserCORS(t *testing.T) {
	t.Parallel()
	listed, foreign := application(t), application(t)
	// localhost is another site than 127.0.0.1, where the server is.
	elsewhere := strings.Replace(listed.URL, "127.0.0.1", "localhost", 1)
	p := run(t, onSQLite(t), "--cors-origins", listed.URL+","+elsewhere)
	arguments := `("` + p.url + `", "` + adminPassword + `")`
	for _, page := range []string{listed.URL, elsewhere} {
		w := p.open(t, look{})
		w.visitSite(page)
		if got := eval[string](w, life+arguments, chromedp.EvalAwaitPromise); got != "done" {
			t.Errorf("from %s: %s", page, got)
		}
	}
	w := p.open(t, look{})
	w.visitSite(foreign.URL)
	for _, request := range []string{
		`"/v1/session"`,
		`"/v1/sessions", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}`,
		`"/v1/session/events", {credentials: "include"}`,
		`"/.well-known/jwks.json"`,
	} {
		got := eval[string](w, `fetch("`+p.url+`" + `+request+`).then(a => "read " + a.status, e => "refused")`, chromedp.EvalAwaitPromise)
		if got != "refused" {
			t.Errorf("from %s: %s: %s", foreign.URL, request, got)
		}
	}
	w.mu.Lock()
	w.violations = nil // the browser says that it has refused them
	w.mu.Unlock()

	// The cookie, to a page of the same site: the stream that an EventSource opens.
	w = p.open(t, look{})
	w.as("admin")
	w.visitSite(listed.URL)
	got := eval[string](w, `new Promise(done => {
		const events = new EventSource("`+p.url+`/v1/session/events", {withCredentials: true});
		events.onopen = () => { events.close(); done("open"); };
		events.onerror = () => { events.close(); done("refused"); };
	})`, chromedp.EvalAwaitPromise)
	if got != "open" {
		t.Errorf("an event stream by cookie: %s", got)
	}
}
