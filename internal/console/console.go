// Package console serves the pages for administrators and users. The server renders
// them, and they work without a script. The services that it calls check all
// permissions; the API calls the same services.
package console

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
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
	// Jar is the cookie that sessions are kept in.
	Jar webcookie.Jar
	// ReturnTo says whether a person may be sent to an address of another host
	// after signing in, for forward auth. Nil: to none.
	ReturnTo func(address string) bool
	// MinimumTimeout is the shortest session timeout that may be set. Zero means
	// settings.MinimumSessionTimeout.
	MinimumTimeout time.Duration
	// UnknownProxy returns the address of a peer that seems to be a proxy and is not
	// configured as one; the zero Addr if there is none. Nil: the overview does not
	// say.
	UnknownProxy func() netip.Addr
	// Refusals returns how many tokens this node has refused since it started, by
	// reason. Nil: the overview does not say.
	Refusals func() map[token.Reason]uint64
	// Timeout is how long a page may take that does nothing but ask the store.
	// Zero: 2 s. Pages that hash passwords or read many rows may take longer.
	Timeout time.Duration
	// Version is that of the program; "" if it is not known.
	Version string
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c Config) minimumTimeout() time.Duration {
	if c.MinimumTimeout == 0 {
		return settings.MinimumSessionTimeout
	}
	return c.MinimumTimeout
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return answerWithin
	}
	return c.Timeout
}

type console struct {
	config Config
	now    func() time.Time
	log    *slog.Logger
	assets assets
	pages  pages
	links  *strings.Replacer // see below

	toldPlain sync.Once // see warnPlain
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

func (c *console) routes() []route {
	return []route{
		{pattern: "GET /{$}", needs: signedIn, serve: c.home, slow: true},
		{pattern: "GET /sign-in", needs: anyone, serve: c.signInPage},
		{pattern: "POST /sign-in", needs: anyone, serve: c.signIn, slow: true},
		{pattern: "GET /continue", needs: anyone, serve: c.continuePage},
		{pattern: "POST /sign-out", needs: anyone, serve: c.signOut},
		{pattern: "GET /signed-in", needs: signedIn, serve: c.signedInAgain},

		{pattern: "GET /profile", needs: signedIn, serve: c.profile},
		{pattern: "GET /profile/session", needs: anyone, serve: c.sessionState, machine: true},
		{pattern: "POST /profile/session", needs: signedIn, serve: c.staySignedIn},
		{pattern: "GET /profile/revoke", needs: signedIn, serve: c.confirmRevokeOwn},
		{pattern: "POST /profile/revoke", needs: signedIn, serve: c.revokeOwn},
		{pattern: "GET /profile/elsewhere", needs: signedIn, serve: c.confirmElsewhere},
		{pattern: "POST /profile/elsewhere", needs: signedIn, serve: c.signOutElsewhere},
		{pattern: "POST /profile/password", needs: signedIn, serve: c.changeOwnPassword, slow: true},

		{pattern: "GET /settings/authentication", needs: administering, serve: c.settings},
		{pattern: "GET /settings/authentication/preview", needs: administering, serve: c.previewSettings, slow: true},
		{pattern: "POST /settings/authentication", needs: administering, serve: c.saveSettings, slow: true},

		{pattern: "GET /users", needs: editUsers, serve: c.users},
		{pattern: "POST /users", needs: editUsers, serve: c.createUser, slow: true},
		{pattern: "GET /new-user", needs: editUsers, serve: c.newUser},
		{pattern: "GET /users/{id}", needs: editUsers, serve: c.user},
		{pattern: "POST /users/{id}", needs: editUsers, serve: c.renameUser},
		{pattern: "POST /users/{id}/permissions", needs: editUsers, serve: c.changePermissions},
		{pattern: "POST /users/{id}/groups", needs: editUsers, serve: c.changeGroups},
		{pattern: "POST /users/{id}/password", needs: editUsers, serve: c.setPassword, slow: true},
		{pattern: "GET /users/{id}/disable", needs: editUsers, serve: c.confirmDisable},
		{pattern: "POST /users/{id}/disable", needs: editUsers, serve: c.disableUser},
		{pattern: "POST /users/{id}/enable", needs: editUsers, serve: c.enableUser},
		{pattern: "GET /users/{id}/revoke", needs: editUsers, serve: c.confirmRevokeUser},
		{pattern: "POST /users/{id}/revoke", needs: editUsers, serve: c.revokeUser},
		// One's own sessions are revoked here as well: whose they are decides.
		{pattern: "GET /users/{id}/sessions/{sid}/revoke", needs: signedIn, serve: c.confirmRevokeSession},
		{pattern: "POST /users/{id}/sessions/{sid}/revoke", needs: signedIn, serve: c.revokeSession},

		{pattern: "GET /revocations", needs: administering, serve: c.bulk},
		{pattern: "POST /revocations", needs: administering, serve: c.checkBulk, large: true, slow: true},
		{pattern: "POST /revocations/confirmed", needs: administering, serve: c.revokeBulk, large: true, slow: true},
		{pattern: "GET /revocations/{epoch}", needs: signedIn, serve: c.receipt},
		{pattern: "GET /revocations/{epoch}/state", needs: signedIn, serve: c.receiptState, machine: true},

		{pattern: "GET /audit", needs: administering, serve: c.audit},
		{pattern: "GET /audit/export", needs: administering, serve: c.exportAudit},

		{pattern: "GET /keys", needs: administering, serve: c.keys},
		{pattern: "GET /keys/rotate", needs: administering, serve: c.confirmRotate},
		{pattern: "POST /keys/rotate", needs: administering, serve: c.rotate},
		{pattern: "GET /keys/retire", needs: administering, serve: c.confirmRetire},
		{pattern: "POST /keys/retire", needs: administering, serve: c.retire},

		{pattern: "GET /services", needs: administering, serve: c.services},
		{pattern: "POST /services", needs: administering, serve: c.createService},
		{pattern: "GET /services/{id}/secret", needs: administering, serve: c.confirmSecret},
		{pattern: "POST /services/{id}/secret", needs: administering, serve: c.newSecret},
		{pattern: "GET /services/{id}/remove", needs: administering, serve: c.confirmRemove},
		{pattern: "POST /services/{id}/remove", needs: administering, serve: c.removeService},
	}
}

// Patterns returns the patterns of the console's pages and forms, as http.ServeMux
// has them: method and path.
func Patterns() []string {
	var patterns []string
	for _, r := range new(console).routes() {
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
	c, err := newConsole(config)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, r := range c.routes() {
		mux.Handle(r.pattern, c.handler(r))
	}
	mux.Handle("GET /assets/{name}", quiet(c.assets))
	mux.Handle("/", c.handler(route{pattern: "/", needs: anyone, serve: c.nowhere(mux)}))

	// Browsers say themselves where a request comes from: no hidden fields are
	// needed to refuse what another site sends in a person's name.
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(c.handler(route{needs: anyone, serve: c.foreign}))
	tidied := tidy(config.Prefix, mux)
	return guard(fromIssuer(originOf(config.Issuer), tidied, crossOrigin.Handler(tidied))), nil
}

// newConsole returns a console with its pages, without the mux in front.
func newConsole(config Config) (*console, error) {
	c := &console{config: config, now: config.now(), log: config.logger(), links: below(config.Prefix)}
	var err error
	if c.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	c.pages, err = parsePages(c.assets)
	return c, err
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
