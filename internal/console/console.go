// Package console serves the pages for administrators and users. The server renders
// them, and they work without a script. The services that it calls check all
// permissions; the API calls the same services.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Config configures [New]. The first five fields are required.
type Config struct {
	Sessions  *session.Service
	Accounts  *account.Service
	Ring      *keyring.Ring
	Node      *feed.Node
	Validator *token.Validator

	// Issuer is the URL at which browsers reach the console. "" if it is not known: then
	// the console names no address of its own.
	Issuer string
	// Prefix is the path below which browsers see the console, such as "/curfew"; ""
	// is the root. Requests arrive without it (see inbound.Below).
	Prefix string
	// Providers asks identity providers. Nil: a client with its defaults.
	Providers *oidc.Client
	// SignedIn, if not nil, is called with the outcome of each step of a sign-in through a
	// provider. provider is "" if it is not known.
	SignedIn func(provider, outcome string)
	// Jar is the cookie that sessions are kept in.
	Jar webcookie.Jar
	// ReturnTo says whether a person may be sent to an address of another host
	// after signing in, for forward auth. Nil: to none.
	ReturnTo func(address string) bool
	// Discoverer fetches the metadata of identity providers, to check them. Nil:
	// Providers.
	Discoverer providercheck.Discoverer
	// MinimumTimeout is the shortest session timeout that may be set. Zero means
	// settings.MinimumSessionTimeout.
	MinimumTimeout time.Duration
	// UnknownProxy returns the address of a peer that seems to be a proxy and is not
	// configured as one; the zero Addr if there is none. Nil: the overview does not
	// say.
	UnknownProxy func() netip.Addr
	// UnknownReturns returns the hosts to which forward auth may not send browsers back.
	// Nil: the overview does not say.
	UnknownReturns func() []string
	// ForwardAuth says that forward auth is configured: it may send browsers to other
	// hosts. False: the first steps name it.
	ForwardAuth bool
	// Certificate returns when the TLS certificate of this node begins and ends. Nil, or
	// a zero end: it has none.
	Certificate func() (begins, ends time.Time)
	// Warnings returns faults that do not stop requests from being answered. Nil: none.
	Warnings func() []string
	// Refusals returns how many tokens this node has refused since it started, by
	// reason. Nil: the overview does not say.
	Refusals func() map[token.Reason]uint64
	// Timeout is how long a page may take that does nothing but ask the store.
	// Zero: 2 s. Pages that hash passwords or read many rows may take longer.
	Timeout time.Duration
	// Docs is the documentation, which the console shows at /docs and each page links to.
	// Nil: there is none.
	Docs *manual.Manual
	// Version is that of the program; "" if it is not known.
	Version string
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
}

func (c Config) minimumTimeout() time.Duration {
	if c.MinimumTimeout == 0 {
		return settings.MinimumSessionTimeout
	}
	return c.MinimumTimeout
}

func (c Config) discoverer() providercheck.Discoverer {
	if c.Discoverer == nil && c.Providers != nil {
		return c.Providers
	}
	return c.Discoverer
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return answerWithin
	}
	return c.Timeout
}

// base is what every page stands on: who calls, and how to answer.
type base struct {
	identity
	inForce func() settings.Settings // as this node knows them
	prefix  string                   // see [Config]
	version string                   // see [Config]
	docs    bool                     // there is documentation
	timeout time.Duration            // see [Config]
	now     func() time.Time
	log     *slog.Logger
	pages   pages
	links   *strings.Replacer // see below
}

// identity is what tells the caller of a request by its cookie, and keeps that
// cookie.
type identity struct {
	jar       webcookie.Jar
	validator *token.Validator
	callers   interface {
		UserCaller(ctx context.Context, s *token.Session, from authz.Origin) (authz.Caller, error)
		User(ctx context.Context, c authz.Caller, id string) (store.User, error)
	}
	own interface { // what happens to the session of the request itself
		Refresh(ctx context.Context, s *token.Session) (session.Issued, error)
		Reauthenticate(ctx context.Context, c authz.Caller, password string, from authz.Origin) (session.Issued, error)
		WaysAgain(ctx context.Context, c authz.Caller) (session.Ways, error)
		SignOut(ctx context.Context, s *token.Session, from authz.Origin) error
		RevokedBy(ctx context.Context, epoch revocation.Epoch) (string, error)
		Record(ctx context.Context, c authz.Caller, userID, sessionID string) (session.Record, error)
	}
}

// A route is one way into the console.
type route struct {
	pattern string // method and path, as http.ServeMux has them
	needs   need
	serve   func(*exchange) error
	// large lets the body be as long as a list of names may be.
	large bool
	// slow is for what hashes passwords, which waits for its turn, and for what
	// reads or writes many rows.
	slow bool
	// machine marks what the script asks for by itself: it is not the person's
	// doing, so it keeps no session alive.
	machine bool
	// brief is for pages that need no caller: the request waits for the store a
	// moment only.
	brief bool
	// confirming returns the page "Confirm it is you" for what is sent to the route; nil:
	// the page is about the form, see operations.
	confirming func(*exchange) reauthenticateView
}

// need is who may use a route. The services behind the routes decide again, and
// about more than a page can know; this is for pages that ask no service, and
// for the menu.
type need string

const (
	anyone        need = "anyone"
	signedIn      need = "signed in"
	editUsers     need = store.UserEdit // or AdministerSystem
	administering need = store.AdministerSystem
)

// met reports whether the caller meets the need.
func (n need) met(c authz.Caller) bool {
	switch n {
	case editUsers:
		return c.MayEditUsers() == nil
	case administering:
		return c.MayAdminister() == nil
	case anyone, signedIn:
	}
	return true
}

// routes are all ways into the console. Each group of pages gets what it uses of c.
func routes(c Config) []route {
	receipts := &receiptPages{c.Accounts, c.Sessions}
	signIn := &signInPages{
		sessions: c.Sessions, accounts: c.Accounts, providers: c.Providers, attempts: newAttempts(c.Ring), signedIn: c.SignedIn,
		issuer: c.Issuer, mayReturn: c.ReturnTo,
	}
	profile := &profilePages{c.Sessions, receipts}
	overview := &overviewPage{c.Accounts, c.Sessions, c.Ring, c.Node, c.UnknownProxy, c.UnknownReturns, c.ForwardAuth, c.Certificate, c.Warnings, c.Refusals}
	providers := &providerPages{c.Accounts, c.Sessions, c.discoverer(), c.Issuer}
	authentication := &settingsPages{c.Sessions, providers, c.minimumTimeout()}
	users := &userPages{c.Accounts, c.Sessions, receipts, c.Issuer}
	revocations := &revocationPages{c.Accounts, c.Sessions}
	audit := &auditPages{c.Accounts, c.Sessions}
	keys := &keyPages{c.Ring, c.Sessions}
	services := &servicePages{c.Accounts}
	docs := &docPages{manual: c.Docs}

	all := []route{
		{pattern: "GET /{$}", needs: signedIn, serve: home(overview, profile), slow: true},
		{pattern: "GET /sign-in", needs: anyone, serve: signIn.page},
		{pattern: "POST /sign-in", needs: anyone, serve: signIn.signIn, slow: true},
		{pattern: "GET /sign-in/{provider}", needs: anyone, serve: signIn.start, slow: true},
		{pattern: "GET /sign-in/{provider}/callback", needs: anyone, serve: signIn.callback, slow: true},
		{pattern: "GET /continue", needs: anyone, serve: signIn.continuePage},
		{pattern: "GET /reauthenticate", needs: signedIn, serve: signIn.reauthenticatePage},
		{pattern: "POST /reauthenticate", needs: signedIn, serve: signIn.reauthenticated, slow: true, confirming: signIn.confirming},
		{pattern: "POST /sign-out", needs: anyone, serve: signIn.signOut},
		{pattern: "GET /signed-in", needs: signedIn, serve: signedInAgain},

		{pattern: "GET /profile", needs: signedIn, serve: profile.profile},
		{pattern: "GET /profile/session", needs: anyone, serve: sessionState, machine: true},
		{pattern: "POST /profile/session", needs: signedIn, serve: staySignedIn},
		{pattern: "POST /profile/password", needs: signedIn, serve: profile.changePassword, slow: true},

		{pattern: "GET /settings/authentication", needs: administering, serve: authentication.settings},
		{pattern: "GET /settings/authentication/preview", needs: administering, serve: authentication.preview, slow: true},
		{pattern: "POST /settings/authentication", needs: administering, serve: authentication.save, slow: true},
		{pattern: "GET /settings/authentication/new-provider", needs: administering, serve: providers.add},
		{pattern: "POST /settings/authentication/providers", needs: administering, serve: providers.create},
		{pattern: "GET /settings/authentication/providers/{name}", needs: administering, serve: providers.page},
		{pattern: "POST /settings/authentication/providers/{name}", needs: administering, serve: providers.save, slow: true},
		{pattern: "GET /settings/authentication/providers/{name}/check", needs: administering, serve: providers.check, slow: true},

		{pattern: "GET /users", needs: editUsers, serve: users.list, slow: true},
		{pattern: "POST /users", needs: editUsers, serve: users.create, slow: true},
		{pattern: "POST /users/selected", needs: administering, serve: users.revokeSelected, slow: true},
		{pattern: "GET /new-user", needs: editUsers, serve: users.newUser},
		{pattern: "GET /users/{id}", needs: editUsers, serve: users.show},
		{pattern: "POST /users/{id}", needs: editUsers, serve: users.rename},
		{pattern: "POST /users/{id}/permissions", needs: editUsers, serve: users.changePermissions},
		{pattern: "POST /users/{id}/groups", needs: editUsers, serve: users.changeGroups},
		{pattern: "POST /users/{id}/password", needs: editUsers, serve: users.setPassword, slow: true},
		{pattern: "POST /users/{id}/enable", needs: editUsers, serve: users.enable},
		{pattern: "GET /users/{id}/sessions/{sid}", needs: signedIn, serve: users.session}, // one's own, too

		{pattern: "GET /revocations", needs: administering, serve: receipts.list, slow: true},
		{pattern: "GET /revocations/export", needs: administering, serve: receipts.exportList},
		{pattern: "GET /revocations/new", needs: administering, serve: revocations.form},
		{pattern: "POST /revocations", needs: administering, serve: revocations.check, large: true, slow: true},
		{pattern: "POST /revocations/confirmed", needs: administering, serve: revocations.revoke, large: true, slow: true},
		{pattern: "GET /revocations/{epoch}", needs: signedIn, serve: receipts.page},
		{pattern: "GET /revocations/{epoch}/export", needs: administering, serve: receipts.exportOne},
		{pattern: "GET /revocations/{epoch}/state", needs: signedIn, serve: receipts.state, machine: true},

		{pattern: "GET /audit", needs: administering, serve: audit.audit},
		{pattern: "GET /audit/export", needs: administering, serve: audit.export},

		{pattern: "GET /keys", needs: administering, serve: keys.keys},

		{pattern: "GET /services", needs: administering, serve: services.services},
		{pattern: "POST /services", needs: administering, serve: services.create},

		{pattern: "GET /docs", needs: anyone, serve: docs.show, brief: true},
		{pattern: "GET /docs/{topic...}", needs: anyone, serve: docs.show, brief: true},
	}
	for _, action := range []confirmed{
		{path: "/profile/revoke", needs: signedIn, ask: profile.askRevoke, do: profile.revoke},
		{path: "/profile/elsewhere", needs: signedIn, ask: profile.askElsewhere, do: profile.signOutElsewhere},
		{path: "/users/{id}/disable", needs: editUsers, ask: users.askDisable, do: users.disable},
		{path: "/users/{id}/delete", needs: editUsers, ask: users.askDelete, do: users.delete, reasons: []string{"Offboarding", "Requested by the user", other}, word: "delete"},
		{path: "/users/{id}/unlink", needs: editUsers, ask: users.askUnlink, do: users.unlink},
		{path: "/settings/authentication/providers/{name}/remove", needs: administering, ask: providers.askRemove, do: providers.remove, word: "remove"},
		{path: "/settings/authentication/passwords/off", needs: administering, ask: providers.askPasswords(false), do: providers.setPasswords(false)},
		{path: "/settings/authentication/passwords/on", needs: administering, ask: providers.askPasswords(true), do: providers.setPasswords(true)},
		{path: "/users/{id}/revoke", needs: editUsers, ask: users.askRevoke, do: users.revoke, reasons: reasonsOffered},
		// One's own sessions are revoked here as well: whose they are decides.
		{path: "/users/{id}/sessions/{sid}/revoke", needs: signedIn, ask: users.askRevokeSession, do: users.revokeSession, reasons: reasonsOffered, optional: true},
		{path: "/keys/rotate", needs: administering, ask: keys.askRotate, do: keys.rotate},
		{path: "/keys/retire", needs: administering, ask: keys.askRetire, do: keys.retire, reasons: []string{"Key compromised", "Key lost", other}, word: "retire"},
		{path: "/services/{id}/secret", needs: administering, ask: services.askSecret, do: services.newSecret},
		{path: "/services/{id}/remove", needs: administering, ask: services.askRemove, do: services.remove},
	} {
		all = append(all, action.routes()...)
	}
	docs.pages = pagesOf(all)
	return all
}

// home is the overview for administrators, and the profile for other users.
func home(overview *overviewPage, profile *profilePages) func(*exchange) error {
	return func(x *exchange) error {
		if administering.met(x.caller) {
			return overview.show(x)
		}
		return profile.profile(x)
	}
}

// Patterns returns the patterns of the console's pages and forms, as http.ServeMux
// has them: method and path.
func Patterns() []string {
	var patterns []string
	for _, r := range routes(Config{}) {
		patterns = append(patterns, r.pattern)
	}
	return patterns
}

// New returns the console. It answers every path that is asked of it: those it
// does not know with a page that says so.
func New(config Config) (http.Handler, error) {
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"Sessions", config.Sessions == nil}, {"Accounts", config.Accounts == nil}, {"Ring", config.Ring == nil},
		{"Node", config.Node == nil}, {"Validator", config.Validator == nil},
	} {
		if required.missing {
			return nil, errors.New("console: Config." + required.name + " is required")
		}
	}
	assets, err := loadAssets()
	if err != nil {
		return nil, err
	}
	if config.Providers == nil {
		config.Providers = oidc.New(oidc.Config{Now: config.Now, Logger: config.Logger})
	}
	b, err := newBase(config)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, r := range routes(config) {
		mux.Handle(r.pattern, b.handler(r))
	}
	mux.Handle("GET /assets/{name}", quiet(assets))
	mux.Handle("/", b.handler(route{pattern: "/", needs: anyone, serve: nowhere(mux)}))

	// Browsers say themselves where a request comes from: no hidden fields are
	// needed to refuse what another site sends in a person's name.
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(b.handler(route{needs: anyone, serve: foreign}))
	tidied := tidy(config.Prefix, mux)
	return guard(fromIssuer(originOf(config.Issuer), tidied, crossOrigin.Handler(tidied))), nil
}

func newBase(c Config) (*base, error) {
	pages, err := parsePages()
	b := &base{
		identity: identity{jar: c.Jar, validator: c.Validator, callers: c.Accounts, own: c.Sessions},
		inForce:  func() settings.Settings { return c.Node.Settings().Current().Settings },
		prefix:   c.Prefix, version: c.Version, docs: c.Docs != nil, timeout: c.timeout(),
		now: c.Now, log: c.Logger, pages: pages, links: below(c.Prefix),
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	return b, err
}

// fromIssuer passes requests from pages of the issuer's origin to own, others to
// other. Older browsers, and all of them over plain HTTP, send an Origin and no
// Sec-Fetch-Site. CrossOriginProtection then compares Origin with Host, into which a
// proxy may have put another name. Where there is a Sec-Fetch-Site, it decides: a
// browser never sends "cross-site" from a page of ours.
func fromIssuer(origin string, own, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := r.Header["Origin"]
		if origin != "" && len(said) == 1 && said[0] == origin && len(r.Header["Sec-Fetch-Site"]) == 0 {
			own.ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// originOf returns the origin of a URL as browsers write it in the header Origin (RFC
// 6454, section 6.2); "" if it has none.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// quiet keeps the requests that every page makes out of the log.
func quiet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inbound.Of(r).Quiet = true
		next.ServeHTTP(w, r)
	})
}
