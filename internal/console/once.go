package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A page that shows a secret once is the answer to a form: the secret is in no address, in
// no cookie and in no memory of a node, so that a redirection could not show it. When the
// browser loads such a page again, it sends the form again, which would make another
// secret. The form has a random number, and the answer marks the form as done in a cookie:
// the same form with the same input is not processed twice. The mark is a hash, from which
// neither can be had. With a script, the page replaces its own address, and the form is not
// even sent again.

const (
	onceField  = "once"
	onceCookie = "__Host-curfew_shown" // see Jar.Name for the prefix
	onceTime   = time.Hour
	// maxOnce is how many forms a browser remembers: one for each tab that shows a secret.
	maxOnce = 8
)

// Once returns the random number of a form.
func (frame) Once() string { return rand.Text() }

// onceMark returns the mark of the form that was sent; "" if it has no number.
func (x *exchange) onceMark() string {
	if x.value(onceField) == "" {
		return ""
	}
	h := sha256.New()
	h.Write([]byte(x.r.URL.EscapedPath()))
	fields := x.posted()
	names := make([]string, 0, len(fields))
	for name := range fields {
		if name != confirmPassword && name != sentAgain {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range fields[name] {
			sum := sha256.Sum256([]byte(value))
			h.Write([]byte("\n" + name + "="))
			h.Write(sum[:])
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// onceMarks returns the marks of the forms that the browser has sent.
func (x *exchange) onceMarks() []string {
	if found := x.r.CookiesNamed(onceCookie); len(found) == 1 {
		return strings.Split(found[0].Value, ".")
	}
	return nil
}

// shownBefore reports whether the form was sent before, and answered with a secret.
func (x *exchange) shownBefore() bool {
	mark := x.onceMark()
	return mark != "" && slices.Contains(x.onceMarks(), mark)
}

// markShown marks the form, which is answered with a secret.
func (x *exchange) markShown() {
	mark := x.onceMark()
	if mark == "" {
		return
	}
	marks := append([]string{mark}, x.onceMarks()...)
	http.SetCookie(x.w, &http.Cookie{
		Name: onceCookie, Value: strings.Join(marks[:min(len(marks), maxOnce)], "."), Path: "/", MaxAge: int(onceTime / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
