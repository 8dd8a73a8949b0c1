package console

import (
	"encoding/json"
	"fmt"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/settings"
)

// A settingsChange is an entry of the history.
type settingsChange struct {
	At     when
	By     string
	ByPath string
	Lines  []string // "Session timeout: 20 minutes → 1 hour"
}

const shownChanges = 20

// history returns the latest changes of the settings, the latest first;
// only those after an epoch, unless it is zero.
func (p *settingsPages) history(x *exchange, after int64) ([]settingsChange, error) {
	entries, err := p.sessions.Audit(x.ctx, x.caller, store.AuditFilter{Action: wire.ActionSettingsChange}, shownChanges)
	if err != nil {
		return nil, err
	}
	var changes []settingsChange
	for _, e := range entries {
		if after != 0 && int64(e.Epoch) <= after {
			break
		}
		changes = append(changes, x.settingsChange(e))
	}
	return changes, nil
}

func (x *exchange) settingsChange(e store.Audit) settingsChange {
	c := settingsChange{At: x.micro(e.At), By: actorName(e.Actor)}
	if e.Actor.Kind == store.ActorUser {
		c.ByPath = userPath(e.Actor.ID)
	}
	var detail struct {
		From wire.Settings `json:"from"`
		To   wire.Settings `json:"to"`
	}
	if err := json.Unmarshal([]byte(e.Detail), &detail); err != nil {
		return c
	}
	from, missing1 := wireform.ReadSettings(detail.From)
	to, missing2 := wireform.ReadSettings(detail.To)
	if missing1 == nil && missing2 == nil {
		c.Lines = difference(from, to)
	}
	if len(c.Lines) == 0 {
		c.Lines = []string{"Saved without changes"}
	}
	return c
}

// difference says what changes, a line for each member.
func difference(from, to settings.Settings) []string {
	var lines []string
	if from.SessionTimeout != to.SessionTimeout {
		lines = append(lines, fmt.Sprintf("Session timeout: %s → %s", duration(from.SessionTimeout), duration(to.SessionTimeout)))
	}
	if from.MaximumSessionDuration != to.MaximumSessionDuration {
		lines = append(lines, fmt.Sprintf("Maximum session duration: %s → %s", duration(from.MaximumSessionDuration), duration(to.MaximumSessionDuration)))
	}
	if from.RememberMeEnabled != to.RememberMeEnabled {
		lines = append(lines, "Remember me: "+onOff(from.RememberMeEnabled)+" → "+onOff(to.RememberMeEnabled))
	}
	return lines
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
