package torture

import (
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// Histories that keep every promise, and for each rule a history that breaks it:
// the checker reports that violation, and no other.
func TestChecker(t *testing.T) {
	begin := Event{Op: OpBegin, Node: "a", User: "u", Session: "s", Invoked: 1 * ms, Returned: 2 * ms, Outcome: OK}
	revoke := Event{Op: OpRevoke, Node: "a", User: "u", Invoked: 10 * ms, Returned: 20 * ms, Outcome: OK, By: 3000 * ms}
	everywhere := revoke
	everywhere.Everywhere = true
	unknown := revoke
	unknown.Outcome = Unknown
	check := func(node string, at int64, o Outcome, reason string) Event {
		return Event{Op: OpCheck, Node: node, User: "u", Session: "s", Invoked: at * ms, Returned: (at + 1) * ms, Outcome: o, Reason: reason}
	}
	final := func(e Event) Event { e.Final = true; return e }
	acked := revoke
	acked.Epoch = 17
	show := func(node string, at, shown int64) Event {
		return Event{Op: OpShow, Node: node, User: "u", Invoked: at * ms, Returned: (at + 1) * ms, Outcome: OK, Shown: shown}
	}
	state := func(node, what string, items ...string) Event {
		e := Event{Op: OpState, Node: node, State: what, Outcome: OK, Items: items}
		if what == StateLive {
			e.User = "u"
		}
		return e
	}
	silent := state("a", StateUsers)
	silent.Outcome = Unknown
	change := func(at, timeout int64, o Outcome) Event {
		return Event{Op: OpChange, Node: "a", Invoked: at * ms, Returned: (at + 1) * ms, Outcome: o, Shown: timeout}
	}
	lost := begin
	lost.Outcome, lost.Session = Unknown, ""
	one := Event{Op: OpRevoke, Node: "a", User: "u", Session: "s", Invoked: 10 * ms, Returned: 20 * ms, Outcome: OK}
	fault := Event{Op: OpFault, Reason: "store down", Invoked: 100 * ms, Returned: 200 * ms}
	for name, test := range map[string]struct {
		history []Event
		want    string // the rule that is broken, "" for none
	}{
		"nothing":                           {nil, ""},
		"a good life":                       {[]Event{begin, check("a", 5, OK, ""), check("b", 6, OK, ""), revoke, check("a", 21, Refused, "revoked"), check("b", 50, Refused, "revoked")}, ""},
		"elsewhere a moment late":           {[]Event{begin, revoke, check("b", 21, OK, ""), check("b", 30, Refused, "revoked")}, ""},
		"while it is being revoked":         {[]Event{begin, check("a", 15, OK, ""), revoke}, ""},
		"begun while it is revoked":         {[]Event{{Op: OpBegin, Node: "a", User: "u", Session: "s", Invoked: 11 * ms, Returned: 12 * ms, Outcome: OK}, revoke, check("a", 30, OK, "")}, ""},
		"where it was acknowledged":         {[]Event{begin, revoke, check("a", 21, OK, "")}, "I1"},
		"elsewhere after the bound":         {[]Event{begin, revoke, fault, check("b", 3001, OK, "")}, "I1"},
		"elsewhere at the bound":            {[]Event{begin, revoke, fault, check("b", 2999, OK, "")}, ""},
		"everywhere was not":                {[]Event{begin, everywhere, check("b", 21, OK, "")}, "I1"},
		"refused for nothing":               {[]Event{begin, check("a", 5, Refused, "revoked")}, "I2"},
		"refused for another reason":        {[]Event{begin, revoke, check("a", 50, Refused, "not_yet_valid")}, "I2"},
		"503 for nothing":                   {[]Event{begin, check("a", 5, Unavailable, "")}, "I2"},
		"503 in a fault":                    {[]Event{begin, fault, check("a", 150, Unavailable, "")}, ""},
		"503 soon after a fault":            {[]Event{begin, fault, check("a", 5000, Unavailable, "")}, ""},
		"503 long after a fault":            {[]Event{begin, fault, check("a", 20000, Unavailable, "")}, "I2"},
		"accepted after it was refused":     {[]Event{begin, unknown, check("b", 30, Refused, "revoked"), check("b", 40, OK, "")}, "I3"},
		"refused here, accepted there":      {[]Event{begin, revoke, check("a", 30, Refused, "revoked"), check("b", 40, OK, "")}, ""},
		"refreshed afterwards":              {[]Event{begin, revoke, {Op: OpRefresh, Node: "b", Session: "s", Invoked: 21 * ms, Returned: 22 * ms, Outcome: OK}}, "I4"},
		"refreshed while it was revoked":    {[]Event{begin, revoke, {Op: OpRefresh, Node: "b", Session: "s", Invoked: 19 * ms, Returned: 22 * ms, Outcome: OK}}, ""},
		"unknown, and it happened":          {[]Event{begin, unknown, final(check("a", 9000, Refused, "revoked")), final(check("b", 9001, Refused, "revoked"))}, ""},
		"unknown, and it did not":           {[]Event{begin, unknown, final(check("a", 9000, OK, "")), final(check("b", 9001, OK, ""))}, ""},
		"unknown, and both":                 {[]Event{begin, unknown, final(check("a", 9000, Refused, "revoked")), final(check("b", 9001, OK, ""))}, "I5"},
		"in the end they disagree":          {[]Event{begin, fault, final(check("a", 150, Unavailable, "")), final(check("b", 151, OK, ""))}, "I6"},
		"shown to go up":                    {[]Event{show("a", 1, 5), show("a", 3, 5), show("a", 5, 6)}, ""},
		"shown to go down":                  {[]Event{show("a", 1, 5), show("a", 3, 6), show("a", 5, 5)}, "I3"},
		"shown at the same time":            {[]Event{show("a", 1, 6), show("a", 2, 5)}, ""},
		"shown less elsewhere":              {[]Event{show("a", 1, 6), show("b", 3, 5)}, ""},
		"shown less than acknowledged":      {[]Event{acked, show("a", 21, 16)}, "I1"},
		"shown as acknowledged":             {[]Event{acked, show("a", 21, 17), show("b", 21, 16)}, ""},
		"all is listed":                     {[]Event{begin, state("a", StateUsers, "u"), state("b", StateUsers, "u"), state("a", StateLive, "s"), state("a", StateAudit)}, ""},
		"a node does not tell":              {[]Event{silent}, "I6"},
		"the nodes list others":             {[]Event{state("a", StateUsers, "u"), state("b", StateUsers, "v")}, "I6"},
		"a user is lost":                    {[]Event{begin, state("a", StateUsers, "v")}, "I6"},
		"a session is lost":                 {[]Event{begin, state("a", StateLive)}, "I6"},
		"a session is over":                 {[]Event{begin, revoke, state("a", StateLive)}, ""},
		"a session may be over":             {[]Event{begin, unknown, state("a", StateLive)}, ""},
		"a dead session is listed":          {[]Event{begin, revoke, state("a", StateLive, "s")}, "I6"},
		"a session that was never begun":    {[]Event{begin, state("a", StateLive, "s", "t")}, "I6"},
		"a session whose begin is in doubt": {[]Event{begin, lost, state("a", StateLive, "s", "t")}, ""},
		"audited":                           {[]Event{acked, state("a", StateAudit, "user u 17")}, ""},
		"not audited":                       {[]Event{acked, state("a", StateAudit)}, "I6"},
		"audited as another":                {[]Event{acked, state("a", StateAudit, "user u 18")}, "I6"},
		"audited twice":                     {[]Event{acked, state("a", StateAudit, "user u 17", "user u 17")}, "I6"},
		"audited in doubt":                  {[]Event{unknown, state("a", StateAudit, "user u 17")}, ""},
		"audited out of nothing":            {[]Event{state("a", StateAudit, "session t 3")}, "I6"},
		"audited without an epoch":          {[]Event{unknown, state("a", StateAudit, "user u 0")}, "I6"},
		"a session's end is audited":        {[]Event{one, state("a", StateAudit, "session s 3")}, ""},
		"a session had ended before":        {[]Event{one, state("a", StateAudit)}, ""},
		"the settings":                      {[]Event{change(1, 60, OK), change(3, 90, OK), state("a", StateSettings, "90")}, ""},
		"the settings before":               {[]Event{change(1, 60, OK), change(3, 90, OK), state("a", StateSettings, "60")}, "I6"},
		"settings at the same time":         {[]Event{change(1, 60, OK), change(2, 90, OK), state("a", StateSettings, "60")}, ""},
		"settings in doubt":                 {[]Event{change(1, 60, OK), change(3, 90, Unknown), state("a", StateSettings, "90")}, ""},
		"settings that were refused":        {[]Event{change(1, 60, OK), change(3, 90, Refused), state("a", StateSettings, "90")}, "I6"},
		"settings never asked for":          {[]Event{change(1, 60, OK), state("a", StateSettings, "61")}, "I6"},
		"settings never changed":            {[]Event{state("a", StateSettings, "61")}, ""},
		"always late": {append([]Event{begin, revoke}, check("b", 500, OK, ""), check("b", 501, OK, ""), check("b", 502, OK, ""),
			check("b", 503, OK, ""), check("b", 504, OK, "")), "I7"},
	} {
		got := Check(test.history)
		switch {
		case test.want == "" && len(got) > 0:
			t.Errorf("%s: %v", name, got)
		case test.want != "" && len(got) == 0:
			t.Errorf("%s: nothing found, want %s", name, test.want)
		}
		for _, v := range got {
			if v.Rule != test.want {
				t.Errorf("%s: found %v, want %s alone", name, v, test.want)
			}
		}
	}
}
