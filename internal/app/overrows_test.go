package app_test

import (
	"strings"

	"example.com/curfew/internal/store"
)

// facts are what a request is made of: its caller, and what it is about.
type facts struct {
	name string // that nothing has yet

	token, id, sid string // of the caller, a user
	client, secret string // of the caller, a client

	user, email, userSession string // another user, and a session of theirs
	userToken                string
	disabled                 string // a user who is disabled
	service                  string // a client that is not the caller
	kid                      string // a signing key that is not the caller's
	provider                 string // an identity provider that the other user is linked to
}

// writing is a route that writes, and a request that makes it write.
type writing struct {
	route string // as the route table has it; of the console with "console " before it
	what  string // of several requests for one route
	// needs is the permission that the route requires; "": none.
	needs string
	// hashes: the request waits in the queue for hashing passwords.
	hashes bool
	// key: it is about a signing key.
	key bool
	// silent: nothing is written.
	silent bool
	// capability: the caller is a client that has it.
	capability string

	request func(f facts) request
	want    int // the status of its answer if nothing has ended
	refused int // the status if something has; 0: that of the ending
}

func (w writing) String() string {
	if w.what == "" {
		return w.route
	}
	return w.route + ", " + w.what
}

const (
	anyUser       = ""
	editor        = store.UserEdit
	administrator = store.AdministerSystem
)

// asUser makes a JSON request by a user.
func asUser(method, path, body string) func(facts) request {
	return func(f facts) request {
		return jsonRequest(method, f.fill(path), f.token, f.fill(body))
	}
}

// asBrowser sends a form of the console.
func asBrowser(path string, fields ...string) func(facts) request {
	return func(f facts) request {
		filled := []string{"unused", "1"} // no form is empty: there is a last byte to hold back
		for _, field := range fields {
			filled = append(filled, f.fill(field))
		}
		return formRequest(f.fill(path), f.token, form(filled...))
	}
}

// asPage asks for a page or for forward auth, as a browser does.
func asPage(method, path string) func(facts) request {
	return func(f facts) request {
		return request{method: method, path: path, header: []string{
			"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "document", "Cookie", "__Host-curfew_session=" + f.token}}
	}
}

// asClient makes a request by a client; kind is "json" or "form".
func asClient(kind, path, body string) func(facts) request {
	return func(f facts) request {
		media := map[string]string{"json": "application/json", "form": "application/x-www-form-urlencoded"}[kind]
		return clientRequest(f.fill(path), f.client, f.secret, media, f.fill(body))
	}
}

// writings is every route that writes, with the requests that are held back. A
// route of the tables that is neither here nor in exceptions fails the test.
func writings() []writing {
	const users, clients, settings = "/v1/users", "/v1/clients", "/v1/settings/authentication"
	return []writing{
		{route: "POST " + users, needs: editor, want: 201, request: asUser("POST", users, `{"name":"NAME"}`)},
		{route: "POST " + users, what: "an administrator with a password", needs: administrator, hashes: true, want: 201,
			request: asUser("POST", users, `{"name":"NAME","password":"`+newPassword+`","permissions":["AdministerSystem"]}`)},
		{route: "PATCH " + users + "/{id}", what: "name", needs: editor, want: 200, request: asUser("PATCH", users+"/USER", `{"name":"NAME"}`)},
		{route: "PATCH " + users + "/{id}", what: "password", needs: editor, hashes: true, want: 200, request: asUser("PATCH", users+"/USER", `{"password":"`+newPassword+`"}`)},
		{route: "PATCH " + users + "/{id}", what: "permissions", needs: administrator, want: 200, request: asUser("PATCH", users+"/USER", `{"permissions":["AdministerSystem"]}`)},
		{route: "PATCH " + users + "/{id}", what: "disable", needs: editor, want: 200, request: asUser("PATCH", users+"/USER", `{"disabled":true}`)},
		{route: "DELETE " + users + "/{id}", needs: editor, want: 200, request: asUser("DELETE", users+"/USER", "")},
		{route: "PATCH " + users + "/{id}", what: "enable", needs: editor, want: 200, request: asUser("PATCH", users+"/DISABLED", `{"disabled":false}`)},
		{route: "PUT " + users + "/{id}/password", what: "of another", needs: editor, hashes: true, want: 200, request: asUser("PUT", users+"/USER/password", `{"new":"`+newPassword+`"}`)},
		{route: "PUT " + users + "/{id}/password", what: "one's own", needs: anyUser, hashes: true, want: 200,
			request: asUser("PUT", users+"/me/password", `{"current":"`+password+`","new":"`+newPassword+`"}`)},
		{route: "PUT " + users + "/{id}/password", what: "one's own, with a wrong one", needs: anyUser, hashes: true, silent: true, want: 401,
			request: asUser("PUT", users+"/me/password", `{"current":"`+newPassword+`","new":"another `+newPassword+`"}`)},
		{route: "POST " + users + "/{id}/revocations", what: "of another", needs: editor, want: 201, request: asUser("POST", users+"/USER/revocations", `{"reason":"NAME"}`)},
		{route: "POST " + users + "/{id}/revocations", what: "one's own", needs: anyUser, want: 201, request: asUser("POST", users+"/me/revocations", `{"reason":"NAME"}`)},
		{route: "POST " + users + "/{id}/revocations", what: "all but this", needs: anyUser, want: 201, request: asUser("POST", users+"/me/revocations", `{"keep_current":true,"reason":"NAME"}`)},
		{route: "DELETE " + users + "/{id}/sessions/{sid}", what: "of another", needs: editor, want: 204, request: asUser("DELETE", users+"/USER/sessions/USERSESSION", "")},
		{route: "DELETE " + users + "/{id}/sessions/{sid}", what: "one's own", needs: anyUser, want: 204, request: asUser("DELETE", users+"/me/sessions/OWNSESSION", "")},
		{route: "POST /v1/session/refresh", needs: anyUser, want: 200, request: asUser("POST", "/v1/session/refresh", `{}`)},
		{route: "POST /v1/session/reauthenticate", needs: anyUser, hashes: true, want: 200,
			request: asUser("POST", "/v1/session/reauthenticate", `{"password":"`+password+`"}`)},
		{route: "POST /v1/session/reauthenticate", what: "with a wrong password", needs: anyUser, hashes: true, silent: true, want: 401,
			request: asUser("POST", "/v1/session/reauthenticate", `{"password":"`+newPassword+`"}`)},
		{route: "POST /v1/revocations", what: "users", needs: administrator, want: 201, request: asUser("POST", "/v1/revocations", `{"scope":"users","users":["USER"],"reason":"NAME"}`)},
		{route: "POST /v1/revocations", what: "everyone", needs: administrator, want: 201, request: asUser("POST", "/v1/revocations", `{"scope":"everyone","reason":"NAME"}`)},
		{route: "POST /v1/revocations", what: "remembered", needs: administrator, want: 201, request: asUser("POST", "/v1/revocations", `{"scope":"remembered","reason":"NAME"}`)},
		{route: "POST /v1/keys/rotations", key: true, needs: administrator, want: 200, request: asUser("POST", "/v1/keys/rotations", `{"kid":"KID","reason":"NAME"}`)},
		{route: "DELETE /v1/keys/{kid}", key: true, needs: administrator, want: 200, request: asUser("DELETE", "/v1/keys/KID", "")},
		{route: "DELETE " + users + "/{id}/identities", needs: editor, want: 200, request: asUser("DELETE", users+"/USER/identities?issuer=https%3A%2F%2FPROVIDER.example&subject=USER", "")},
		{route: "POST /v1/providers", needs: administrator, want: 201, request: asUser("POST", "/v1/providers", `{"name":"NAME","issuer":"https://login.example","client_id":"curfew"}`)},
		{route: "PATCH /v1/providers/{name}", needs: administrator, want: 200, request: asUser("PATCH", "/v1/providers/PROVIDER", `{"client_id":"NAME"}`)},
		{route: "DELETE /v1/providers/{name}", needs: administrator, want: 200, request: asUser("DELETE", "/v1/providers/PROVIDER", "")},
		{route: "PATCH /v1/sign-in-methods", needs: administrator, want: 200, request: asUser("PATCH", "/v1/sign-in-methods", `{"passwords":true}`)},
		{route: "POST " + clients, needs: administrator, want: 201, request: asUser("POST", clients, `{"name":"NAME","capabilities":["issue"]}`)},
		{route: "DELETE " + clients + "/{id}", needs: administrator, want: 204, request: asUser("DELETE", clients+"/SERVICE", "")},
		{route: "POST " + clients + "/{id}/secrets", needs: administrator, want: 201, request: asUser("POST", clients+"/SERVICE/secrets", `{}`)},
		{route: "PUT " + settings, needs: administrator, want: 200, request: func(f facts) request {
			q := jsonRequest("PUT", settings, f.token, `{"session_timeout_seconds":1199,"maximum_session_duration_seconds":1727999,"remember_me_enabled":true}`)
			q.header = append(q.header, "If-Match", "*")
			return q
		}},

		{route: "POST " + users + "/{id}/sessions", what: "known user", capability: store.Issue, want: 201, request: asClient("json", users+"/USER/sessions", `{"remember_me":true}`)},
		{route: "POST " + users + "/{id}/sessions", what: "new user", capability: store.Issue, want: 201, request: asClient("json", users+"/NAME/sessions", `{}`)},
		{route: "POST /v1/uses", capability: store.Follow, silent: true, want: 204, request: asClient("json", "/v1/uses", `{"uses":[{"session":"USERSESSION","age_seconds":0}]}`)},
		{route: "POST /oauth/introspect", capability: store.Introspect, silent: true, want: 200, request: asClient("form", "/oauth/introspect", "token=USERTOKEN")},
		{route: "POST /oauth/revoke", capability: store.Follow, want: 200, request: asClient("form", "/oauth/revoke", "token=USERTOKEN")},
		{route: "POST /oauth/global-token-revocation", what: "id", capability: store.Revoke, want: 204,
			request: asClient("json", "/oauth/global-token-revocation", `{"sub_id":{"format":"opaque","id":"USER"}}`)},
		{route: "POST /oauth/global-token-revocation", what: "email", capability: store.Revoke, want: 204,
			request: asClient("json", "/oauth/global-token-revocation", `{"sub_id":{"format":"email","email":"EMAIL"}}`)},

		{route: "console POST /profile/session", needs: anyUser, silent: true, want: 200, request: asBrowser("/profile/session")},
		{route: "console POST /reauthenticate", needs: anyUser, hashes: true, want: 303, request: asBrowser("/reauthenticate", "return", "/users", "confirm_password", password)},
		{route: "console POST /reauthenticate", what: "with a wrong password", needs: anyUser, hashes: true, silent: true, want: 401,
			request: asBrowser("/reauthenticate", "confirm_password", newPassword)},
		{route: "console POST /profile/revoke", needs: anyUser, want: 303, request: asBrowser("/profile/revoke")},
		{route: "console POST /profile/elsewhere", needs: anyUser, want: 303, request: asBrowser("/profile/elsewhere")},
		{route: "console POST /profile/password", needs: anyUser, hashes: true, want: 303, request: asBrowser("/profile/password", "current", password, "new", newPassword, "again", newPassword)},
		{route: "console POST /settings/authentication", needs: administrator, want: 303,
			request: asBrowser("/settings/authentication", "session_timeout_seconds", "1198", "maximum_session_duration_seconds", "1727998", "remember_me_enabled", "on")},
		{route: "console POST /users", needs: administrator, hashes: true, want: 303, request: asBrowser("/users", "name", "NAME", "password", newPassword, "AdministerSystem", "on")},
		{route: "console POST /users/{id}", needs: editor, want: 303, request: asBrowser("/users/USER", "name", "NAME", "email", "NAME@curfew.test")},
		{route: "console POST /users/{id}/permissions", needs: administrator, want: 303, request: asBrowser("/users/USER/permissions", "AdministerSystem", "on")},
		{route: "console POST /users/{id}/groups", needs: editor, want: 303, request: asBrowser("/users/USER/groups", "groups", "ops")},
		{route: "console POST /users/{id}/password", needs: editor, hashes: true, want: 303, request: asBrowser("/users/USER/password", "new", newPassword)},
		{route: "console POST /users/{id}/disable", needs: editor, want: 303, request: asBrowser("/users/USER/disable")},
		{route: "console POST /users/{id}/unlink", needs: editor, want: 303, request: asBrowser("/users/USER/unlink", "issuer", "https://PROVIDER.example", "subject", "USER")},
		{route: "console POST /settings/authentication/providers", needs: administrator, want: 303,
			request: asBrowser("/settings/authentication/providers", "name", "NAME", "issuer", "https://login.example", "client_id", "x", "scopes", "openid", "name_claim", "sub")},
		{route: "console POST /settings/authentication/providers/{name}", needs: administrator, want: 303,
			request: asBrowser("/settings/authentication/providers/PROVIDER", "issuer", "https://NAME.example", "client_id", "x", "scopes", "openid", "name_claim", "sub", "confirmed", "on")},
		{route: "console POST /settings/authentication/providers/{name}/remove", needs: administrator, want: 303,
			request: asBrowser("/settings/authentication/providers/PROVIDER/remove", "word", "remove")},
		{route: "console POST /settings/authentication/passwords/on", needs: administrator, want: 303, request: asBrowser("/settings/authentication/passwords/on")},
		{route: "console POST /users/{id}/delete", needs: editor, want: 303, request: asBrowser("/users/USER/delete", "reason", "Offboarding", "word", "delete")},
		{route: "console POST /users/selected", needs: administrator, silent: true, want: 200, request: asBrowser("/users/selected", "id", "USER")},
		{route: "console POST /users/{id}/enable", needs: editor, want: 303, request: asBrowser("/users/DISABLED/enable")},
		{route: "console POST /users/{id}/revoke", needs: editor, want: 303, request: asBrowser("/users/USER/revoke", "reason", "Offboarding")},
		{route: "console POST /users/{id}/sessions/{sid}/revoke", what: "of another", needs: editor, want: 303, request: asBrowser("/users/USER/sessions/USERSESSION/revoke")},
		{route: "console POST /users/{id}/sessions/{sid}/revoke", what: "one's own", needs: anyUser, want: 303, request: asBrowser("/users/OWN/sessions/OWNSESSION/revoke")},
		{route: "console POST /revocations", needs: administrator, silent: true, want: 200, request: asBrowser("/revocations", "scope", "everyone", "reason", "Offboarding", "word", "everyone")},
		{route: "console POST /revocations/confirmed", what: "users", needs: administrator, want: 303, request: asBrowser("/revocations/confirmed", "scope", "users", "ids", "USER", "reason", "Offboarding")},
		{route: "console POST /revocations/confirmed", what: "everyone", needs: administrator, want: 303, request: asBrowser("/revocations/confirmed", "scope", "everyone", "reason", "Offboarding", "word", "everyone")},
		{route: "console POST /keys/rotate", needs: administrator, want: 303, request: asBrowser("/keys/rotate")},
		{route: "console POST /keys/retire", key: true, needs: administrator, want: 303, request: asBrowser("/keys/retire", "kid", "KID", "reason", "Key lost", "word", "retire")},
		{route: "console POST /services", needs: administrator, want: 201, request: asBrowser("/services", "name", "NAME", "issue", "on")},
		{route: "console POST /services/{id}/secret", needs: administrator, want: 201, request: asBrowser("/services/SERVICE/secret")},
		{route: "console POST /services/{id}/remove", needs: administrator, want: 303, request: asBrowser("/services/SERVICE/remove")},
	}
}

// exceptions are the routes with a method that may write, and without a row, with
// the reason.
var exceptions = map[string]string{
	"console POST /settings/authentication/passwords/off": "as /passwords/on, and would keep the test's own users from signing in",
	"POST /v1/providers/{name}/check":                     "asks the provider and writes nothing",

	"POST /oauth/backchannel-logout": "the proof is the provider's token, which no end here concerns",

	"POST /v1/sessions":      "a sign-in has no caller yet; a revocation while it waits ends the session that it begins (TestDisabledWhileSigningIn)",
	"DELETE /v1/session":     "a sign-out takes a token that is over as well, and all it can do is to end that token's session",
	"/v1/verify":             "takes any method and changes nothing but the cookie that it renews (TestRenewalsAreDecidedAgain)",
	"/v1/verify/{path}":      "as /v1/verify",
	"console POST /sign-in":  "as POST /v1/sessions",
	"console POST /sign-out": "as DELETE /v1/session",
}

// fill puts the facts in the place of their names.
func (f facts) fill(text string) string {
	return strings.NewReplacer(
		"USERSESSION", f.userSession, "USERTOKEN", f.userToken, "OWNSESSION", f.sid, "OWN", f.id,
		"NAME", f.name, "USER", f.user, "DISABLED", f.disabled, "SERVICE", f.service, "KID", f.kid, "EMAIL", f.email, "PROVIDER", f.provider,
	).Replace(text)
}
