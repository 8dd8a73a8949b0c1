package torture

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"example.com/curfew/internal/wire"
)

// shows are those that show a revoked-before: nodes and edges.
func (c *Cluster) shows() []*Process { return append(slices.Clone(c.Nodes), c.Edges...) }

// RevokedBefore asks at for the revoked-before of a user and of a session.
func (c *Cluster) RevokedBefore(at *Process, user, session string) (ofUser, ofSession int64, o Outcome, why string) {
	status, body, err := c.call(http.MethodGet, at.Addr, "/v1/revoked-before?user="+user+"&session="+session, "", nil)
	var answer wire.RevokedBefore
	if o, why = outcome(status, http.StatusOK, body, err); o == OK {
		if err := json.Unmarshal(body, &answer); err != nil {
			return 0, 0, Unknown, err.Error()
		}
	}
	return answer.User, answer.Session, o, why
}

const settingsPath = "/v1/settings/authentication"

// authentication are the settings, as they are on the wire.
type authentication struct {
	Timeout    int64 `json:"session_timeout_seconds"`
	Maximum    int64 `json:"maximum_session_duration_seconds"`
	RememberMe bool  `json:"remember_me_enabled"`
}

// settings returns the settings and their entity tag.
func (c *Cluster) settings(at *Process) (s authentication, tag string, err error) {
	resp, body, err := c.ask(http.MethodGet, at.Addr, settingsPath, c.admin, nil)
	if err != nil {
		return s, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return s, "", fmt.Errorf("the settings: %d %s", resp.StatusCode, body)
	}
	return s, resp.Header.Get("ETag"), json.Unmarshal(body, &s)
}

// ChangeTimeout sets the session timeout, whatever it is.
func (c *Cluster) ChangeTimeout(at *Process, seconds int64) (Outcome, string) {
	s, tag, err := c.settings(at)
	if err != nil {
		return Refused, err.Error() // and nothing was asked for yet
	}
	s.Timeout = seconds
	status, body, err := c.call(http.MethodPut, at.Addr, settingsPath, c.admin, s, "If-Match", tag)
	if status == http.StatusPreconditionFailed {
		return Refused, "a lost race"
	}
	return outcome(status, http.StatusOK, body, err)
}

// State asks a node for everything of a kind.
func (c *Cluster) State(at *Process, what, user string) (items []string, err error) {
	switch what {
	case StateSettings:
		s, _, err := c.settings(at)
		return []string{strconv.FormatInt(s.Timeout, 10)}, err
	case StateUsers:
		return all(c, at, "/v1/users", url.Values{}, func(page *wire.Users) ([]wire.User, string) { return page.Users, page.NextCursor },
			func(u wire.User) string { return u.ID })
	case StateLive:
		return all(c, at, "/v1/users/"+user+"/sessions", url.Values{}, func(page *wire.LiveSessions) ([]wire.LiveSession, string) { return page.Sessions, page.NextCursor },
			func(s wire.LiveSession) string { return s.ID })
	case StateAudit:
		for action, kind := range map[string]string{wire.ActionRevokeUser: "user", wire.ActionRevokeSession: "session"} {
			some, err := all(c, at, "/v1/audit", url.Values{"action": {action}}, func(page *wire.AuditEntries) ([]wire.AuditEntry, string) { return page.Entries, page.NextCursor },
				func(e wire.AuditEntry) string {
					var about struct{ Session string }
					if id := e.Target.ID; kind == "user" || json.Unmarshal(e.Detail, &about) != nil {
						return fmt.Sprintf("%s %s %d", kind, id, e.Epoch)
					}
					return fmt.Sprintf("%s %s %d", kind, about.Session, e.Epoch)
				})
			if err != nil {
				return nil, err
			}
			items = append(items, some...)
		}
		return items, nil
	}
	return nil, fmt.Errorf("no user has %q", what)
}

// all reads a list to its end.
func all[P, I any](c *Cluster, at *Process, path string, query url.Values, items func(*P) ([]I, string), name func(I) string) ([]string, error) {
	var names []string
	query.Set("limit", "500")
	for {
		var page P
		if err := c.get(at, path+"?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		some, next := items(&page)
		for _, i := range some {
			names = append(names, name(i))
		}
		if next == "" {
			return names, nil
		}
		query.Set("cursor", next)
	}
}

// get reads a node's answer to the administrator.
func (c *Cluster) get(at *Process, path string, into any) error {
	status, body, err := c.call(http.MethodGet, at.Addr, path, c.admin, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s is answered with %d: %s", path, status, body)
	}
	return json.Unmarshal(body, into)
}
