package upstream

import (
	"fmt"
	"maps"
	"testing"

	"example.com/curfew/token"
)

// An answer lists the issuers strictly, or not at all: what is listed without an end
// would be accepted forever.
func TestIssuersOfAnAnswer(t *testing.T) {
	const old, until = "https://old.example", "2026-12-24T00:00:00Z"
	for _, c := range []struct {
		name, members string
		want          map[string]token.UnixTime // nil and bad: refused
		bad           bool
	}{
		{"an earlier release", ``, nil, false},
		{"one", `"issuers":["https://new.example"],`, nil, false},
		{"two", `"issuers":["https://new.example","https://old.example"],"issuers_until":{"https://old.example":"2026-12-24T00:00:00Z"},`,
			map[string]token.UnixTime{old: 1798070400}, false},
		{"without an end", `"issuers":["https://new.example","https://old.example"],`, nil, true},
		{"another end", `"issuers":["https://new.example","https://old.example"],"issuers_until":{"https://other.example":"2026-12-24T00:00:00Z"},`, nil, true},
		{"an end too many", `"issuers":["https://new.example"],"issuers_until":{"https://old.example":"2026-12-24T00:00:00Z"},`, nil, true},
		{"ends alone", `"issuers_until":{"https://old.example":"2026-12-24T00:00:00Z"},`, nil, true},
		{"not the issuer first", `"issuers":["https://old.example","https://new.example"],"issuers_until":{"https://new.example":"2026-12-24T00:00:00Z"},`, nil, true},
		{"the issuer twice", `"issuers":["https://new.example","https://new.example"],"issuers_until":{"https://new.example":"2026-12-24T00:00:00Z"},`, nil, true},
		{"twice", `"issuers":["https://new.example","https://old.example","https://old.example"],"issuers_until":{"https://old.example":"2026-12-24T00:00:00Z","x":"2026-12-24T00:00:00Z"},`, nil, true},
		{"empty", `"issuers":["https://new.example",""],"issuers_until":{"":"2026-12-24T00:00:00Z"},`, nil, true},
		{"no end", `"issuers":["https://new.example","https://old.example"],"issuers_until":{"https://old.example":"0001-01-01T00:00:00Z"},`, nil, true},
		{"not a date", `"issuers":["https://new.example","https://old.example"],"issuers_until":{"https://old.example":"soon"},`, nil, true},
		{"not a list", `"issuers":"https://old.example",`, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := decode(fmt.Appendf(nil, `{"epoch":7,"more":false,"held_ms":0,"lease_ms":1000,"now":%q,"issuer":"https://new.example","audience":["a"],%s"revocations":[]}`, until, c.members))
			switch {
			case c.bad && err == nil:
				t.Errorf("it was taken: %+v", a.Installation)
			case !c.bad && (err != nil || !maps.Equal(a.Installation.Former, c.want)):
				t.Errorf("%+v: %v", a, err)
			}
		})
	}
}
