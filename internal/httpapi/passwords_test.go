package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"example.com/curfew/internal/wire"
)

// Every byte of a password counts wherever Curfew takes one: a password is exactly
// the text that was sent, or it is refused with the reason. bcrypt, and libraries
// built on it, cut at 72 bytes or at the first NUL.
func TestPasswordsCountToTheLastByte(t *testing.T) {
	s := start(t, behindProxy)
	me := bearerToken(s.token(s.admin))
	addresses := 0
	const replacement = "\ufffd" // what a careless reader makes of a byte that is no text
	long := strings.Repeat("kq8#vL2!mP0z", 100)
	accents := strings.Repeat("éàüöñçïê", 64)
	for i, tt := range []struct {
		name, password string
		like           []string // passwords that it must not be taken for
	}{
		{"12 bytes", long[:12], nil},
		{"72 bytes", long[:72], []string{long[:73], long[:1024]}},
		{"73 bytes", long[:72] + "a", []string{long[:72] + "b", long[:72]}},
		{"1024 bytes", long[:1023] + "a", []string{long[:1023] + "b", long[:1023] + "ab"}},
		{"512 characters in 1024 bytes", accents, []string{strings.TrimSuffix(accents, "ê") + "è"}},
		{"NUL within", "twelve\x00bytes", []string{"twelve", "twelve\x00other", "twelve bytes", "twelve" + replacement + "bytes"}},
		{"NUL at the end", "twelve bytes\x00", []string{"twelve bytes"}},
		{"NUL at the start", "\x00twelve bytes", []string{"twelve bytes", "\x00", ""}},
		{"spaces around", " kq8#vL2!mP ", []string{"kq8#vL2!mP", " kq8#vL2!mP"}},
		{"composed", "caf\u00e9 creme brulee", []string{"cafe\u0301 creme brulee", "cafe creme brulee"}},
		{"a character that stands for none", "twelve byte" + replacement, []string{"twelve byte"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.on(t)
			// Each time from an address that has not failed yet.
			signIn := func(name, password string) *answer {
				addresses++
				return s.do("POST", "/v1/sessions", wire.SignIn{Username: name, Password: password}, header{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", addresses)})
			}
			name := fmt.Sprint("user ", i)
			var u wire.User
			s.do("POST", "/v1/users", map[string]string{"name": name, "password": tt.password}, me).must(201, &u)
			var issued struct{ Token string }
			signIn(name, tt.password).must(201, &issued)
			last := len(tt.password) - 1
			wrong := append(tt.like, tt.password+"x")
			if tt.password[last] < 0x80 { // else the rest is no text
				wrong = append(wrong, tt.password[:last])
			}
			for _, w := range wrong {
				signIn(name, w).problem(401, "bad_credentials")
			}
			// Their own new password, which takes the old one.
			one := "/v1/users/" + u.ID
			other := tt.password[:1] + "~" + tt.password[2:]
			if tt.password[0] >= 0x80 {
				other = "~~" + tt.password[2:]
			}
			self := bearerToken(issued.Token)
			s.do("PUT", one+"/password", map[string]string{"current": wrong[0], "new": other}, self).problem(401, "bad_credentials")
			s.do("PUT", one+"/password", map[string]string{"current": tt.password, "new": other}, self).must(200, nil)
			signIn(name, tt.password).problem(401, "bad_credentials")
			signIn(name, other).must(201, nil)
			// And a password that an administrator sets.
			s.do("PATCH", one, map[string]string{"password": tt.password}, me).must(200, nil)
			signIn(name, other).problem(401, "bad_credentials")
			signIn(name, tt.password).must(201, nil)
		})
	}
}

// A text that cannot be a password is refused with the reason where it is set, and
// changes nothing; at a sign-in it is simply wrong.
func TestPasswordsThatAreRefused(t *testing.T) {
	s := start(t, behindProxy)
	me := bearerToken(s.token(s.admin))
	ann := s.user("ann")
	s.setPassword(ann)
	self := bearerToken(s.token(ann))
	quote := func(password string) string {
		text, err := json.Marshal(password)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for i, tt := range []struct {
		name   string
		json   string // the password, as it stands in the body
		says   string // the answer
		member bool   // it is about the member
		wrong  string // code of the answer to a sign-in
	}{
		{"none", `""`, "at least 12 characters", true, "bad_credentials"},
		{"1 byte", `"x"`, "at least 12 characters, but has 1", true, "bad_credentials"},
		{"11 bytes", quote(strings.Repeat("x", 11)), "at least 12 characters, but has 11", true, "bad_credentials"},
		{"12 bytes in 6 characters", quote("éàüöñç"), "at least 12 characters, but has 6", true, "bad_credentials"},
		{"1025 characters", quote(strings.Repeat("x", 1025)), "at most 1024 characters, but has 1025", true, "bad_credentials"},
		{"1025 characters in 2049 bytes", quote("x" + strings.Repeat("é", 1024)), "at most 1024 characters, but has 1025", true, "bad_credentials"},
		{"60 KiB", quote(strings.Repeat("x", 60<<10)), "at most 1024 characters", true, "bad_credentials"},
		{"a byte that is no text", "\"twelve bytes\xff\"", "not valid UTF-8", false, "invalid_request"},
		{"overlong UTF-8", "\"twelve bytes\xc0\x80\"", "not valid UTF-8", false, "invalid_request"},
		{"a surrogate in UTF-8", "\"twelve bytes\xed\xa0\x80\"", "not valid UTF-8", false, "invalid_request"},
		{"half a surrogate pair", `"twelve bytes\ud800"`, "surrogate", false, "invalid_request"},
		{"NUL as it is", "\"twelve\x00bytes\"", "not valid JSON", false, "invalid_request"},
		{"null", "null", "null", true, "invalid_request"},
		{"a number", "123456789012", "must be a string", true, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.on(t)
			refused := func(field string, a *answer) {
				t.Helper()
				p := a.problem(400, "invalid_request")
				text := p.Detail
				for _, e := range p.Errors {
					text += " " + e.Field + " " + e.Detail
				}
				if !strings.Contains(text, tt.says) || tt.member && !strings.Contains(text, field) {
					t.Errorf("%s: %s: it should say %q", a.what, a.body, tt.says)
				}
				if len(a.body) > 1000 {
					t.Errorf("%s: the answer goes on and on: %d bytes", a.what, len(a.body))
				}
			}
			name := fmt.Sprint("nobody ", i)
			if tt.json != "null" { // which stands for a password that is not given
				refused("password", s.do("POST", "/v1/users", `{"name":"`+name+`","password":`+tt.json+`}`, me))
				refused("password", s.do("PATCH", "/v1/users/"+ann.ID, `{"name":"another name","password":`+tt.json+`}`, me))
			}
			refused("new", s.do("PUT", "/v1/users/"+ann.ID+"/password", `{"new":`+tt.json+`}`, me))
			refused("new", s.do("PUT", "/v1/users/me/password", `{"current":"`+password+`","new":`+tt.json+`}`, self))
			var found wire.Users
			if s.do("GET", "/v1/users?search="+url.QueryEscape(name), nil, me).must(200, &found); len(found.Users) != 0 {
				t.Errorf("a user was made all the same: %+v", found)
			}
			status := map[string]int{"bad_credentials": 401, "invalid_request": 400}[tt.wrong]
			s.do("POST", "/v1/sessions", `{"username":"ann","password":`+tt.json+`}`, header{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)}).problem(status, tt.wrong)
		})
	}
	// Nothing of all that has ended her session or changed her password.
	s.do("GET", "/v1/session", nil, self).must(200, nil)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "ann", Password: password}, header{"X-Forwarded-For", "203.0.113.1"}).must(201, nil)
}
