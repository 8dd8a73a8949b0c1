package console

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// answer is an answer.
type answer struct {
	*testing.T
	status   int
	header   http.Header
	body     string
	location string
	cookies  []*http.Cookie
}

// is fails the test unless the answer has a status.
func (a answer) is(status int) answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("status %d, want %d; Location %q\n%s", a.status, status, a.location, a.text())
	}
	return a
}

// to fails the test unless the answer sends on to a path, whatever its query.
func (a answer) to(path string) answer {
	a.Helper()
	a.is(http.StatusSeeOther)
	if at, _, _ := strings.Cut(a.location, "?"); at != path {
		a.Fatalf("Location %q, want %q", a.location, path)
	}
	return a
}

// query returns a parameter of where the answer sends on to.
func (a answer) query(name string) string {
	a.Helper()
	u, err := url.Parse(a.location)
	if err != nil {
		a.Fatal(err)
	}
	return u.Query().Get(name)
}

// says fails the test unless the page says all of these.
func (a answer) says(texts ...string) answer {
	a.Helper()
	page := a.text()
	for _, t := range texts {
		if !strings.Contains(page, t) {
			a.Fatalf("the page does not say %q:\n%s", t, page)
		}
	}
	return a
}

// saysNot fails the test if the page says one of these.
func (a answer) saysNot(texts ...string) {
	a.Helper()
	page := a.text()
	for _, t := range texts {
		if strings.Contains(page, t) {
			a.Fatalf("the page says %q:\n%s", t, page)
		}
	}
}

// text returns the words of the page, as a person reads them.
func (a answer) text() string {
	text := tags.ReplaceAllString(a.body, " ")
	text = html.UnescapeString(text)
	text = spaces.ReplaceAllString(text, " ")
	return strings.NewReplacer(" .", ".", " ,", ",", " :", ":").Replace(text)
}

// hrefs returns where the links of the page lead.
func (a answer) hrefs() []string {
	var all []string
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		if href := html.UnescapeString(m[1]); !slices.Contains(all, href) {
			all = append(all, href)
		}
	}
	return all
}

// input returns the value of a field of the page.
func (a answer) input(name string) string {
	a.Helper()
	m := regexp.MustCompile(`<input[^>]* name="` + regexp.QuoteMeta(name) + `"[^>]*?value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		a.Fatalf("no field %q in\n%s", name, a.body)
	}
	return html.UnescapeString(m[1])
}

var (
	tags   = regexp.MustCompile(`(?s)<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// contains fails the test unless each text is in the page's markup.
func (a answer) contains(markup ...string) answer {
	a.Helper()
	for _, m := range markup {
		if !strings.Contains(a.body, m) {
			a.Errorf("the page does not contain %s:\n%s", m, a.body)
		}
	}
	return a
}

// lacks fails the test if one of the texts is in the page's markup.
func (a answer) lacks(markup ...string) {
	a.Helper()
	for _, m := range markup {
		if strings.Contains(a.body, m) {
			a.Errorf("the page contains %s:\n%s", m, a.body)
		}
	}
}
