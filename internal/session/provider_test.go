package session_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const corpIssuer = "https://login.corp.example"

// corp is a provider that creates users.
func corp() store.Provider {
	return store.Provider{
		Name: "corp", Issuer: corpIssuer, ClientID: "curfew", Scopes: []string{"openid"}, NameClaim: "preferred_username", CreateUsers: true,
	}
}

// claims are those of a user at a provider. during, if not nil, is called while the
// transaction of the sign-in runs.
type claims struct {
	values map[string]any
	during func()
}

func (c claims) Text(name string) string {
	text, _ := c.values[name].(string)
	return text
}

func (c claims) Texts(name string) ([]string, error) {
	if c.during != nil {
		c.during()
	}
	texts, _ := c.values[name].([]string)
	return texts, nil
}

func (c claims) EmailVerified() bool { return c.values["email_verified"] == true }

// putProvider stores a provider; nil removes corp.
func (n *node) putProvider(p *store.Provider) {
	n.testDatabase.t.Helper()
	n.write(func(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error {
		if p == nil {
			return tx.DeleteProvider(ctx, "corp")
		}
		p.UpdatedAt = int64(epoch)
		return tx.PutProvider(ctx, *p)
	})
}

// write writes at an epoch of its own.
func (n *node) write(write func(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error) {
	n.testDatabase.t.Helper()
	ctx := context.Background()
	err := n.store.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, n.now())
		if err != nil {
			return err
		}
		return write(ctx, tx, epoch)
	})
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
}

// attempt begins an attempt of a user, whose name is also the subject, and who
// authenticates at the provider now.
func (n *node) attempt(name string, more ...map[string]any) session.ProviderSignIn {
	n.testDatabase.t.Helper()
	epoch, err := n.store.Clock(context.Background())
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	values := map[string]any{"preferred_username": name}
	for _, m := range more {
		maps.Copy(values, m)
	}
	return session.ProviderSignIn{
		Attempt:  crand.Text(),
		Provider: "corp", Issuer: corpIssuer, ClientID: "curfew", Subject: name, SID: "sid of " + name, Claims: claims{values: values},
		AuthTime: time.Now(), Fresh: true, Began: n.now(), Epoch: epoch, IDToken: "e30.e30.e30",
	}
}

func (n *node) through(a session.ProviderSignIn) (session.Issued, error) {
	return n.sessions.SignInThrough(context.Background(), a, authz.Origin{Address: "192.0.2.1", RequestID: "r1", Device: "Firefox"})
}

func (n *node) mustThrough(a session.ProviderSignIn) session.Issued {
	n.testDatabase.t.Helper()
	i, err := n.through(a)
	if err != nil {
		n.testDatabase.t.Fatalf("sign in through a provider: %v", err)
	}
	return i
}

func (n *node) user(id string) store.User {
	n.testDatabase.t.Helper()
	u, err := n.store.User(context.Background(), id)
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	return u
}

func TestSignInThroughProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		n.putProvider(&p)
		a := n.attempt("ann", map[string]any{"email": "ann@corp.example", "email_verified": true})
		a.AuthTime, a.ACR, a.SessionExpiry = a.AuthTime.Add(-30*time.Minute), "urn:mfa", a.AuthTime.Add(10*time.Minute)
		a.Fresh = false
		first := n.mustThrough(a)
		s := first.Session
		if int64(s.AuthTime) != a.AuthTime.Unix() || s.ACR != "urn:mfa" || int64(s.SessionExpiry) != a.SessionExpiry.Unix() || s.ExpiresAt > s.SessionExpiry {
			t.Errorf("the session has auth_time %v, acr %q, session_expiry %v, exp %v", s.AuthTime, s.ACR, s.SessionExpiry, s.ExpiresAt)
		}
		if reason := n.check(first.Token); reason != "" {
			t.Errorf("the token is refused: %s", reason)
		}
		u := n.user(s.Subject)
		if u.Name != "ann" || u.Email != "ann@corp.example" || u.PasswordHash != "" || len(u.Permissions) != 0 || u.LastSignInAt == 0 {
			t.Errorf("the user is %+v", u)
		}
		row, err := n.store.ProviderSession(t.Context(), s.ID)
		if err != nil || row.Provider != "corp" || row.Issuer != corpIssuer || row.Subject != "ann" || row.SID != "sid of ann" ||
			row.SealedIDToken == "" || strings.Contains(row.SealedIDToken, "e30.") {
			t.Errorf("the provider session is %+v, %v", row, err)
		}
		// The name at the provider changes, the subject does not.
		b := n.attempt("ann", map[string]any{"preferred_username": "anna", "email": "anna@corp.example", "email_verified": true})
		second := n.mustThrough(b)
		if second.Session.Subject != s.Subject || second.User.Name != "ann" || second.User.Email != "ann@corp.example" {
			t.Errorf("the second sign-in is of %+v", second.User)
		}
		if n.check(first.Token) != "" || n.check(second.Token) != "" {
			t.Error("a sign-in that changes nothing has ended a session")
		}
		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Person: u.ID}, 10)
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, e := range slices.Backward(entries) {
			actions = append(actions, e.Action)
		}
		if want := []string{wire.ActionUserCreate, wire.ActionUserLink, wire.ActionSignIn, wire.ActionSignIn}; !slices.Equal(actions, want) {
			t.Errorf("the audit has %q, want %q", actions, want)
		}
		if !strings.Contains(entries[0].Detail, `"provider":"corp"`) {
			t.Errorf("the sign-in's detail is %s", entries[0].Detail)
		}
	})
}

// An identity whose user is gone is like one that is not linked.
func TestIdentityOfNoUser(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		n.putProvider(&p)
		n.write(func(ctx context.Context, tx store.Tx, _ revocation.Epoch) error {
			return tx.PutIdentity(ctx, store.Identity{Issuer: corpIssuer, Subject: "ann", UserID: "gone"})
		})
		l := session.ProviderLogout{Provider: "corp", Issuer: corpIssuer, Subject: "ann", TokenID: "t"}
		if err := n.sessions.EndByProvider(t.Context(), l, authz.Origin{}); err != nil {
			t.Errorf("a logout: %v", err)
		}
		first, second := n.mustThrough(n.attempt("ann")), n.mustThrough(n.attempt("ann"))
		if i, err := n.store.Identity(t.Context(), corpIssuer, "ann"); err != nil || i.UserID != first.User.ID || second.User.ID != first.User.ID {
			t.Errorf("the identity is %+v, %v; signed in as %s and %s", i, err, first.User.ID, second.User.ID)
		}
	})
}

// Who may sign in, and as which user.
func TestAdmission(t *testing.T) {
	verified := func(email string) map[string]any { return map[string]any{"email": email, "email_verified": true} }
	groups := func(names ...string) map[string]any { return map[string]any{"groups": names} }
	rows := map[string]struct {
		provider func(*store.Provider)
		claims   map[string]any
		want     string // reason of NotAdmitted; "": admitted
		as       string // name of the user
	}{
		"an unknown user":                           {func(*store.Provider) {}, nil, "", "eve"},
		"unknown users are refused":                 {func(p *store.Provider) { p.CreateUsers = false }, nil, account.NotAdmittedUnknown, ""},
		"no name":                                   {func(*store.Provider) {}, map[string]any{"preferred_username": ""}, account.NotAdmittedName, ""},
		"an invisible name":                         {func(*store.Provider) {}, map[string]any{"preferred_username": "a\u202eb"}, account.NotAdmittedName, ""},
		"the name of a local user":                  {func(*store.Provider) {}, map[string]any{"preferred_username": "LOCAL"}, account.NotAdmittedNameTaken, ""},
		"a name like a local user's":                {func(*store.Provider) {}, map[string]any{"preferred_username": "l\u03bfcal"}, account.NotAdmittedNameTaken, ""},
		"the address of a local user as the name":   {func(*store.Provider) {}, map[string]any{"preferred_username": "LOCAL@corp.example"}, account.NotAdmittedNameTaken, ""},
		"the address of two users as the name":      {func(*store.Provider) {}, map[string]any{"preferred_username": "two@corp.example"}, account.NotAdmittedNameTaken, ""},
		"an address as the name":                    {func(p *store.Provider) { p.NameClaim = "email" }, verified("eve@corp.example"), "", "eve@corp.example"},
		"an unverified address":                     {func(p *store.Provider) { p.NameClaim = "email" }, map[string]any{"email": "eve@corp.example"}, account.NotAdmittedName, ""},
		"the address of a local user":               {func(*store.Provider) {}, verified("local@corp.example"), "", "eve"},
		"linked by address":                         {func(p *store.Provider) { p.LinkByEmail = true }, verified("LOCAL@corp.example"), "", "local"},
		"linked by address, without creating users": {func(p *store.Provider) { p.LinkByEmail, p.CreateUsers = true, false }, verified("local@corp.example"), "", "local"},
		"not linked by an unverified address": {func(p *store.Provider) { p.LinkByEmail, p.CreateUsers = true, false },
			map[string]any{"email": "local@corp.example", "email_verified": "true"}, account.NotAdmittedUnknown, ""},
		"not linked by the address of two users":           {func(p *store.Provider) { p.LinkByEmail, p.CreateUsers = true, false }, verified("two@corp.example"), account.NotAdmittedUnknown, ""},
		"not linked to a user with another subject":        {func(p *store.Provider) { p.LinkByEmail = true }, verified("linked@corp.example"), account.NotAdmittedEmail, ""},
		"not linked to a user of another provider":         {func(p *store.Provider) { p.LinkByEmail = true }, verified("elsewhere@corp.example"), account.NotAdmittedEmail, ""},
		"not linked to a disabled user":                    {func(p *store.Provider) { p.LinkByEmail = true }, verified("disabled@corp.example"), account.NotAdmittedDisabled, ""},
		"of an allowed domain":                             {func(p *store.Provider) { p.AllowedEmailDomains = []string{"Corp.Example"} }, verified("eve@corp.example"), "", "eve"},
		"of a domain that Unicode folds to an allowed one": {func(p *store.Provider) { p.AllowedEmailDomains = []string{"corp.test"} }, verified("eve@corp.te\u017ft"), account.NotAdmittedDomain, ""},
		"of another domain":                                {func(p *store.Provider) { p.AllowedEmailDomains = []string{"corp.example"} }, verified("eve@evil-corp.example"), account.NotAdmittedDomain, ""},
		"of a domain below":                                {func(p *store.Provider) { p.AllowedEmailDomains = []string{"corp.example"} }, verified("eve@evil.corp.example"), account.NotAdmittedDomain, ""},
		"of a domain, unverified":                          {func(p *store.Provider) { p.AllowedEmailDomains = []string{"corp.example"} }, map[string]any{"email": "eve@corp.example"}, account.NotAdmittedDomain, ""},
		"two at signs":                                     {func(p *store.Provider) { p.AllowedEmailDomains = []string{"corp.example"} }, verified("eve@evil.example@corp.example"), account.NotAdmittedDomain, ""},
		"of a required class":                              {func(p *store.Provider) { p.ACRValues = []string{"hwk", "mfa"} }, map[string]any{"acr": "mfa"}, "", "eve"},
		"of another class":                                 {func(p *store.Provider) { p.ACRValues = []string{"hwk", "mfa"} }, map[string]any{"acr": "pwd"}, account.NotAdmittedACR, ""},
		"of no class":                                      {func(p *store.Provider) { p.ACRValues = []string{"hwk", "mfa"} }, nil, account.NotAdmittedACR, ""},
		"in an allowed group":                              {func(p *store.Provider) { p.GroupsClaim, p.AllowedGroups = "groups", []string{"a", "b"} }, groups("b", "c"), "", "eve"},
		"in no allowed group":                              {func(p *store.Provider) { p.GroupsClaim, p.AllowedGroups = "groups", []string{"a", "b"} }, groups("B", "c"), account.NotAdmittedGroup, ""},
		"without a groups claim":                           {func(p *store.Provider) { p.GroupsClaim, p.AllowedGroups = "groups", []string{"a"} }, nil, account.NotAdmittedGroup, ""},
		"a group with a space at its end":                  {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("admins "), account.NotAdmittedGroups, ""},
		"a group with a space at its beginning":            {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups(" admins"), account.NotAdmittedGroups, ""},
		"a group with two spaces":                          {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("a  b"), account.NotAdmittedGroups, ""},
		"a group with another space":                       {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("\u00a0staff"), account.NotAdmittedGroups, ""},
		"a group that is not composed":                     {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("e\u0301quipe"), account.NotAdmittedGroups, ""},
		"a group like another in other letter case":        {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("staff", "Staff"), account.NotAdmittedGroups, ""},
		"exact groups":                                     {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups("/staff", "a b", "\u00e9quipe", "a b"), "", "eve"},
		"too many groups":                                  {func(p *store.Provider) { p.GroupsClaim = "groups" }, groups(strings.Split(strings.Repeat("g,", 100_000), ",")...), account.NotAdmittedGroups, ""},
	}
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.startWith(0, 0, func(c *session.Config) {
			c.Limits.RefusedSubject.Burst, c.Limits.RefusedNetwork.Burst = -1, -1
		})
		ctx := t.Context()
		create := func(name, email string, disabled bool) store.User {
			u, err := n.accounts.CreateUser(ctx, cli, account.UserChange{Name: &name, Email: &email, Disabled: &disabled})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		create("local", "local@corp.example", false)
		create("two", "two@corp.example", false)
		create("two more", "two@corp.example", false)
		create("disabled", "disabled@corp.example", true)
		linked := create("linked", "linked@corp.example", false)
		n.write(func(ctx context.Context, tx store.Tx, _ revocation.Epoch) error {
			return tx.PutIdentity(ctx, store.Identity{Issuer: corpIssuer, Subject: "another", UserID: linked.ID})
		})
		elsewhere := create("elsewhere", "elsewhere@corp.example", false)
		n.write(func(ctx context.Context, tx store.Tx, _ revocation.Epoch) error {
			return tx.PutIdentity(ctx, store.Identity{Issuer: "https://other.example", Subject: "eve", UserID: elsewhere.ID})
		})
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			row := rows[name]
			p := corp()
			row.provider(&p)
			n.putProvider(&p)
			a := n.attempt("eve", row.claims)
			a.ACR = a.Claims.Text("acr")
			before, err := n.store.CountUsers(ctx)
			if err != nil {
				t.Fatal(err)
			}
			i, err := n.through(a)
			refused := (*account.NotAdmitted)(nil)
			switch {
			case row.want == "" && (err != nil || i.User.Name != row.as || n.check(i.Token) != ""):
				t.Errorf("%s: signed in as %q, %v; want %q", name, i.User.Name, err, row.as)
			case row.want != "" && (!errors.As(err, &refused) || refused.Reason != row.want):
				t.Errorf("%s: %v, want %s", name, err, row.want)
			}
			if row.want != "" {
				if after, err := n.store.CountUsers(ctx); err != nil || after != before {
					t.Errorf("%s: there are %d users, and %d after it: %v", name, before, after, err)
				}
				last, err := n.store.Audits(ctx, store.AuditFilter{}, 1)
				if err != nil || last[0].Action != wire.ActionSignInFailed || !strings.Contains(last[0].Detail, `"subject":"eve"`) {
					t.Errorf("%s: the audit ends with %+v, %v", name, last, err)
				}
				continue
			}
			if i.User.Name == "eve" && i.User.Email == "local@corp.example" {
				t.Errorf("%s: the user has the address of another", name)
			}
			// For the next row.
			n.write(func(ctx context.Context, tx store.Tx, _ revocation.Epoch) error {
				if i.User.Name == "local" {
					return tx.DeleteIdentity(ctx, corpIssuer, "eve")
				}
				return tx.DeleteUser(ctx, i.User.ID, 1)
			})
		}
	})
}

// Groups and permissions follow the provider. Losing one ends the user's sessions, and
// not the session that begins.
func TestGroupsFollowTheProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		p := corp()
		p.GroupsClaim = "groups"
		p.GroupPermissions = map[string][]string{"admins": {store.AdministerSystem}, "root": {store.AdministerSystem}}
		n.putProvider(&p)
		n.caller("another", store.AdministerSystem)
		var live []session.Issued
		for _, step := range []struct {
			what        string
			groups      []string
			permissions []string
			revokes     bool
		}{
			{"the first sign-in", []string{"staff"}, []string{}, false},
			{"a group more", []string{"staff", "admins"}, []string{store.AdministerSystem}, false},
			{"the same", []string{"admins", "staff"}, []string{store.AdministerSystem}, false},
			{"a group less that gives the same", []string{"staff", "root"}, []string{store.AdministerSystem}, true},
			{"no group of administrators", []string{"staff"}, []string{}, true},
			{"no group", nil, []string{}, true},
			{"no group, again", nil, []string{}, false},
		} {
			i := n.mustThrough(n.attempt("ann", map[string]any{"groups": step.groups}))
			want := slices.Sorted(slices.Values(step.groups))
			if u := n.user(i.User.ID); !slices.Equal(u.Groups, want) || !slices.Equal(u.Permissions, step.permissions) || !slices.Equal(i.Session.Groups, want) {
				t.Errorf("%s: groups %q, permissions %q, in the token %q", step.what, u.Groups, u.Permissions, i.Session.Groups)
			}
			if reason := n.check(i.Token); reason != "" {
				t.Errorf("%s: the new session is refused: %s", step.what, reason)
			}
			for _, old := range live {
				if got := n.check(old.Token) == token.ErrRevoked; got != step.revokes {
					t.Errorf("%s: an earlier session was revoked: %v", step.what, got)
				}
			}
			if step.revokes {
				live = nil
				if r, err := n.store.Receipt(ctx, i.Session.Epoch); err != nil || r.UserID != i.User.ID {
					t.Errorf("%s: receipt %+v, %v", step.what, r, err)
				}
				scoped, err := n.store.Audits(ctx, store.AuditFilter{Epoch: i.Session.Epoch, Scoped: true}, 10)
				if err != nil || len(scoped) != 1 {
					t.Errorf("%s: %d entries carry the scope: %v", step.what, len(scoped), err)
				}
			}
			live = append(live, i)
		}
		// Permissions that no group gives are the operator's.
		id := live[0].User.ID
		editor := []string{store.UserEdit}
		if _, _, err := n.accounts.ChangeUser(ctx, cli, id, account.UserChange{Permissions: &editor}, ""); err != nil {
			t.Fatal(err)
		}
		if i := n.mustThrough(n.attempt("ann")); !slices.Equal(n.user(i.User.ID).Permissions, editor) {
			t.Errorf("the permission that the operator has given is gone: %q", n.user(i.User.ID).Permissions)
		}
	})
}

// A provider does not take the permission from the last administrator.
func TestLastAdministratorThroughProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		p.GroupsClaim, p.GroupPermissions = "groups", map[string][]string{"admins": {store.AdministerSystem}}
		n.putProvider(&p)
		first := n.mustThrough(n.attempt("ann", map[string]any{"groups": []string{"admins"}}))
		_, err := n.through(n.attempt("ann", map[string]any{"groups": []string{"staff"}}))
		if refused := (*account.NotAdmitted)(nil); !errors.As(err, &refused) || refused.Reason != account.NotAdmittedLastAdmin {
			t.Errorf("error %v", err)
		}
		if !slices.Equal(n.user(first.User.ID).Permissions, []string{store.AdministerSystem}) {
			t.Error("a refused sign-in has changed the user")
		}
		// But no session may use the permission.
		if reason := n.check(first.Token); reason != token.ErrRevoked {
			t.Errorf("the session from before is %q", reason)
		}
		demoted := func() {
			t.Helper()
			_, err := n.through(n.attempt("ann", map[string]any{"groups": []string{"staff"}}))
			if !notAdmittedFor(err, account.NotAdmittedLastAdmin) {
				t.Errorf("demoted again: %v", err)
			}
		}
		demoted()
		demoted()
		receipts, err := n.store.Receipts(t.Context(), store.ReceiptFilter{User: first.User.ID}, 10)
		if err != nil || len(receipts) != 1 || receipts[0].Sessions != 1 || receipts[0].UserID != first.User.ID {
			t.Errorf("receipts %+v, %v", receipts, err)
		}
		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Target: first.User.ID, Scoped: true}, 10)
		if err != nil || len(entries) != 1 || entries[0].Action != wire.ActionRevokeUser || entries[0].Actor.Kind != store.ActorSystem {
			t.Errorf("entries %+v, %v", entries, err)
		}
		// The provider lists the user again.
		second := n.mustThrough(n.attempt("ann", map[string]any{"groups": []string{"admins"}}))
		if reason := n.check(second.Token); reason != "" {
			t.Errorf("listed again, the session is %q", reason)
		}
		demoted()
		if reason := n.check(second.Token); reason != token.ErrRevoked {
			t.Errorf("demoted once more, the session is %q", reason)
		}
		n.caller("another", store.AdministerSystem)
		n.mustThrough(n.attempt("ann", map[string]any{"groups": []string{"staff"}}))
	})
}

// A revoked user authenticates again: the provider's memory does not sign the user in.
func TestFreshness(t *testing.T) {
	const skew = time.Minute
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		p := corp()
		n.putProvider(&p)
		ann := n.mustThrough(n.attempt("ann")).User.ID
		n.mustThrough(n.attempt("ben"))
		revokedAt := func(epoch revocation.Epoch, err error) time.Time {
			if err != nil {
				t.Fatal(err)
			}
			return epoch.Time()
		}
		check := func(name, who string, authTime time.Time, fresh bool, began time.Time, want error) {
			t.Helper()
			a := n.attempt(who)
			a.AuthTime, a.Fresh = authTime, fresh
			if !began.IsZero() {
				a.Began = began
			}
			if _, err := n.through(a); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		var zero time.Time
		check("never revoked, long ago", "ann", time.Now().Add(-300*24*time.Hour), false, zero, nil)
		check("never revoked, without auth_time", "ann", zero, false, zero, nil)

		receipt, err := n.sessions.RevokeUser(ctx, cli, ann, "", false, 0)
		at := revokedAt(receipt.Epoch, err)
		check("another user", "ben", zero, false, zero, nil)
		check("before the revocation", "ann", at.Add(-time.Hour), false, zero, session.ErrNotFresh)
		check("just too early", "ann", at.Add(skew-time.Microsecond), false, zero, session.ErrNotFresh)
		check("just late enough", "ann", at.Add(skew), false, zero, nil)
		check("later", "ann", at.Add(skew+time.Microsecond), false, zero, nil)
		check("revoked, without auth_time", "ann", zero, false, zero, session.ErrNotFresh)

		began := time.Now().Truncate(time.Second)
		check("demanded, without auth_time", "ann", zero, true, began, session.ErrNoAuthTime)
		check("demanded, just too early", "ann", began.Add(-skew-time.Second), true, began, session.ErrStale)
		check("demanded, just late enough", "ann", began.Add(-skew), true, began, nil)
		check("demanded, later", "ann", began.Add(-skew+time.Second), true, began, nil)

		receipt, err = n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "everyone"}, 0)
		at = revokedAt(receipt.Epoch, err)
		check("everyone, just too early", "ben", at.Add(skew-time.Microsecond), false, zero, session.ErrNotFresh)
		check("everyone, just late enough", "ben", at.Add(skew), false, zero, nil)
		check("everyone, without auth_time", "ben", zero, false, zero, session.ErrNotFresh)
		check("everyone, an unknown user", "cy", at.Add(-time.Hour), false, zero, session.ErrNotFresh)
	})
}

// Maintenance revokes everyone up to a time at which no session can have begun. That
// locks out no user of a provider that does not say auth_time.
func TestFreshnessAfterMaintenance(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		n.putProvider(&p)
		if err := n.sessions.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := n.attempt("ann")
		a.AuthTime, a.Fresh = time.Time{}, false
		n.mustThrough(a)
		a = n.attempt("ben")
		a.AuthTime, a.Fresh = time.Now().Add(-2*settings.Default().MaximumSessionDuration), false
		if _, err := n.through(a); !errors.Is(err, session.ErrNotFresh) {
			t.Errorf("an authentication before everything that the store knows: %v", err)
		}
	})
}

// revoked stands for a *token.RevokedError in the tables below.
var revoked = token.ErrRevoked

// interruptions are what may happen during a sign-in of ann through corp, in a
// transaction at an epoch of its own. want is the error of a sign-in that began before
// it; nil means a NotAdmitted.
var interruptions = map[string]struct {
	write func(ctx context.Context, tx store.Tx, ann string, epoch revocation.Epoch) error
	want  error
	// kills means that sessions from before it are revoked as well.
	kills bool
}{
	"the user is revoked": {func(ctx context.Context, tx store.Tx, ann string, epoch revocation.Epoch) error {
		return tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(ann), Epoch: epoch})
	}, revoked, true},
	"everyone is revoked": {func(ctx context.Context, tx store.Tx, _ string, epoch revocation.Epoch) error {
		return tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.Everyone(), Epoch: epoch})
	}, revoked, true},
	"the user is disabled": {func(ctx context.Context, tx store.Tx, ann string, epoch revocation.Epoch) error {
		u, err := tx.LockUser(ctx, ann)
		u.Disabled = true
		return errors.Join(err, tx.UpdateUser(ctx, u), tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(ann), Epoch: epoch}))
	}, nil, true},
	"the user is disabled and enabled": {func(ctx context.Context, tx store.Tx, ann string, epoch revocation.Epoch) error {
		return tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(ann), Epoch: epoch})
	}, revoked, true},
	"the provider ends its session": {func(ctx context.Context, tx store.Tx, _ string, epoch revocation.Epoch) error {
		return tx.EndProviderSession(ctx, corpIssuer, "sid of ann", "", epoch)
	}, session.ErrEndedByProvider, false},
	"the provider ends the user's sessions": {func(ctx context.Context, tx store.Tx, _ string, epoch revocation.Epoch) error {
		return tx.EndProviderSession(ctx, corpIssuer, "", "ann", epoch)
	}, session.ErrEndedByProvider, false},
	"the provider is removed": {func(ctx context.Context, tx store.Tx, _ string, _ revocation.Epoch) error {
		return tx.DeleteProvider(ctx, "corp")
	}, session.ErrProviderChanged, false},
	"the provider has another issuer": {func(ctx context.Context, tx store.Tx, _ string, _ revocation.Epoch) error {
		p := corp()
		p.Issuer = "https://another.example"
		return tx.PutProvider(ctx, p)
	}, session.ErrProviderChanged, false},
	"the provider is removed and added": {func(ctx context.Context, tx store.Tx, _ string, epoch revocation.Epoch) error {
		p := corp()
		p.UpdatedAt = int64(epoch)
		return errors.Join(tx.DeleteProvider(ctx, "corp"), tx.PutProvider(ctx, p))
	}, session.ErrProviderChanged, false},
	"the provider has another client ID": {func(ctx context.Context, tx store.Tx, _ string, _ revocation.Epoch) error {
		p := corp()
		p.ClientID = "another"
		return tx.PutProvider(ctx, p)
	}, session.ErrProviderChanged, false},
}

// Each interruption against each step of a sign-in.
func TestSignInThroughIsInterrupted(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		taking := make(chan struct{}, 1)
		n := w.startWith(0, 0, func(c *session.Config) { c.Store = clockStore{c.Store, taking} })
		for _, name := range slices.Sorted(maps.Keys(interruptions)) {
			interruption := interruptions[name]
			for _, loses := range []bool{false, true} { // with a group to lose the sign-in advances the clock itself
				t.Run(fmt.Sprintf("%s, loses a group %v", name, loses), func(t *testing.T) {
					ctx := t.Context()
					// ready brings everything to where a sign-in works.
					ready := func() string {
						p := corp()
						p.GroupsClaim = "groups"
						n.putProvider(&p)
						who := map[string]any{"groups": []string{"staff"}}
						u, err := n.store.UserByName(ctx, "ann")
						if err == nil {
							n.write(func(ctx context.Context, tx store.Tx, _ revocation.Epoch) error {
								u.Disabled, u.Groups = false, []string{"staff"}
								return tx.UpdateUser(ctx, u)
							})
							return u.ID
						}
						return n.mustThrough(n.attempt("ann", who)).User.ID
					}
					groups := map[string]any{"groups": []string{"staff"}}
					if loses {
						groups = nil
					}
					write := func(ann string) func(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error {
						return func(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error {
							return interruption.write(ctx, tx, ann, epoch)
						}
					}
					refusedAs := func(step string, err error) {
						t.Helper()
						refused := (*account.NotAdmitted)(nil)
						if interruption.want == nil && !errors.As(err, &refused) || interruption.want != nil && !errors.Is(err, interruption.want) {
							t.Errorf("%s: error %v, want %v", step, err, interruption.want)
						}
					}
					sub := 0
					begin := func() session.ProviderSignIn {
						a := n.attempt("ann", groups)
						sub++
						a.SID = fmt.Sprint("sid ", sub) // an ended one stays ended
						if strings.Contains(name, "its session") {
							a.SID = "sid of ann"
						}
						return a
					}

					// Between the attempt's beginning and the response.
					ann := ready()
					a := begin()
					n.write(write(ann))
					_, err := n.through(a)
					refusedAs("before the response", err)
					if strings.Contains(name, "its session") {
						return // ended for good: the other steps are those of the next row
					}

					// While the sign-in waits for the clock.
					ann = ready()
					a = begin()
					result := make(chan error, 1)
					n.write(func(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error {
						select {
						case <-taking: // of an earlier step
						default:
						}
						go func() { // ends with its transaction, whose error is waited for below
							_, err := n.through(a)
							result <- err
						}()
						if n.store.Engine() == "postgres" { // with SQLite its transaction waits to begin
							select {
							case <-taking:
							case err := <-result:
								return fmt.Errorf("the sign-in did not wait for the clock: %w", err)
							}
						}
						return interruption.write(ctx, tx, ann, epoch)
					})
					refusedAs("while it waits for the clock", <-result)

					// While the sign-in's transaction runs: the interruption waits for it, or
					// comes between its two transactions.
					ann = ready()
					a = begin()
					done := make(chan struct{})
					started := false
					c := a.Claims.(claims)
					c.during = func() {
						if started {
							return
						}
						started = true
						go func() { // ends with its transaction, which is waited for below
							defer close(done)
							n.write(write(ann))
						}()
					}
					a.Claims = c
					issued, err := n.through(a)
					<-done
					if err != nil {
						refusedAs("while it runs", err)
					} else if interruption.kills {
						if err := n.feed.CatchUp(ctx); err != nil {
							t.Fatal(err)
						}
						if reason := n.check(issued.Token); reason != token.ErrRevoked {
							t.Errorf("while it runs: the session is %q", reason)
						}
					}

					// After it.
					ann = ready()
					issued = n.mustThrough(begin())
					n.write(write(ann))
					if err := n.feed.CatchUp(ctx); err != nil {
						t.Fatal(err)
					}
					if reason := n.check(issued.Token); interruption.kills && reason != token.ErrRevoked || !interruption.kills && reason != "" {
						t.Errorf("after it: the session is %q", reason)
					}
				})
			}
		}
	})
}

// clockStore is a store that says when a transaction is about to take or hold the clock.
type clockStore struct {
	store.Store
	taking chan struct{}
}

func (s clockStore) Update(ctx context.Context, write func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return write(clockTx{tx, s.taking}) })
}

type clockTx struct {
	store.Tx
	taking chan struct{}
}

func (t clockTx) say() {
	select {
	case t.taking <- struct{}{}:
	default:
	}
}

func (t clockTx) Advance(ctx context.Context, now time.Time) (revocation.Epoch, error) {
	t.say()
	return t.Tx.Advance(ctx, now)
}

func (t clockTx) HoldClock(ctx context.Context) error {
	t.say()
	return t.Tx.HoldClock(ctx)
}

// Several tabs sign a new user in at once: there is one user.
func TestSignInThroughInSeveralTabs(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		n.putProvider(&p)
		type outcome struct {
			issued session.Issued
			err    error
		}
		outcomes := make(chan outcome)
		for range 4 {
			a := n.attempt("ann")
			go func() { // ends with its sign-in, which is waited for below
				i, err := n.through(a)
				outcomes <- outcome{i, err}
			}()
		}
		users := map[string]bool{}
		for range 4 {
			o := <-outcomes
			if o.err != nil {
				t.Error(o.err)
			}
			users[o.issued.User.ID] = true
		}
		if len(users) != 1 {
			t.Errorf("signed in as %d users", len(users))
		}
	})
}

// addCorp adds corp as an administrator does. It sends groups.
func (n *node) addCorp() error {
	_, err := n.accounts.CreateProvider(context.Background(), cli, "corp", account.ProviderChange{
		Issuer: ptr(corpIssuer), ClientID: ptr("curfew"), ClientSecret: ptr(""), NameClaim: ptr("preferred_username"), GroupsClaim: ptr("groups"), CreateUsers: ptr(true),
	})
	return err
}

// TestSignInThroughSequences runs random steps on two nodes whose clocks are up to 50
// seconds off: whatever has ended an attempt or a session, it stays dead.
func TestSignInThroughSequences(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		w.start(0, 25*time.Second)
		w.start(3, -25*time.Second)
		run, everyone := 0, false
		rapid.Check(t, func(t *rapid.T) {
			run++
			throughSequence(t, w, fmt.Sprint("run ", run, " "), &everyone)
		})
	})
}

// throughSequence runs one sequence. everyone says whether a run has revoked everyone.
func throughSequence(t *rapid.T, w *testDatabase, prefix string, everyone *bool) {
	ctx := context.Background()
	type pending struct {
		a      session.ProviderSignIn
		who    string
		groups []string
		doomed bool
	}
	m := &model{testDatabase: w, t: t}
	var attempts []*pending
	names := []string{prefix + "ann", prefix + "ben"}
	ids, disabled, revoked, member := map[string]string{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	sidOf, wasOf := map[string]string{}, map[string]string{} // of sessions, by their id: the provider's session, the subject
	ended := map[string]bool{}                               // sessions of the provider
	there, sids, tokens := true, 0, 0
	start := time.Now()
	pick := func() *node { return w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")] }
	name := func() string { return rapid.SampledFrom(names).Draw(t, "user") }
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	doom := func(dies func(*pending) bool) {
		for _, a := range attempts {
			a.doomed = a.doomed || dies(a)
		}
	}
	// endUser is what ends everything of a user.
	endUser := func(who string) {
		m.kill(func(s *begun) bool { return s.user == ids[who] })
		doom(func(a *pending) bool { return a.who == who })
		revoked[who] = true
	}
	logout := func(n *node, sid, subject string) {
		tokens++
		done(n.sessions.EndByProvider(ctx, session.ProviderLogout{
			Provider: "corp", Issuer: corpIssuer, SID: sid, Subject: subject, TokenID: fmt.Sprint(prefix, tokens),
		}, authz.Origin{}))
	}
	if _, err := w.nodes[0].sessions.DeleteProvider(ctx, cli, "corp", "", 0); !errors.Is(err, store.ErrNotFound) {
		done(err) // of the sequence before
	}
	done(w.nodes[0].addCorp())
	begin := func() {
		n, who := pick(), name()
		p := &pending{who: who}
		if rapid.Bool().Draw(t, "in the group") {
			p.groups = []string{"staff"}
		}
		p.a = n.attempt(who, map[string]any{"groups": p.groups})
		p.a.SID = ""
		if rapid.IntRange(0, 3).Draw(t, "has a sid") > 0 {
			sids++
			p.a.SID = fmt.Sprint(prefix, sids)
		}
		p.a.RememberMe, p.a.Fresh = rapid.Bool().Draw(t, "remember"), rapid.IntRange(0, 3).Draw(t, "fresh") > 0
		p.doomed = !there || ended[p.a.SID] // for an hour
		attempts = append(attempts, p)
	}
	finish := func(i int) {
		n, a := pick(), attempts[i]
		attempts = slices.Delete(attempts, i, i+1)
		if a.a.AuthTime = time.Now(); !a.a.Fresh {
			a.a.AuthTime = start // before each revocation
		}
		issued, err := n.through(a.a)
		if a.doomed || disabled[a.who] || !there {
			if err == nil {
				t.Fatalf("a dead attempt of %q has begun a session (disabled %v, provider there %v)", a.who, disabled[a.who], there)
			}
			return
		}
		if !a.a.Fresh && (revoked[a.who] || *everyone) {
			if !errors.Is(err, session.ErrNotFresh) {
				t.Fatalf("an authentication of %q from before a revocation: %v", a.who, err)
			}
			return
		}
		done(err)
		ids[a.who] = issued.User.ID
		if member[a.who] && len(a.groups) == 0 {
			endUser(a.who)
		}
		member[a.who] = len(a.groups) > 0
		sidOf[issued.Session.ID], wasOf[issued.Session.ID] = a.a.SID, a.who
		m.sessions = append(m.sessions, &begun{user: issued.User.ID, sid: issued.Session.ID, rememberMe: a.a.RememberMe, tokens: []session.Issued{issued}})
		m.verify(n)
	}
	finishOne := func(*rapid.T) {
		if len(attempts) > 0 {
			finish(rapid.IntRange(0, len(attempts)-1).Draw(t, "attempt"))
		}
	}
	// Whole sign-ins are frequent, or few sessions would live when something ends.
	signIn := func(*rapid.T) {
		if !there {
			there = true
			done(pick().addCorp())
		}
		for range 2 {
			begin()
			finish(len(attempts) - 1)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"sign in": signIn, "sign in again": signIn, "sign in once more": signIn,
		"begin": func(*rapid.T) { begin() }, "begin another": func(*rapid.T) { begin() },
		"finish": finishOne, "finish another": finishOne,
		"revoke user": func(*rapid.T) {
			n, who := pick(), name()
			if ids[who] == "" {
				return
			}
			_, err := n.sessions.RevokeUser(ctx, cli, ids[who], "", false, 0)
			done(err)
			endUser(who)
			m.verify(n)
		},
		"revoke everyone": func(*rapid.T) {
			n := pick()
			_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "everyone"}, 0)
			done(err)
			m.kill(func(*begun) bool { return true })
			doom(func(*pending) bool { return true })
			*everyone = true
			m.verify(n)
		},
		"revoke remembered": func(*rapid.T) {
			n := pick()
			_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "remembered"}, 0)
			done(err)
			m.kill(func(s *begun) bool { return s.rememberMe })
			doom(func(a *pending) bool { return a.a.RememberMe })
			m.verify(n)
		},
		"disable or enable": func(*rapid.T) {
			n, who := pick(), name()
			if ids[who] == "" {
				return
			}
			to := !disabled[who]
			_, _, err := n.accounts.ChangeUser(ctx, cli, ids[who], account.UserChange{Disabled: &to}, "")
			done(err)
			if disabled[who] = to; to {
				endUser(who)
			}
			m.verify(n)
		},
		"delete": func(*rapid.T) {
			n, who := pick(), name()
			if ids[who] == "" {
				return
			}
			_, err := n.sessions.DeleteUser(ctx, cli, ids[who], "", 0)
			done(err)
			endUser(who)
			m.verify(n)
			// The next sign-in is of a new user, whose sessions were never revoked.
			ids[who] = ""
			delete(disabled, who)
			delete(revoked, who)
			delete(member, who)
		},
		"sign out at the provider": func(*rapid.T) {
			n, who := pick(), name()
			switch rapid.IntRange(0, 2).Draw(t, "what is named") {
			case 0:
				logout(n, "", who)
				endUser(who)
				revoked[who] = ids[who] != ""
			default:
				sid, withSubject := fmt.Sprint(prefix, rapid.IntRange(1, sids+1).Draw(t, "sid")), rapid.Bool().Draw(t, "with the subject")
				subject := ""
				if withSubject {
					subject = who
				}
				logout(n, sid, subject)
				ended[sid] = true
				m.kill(func(s *begun) bool {
					return (sidOf[s.sid] == sid || sidOf[s.sid] == "" && withSubject) && (!withSubject || wasOf[s.sid] == who)
				})
				doom(func(a *pending) bool { return a.a.SID == sid || a.a.SID == "" && withSubject && a.who == who })
			}
			m.verify(n)
		},
		"change the provider": func(*rapid.T) {
			if !there {
				return
			}
			_, receipt, err := pick().sessions.ChangeProvider(ctx, cli, "corp", account.ProviderChange{Scopes: &[]string{"openid", fmt.Sprint("s", rapid.Int().Draw(t, "scope"))}}, "", 0)
			done(err)
			if receipt != nil {
				t.Fatalf("another scope ends sessions: %+v", receipt)
			}
			doom(func(*pending) bool { return true })
		},
		"remove or add the provider": func(*rapid.T) {
			n := pick()
			if there = !there; there {
				done(n.addCorp())
				return
			}
			_, err := n.sessions.DeleteProvider(ctx, cli, "corp", "", 0)
			done(err)
			m.kill(func(*begun) bool { return true }) // all have begun there
			doom(func(*pending) bool { return true })
			m.verify(n)
		},
	})
}

// TestSignInThroughRaces lets sign-ins of one user run against everything that ends them
// and their sessions, on two nodes. Order is that of the calls: a sign-in that began
// before such a call was made is dead after it, in whichever of its steps it was.
func TestSignInThroughRaces(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		unbounded := func(c *session.Config) { c.MaxSessions = -1 } // of one user there are many
		w.startWith(0, 0, unbounded)
		w.startWith(3, 0, unbounded)
		ctx := t.Context()
		var clock, tokens atomic.Int64
		type attempt struct {
			sid   string
			began int64 // after the epoch was read
			token string
		}
		type end struct {
			what string
			sid  string // if the provider has ended one session
			from int64  // before the call
		}
		var mu sync.Mutex
		var sessions []attempt
		var begun []string // sids
		var ends []end
		if err := w.nodes[0].addCorp(); err != nil {
			t.Fatal(err)
		}
		ann := w.nodes[0].mustThrough(w.nodes[0].attempt("ann")).User.ID
		logout := func(n *node, sid, subject string) error {
			l := session.ProviderLogout{Provider: "corp", Issuer: corpIssuer, SID: sid, Subject: subject, TokenID: fmt.Sprint(tokens.Add(1))}
			return n.sessions.EndByProvider(ctx, l, authz.Origin{})
		}
		disable := func(n *node, to bool) error {
			_, _, err := n.accounts.ChangeUser(ctx, cli, ann, account.UserChange{Disabled: &to}, "")
			return err
		}
		interrupt := map[string]func(n *node, sid string) error{
			"user": func(n *node, _ string) error {
				_, err := n.sessions.RevokeUser(ctx, cli, ann, "", false, 0)
				return err
			},
			"everyone": func(n *node, _ string) error {
				_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: "everyone"}, 0)
				return err
			},
			"disable": func(n *node, _ string) error { return errors.Join(disable(n, true), disable(n, false)) },
			"subject": func(n *node, _ string) error { return logout(n, "", "ann") },
			"session": func(n *node, sid string) error { return logout(n, sid, "") },
			"both":    func(n *node, sid string) error { return logout(n, sid, "ann") },
			"provider": func(n *node, _ string) error {
				_, err := n.sessions.DeleteProvider(ctx, cli, "corp", "", 0)
				return errors.Join(err, n.addCorp())
			},
		}
		kinds := slices.Sorted(maps.Keys(interrupt))
		expected := func(err error) bool {
			refused := (*account.NotAdmitted)(nil)
			return errors.Is(err, token.ErrRevoked) || errors.Is(err, session.ErrEndedByProvider) || errors.Is(err, session.ErrProviderChanged) ||
				errors.As(err, &refused) && refused.Reason == account.NotAdmittedDisabled
		}
		var signIns, interruptions sync.WaitGroup
		stop := make(chan struct{})
		for i := range 4 {
			n := w.nodes[i%2]
			signIns.Go(func() {
				for j := range 20 {
					a := n.attempt("ann")
					a.SID = fmt.Sprint(i, " ", j)
					began := clock.Add(1)
					mu.Lock()
					begun = append(begun, a.SID)
					mu.Unlock()
					issued, err := n.through(a)
					if err != nil && !expected(err) {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						sessions = append(sessions, attempt{a.SID, began, issued.Token})
						mu.Unlock()
					}
				}
			})
		}
		for i := range 2 {
			n := w.nodes[i]
			interruptions.Go(func() {
				for j := i; ; j++ {
					select {
					case <-stop:
						return
					default:
					}
					// The provider is removed by one, or the other would not find it.
					kind := kinds[j%len(kinds)]
					if kind == "provider" && i != 0 {
						continue
					}
					mu.Lock()
					sid := "none"
					if len(begun) > 0 {
						sid = begun[len(begun)-1]
					}
					mu.Unlock()
					from := clock.Add(1)
					if err := interrupt[kind](n, sid); err != nil {
						t.Errorf("%s: %v", kind, err)
						return
					}
					if kind != "session" && kind != "both" {
						sid = ""
					}
					mu.Lock()
					ends = append(ends, end{kind, sid, from})
					mu.Unlock()
					time.Sleep(rand.N(5 * time.Millisecond)) // lets some sign-ins be whole
				}
			})
		}
		signIns.Wait()
		close(stop)
		interruptions.Wait()
		last := w.nodes[0].mustThrough(w.nodes[0].attempt("ann"))
		for _, n := range w.nodes {
			if err := n.feed.CatchUp(ctx); err != nil {
				t.Fatal(err)
			}
			if reason := n.check(last.Token); reason != "" {
				t.Errorf("a sign-in after everything is refused: %s", reason)
			}
		}
		dead := 0
		for _, s := range sessions {
			for _, e := range ends {
				// A session of the provider that has ended stays so.
				if e.sid != s.sid && (e.sid != "" || s.began > e.from) {
					continue
				}
				dead++
				for i, n := range w.nodes {
					if reason := n.check(s.token); reason != token.ErrRevoked {
						t.Errorf("node %d: a sign-in that began before %q is %q", i, e.what, reason)
					}
				}
				break
			}
		}
		if dead == 0 {
			t.Errorf("of %d sessions none is surely dead: the test proves nothing", len(sessions))
		}
		t.Logf("%d sessions, %d surely dead, %d ends", len(sessions), dead, len(ends))
	})
}

// A user who is deleted, or whose account at the provider is unlinked, while a sign-in is
// under way: it must not come back as a new user. The next sign-in decides anew.
func TestDeletedDuringSignInThrough(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		p := corp()
		n.putProvider(&p)
		for name, remove := range map[string]func(u store.User) error{
			"deleted": func(u store.User) error {
				_, err := n.accounts.DeleteUser(ctx, cli, u.ID, "")
				return err
			},
			"unlinked": func(u store.User) error {
				other := "renamed"
				if _, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{Name: &other}, ""); err != nil {
					return err
				}
				_, err := n.accounts.Unlink(ctx, cli, u.ID, corpIssuer, "unlinked", "")
				return err
			},
		} {
			before := n.mustThrough(n.attempt(name)).User
			pending := n.attempt(name)
			if err := remove(before); err != nil {
				t.Fatal(err)
			}
			if i, err := n.through(pending); !errors.Is(err, session.ErrEndedByProvider) {
				t.Errorf("%s: a sign-in that began before is of %q, %v", name, i.User.Name, err)
			}
			if after := n.mustThrough(n.attempt(name)).User; after.ID == before.ID {
				t.Errorf("%s: the next sign-in is of the same user", name)
			}
		}
	})
}

// A user who has to confirm does so with their own account at the provider. Another one
// begins no session, and nothing of it is written: no user, no link, no groups.
func TestConfirmByAnotherSubject(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		p.GroupsClaim = "groups"
		n.putProvider(&p)
		groups := func(names ...string) map[string]any { return map[string]any{"groups": names} }
		ann, ben := n.mustThrough(n.attempt("ann", groups("a"))), n.mustThrough(n.attempt("ben", groups("a", "b")))
		for _, tt := range []struct {
			name string
			want error
		}{{"ben", session.ErrAnotherUser}, {"eve", session.ErrAnotherUser}, {"ann", nil}} {
			a := n.attempt(tt.name, groups("a"))
			a.UserID = ann.User.ID
			issued, err := n.through(a)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if err == nil && issued.User.ID != ann.User.ID {
				t.Errorf("%s: a session of %+v", tt.name, issued.User)
			}
		}
		if u := n.user(ben.User.ID); len(u.Groups) != 2 || n.check(ben.Token) != "" {
			t.Errorf("the other user has the groups %v, and the session is %q", u.Groups, n.check(ben.Token))
		}
		if _, err := n.store.Identity(t.Context(), corpIssuer, "eve"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the unknown account is linked: %v", err)
		}
	})
}
