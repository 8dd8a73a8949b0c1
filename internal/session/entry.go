package session

import (
	"encoding/json"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
)

// targetUser is the kind of target of audit entries about a user, and about a session
// of one.
const targetUser = "user"

// EntrySession returns the id of the session that an audit entry is about, or "".
func EntrySession(e store.Audit) string {
	if e.TargetKind == "session" { // an entry of an earlier release
		return e.TargetID
	}
	var d authz.SessionDetail
	if json.Unmarshal([]byte(e.Detail), &d) != nil {
		return ""
	}
	return d.Session
}
