package console

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/throttle"
	"example.com/curfew/revocation"
)

// An attempt is a sign-in through a provider, between the request that starts it and the
// provider's response. It is kept in a sealed cookie of the browser, one for each
// attempt, so that several tabs can sign in, and a response in another browser finds
// none.
type attempt struct {
	Provider string `json:"p"`
	// Issuer and ClientID are the provider's. A change of them ends the attempt, so the
	// cookie does without.
	Issuer   string       `json:"-"`
	ClientID string       `json:"-"`
	Secrets  oidc.Secrets `json:"s"`
	// Epoch is the epoch clock at the beginning: a revocation since then ends the attempt.
	Epoch revocation.Epoch `json:"e"`
	Began int64            `json:"b"` // µs
	// Fresh means that the attempt demands a fresh authentication.
	Fresh bool `json:"f,omitempty"`
	// Confirm means that the attempt confirms who the user of a session is, for a change or
	// a service that asks for a recent authentication: it demands a fresh one.
	Confirm bool `json:"c,omitempty"`
	// User is the id of the user who confirms; "" if the attempt may sign in any user.
	User string `json:"u,omitempty"`
	// Prompt asks the provider for its form, so that the user can choose another account.
	Prompt   bool `json:"-"`
	Remember bool `json:"r,omitempty"`
	// Return is where to go afterwards, see returnTo. The cookie has it only if the state
	// has not: see carry.
	Return string `json:"to,omitempty"`
}

const (
	attemptTime = 10 * time.Minute
	// maxAttempts and maxAttemptBytes bound the attempts of a browser. Proxies and servers
	// refuse requests with more than 8 KiB in a header, and the session's cookie needs a
	// part of it. Browsers do not keep a cookie that is longer (RFC 6265bis, section 5.6).
	maxAttempts     = 12
	maxAttemptBytes = 4 << 10
	// maxCarried is the maximum size in bytes of a return address in the state. Some
	// servers refuse an address of more than 2 KiB.
	maxCarried = 600

	// attemptCookie is the beginning of the cookies' names. See Jar.Name for the prefix.
	attemptCookie = "__Host-curfew_attempt_"
	attemptUse    = "curfew sign-in attempt"
	carriedUse    = "curfew return address"
)

var errNoAttempt = errors.New("the browser has no cookie of this sign-in")

// attemptName returns the name of the cookie of an attempt.
func attemptName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return attemptCookie + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// attempts keeps attempts in cookies.
type attempts struct {
	ring *keyring.Ring
	// taken refuses an attempt for the second time: a client can keep its cookie. Without
	// this it could send any number of codes to the provider, which may count them, and
	// refuse this server to all users. A node knows its own attempts only; that no attempt
	// begins two sessions, the transaction of the sign-in checks.
	taken *throttle.Throttle
}

func newAttempts(ring *keyring.Ring) attempts {
	return attempts{ring, throttle.New(throttle.Limit{Burst: 1, Every: 2 * attemptTime})}
}

func (k attempts) seal(a attempt) (*http.Cookie, error) {
	if _, carried := k.carried(a.Provider, a.Secrets.State); carried {
		a.Return = ""
	}
	plain, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	name := attemptName(a.Secrets.State)
	c := newAttemptCookie(name, k.ring.Sealer().Derive(attemptUse).Seal(plain, keyring.Bound(attemptUse, name)))
	c.MaxAge = int(attemptTime / time.Second)
	if len(c.Name)+len(c.Value) > maxAttemptBytes && a.Return != "" {
		a.Return = "" // the sign-in is worth more than the address
		return k.seal(a)
	}
	return c, nil
}

// carry returns a state that has the return address of the attempt with it, sealed. So
// the cookies are short and many tabs can sign in; and a tab whose cookie has been dropped
// still knows where its user wanted to go. A long address is left to the cookie.
func (k attempts) carry(a attempt) string {
	if a.Return == "" || a.Return == start || len(a.Return) > maxCarried {
		return a.Secrets.State
	}
	sealed := k.ring.Sealer().Derive(carriedUse).Seal([]byte(a.Return), keyring.Bound(carriedUse, a.Provider+" "+a.Secrets.State))
	return a.Secrets.State + "." + strings.NewReplacer("+", "-", "/", "_").Replace(sealed)
}

// carried returns the return address that carry has sealed into a state.
func (k attempts) carried(provider, state string) (address string, ok bool) {
	random, sealed, ok := strings.Cut(state, ".")
	if !ok {
		return "", false
	}
	sealed = strings.NewReplacer("-", "+", "_", "/").Replace(sealed)
	plain, err := k.ring.Sealer().Derive(carriedUse).Unseal(sealed, keyring.Bound(carriedUse, provider+" "+random))
	return string(plain), err == nil
}

// newAttemptCookie returns a cookie as browsers need it: the provider's response is a
// navigation from another site, to which only SameSite=Lax sends it.
func newAttemptCookie(name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// open returns the attempt in a cookie, unless it is not ours or too old.
func (k attempts) open(c *http.Cookie, now time.Time) (a attempt, ok bool) {
	plain, err := k.ring.Sealer().Derive(attemptUse).Unseal(c.Value, keyring.Bound(attemptUse, c.Name))
	if err != nil || json.Unmarshal(plain, &a) != nil {
		return attempt{}, false
	}
	age := now.Sub(time.UnixMicro(a.Began)) // another node may have sealed it
	return a, age < attemptTime && age > -time.Minute
}

// keep gives the browser the cookie of a new attempt, and takes away those that are over
// and the oldest of too many.
func (k attempts) keep(x *exchange, a attempt) error {
	c, err := k.seal(a)
	if err != nil {
		return err
	}
	type kept struct {
		name  string
		size  int
		began int64
	}
	var others []kept
	for _, other := range x.r.Cookies() {
		if !strings.HasPrefix(other.Name, attemptCookie) {
			continue
		}
		if a, ok := k.open(other, x.now()); ok {
			others = append(others, kept{other.Name, len(other.Name) + len(other.Value), a.Began})
		} else {
			k.forget(x, other.Name)
		}
	}
	slices.SortFunc(others, func(a, b kept) int { return cmp.Compare(b.began, a.began) })
	size := len(c.Name) + len(c.Value)
	for i, other := range others {
		if size += other.size; i+1 >= maxAttempts || size > maxAttemptBytes {
			k.forget(x, other.name)
		}
	}
	http.SetCookie(x.w, c)
	return nil
}

// take returns the attempt to which a response with a state belongs, and takes its cookie
// away: a response is used once.
func (k attempts) take(x *exchange, state string) (attempt, error) {
	name := attemptName(state)
	found := x.r.CookiesNamed(name)
	if state == "" || len(found) != 1 {
		return attempt{}, errNoAttempt
	}
	k.forget(x, name)
	a, ok := k.open(found[0], x.now())
	if !ok {
		return attempt{}, errNoAttempt
	}
	a.Secrets.State = state // the name of the cookie is a hash of it
	if address, ok := k.carried(a.Provider, state); ok {
		a.Return = address
	}
	if wait, _ := k.taken.Take(state, x.now()); wait > 0 {
		return attempt{}, errNoAttempt
	}
	return a, nil
}

func (k attempts) forget(x *exchange, name string) {
	c := newAttemptCookie(name, "")
	c.MaxAge = -1
	http.SetCookie(x.w, c)
}
