package account_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

func TestGroupNames(t *testing.T) {
	n := sqlite(t).node()
	u := n.add("alice")
	many := func(count int, format string) []string {
		names := make([]string, count)
		for i := range names {
			names[i] = fmt.Sprintf(format, i)
		}
		return names
	}
	// 63 names of 13 bytes and an empty one are 1012 bytes as JSON.
	filled := func(last int) []string { return append(many(63, "group-%07d"), strings.Repeat("x", last)) }
	for _, tt := range []struct {
		what   string
		groups []string
		want   []string // nil: refused
	}{
		{"none", []string{}, []string{}},
		{"sorted, each once", []string{"staff", "ops", "staff"}, []string{"ops", "staff"}},
		{"trimmed, with single spaces", []string{"  on   call "}, []string{"on call"}},
		{"a decomposed letter", []string{"E\u0301quipe"}, []string{"\u00c9quipe"}},
		{"letters of other scripts", []string{"開発", "Бухгалтерия"}, []string{"Бухгалтерия", "開発"}},
		{"what JSON escapes", []string{`R&D <"\">`}, []string{`R&D <"\">`}},
		{"64 characters", []string{strings.Repeat("ä", 64)}, []string{strings.Repeat("ä", 64)}},
		{"65 characters", []string{strings.Repeat("ä", 65)}, nil},
		{"63 groups", many(63, "g%03d"), many(63, "g%03d")},
		{"64 groups", many(64, "g%03d"), many(64, "g%03d")},
		{"65 groups", many(65, "g%03d"), nil},
		{"1000 groups", many(1000, "g%03d"), nil},
		{"1023 bytes", filled(11), filled(11)},
		{"1024 bytes", filled(12), filled(12)},
		{"1025 bytes", filled(13), nil},
		{"two that differ in letter case", []string{"ops", "Ops"}, nil},
		{"an empty name", []string{"ops", ""}, nil},
		{"a comma", []string{"ops,admins"}, nil},
		{"a line break", []string{"ops\nadmins"}, nil},
		{"a carriage return", []string{"ops\radmins"}, nil},
		{"a tab", []string{"ops\tadmins"}, nil},
		{"NUL", []string{"ops\x00"}, nil},
		{"DEL", []string{"ops\x7f"}, nil},
		{"a C1 control character", []string{"ops\u0085admins"}, nil},
		{"an invisible character", []string{"ops\u200b"}, nil},
		{"a change of direction", []string{"\u202eops"}, nil},
		{"no UTF-8", []string{"ops\xff"}, nil},
	} {
		before, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		changed, _, err := n.ChangeUser(t.Context(), cli, u.ID, account.UserChange{Groups: &tt.groups}, "")
		if tt.want == nil {
			invalid(t, tt.what, err, "groups")
			after, err := n.store.User(t.Context(), u.ID)
			noErr(t, err)
			if !slices.Equal(after.Groups, before.Groups) {
				t.Errorf("%s: refused, but the groups are %q", tt.what, after.Groups)
			}
			continue
		}
		noErr(t, err)
		kept, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		if !slices.Equal(changed.Groups, tt.want) || !slices.Equal(kept.Groups, tt.want) {
			t.Errorf("%s: changed to %q, stored as %q, want %q", tt.what, changed.Groups, kept.Groups, tt.want)
		}
		if size, err := json.Marshal(kept.Groups); err != nil || len(size) > 1024 {
			t.Errorf("%s: %d bytes, %v", tt.what, len(size), err)
		}
	}
	made, err := n.CreateUser(t.Context(), cli, account.UserChange{Name: ptr("bob"), Groups: &[]string{"staff", "ops"}})
	noErr(t, err)
	if !slices.Equal(made.Groups, []string{"ops", "staff"}) {
		t.Errorf("created in %q", made.Groups)
	}
	_, err = n.CreateUser(t.Context(), cli, account.UserChange{Name: ptr("carol"), Groups: &[]string{"a,b"}})
	invalid(t, "a comma at creation", err, "groups")
}

// One entry of the audit log has the groups before and after, and stands for the
// revocation: from it the receipt is made.
func TestLeavingAGroup(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		root, u := n.add("root", store.AdministerSystem), n.add("alice")
		noErr(t, n.change(n.as(root), u.ID, account.UserChange{Groups: &[]string{"ops", "staff"}}))
		read, err := n.store.Clock(t.Context()) // by a sign-in that is under way
		noErr(t, err)
		_, revoked, err := n.ChangeUser(t.Context(), n.as(root), u.ID, account.UserChange{Groups: &[]string{"staff"}}, "changed teams")
		noErr(t, err)
		before, err := n.store.RevokedBefore(t.Context(), u.ID, "x")
		noErr(t, err)
		if revoked == nil || revoked.Scope != revocation.User(u.ID) || revoked.Epoch <= read || before.User != revoked.Epoch {
			t.Fatalf("revoked %v, in the store %d, a sign-in had read %d", revoked, before.User, read)
		}
		entries := n.audits(wire.ActionUserGroups)
		if len(entries) != 2 {
			t.Fatalf("%d entries, want 2", len(entries))
		}
		left, joined := entries[0], entries[1]
		if joined.Scope != "" || joined.Detail != `{"from":[],"to":["ops","staff"]}` {
			t.Errorf("joining: %+v", joined)
		}
		if left.Scope != revocation.KindUser || left.Epoch != revoked.Epoch || left.Reason != "changed teams" || left.TargetID != u.ID ||
			left.Actor.ID != root.ID || left.Detail != `{"from":["ops","staff"],"to":["staff"]}` {
			t.Errorf("leaving: %+v", left)
		}
	})
}
