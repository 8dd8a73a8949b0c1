package console

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
)

// fitting returns an address that fits a pattern.
func fitting(pattern string, other store.User) (method, address string) {
	method, address, _ = strings.Cut(pattern, " ")
	return method, strings.NewReplacer("{$}", "", "/users/{id}", "/users/"+url.PathEscape(other.ID), "/services/{id}", "/services/nobody",
		"{name}", "none",
		"{sid}", "AAAAAAAAAAAAAAAAAAAAAA", "{epoch}", "1", "{topic...}", "keys").Replace(address)
}

// Every route, and every kind of caller.
func TestWhoMayWhat(t *testing.T) {
	s := open(t)
	ordinary, editor, other := s.user("ordinary"), s.user("editor", store.UserEdit), s.user("other")
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, other)
		for _, who := range []struct {
			name   string
			person *person
			holds  []need
		}{
			{"nobody", s.signedOut(), []need{anyone}},
			{"ordinary user", s.as(ordinary), []need{anyone, signedIn}},
			{"UserEdit", s.as(editor), []need{anyone, signedIn, editUsers}},
			{"AdministerSystem", s.as(s.admin), []need{anyone, signedIn, editUsers, administering}},
		} {
			var form url.Values
			if method == http.MethodPost {
				form = url.Values{"username": {"nobody"}, "kid": {"none"}}
			}
			a := who.person.do(method, address, form)
			allowed := slices.Contains(who.holds, rt.needs)
			refused := a.status == http.StatusForbidden || a.status == http.StatusUnauthorized && rt.needs != anyone || who.person.user.ID == "" && (strings.HasPrefix(a.location, "/sign-in?return=") || method == http.MethodGet && a.location == "/sign-in")
			switch {
			case allowed && refused && rt.pattern != "POST /users/{id}/permissions" && !strings.Contains(rt.pattern, "{sid}") && !strings.Contains(rt.pattern, "{epoch}"):
				t.Errorf("%s, %s: refused (%d)", rt.pattern, who.name, a.status)
			case !allowed && !refused:
				t.Errorf("%s, %s: let in (%d)", rt.pattern, who.name, a.status)
			}
			if !allowed && who.person.user.ID != "" {
				a.is(http.StatusForbidden).says("Permission required", string(rt.needs)).saysNot("A service started")
			}
		}
	}
}

// The start page links to the pages that its user may see, and to no page that
// would be refused.
func TestStartPageLinks(t *testing.T) {
	s := open(t)
	pages := []string{"/settings/authentication", "/users", "/revocations", "/audit", "/keys", "/services", "/profile"}
	for _, tt := range []struct {
		user store.User
		want []string
		says string
	}{
		{s.admin, pages, "live session"},
		{s.user("editor", store.UserEdit), []string{"/users", "/profile"}, "My sessions"},
		{s.user("ordinary"), []string{"/profile"}, "My sessions"},
	} {
		p := s.as(tt.user)
		start := p.get("/").is(http.StatusOK).says(tt.says)
		for _, page := range pages {
			linked := slices.Contains(start.hrefs(), page)
			if want := slices.Contains(tt.want, page); linked != want {
				t.Errorf("%s: a link to %s: %v, want %v", tt.user.Name, page, linked, want)
			}
			got := p.get(page).status
			if want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[linked]; got != want {
				t.Errorf("%s: %s answers %d, want %d", tt.user.Name, page, got, want)
			}
		}
		for _, href := range start.hrefs() {
			if strings.HasPrefix(href, "/assets/") || strings.HasPrefix(href, "#") {
				continue
			}
			if got := p.get(href).status; got != http.StatusOK {
				t.Errorf("%s: the link to %s answers %d", tt.user.Name, href, got)
			}
		}
	}
}

// A demoted administrator is one no longer, though the token is the same.
func TestPermissionsAreThoseOfNow(t *testing.T) {
	s := open(t)
	second := s.user("second", store.AdministerSystem)
	p := s.as(second)
	p.get("/audit").is(http.StatusOK)
	s.as(s.admin).post("/users/" + second.ID + "/permissions").to("/users/" + second.ID)
	p.get("/audit").is(http.StatusForbidden).says("This requires the AdministerSystem permission")
}

// What a page of another site sends in a person's name changes nothing, whatever
// it sends.
func TestCrossSite(t *testing.T) {
	s := open(t)
	other := s.user("other")
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, other)
		if method != http.MethodPost {
			continue
		}
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "", "Origin", "https://evil.test"},
			{"Sec-Fetch-Site", "", "Origin", "http://console.test.evil.test"},
			{"Sec-Fetch-Site", "", "Origin", "null"},
			{"Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"},
			{"Sec-Fetch-Site", "cross-site", "Origin", "http://console.test"},
		} {
			p := s.as(s.admin)
			before := s.audits("")
			a := p.do(http.MethodPost, address, url.Values{"scope": {"everyone"}, "reason": {"Offboarding"}, "word": {"everyone"}, "name": {"x"}}, header...)
			a.is(http.StatusForbidden).says("Request from another site")
			if len(a.cookies) != 0 {
				t.Errorf("%s %v: sets a cookie", rt.pattern, header)
			}
			if after := s.audits(""); len(after) != len(before) {
				t.Errorf("%s %v: did something: %v", rt.pattern, header, after[0])
			}
		}
	}
}

// Behind a proxy that puts another name into Host, browsers that send an Origin alone
// sign in if it is the issuer's, exactly.
func TestProxyThatRenames(t *testing.T) {
	s := open(t)
	for _, tt := range []struct {
		origin []string
		site   string
		status int
	}{
		{[]string{issuer}, "", http.StatusSeeOther},
		{[]string{issuer}, "same-origin", http.StatusSeeOther},
		{nil, "", http.StatusSeeOther}, // no browser, or one so old that it sends a Referer only
		{[]string{issuer}, "cross-site", http.StatusForbidden},
		{[]string{issuer}, "same-site", http.StatusForbidden},
		{[]string{issuer, "http://evil.test"}, "", http.StatusForbidden},
		{[]string{"http://evil.test", issuer}, "", http.StatusForbidden},
		{[]string{"https://console.test"}, "", http.StatusForbidden},
		{[]string{issuer + ":8080"}, "", http.StatusForbidden},
		{[]string{issuer + ".evil.test"}, "", http.StatusForbidden},
		{[]string{"http://evil.test"}, "", http.StatusForbidden},
		{[]string{"null"}, "", http.StatusForbidden},
	} {
		form := url.Values{"username": {"admin"}, "password": {password}}
		r := httptest.NewRequest(http.MethodPost, "http://10.1.2.3:8420/sign-in", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Origin"] = tt.origin
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if told := strings.Contains(w.Body.String(), "make the proxy pass Host on"); told != (tt.status == http.StatusForbidden && tt.site == "") {
			t.Errorf("Origin %q, Sec-Fetch-Site %q: told of the proxy: %v", tt.origin, tt.site, told)
		}
		if signedIn := len(w.Result().Cookies()) == 1; w.Code != tt.status || signedIn != (tt.status == http.StatusSeeOther) {
			t.Errorf("Origin %q, Sec-Fetch-Site %q: status %d, want %d", tt.origin, tt.site, w.Code, tt.status)
		}
	}
}

func TestOriginOf(t *testing.T) {
	for address, want := range map[string]string{
		"https://curfew.example": "https://curfew.example", "https://Curfew.Example/path/": "https://curfew.example",
		"https://curfew.example:443": "https://curfew.example", "http://curfew.example:80/": "http://curfew.example",
		"http://curfew.example:443": "http://curfew.example:443", "https://[::1]:8420": "https://[::1]:8420",
		"": "", "curfew": "", "ftp://curfew.example": "", "https://": "",
	} {
		if got := originOf(address); got != want {
			t.Errorf("originOf(%q) = %q, want %q", address, got, want)
		}
	}
}

// Programs other than browsers send no headers about sites. They are let through:
// another site cannot cause their requests.
func TestNoBrowser(t *testing.T) {
	s := open(t)
	s.as(s.admin).do(http.MethodPost, "/users/"+s.user("other").ID+"/enable", url.Values{}, "Sec-Fetch-Site", "").is(http.StatusSeeOther)
}

func TestHeaders(t *testing.T) {
	s := open(t)
	admin := s.as(s.admin)
	check := func(a answer, what string) {
		t.Helper()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "same-origin",
			"Cache-Control":           "no-store",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", what, name, got, want)
			}
		}
	}
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, s.admin)
		if method == http.MethodGet {
			check(admin.get(address), rt.pattern)
			check(s.signedOut().get(address), rt.pattern+" when signed out")
		}
	}
	check(admin.get("/nowhere").is(http.StatusNotFound), "404")
	check(admin.get("/sign-out").is(http.StatusMethodNotAllowed), "405")
	check(admin.do(http.MethodDelete, "/users", nil).is(http.StatusMethodNotAllowed), "405 for DELETE")
	check(admin.get("/assets/nowhere"), "no asset")
	check(admin.do(http.MethodPost, "/users", url.Values{"name": {strings.Repeat("x", 70_000)}}).is(http.StatusRequestEntityTooLarge), "413")
}

// Assets are kept for good by the address that pages have, and by no other.
func TestAssets(t *testing.T) {
	s := open(t)
	found := 0
	for _, href := range s.signedOut().get("/sign-in").hrefs() {
		if !strings.HasPrefix(href, "/assets/") {
			continue
		}
		found++
		a := s.signedOut().get(href).is(http.StatusOK)
		if got := a.header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", href, got)
		}
		bare, _, _ := strings.Cut(href, "?")
		if got := s.signedOut().get(bare + "?v=old").is(http.StatusOK).header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s in another version: Cache-Control %q", bare, got)
		}
	}
	if found != 2 {
		t.Errorf("%d links to assets, want the style sheet and the icon", found)
	}
}

// The first page, with all that it loads.
func TestFirstPageIsSmall(t *testing.T) {
	s := open(t)
	page := s.as(s.admin).get("/")
	total := len(page.body)
	for _, name := range []string{"style.css", "console.js", "icon.svg"} {
		plain := s.signedOut().get("/assets/" + name).is(http.StatusOK)
		packed := s.signedOut().get("/assets/"+name, "Accept-Encoding", "gzip").is(http.StatusOK)
		if coding := packed.header.Get("Content-Encoding"); coding != "gzip" || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("%s has the coding %q when gzip is accepted, and %q when it is not", name, coding, plain.header.Get("Content-Encoding"))
		}
		r, err := gzip.NewReader(strings.NewReader(packed.body))
		s.must(err)
		if unpacked, err := io.ReadAll(r); err != nil || string(unpacked) != plain.body {
			t.Errorf("%s is another file when it is compressed: %v", name, err)
		}
		total += len(packed.body)
	}
	if total > 40<<10 {
		t.Errorf("the first page takes %d bytes, want at most 40 KiB", total)
	}
}
