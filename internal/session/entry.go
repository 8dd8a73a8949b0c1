package session

import (
	"encoding/json"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// targetUser is the kind of target of audit entries about a user, and about a session
// of one.
const targetUser = "user"

// sessionDetail is the detail of an audit entry about one session.
type sessionDetail struct {
	Session string `json:"session"`
	Device  string `json:"device,omitempty"`
	Address string `json:"address,omitempty"` // at sign-in
}

// aboutSession makes an entry one about a session that is revoked. It is found under
// the session's user. name is the user's, or "" if AppendAudit's caller fills it in.
func aboutSession(e *store.Audit, row store.Session, name string) {
	b, err := json.Marshal(sessionDetail{row.ID, row.Device, row.Address})
	if err != nil {
		panic(err) // texts
	}
	e.TargetKind, e.TargetID, e.TargetName = targetUser, row.UserID, name
	e.Scope, e.Detail = revocation.KindSession, string(b)
}

// SessionOf returns the id of the session that an audit entry is about, or "".
func SessionOf(e store.Audit) string {
	if e.TargetKind == "session" { // an entry of an earlier release
		return e.TargetID
	}
	var d sessionDetail
	if json.Unmarshal([]byte(e.Detail), &d) != nil {
		return ""
	}
	return d.Session
}
