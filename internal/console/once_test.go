package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/internal/wire"
)

var onceInPage = regexp.MustCompile(`name="once" value="([^"]+)"`)

// Loading the page of a secret again sends its form again, which makes nothing again and
// shows no secret. The same form with another input is another one.
func TestPageOfASecretIsLoadedAgain(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	ann := s.user("ann")
	created := p.post("/services", "name", "Shop", "follow", "on").is(http.StatusCreated)
	shop := regexp.MustCompile(`id="client-id">([^<]+)<`).FindStringSubmatch(created.body)[1]
	for _, tt := range []struct {
		what, page, path string
		fields           url.Values
		other            [2]string // a field with another value
		to, says         string
		action           string // in the audit log
	}{
		{"a new user", "/new-user", "/users", url.Values{"name": {"zoe"}, "how": {"generate"}}, [2]string{"name", "zach"}, "/users?done=shown", "The generated password was shown once", wire.ActionUserCreate},
		{"a new password", "/users/" + ann.ID, "/users/" + ann.ID + "/password", url.Values{"generate": {"on"}}, [2]string{"must_change", "on"}, "/users/" + ann.ID + "?done=shown", "The generated password was shown once", wire.ActionUserPassword},
		{"a new service", "/services", "/services", url.Values{"name": {"Billing"}, "follow": {"on"}}, [2]string{"name", "Search"}, "/services?done=secret-shown", "The secret was shown once", wire.ActionClientCreate},
		{"a new secret", "/services/" + shop + "/secret", "/services/" + shop + "/secret", url.Values{}, [2]string{"revoke_old", "on"}, "/services?done=secret-shown", "The secret was shown once", wire.ActionClientSecret},
	} {
		found := onceInPage.FindAllStringSubmatch(p.get(tt.page).is(http.StatusOK).body, -1)
		if len(found) != 1 {
			t.Fatalf("%s: the page has %d numbers of forms", tt.what, len(found))
		}
		tt.fields.Set("once", found[0][1])
		before := len(s.audits(tt.action))
		shown := p.do(http.MethodPost, tt.path, tt.fields).is(http.StatusCreated)
		var mark string
		for _, c := range shown.cookies {
			if c.Name == onceCookie && c.HttpOnly && c.Secure && c.MaxAge > 0 {
				mark = c.Name + "=" + c.Value
			}
		}
		secret := regexp.MustCompile(`id="(?:password|secret)">([^<]+)<`).FindStringSubmatch(shown.body)[1]
		if mark == "" || strings.Contains(mark, secret) || strings.Contains(mark, found[0][1]) || !strings.Contains(shown.body, `data-instead="`+tt.to+`"`) {
			t.Fatalf("%s: cookies %v; the page gives way to %q: %v", tt.what, shown.cookies, tt.to, strings.Contains(shown.body, tt.to))
		}
		again := func(fields url.Values) answer {
			return s.send("", http.MethodPost, tt.path, fields, "Cookie", "__Host-curfew_session="+p.token+"; "+mark)
		}
		a := again(tt.fields).is(http.StatusSeeOther)
		if a.location != tt.to || len(s.audits(tt.action)) != before+1 {
			t.Errorf("%s, again: to %q, and %d entries in the audit log", tt.what, a.location, len(s.audits(tt.action))-before)
		}
		p.get(a.location).is(http.StatusOK).says(tt.says).saysNot(secret)
		tt.fields.Set(tt.other[0], tt.other[1])
		again(tt.fields).is(http.StatusCreated)
		if n := len(s.audits(tt.action)) - before; n != 2 {
			t.Errorf("%s, with another input: %d entries", tt.what, n)
		}
	}
	// The marks do not pile up.
	x := &exchange{r: &http.Request{Header: http.Header{"Cookie": {onceCookie + "=" + strings.Repeat("AAAAAAAAAAAAAAAAAAAAAA.", maxOnce-1) + "AAAAAAAAAAAAAAAAAAAAAA"}}, Method: http.MethodPost, URL: &url.URL{Path: "/users"}, PostForm: url.Values{"once": {"1"}}}}
	w := httptest.NewRecorder()
	x.w = w
	x.markShown()
	if set := w.Result().Cookies(); len(set) != 1 || strings.Count(set[0].Value, ".") != maxOnce-1 {
		t.Errorf("cookies %v", set)
	}
}
