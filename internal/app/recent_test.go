package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/wire"
)

// within is the maximum age of an authentication in these tests, the default.
const within = 15 * time.Minute

// notAsking are the routes that write, and need a permission, without asking for a
// recent authentication, with the reason. The others ask.
var notAsking = map[string]string{
	"POST /v1/users":                                   "an account without permissions and groups",
	"PATCH /v1/users/{id}, name":                       "an ordinary user",
	"PATCH /v1/users/{id}, password":                   "an ordinary user",
	"PATCH /v1/users/{id}, disable":                    "an ordinary user, and quick in an emergency",
	"PATCH /v1/users/{id}, enable":                     "an ordinary user",
	"DELETE /v1/users/{id}":                            "an ordinary user, and quick in an emergency",
	"PUT /v1/users/{id}/password, of another":          "an ordinary user",
	"POST /v1/users/{id}/revocations, of another":      "one user, and quick in an emergency",
	"DELETE /v1/users/{id}/sessions/{sid}, of another": "one session, and quick in an emergency",
	"POST /v1/revocations, users":                      "a list of one user is that user",
	"DELETE /v1/users/{id}/identities":                 "an ordinary user",
	"POST /v1/keys/rotations":                          "ends no session",
	"DELETE /v1/clients/{id}":                          "quick in an emergency",

	"console POST /users/{id}":                                   "an ordinary user",
	"console POST /users/{id}/unlink":                            "an ordinary user",
	"console POST /users/{id}/password":                          "an ordinary user",
	"console POST /users/{id}/disable":                           "an ordinary user, and quick in an emergency",
	"console POST /users/{id}/delete":                            "an ordinary user, and quick in an emergency",
	"console POST /users/selected":                               "writes nothing",
	"console POST /users/{id}/enable":                            "an ordinary user",
	"console POST /users/{id}/revoke":                            "one user, and quick in an emergency",
	"console POST /users/{id}/sessions/{sid}/revoke, of another": "one session, and quick in an emergency",
	"console POST /revocations":                                  "writes nothing",
	"console POST /revocations/confirmed, users":                 "a list of one user is that user",
	"console POST /keys/rotate":                                  "ends no session",
	"console POST /services/{id}/remove":                         "quick in an emergency",
}

// alsoAsking are further requests for routes of the table.
func alsoAsking() []writing {
	const users = "/v1/users"
	return []writing{
		{route: "PATCH " + users + "/{id}", what: "groups", needs: editor, want: 200, request: asUser("PATCH", users+"/USER", `{"groups":["ops"]}`)},
		{route: "POST " + users, what: "with groups", needs: editor, want: 201, request: asUser("POST", users, `{"name":"NAME","groups":["ops"]}`)},
		{route: "POST /v1/revocations", what: "two users", needs: administrator, want: 201, request: asUser("POST", "/v1/revocations", `{"scope":"users","users":["USER","DISABLED"],"reason":"NAME"}`)},
		{route: "PATCH " + users + "/{id}", what: "name of an administrator", needs: administrator, want: 200, request: asUser("PATCH", users+"/ROOT", `{"name":"admin","email":null}`)},
		{route: "PUT " + users + "/{id}/password", what: "of an administrator", needs: administrator, hashes: true, want: 200, request: asUser("PUT", users+"/ROOT/password", `{"new":"`+password+`"}`)},
		{route: "DELETE " + users + "/{id}", what: "an administrator", needs: administrator, want: 200, request: asUser("DELETE", users+"/ADMINISTRATOR", "")},
	}
}

// Every route that writes asks for a recent authentication, or has a reason not to: a
// session whose user authenticated too long ago is challenged and writes nothing, and
// the same request is answered as usual after the password was confirmed. A user who
// has just signed in notices nothing, and a user without the permission learns that
// first.
func TestOldAuthenticationsAreAsked(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			database := ""
			if engine == "PostgreSQL" {
				database = postgres(t)
			}
			d := deploy(t, database)
			d.ending = d.held
			root, err := d.held.accounts.FindUser(t.Context(), "admin")
			d.must(err)
			listed := map[string]bool{}
			for _, w := range append(writings(), alsoAsking()...) {
				if w.capability != "" {
					continue
				}
				reason, quiet := notAsking[w.String()]
				listed[w.String()] = quiet
				asks := w.needs != anyUser && !quiet
				if quiet && reason == "" {
					t.Errorf("%s: no reason", w)
				}
				d.asked(w, asks, root.ID)
			}
			for name := range notAsking {
				if !listed[name] {
					t.Errorf("%s is not a request of the table", name)
				}
			}
		})
	}
}

// asked makes a request with an authentication that is too old, and then again.
func (d *deployment) asked(w writing, asks bool, root string) {
	d.Helper()
	about := d.objects(w.key)
	c := d.caller(ending{ago: within + time.Minute})
	fill := func(q request) request {
		r := strings.NewReplacer("ROOT", root, "ADMINISTRATOR", d.user("another-root", administrator).ID)
		q.path, q.body = r.Replace(q.path), r.Replace(q.body)
		return q
	}
	f := d.with(c, about)
	q := fill(w.request(f))
	before := d.dump()
	a := d.held.send(q)
	if !asks {
		if a.status != w.want {
			d.Errorf("%s: %d %.300s, want %d without a question", w, a.status, a.body, w.want)
		}
		return
	}
	isPage := strings.HasPrefix(w.route, "console")
	if a.status != http.StatusUnauthorized || !isPage && a.code() != "insufficient_user_authentication" || isPage && !strings.Contains(a.body, "Confirm it is you") {
		d.Errorf("%s: %d %.300s, want a question", w, a.status, a.body)
		return
	}
	if got := a.header.Get("WWW-Authenticate"); !isPage && !strings.HasSuffix(got, `, max_age="900"`) {
		d.Errorf("%s: challenge %q", w, got)
	}
	// A page renews the session first.
	for _, line := range difference(before, d.dump()) {
		if !isPage || !strings.HasPrefix(line[2:], "sessions:") {
			d.Errorf("%s: refused, and left %s", w, line)
		}
	}
	// The permission comes first.
	plain := d.user("plain")
	other := f
	other.token = d.remint(d.signIn(d.held, plain.Name, false), nil, within+time.Minute)
	if got := d.held.send(fill(w.request(other))); got.status != http.StatusForbidden {
		d.Errorf("%s without the permission: %d %.200s, want 403", w, got.status, got.body)
	}
	// A wrong password does nothing; the right one does what was asked for.
	if isPage {
		wrong := q
		wrong.body += "&" + form("confirm_password", newPassword)
		if got := d.held.send(wrong); got.status != http.StatusUnauthorized {
			d.Errorf("%s with a wrong password: %d, want 401", w, got.status)
		}
		q.body += "&" + form("confirm_password", password)
	} else {
		var issued wire.Issued
		d.held.send(jsonRequest("POST", "/v1/session/reauthenticate", f.token, fmt.Sprintf(`{"password":%q}`, password))).into(http.StatusOK, &issued)
		f.token = issued.Token
		q = fill(w.request(f))
	}
	if got := d.held.send(q); got.status != w.want {
		d.Errorf("%s, confirmed: %d %.300s, want %d", w, got.status, got.body, w.want)
	}
}
