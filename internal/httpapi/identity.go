package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.com/curfew/internal/authz"
	"example.com/curfew/token"
)

// identity is what forward auth tells a service about the user.
type identity struct {
	name   string // the sign-in name
	email  string
	groups []string
}

// identityHeaders are on every answer of forward auth, empty unless it is 200 and
// there is something to say. A proxy that copies them overwrites those that a client
// has made up.
var identityHeaders = []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Curfew-User-Id", "Curfew-Session"}

// clearIdentity sets the identity headers to "".
func (c *call) clearIdentity() {
	h := c.w.Header()
	for _, name := range identityHeaders {
		h[name] = emptyValue
	}
}

var emptyValue = []string{""} // shared by all answers: net/http only reads it

// introduce sets the identity headers. It returns another value as that of a header,
// so that all of them take one allocation.
func introduce(h http.Header, s *token.Session, who identity, another string) []string {
	values := [...]string{headerText(who.name), headerText(who.email), headerList(who.groups), s.Subject, s.ID, another}
	h["Remote-User"], h["Remote-Name"] = values[0:1:1], values[0:1:1]
	h["Remote-Email"], h["Remote-Groups"] = values[1:2:2], values[2:3:3]
	h["Curfew-User-Id"] = values[3:4:4] // only characters that a header can carry: token.ValidSubject
	h["Curfew-Session"] = values[4:5:5]
	return values[5:6:6]
}

// headerText returns text if a header can carry it so that every reader gets the
// same, else "": no control character, valid UTF-8, and no space at either end,
// which readers drop.
func headerText(text string) string {
	plain := true
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f {
			plain = false
			break
		}
	}
	switch {
	case plain && (text == "" || text[0] != ' ' && text[len(text)-1] != ' '):
		return text
	case plain || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || strings.TrimSpace(text) != text:
		return ""
	}
	return text
}

// headerList joins texts with commas. It leaves out those that headerText refuses
// and those with a comma, which would be read as several.
func headerList(texts []string) string {
	carried := func(text string) bool { return headerText(text) != "" && !strings.Contains(text, ",") }
	for _, text := range texts {
		if !carried(text) {
			texts = slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !carried(text) })
			break
		}
	}
	return strings.Join(texts, ",")
}

// claimed returns the identity that the token carries, and whether it is complete.
// Tokens of earlier versions carry none, and --identity-claims may leave some out.
func (a *api) claimed(s *token.Session) (who identity, complete bool) {
	complete = s.Name != "" && s.Groups != nil && !s.IdentityOmitted && (s.Email != "" || !a.TokensLackEmail)
	return identity{s.Name, s.Email, s.Groups}, complete
}

// identityOf returns who the user of a session is: what its token says or, where
// the token leaves that open, what the store says. An edge has no store, so there
// the identity is empty where the token has none; nothing else ever takes the place
// of the name.
func (a *api) identityOf(ctx context.Context, s *token.Session) (identity, error) {
	who, complete := a.claimed(s)
	if complete || a.Accounts == nil {
		return who, nil
	}
	return a.looked.do(refreshKey{s.ID, s.LastRefresh}, a.now(), func() (identity, error) { return a.lookUp(ctx, s) })
}

// lookUp returns who the user of a session is in the store.
func (a *api) lookUp(ctx context.Context, s *token.Session) (identity, error) {
	caller, err := a.Accounts.UserCaller(ctx, s, authz.Origin{})
	if err != nil {
		return identity{}, err
	}
	return identity{caller.User.Name, caller.User.Email, caller.User.Groups}, nil
}

// lookedUp caches a session's identity from the store for a minute, so that a proxy
// that asks about each request does not ask the store each time.
type lookedUp struct {
	cache *lru.Cache[refreshKey, identityAt]
}

type identityAt struct {
	identity
	at time.Time
}

const (
	maxLookedUp    = 10_000 // sessions, some 300 bytes each
	lookedUpWithin = time.Minute
)

func newLookedUp() lookedUp {
	cache, err := lru.New[refreshKey, identityAt](maxLookedUp)
	if err != nil {
		panic(err) // of a size that is not positive
	}
	return lookedUp{cache}
}

// get returns the cached identity of a session.
func (l lookedUp) get(key refreshKey, now time.Time) (identity, bool) {
	known, ok := l.cache.Get(key)
	age := now.Sub(known.at)
	return known.identity, ok && age >= 0 && age < lookedUpWithin
}

func (l lookedUp) do(key refreshKey, now time.Time, ask func() (identity, error)) (identity, error) {
	if who, ok := l.get(key, now); ok {
		return who, nil
	}
	who, err := ask()
	if err == nil {
		l.cache.Add(key, identityAt{who, now})
	}
	return who, err
}

// isIn reports whether the user is in one of the groups.
func (who identity) isIn(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return g != "" && slices.Contains(who.groups, g) })
}
