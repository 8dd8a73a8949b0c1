package console

import (
	"net/http"
	"strings"
	"testing"
)

// Every page of a signed-in user has the button to sign out (OWASP ASVS 7.4.4).
func TestSignOutIsOnEveryPage(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	pages := 0
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, s.admin)
		if method != http.MethodGet || rt.needs == anyone {
			continue
		}
		a := p.get(address)
		if a.status != http.StatusOK || !strings.Contains(a.body, "<html") {
			continue
		}
		pages++
		if !strings.Contains(a.body, `action="/sign-out"`) {
			t.Errorf("%s: no way to sign out", address)
		}
	}
	if pages < 7 {
		t.Errorf("only %d pages were looked at", pages)
	}
}
