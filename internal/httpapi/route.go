package httpapi

import (
	"time"

	"example.com/curfew/internal/store"
)

// Who is the kind of credential that a route takes.
type Who string

// The kinds of credentials.
const (
	Anyone         Who = "anyone"
	Bearer         Who = "bearer"           // a session's token in the Authorization header
	BearerOrCookie Who = "bearer or cookie" // or in the console's cookie
	Client         Who = "client"           // id and secret of a service client (HTTP Basic)
	Holder         Who = "client or holder" // a service client, or the holder of the token in question
)

// A Route is one call of the API. It says who may make it; the decision itself is
// made where the work is done, in session and account, so that API, console and
// command line agree. A test holds one against the other.
type Route struct {
	Method  string // "": any
	Pattern string // of http.ServeMux, without method
	Who     Who

	// Permissions: holders of any of them may call. None: no permission is needed
	// beyond the credential.
	Permissions []string
	// Self: every user may call about themselves.
	Self bool
	// Capability is the capability that a client must have; "": any client.
	Capability string

	Query []string // the parameters that it takes; nil: none
	// AnyQuery: whatever stands in the query is let pass. Proxies and probes add
	// to it.
	AnyQuery bool
	// Edge: an edge answers it, too.
	Edge bool

	forwardAuth bool // a proxy asks about a request: see verify

	quiet   bool          // called so often by machines that success is not logged
	body    int64         // the largest body; 0: no body is read
	timeout time.Duration // Config.Timeout where that is longer
	handle  func(*call) error
}

const (
	ordinaryBody = 64 << 10
	largeBody    = 2 << 20 // POST /v1/revocations: 10 000 users
	usesBody     = 256 << 10

	// slow is for calls that hash passwords, which wait for their turn, and for
	// those that read or write many rows.
	slow = 10 * time.Second

	// bulk is for revoking 10 000 users at once: a second or two, and more on a
	// machine that is busy. It stays below the time that a connection has.
	bulk = 25 * time.Second
)

// Routes returns the calls of the API.
func Routes() []Route {
	either := []string{store.UserEdit, store.AdministerSystem}
	administrator := []string{store.AdministerSystem}
	page := []string{"limit", "cursor"}
	return []Route{
		{Method: "POST", Pattern: "/v1/sessions", Who: Anyone, body: ordinaryBody, timeout: slow, handle: signIn},
		{Method: "GET", Pattern: "/v1/session", Who: Bearer, handle: describe},
		{Method: "GET", Pattern: "/v1/session/events", Who: BearerOrCookie, Edge: true, quiet: true, handle: sessionEvents},
		{Method: "POST", Pattern: "/v1/session/refresh", Who: Bearer, body: ordinaryBody, handle: refresh},
		{Method: "POST", Pattern: "/v1/session/reauthenticate", Who: Bearer, Self: true, body: ordinaryBody, timeout: slow, handle: reauthenticate},
		{Method: "DELETE", Pattern: "/v1/session", Who: Bearer, handle: signOut},

		{Method: "POST", Pattern: "/v1/users/{id}/sessions", Who: Client, Capability: store.Issue, body: ordinaryBody, handle: issue},
		{Method: "GET", Pattern: "/v1/users/{id}/sessions", Who: Bearer, Permissions: either, Self: true, Query: page, handle: listSessions},
		{Method: "DELETE", Pattern: "/v1/users/{id}/sessions/{sid}", Who: Bearer, Permissions: either, Self: true, Query: []string{"reason"}, handle: revokeSession},
		{Method: "POST", Pattern: "/v1/users/{id}/revocations", Who: Bearer, Permissions: either, Self: true, body: ordinaryBody, handle: revokeUser},
		{Method: "PUT", Pattern: "/v1/users/{id}/password", Who: Bearer, Permissions: either, Self: true, body: ordinaryBody, timeout: slow, handle: changePassword},

		{Method: "POST", Pattern: "/v1/revocations", Who: Bearer, Permissions: administrator, body: largeBody, timeout: bulk, handle: revokeMany},
		{Method: "GET", Pattern: "/v1/revocations", Who: Bearer, Permissions: administrator,
			Query: []string{"user", "by", "from", "to", "limit", "cursor"}, timeout: slow, handle: listReceipts},
		{Method: "GET", Pattern: "/v1/revocations/{epoch}", Who: Bearer, Permissions: either, Self: true, handle: receipt},

		{Method: "GET", Pattern: "/v1/users", Who: Bearer, Permissions: either, Query: []string{"search", "limit", "cursor"}, handle: listUsers},
		{Method: "POST", Pattern: "/v1/users", Who: Bearer, Permissions: either, body: ordinaryBody, timeout: slow, handle: createUser},
		{Method: "GET", Pattern: "/v1/users/{id}", Who: Bearer, Permissions: either, handle: showUser},
		{Method: "PATCH", Pattern: "/v1/users/{id}", Who: Bearer, Permissions: either, Query: []string{"reason"}, body: ordinaryBody, timeout: slow, handle: changeUser},
		{Method: "DELETE", Pattern: "/v1/users/{id}", Who: Bearer, Permissions: either, Query: []string{"reason"}, handle: deleteUser},

		{Method: "DELETE", Pattern: "/v1/users/{id}/identities", Who: Bearer, Permissions: either, Query: []string{"issuer", "subject", "reason"}, handle: unlinkIdentity},

		{Method: "GET", Pattern: "/v1/providers", Who: Bearer, Permissions: administrator, handle: listProviders},
		{Method: "POST", Pattern: "/v1/providers", Who: Bearer, Permissions: administrator, body: ordinaryBody, handle: createProvider},
		{Method: "GET", Pattern: "/v1/providers/{name}", Who: Bearer, Permissions: administrator, handle: showProvider},
		{Method: "PATCH", Pattern: "/v1/providers/{name}", Who: Bearer, Permissions: administrator, Query: []string{"reason"}, body: ordinaryBody, timeout: bulk, handle: changeProvider},
		{Method: "DELETE", Pattern: "/v1/providers/{name}", Who: Bearer, Permissions: administrator, Query: []string{"reason"}, timeout: bulk, handle: deleteProvider},
		{Method: "POST", Pattern: "/v1/providers/{name}/check", Who: Bearer, Permissions: administrator, timeout: slow, handle: checkProvider},
		{Method: "GET", Pattern: "/v1/sign-in-methods", Who: Bearer, Permissions: administrator, handle: showSignInMethods},
		{Method: "PATCH", Pattern: "/v1/sign-in-methods", Who: Bearer, Permissions: administrator, body: ordinaryBody, handle: changeSignInMethods},

		{Method: "GET", Pattern: "/v1/clients", Who: Bearer, Permissions: administrator, Query: page, handle: listClients},
		{Method: "POST", Pattern: "/v1/clients", Who: Bearer, Permissions: administrator, body: ordinaryBody, handle: createClient},
		{Method: "DELETE", Pattern: "/v1/clients/{id}", Who: Bearer, Permissions: administrator, handle: deleteClient},
		{Method: "POST", Pattern: "/v1/clients/{id}/secrets", Who: Bearer, Permissions: administrator, body: ordinaryBody, handle: newSecret},
		{Method: "GET", Pattern: "/v1/clients/me", Who: Client, Edge: true, quiet: true, handle: showClient},

		{Method: "GET", Pattern: "/v1/keys", Who: Bearer, Permissions: administrator, handle: listKeys},
		{Method: "POST", Pattern: "/v1/keys/rotations", Who: Bearer, Permissions: administrator, body: ordinaryBody, handle: rotateKey},
		{Method: "DELETE", Pattern: "/v1/keys/{kid}", Who: Bearer, Permissions: administrator, Query: []string{"reason"}, timeout: slow, handle: retireKey},

		{Method: "GET", Pattern: "/v1/settings/authentication", Who: Bearer, handle: showSettings},
		{Method: "PUT", Pattern: "/v1/settings/authentication", Who: Bearer, Permissions: administrator, Query: []string{"dry_run"}, body: ordinaryBody, timeout: slow, handle: changeSettings},
		{Method: "GET", Pattern: "/v1/audit", Who: Bearer, Permissions: administrator,
			Query: []string{"person", "actor", "target", "action", "reason", "address", "session", "from", "to", "limit", "cursor"}, timeout: slow, handle: listAudit},

		{Pattern: verifyPath, Who: BearerOrCookie, AnyQuery: true, Edge: true, forwardAuth: true, quiet: true, handle: verify},
		{Pattern: verifyPath + "/{path}", Who: BearerOrCookie, AnyQuery: true, Edge: true, forwardAuth: true, quiet: true, handle: verify},
		{Method: "POST", Pattern: "/oauth/introspect", Who: Client, Capability: store.Introspect, body: ordinaryBody, Edge: true, quiet: true, handle: introspect},
		{Method: "POST", Pattern: "/oauth/revoke", Who: Holder, body: ordinaryBody, handle: revokeToken},
		{Method: "POST", Pattern: "/oauth/backchannel-logout", Who: Anyone, body: ordinaryBody, timeout: slow, handle: backchannelLogout},
		{Method: "POST", Pattern: "/oauth/global-token-revocation", Who: Client, Capability: store.Revoke, body: ordinaryBody, timeout: slow, handle: revokeSubject},

		{Method: "GET", Pattern: "/v1/changes", Who: Client, Capability: store.Follow, Edge: true, quiet: true,
			Query: []string{"after", "confirmed", "wait", "follower", "behind"}, handle: changes},
		{Method: "GET", Pattern: "/v1/revoked-before", Who: Client, Capability: store.Follow, Edge: true, quiet: true,
			Query: []string{"user", "session"}, handle: revokedBefore},
		{Method: "POST", Pattern: "/v1/uses", Who: Client, Capability: store.Follow, Edge: true, quiet: true, body: usesBody, handle: reportUses},

		{Method: "GET", Pattern: "/.well-known/jwks.json", Who: Anyone, AnyQuery: true, Edge: true, quiet: true, handle: showKeys},
		{Method: "GET", Pattern: "/.well-known/oauth-authorization-server", Who: Anyone, AnyQuery: true, quiet: true, handle: metadata},
		{Method: "GET", Pattern: "/livez", Who: Anyone, AnyQuery: true, Edge: true, quiet: true, handle: live},
		{Method: "GET", Pattern: "/readyz", Who: Anyone, AnyQuery: true, Edge: true, quiet: true, handle: ready},
		{Method: "GET", Pattern: "/openapi.yaml", Who: Anyone, AnyQuery: true, Edge: true, quiet: true, handle: openAPI},
	}
}
