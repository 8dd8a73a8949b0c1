package console_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// Some devices.
const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
	edge    = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0"
)

// filledServer is a server with users and sessions: enough for every page to have
// something to show.
type filledServer struct {
	*program
	ada, grace string   // users' ids
	disabled   string   // that of one who is disabled
	people     []string // those of the others
	session    string   // of one of Ada's sessions
	ended      string   // of a revoked session of hers
	epoch      int64    // of a revocation
	key        string   // id of the signing key
}

func newFilledServer(t testing.TB) *filledServer {
	t.Helper()
	h := &filledServer{program: run(t, onSQLite(t))}
	h.fillServer()
	return h
}

func (h *filledServer) fillServer() {
	h.Helper()
	h.ada = h.addUser("Ada Lovelace")
	h.grace = h.addUser("Grace Hopper", "UserEdit")
	for _, name := range []string{"Alan Turing", "Barbara Liskov", "Hedy Lamarr"} {
		h.people = append(h.people, h.addUser(name))
	}
	for _, name := range []string{"Donald Knuth", "Edsger Dijkstra", "Frances Allen", "Katherine Johnson", "Margaret Hamilton", "Radia Perlman"} {
		h.people = append(h.people, h.addPassive(name))
	}
	h.disabled = h.addPassive("Charles Babbage")
	h.api(h.admin, http.MethodPatch, "/v1/users/"+h.disabled, map[string]any{"disabled": true}, nil)
	h.api(h.admin, http.MethodPatch, "/v1/users/"+h.ada, map[string]any{"email": "ada@example.com"}, nil)
	h.api(h.admin, http.MethodPost, "/v1/providers", map[string]any{
		"name": "corp", "issuer": "http://127.0.0.1:1/realms/staff", "client_id": "curfew", "client_secret": "the-client-secret", "groups_claim": "groups",
		"group_permissions": map[string]any{"admins": []string{"AdministerSystem"}}, "create_users": true,
	}, nil)
	h.signIn("Ada Lovelace", edge, false)
	h.ended = h.sessionOf(h.ada)
	var receipt struct{ Epoch int64 }
	h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": "Lost device: left in a train", "keep_current": false}, &receipt)
	h.epoch = receipt.Epoch
	h.signIn("Ada Lovelace", firefox, true)
	h.signIn("Ada Lovelace", safari, false)
	h.signIn("Grace Hopper", firefox, false)
	h.session = h.sessionOf(h.ada)
	h.settings(3600)
	h.settings(1200)
	h.api(h.admin, http.MethodPost, "/v1/clients", map[string]any{"name": "Billing", "capabilities": []string{"follow", "introspect"}}, nil)
	h.api(h.admin, http.MethodPost, "/v1/clients", map[string]any{"name": "Staff portal", "capabilities": []string{"issue", "revoke"}}, nil)
	header, _, _ := strings.Cut(h.admin, ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		h.Fatal(err)
	}
	var signed struct{ Kid string }
	if err := json.Unmarshal(text, &signed); err != nil {
		h.Fatal(err)
	}
	h.key = signed.Kid
}

// sessionOf returns the id of the latest live session of a user.
func (h *filledServer) sessionOf(user string) string {
	h.Helper()
	var answer struct {
		Sessions []struct{ ID string }
	}
	h.api(h.admin, http.MethodGet, "/v1/users/"+user+"/sessions", nil, &answer)
	return answer.Sessions[0].ID
}

// settings sets the session timeout through the API.
func (p *program) settings(timeout int64) {
	p.Helper()
	p.api(p.admin, http.MethodPut, "/v1/settings/authentication",
		map[string]any{"session_timeout_seconds": timeout, "maximum_session_duration_seconds": 1728000, "remember_me_enabled": true}, nil, "If-Match", "*")
}

type place struct{ name, path string }

// paths are all pages that a visit shows, as an administrator.
func (h *filledServer) paths(testing.TB) []place {
	user := "/users/" + url.PathEscape(h.ada)
	return []place{
		{"overview", "/"},
		{"overview-week", "/?show=sign-ins&span=week"},
		{"profile", "/profile"},
		{"profile-revoke", "/profile/revoke"},
		{"profile-elsewhere", "/profile/elsewhere"},
		{"settings", "/settings/authentication"},
		{"settings-preset", "/settings/authentication?preset=aal3"},
		{"settings-wrong", "/settings/authentication/preview?session_timeout_seconds=5&maximum_session_duration_seconds=x"},
		{"settings-preview", "/settings/authentication/preview?session_timeout_seconds=900&maximum_session_duration_seconds=43200"},
		{"new-provider", "/settings/authentication/new-provider"},
		{"provider", "/settings/authentication/providers/corp"},
		{"provider-check", "/settings/authentication/providers/corp/check"},
		{"provider-remove", "/settings/authentication/providers/corp/remove"},
		{"passwords-off", "/settings/authentication/passwords/off"},
		{"passwords-on", "/settings/authentication/passwords/on"},
		{"users", "/users"},
		{"users-none", "/users?search=nobody"},
		{"new-user", "/new-user"},
		{"user", user},
		{"user-revoke", user + "/revoke"},
		{"user-disable", user + "/disable"},
		{"user-delete", user + "/delete"},
		{"session", user + "/sessions/" + h.session},
		{"session-ended", user + "/sessions/" + h.ended},
		{"user-session", user + "/sessions/" + h.session + "/revoke"},
		{"revocations", "/revocations"},
		{"revocations-none", "/revocations?person=nobody"},
		{"revocations-new", "/revocations/new"},
		{"receipt", "/revocations/" + strconv.FormatInt(h.epoch, 10)},
		{"audit", "/audit"},
		{"audit-none", "/audit?person=nobody"},
		{"audit-wrong", "/audit?from=2026-02-02&to=2026-01-01"},
		{"keys", "/keys"},
		{"keys-rotate", "/keys/rotate"},
		{"keys-retire", "/keys/retire?kid=" + url.QueryEscape(h.key)},
		{"services", "/services"},
		{"services-secret", "/services/billing/secret"},
		{"services-remove", "/services/billing/remove"},
		{"docs", "/docs"},
		{"docs-topic", "/docs/troubleshooting"},
		{"docs-reference", "/docs/configuration"},
		{"not-found", "/nowhere"},
		{"signed-in", "/signed-in"},
	}
}

type opener struct{ name, path, open string }

// inPlace are what a script shows in place of a page.
func (h *filledServer) inPlace(testing.TB) []opener {
	return []opener{
		{"user-revoke", "/users/" + url.PathEscape(h.ada), "a.danger[href$='/revoke'][data-dialog]"},
		{"profile-revoke", "/profile", "a[href='/profile/revoke']"},
	}
}
