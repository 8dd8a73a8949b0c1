package httpapi

import (
	_ "embed"
	"html"
	"strings"

	"example.com/curfew/internal/fault"
)

//go:embed denied.html
var deniedPage string

// denied answers a browser whose user is in none of the groups that the page
// requires. A proxy may show the page to the user, on the host of the service, so it
// refers to nothing of ours but the sign-in page.
func (c *call) denied(who identity, groups []string, err error) error {
	f := fault.Of(err)
	c.inbound.Code, c.inbound.Err = f.Code, err
	help := "Ask an administrator to add you to a group, then load this page again."
	if who.name != "" {
		help = "You are signed in as " + html.EscapeString(who.name) + ". " + help
	}
	if c.base != nil {
		help += ` Or <a href="` + html.EscapeString(c.signInAddress(&noQuestion, c.returnAddress(), nil)) + `">sign in as another user</a>.`
	}
	h := c.w.Header()
	h.Del("Set-Cookie")
	c.private()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	c.w.WriteHeader(f.Status)
	page := strings.NewReplacer("NEED", html.EscapeString(oneOf(groups)), "HELP", help)
	_, _ = page.WriteString(c.w, deniedPage) // the caller is gone if this fails
	return nil
}
