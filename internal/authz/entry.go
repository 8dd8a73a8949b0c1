package authz

import (
	"encoding/json"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// SessionDetail is the detail of an audit entry about one session.
type SessionDetail struct {
	Session string `json:"session"`
	Device  string `json:"device,omitempty"`
	Address string `json:"address,omitempty"` // at sign-in
}

// AboutSession makes an entry one about a session that is revoked. It is found under
// the session's user. name is the user's, or "" if AppendAudit's caller fills it in.
func AboutSession(e *store.Audit, row store.Session, name string) {
	b, err := json.Marshal(SessionDetail{row.ID, row.Device, row.Address})
	if err != nil {
		panic(err) // texts
	}
	e.TargetKind, e.TargetID, e.TargetName = "user", row.UserID, name
	e.Scope, e.Detail = revocation.KindSession, string(b)
}
