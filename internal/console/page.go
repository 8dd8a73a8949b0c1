package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

//go:embed templates
var templateFiles embed.FS

// pages are the template sets, one for each page: layout.html and the shared
// parts in parts.html with the page's own file, which defines "main".
type pages map[string]*template.Template

// parsePages returns the template sets. It parses once, and a set is escaped once.
var parsePages = sync.OnceValues(func() (pages, error) {
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	funcs := template.FuncMap{
		"asset":        a.address,
		"count":        plural,
		"group":        group,
		"seconds":      seconds,
		"duration":     duration,
		"roughly":      roughly,
		"clip":         clip,
		"words":        actionWords,
		"percent":      percent,
		"milliseconds": milliseconds,
		"join":         strings.Join,
		"sentence":     sentenceOf,
		"zone":         func() template.HTML { return zoneNote },
	}
	shared, err := template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		set, err := template.Must(shared.Clone()).ParseFS(templateFiles, file)
		if err != nil {
			return nil, err
		}
		all[name] = set
	}
	return all, nil
})

// A frame is the part that all pages share. Views embed it.
type frame struct {
	Title string
	Trail []crumb // where the page is, as in Configuration › Settings; without the title

	Viewer   string // name of the signed-in user; "" if there is none
	ViewerID string
	Menu     []entry
	Here     string // the address of the menu's entry that the page belongs to

	Notice string // what was just done
	// Errors are the errors of the form that was sent, by the name of the field;
	// see whole. Nil: nothing.
	Errors  map[string]string
	Renew   string // address of this page when it should fetch itself anew where there is no script; "" if not
	UTC     bool   // the page's times are UTC, and it says so itself
	Clocks  *clocks
	Now     when
	Version string
	Docs    bool   // there is documentation to link to
	SignIn  string // address for signing in, on a page that needs no session; "" if it is not offered
}

// A crumb is a step of a trail.
type crumb struct {
	Words string
	Path  string // its page; "" if it has none
}

// crumbPaths are the pages of the steps that have one.
var crumbPaths = map[string]string{
	"Authentication": "/settings/authentication", "Users": "/users", "Revocations": "/revocations",
	"Signing keys": "/keys", "Services": "/services", "Profile": "/profile",
}

func crumbs(trail []string) []crumb {
	var steps []crumb
	for _, words := range trail {
		steps = append(steps, crumb{words, crumbPaths[words]})
	}
	return steps
}

// An entry is one of the menu.
type entry struct {
	Path, Words string
	Group       string // heading above it; "" for none
	Here        bool
}

// clocks say how long a session has left, counted from when the page was made:
// the browser's own clock may show any time.
type clocks struct {
	IdleMS    int64 // -1 with remember me: no session timeout
	MaximumMS int64
}

// menu is everything that is in it, and what it takes to see it.
var menu = []struct {
	entry
	needs need
}{
	{entry{Path: "/", Words: "Overview"}, administering},
	{entry{Path: "/settings/authentication", Words: "Settings › Authentication", Group: "Configuration"}, administering},
	{entry{Path: "/users", Words: "Users", Group: "Configuration"}, editUsers},
	{entry{Path: "/revocations", Words: "Revocations", Group: "Configuration"}, administering},
	{entry{Path: "/audit", Words: "Audit", Group: "Configuration"}, administering},
	{entry{Path: "/keys", Words: "Signing keys", Group: "Configuration"}, administering},
	{entry{Path: "/services", Words: "Services", Group: "Configuration"}, administering},
	{entry{Path: docsPath, Words: "Documentation", Group: "Help"}, editUsers},
}

// frame returns the frame of a page that belongs to the menu's entry here.
func (x *exchange) frame(title, here string, trail ...string) frame {
	f := frame{Title: title, Trail: crumbs(trail), Here: here, Notice: notices[x.r.URL.Query().Get("done")], Now: x.when(x.now()), Version: x.version, Docs: x.docs}
	if x.session == nil {
		return f
	}
	f.ViewerID, f.Viewer = x.session.Subject, x.caller.Actor.Name
	f.Clocks = clocksOf(x.session, x.exchangeEnds(x.session))
	for _, m := range menu {
		if m.needs.met(x.caller) && (x.docs || m.Path != docsPath) {
			e := m.entry
			e.Here = e.Path == here
			f.Menu = append(f.Menu, e)
		}
	}
	return f
}

// frameBelow returns the frame of a page below the page of a user.
func (x *exchange) frameBelow(u store.User, title string) frame {
	f := x.frame(title, "/users", "Configuration", "Users")
	f.Trail = append(f.Trail, crumb{clip(u.Name, 80), userPath(u.ID)})
	return f
}

// An ends is when the two clocks of a session run out.
type ends struct {
	idle    time.Time // zero with remember me
	maximum time.Time
	now     time.Time
}

// exchangeEnds returns when s ends by the settings as this node knows them, and
// never after the end that is written in its token.
func (x *exchange) exchangeEnds(s *token.Session) ends {
	in := x.inForce()
	e := ends{maximum: s.MaximumEnd(in).Time(), now: x.now()}
	if s.RememberMe {
		e.maximum = min(s.MaximumEnd(in), s.ExpiresAt).Time()
		return e
	}
	e.idle = min(s.IdleEnd(in), s.ExpiresAt, s.MaximumEnd(in)).Time()
	return e
}

func clocksOf(s *token.Session, e ends) *clocks {
	c := &clocks{IdleMS: -1, MaximumMS: max(0, e.maximum.Sub(e.now).Milliseconds())}
	if !s.RememberMe {
		c.IdleMS = max(0, e.idle.Sub(e.now).Milliseconds())
	}
	return c
}

// render answers with a page. The page is complete before its first byte is sent,
// so that an error in it becomes an error page and not half a page.
func (x *exchange) render(status int, name string, view any) error {
	return x.renderPart(status, name, "layout", view)
}

func (x *exchange) renderPart(status int, name, part string, view any) error {
	set, ok := x.pages[name]
	if !ok {
		return fmt.Errorf("console: no page is called %q", name)
	}
	var page bytes.Buffer
	if err := set.ExecuteTemplate(&page, part, view); err != nil {
		return fmt.Errorf("console: page %s: %w", name, err)
	}
	text := page.String()
	if !strings.Contains(text, "<time ") {
		text = strings.Replace(text, zoneNote, "", 1)
	}
	x.begin()
	x.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.w.WriteHeader(status)
	// The only error here is a client that has disconnected.
	_, _ = x.links.WriteString(x.w, text)
	return nil
}

// zoneNote says in which time zone the times of a page are; the script names the
// viewer's.
const zoneNote = ` · <span class="utc">Times are UTC.</span>`

func (x *exchange) ok(name string, view any) error { return x.render(http.StatusOK, name, view) }

// refusedForm answers with the page of a form that cannot be accepted as it is.
func (x *exchange) refusedForm(name string, view any) error {
	inbound.Of(x.r).Code = "invalid_request"
	return x.render(http.StatusUnprocessableEntity, name, view)
}

// notices are the messages that a page shows after an action. The key is in the
// address, where an attacker can put any word: an unknown key shows nothing.
var notices = map[string]string{
	"saved": "Saved.",

	"provider-added": "Identity provider added. Register the addresses below at the provider, then check it.",

	"settings":      "Settings saved. They apply to all sessions, including existing ones.",
	"unchanged":     "No change: these settings were already in force.",
	"created":       "Account created. The user can sign in now.",
	"must-change":   "Account created. The user can sign in now, and must choose a new password then.",
	"shown":         "The generated password was shown once and can’t be shown again. If it was not copied, generate another one on the user’s page.",
	"secret-shown":  "The secret was shown once and can’t be shown again. If it was not copied, create a new one.",
	"no-password":   "Account created, without a password. Services can start sessions for the user, and a linked account at an identity provider can sign in.",
	"passwords-off": "Account created. Signing in with a password is switched off, so the password has no effect until an administrator switches it on again.",
	"permissions":   "Permissions saved. They apply from the next request.",
	"groups":        "Groups saved. The next sign-in or refresh adds new groups to the token. If you removed a group, all of the user’s sessions are revoked.",
	"password":      "Password changed. All of the user’s sessions are revoked.",
	"own":           "Password changed. Your other sessions are revoked; this session continues.",
	"required":      "Password changed. You are signed in.",
	"disabled":      "Account disabled. Its sessions are revoked.",
	"enabled":       "Account enabled.",
	"deleted":       "User deleted. All of the user’s sessions are revoked.",
	"revoked":       "Sessions revoked.",
	"session":       "Session revoked.",
	"elsewhere":     "You are signed out everywhere else. This session continues.",
	"scheduled":     "Rotation scheduled. The new key signs as soon as every validator has it, within one lease.",
	"rotated":       "Keys rotated. Sessions signed with the old key stay valid.",
	"retired":       "Key retired. All sessions signed with it have ended.",
	"unlinked":      "Account unlinked. All of the user’s sessions are revoked.",
	"removed":       "Service removed. Its secret no longer works.",
}
