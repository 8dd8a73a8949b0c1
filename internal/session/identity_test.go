package session_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// named creates a user with a password, an email address and groups.
func (n *node) named(name, email string, groups ...string) store.User {
	t := n.testDatabase.t
	t.Helper()
	password := goodPassword
	u, err := n.accounts.CreateUser(context.Background(), cli, account.UserChange{Name: &name, Email: &email, Password: &password, Groups: &groups})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// claims returns what a good token carries.
func (n *node) claims(raw string) *token.Session {
	t := n.testDatabase.t
	t.Helper()
	s, err := n.validator.Validate(context.Background(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// identityOf fails unless a token and the answer that carries it have these claims.
func (n *node) identityOf(what string, issued session.Issued, name, email string, groups []string) {
	t := n.testDatabase.t
	t.Helper()
	s := n.claims(issued.Token)
	if s.Name != name || s.Email != email || !slices.Equal(s.Groups, groups) || (s.Groups == nil) != (groups == nil) || s.IdentityOmitted {
		t.Errorf("%s: the token carries %q, %q, %q (omitted: %v), want %q, %q, %q", what, s.Name, s.Email, s.Groups, s.IdentityOmitted, name, email, groups)
	}
	for who, user := range map[string]struct {
		email  string
		groups []string
	}{
		"the answer": {issued.Session.Email, issued.Session.Groups},
		"Describe":   n.described(s),
	} {
		if user.email != email || !slices.Equal(user.groups, groups) {
			t.Errorf("%s: %s says %q, %q, want %q, %q", what, who, user.email, user.groups, email, groups)
		}
	}
}

func (n *node) described(s *token.Session) (user struct {
	email  string
	groups []string
}) {
	t := n.testDatabase.t
	t.Helper()
	w, err := n.sessions.Describe(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	user.email, user.groups = w.Session.Email, w.Session.Groups
	return user
}

// A token carries the claims of its user as the store has them at the sign-in, and
// at each refresh on any node.
func TestIdentityClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims []string
	}{
		{"default", nil},
		{"all", session.IdentityClaims()},
		{"none", []string{}},
		{"name", []string{session.ClaimName}},
		{"email", []string{session.ClaimEmail}},
		{"groups", []string{session.ClaimGroups}},
		{"name and groups", []string{session.ClaimGroups, session.ClaimName}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engines(t, func(t *testing.T, w *testDatabase) {
				ctx := context.Background()
				n := w.startWith(0, 0, func(c *session.Config) { c.IdentityClaims = tt.claims })
				want := func(name, email string, groups ...string) (string, string, []string) {
					if tt.claims != nil && !slices.Contains(tt.claims, session.ClaimName) {
						name = ""
					}
					if tt.claims != nil && !slices.Contains(tt.claims, session.ClaimEmail) {
						email = ""
					}
					if tt.claims != nil && !slices.Contains(tt.claims, session.ClaimGroups) {
						return name, email, nil
					}
					return name, email, append([]string{}, groups...)
				}
				check := func(what string, issued session.Issued, name, email string, groups ...string) {
					t.Helper()
					name, email, groups = want(name, email, groups...)
					n.identityOf(what, issued, name, email, groups)
				}
				u := n.named("Zoë", "zoe@example.com", "ops", "équipe")
				signed, err := n.sessions.SignIn(ctx, "zoë", goodPassword, false, authz.Origin{})
				if err != nil {
					t.Fatal(err)
				}
				check("sign-in", signed, "Zoë", "zoe@example.com", "ops", "équipe")
				check("issued for a client", n.mustBegin(u.ID, true), "Zoë", "zoe@example.com", "ops", "équipe")
				check("a user with nothing but a name", n.mustBegin("bob", false), "bob", "")

				renamed, email := "zoë 2", ""
				if _, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{
					Name: &renamed, Email: &email, Groups: &[]string{"ops", "sales", "équipe"},
				}, ""); err != nil {
					t.Fatal(err)
				}
				refreshed, err := n.sessions.Refresh(ctx, n.claims(signed.Token))
				if err != nil {
					t.Fatal(err)
				}
				check("refresh", refreshed, "zoë 2", "", "ops", "sales", "équipe")
			})
		})
	}
}

// What a user may have at most fits into a token below 4 KiB.
func TestLargestIdentity(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		groups := make([]string, 64)
		for i := range groups {
			groups[i] = strings.Repeat("g", 11) + string(rune('A'+i/26)) + string(rune('a'+i%26))
		}
		groups[0] = groups[0][:11]
		name, email := strings.Repeat("\U0001f9d1", 128), strings.Repeat("a", 64)+"@"+strings.Repeat("b.", 93)+"cd"
		u := n.named(name, email, groups...)
		slices.Sort(groups)
		issued := n.mustBegin(u.ID, true)
		n.identityOf("the largest", issued, name, email, groups)
		if len(issued.Token) >= 4096 {
			t.Errorf("the token has %d bytes", len(issued.Token))
		}
	})
}

// A user leaves a group while sign-ins and refreshes are under way. No token that is
// accepted afterwards names the group, whatever came first.
func TestLeavingAGroupRaces(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		ctx := context.Background()
		n, other := w.start(0, 0), w.start(0, 0)
		u := n.named("alice", "", "ops")
		for round := range 15 {
			if _, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{Groups: &[]string{"ops", "staff"}}, ""); err != nil {
				t.Fatal(err)
			}
			before := n.claims(n.mustBegin(u.ID, false).Token)
			tokens, left := make(chan string, 3), make(chan error, 1)
			begin := func(mint func() (session.Issued, error)) {
				issued, err := mint()
				if err != nil && token.ReasonOf(err) != token.ErrRevoked {
					t.Errorf("round %d: %v", round, err)
				}
				tokens <- issued.Token // "" if the session was revoked first
			}
			go begin(func() (session.Issued, error) { return other.begin(u.ID, false) })
			go begin(func() (session.Issued, error) { return other.sessions.Refresh(ctx, before) })
			go begin(func() (session.Issued, error) {
				return n.sessions.SignIn(ctx, "alice", goodPassword, false, authz.Origin{})
			})
			go func() {
				_, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, account.UserChange{Groups: &[]string{"staff"}}, "")
				left <- err
			}()
			if err := <-left; err != nil {
				t.Fatal(err)
			}
			for range 3 {
				raw := <-tokens
				if err := other.feed.CatchUp(ctx); err != nil {
					t.Fatal(err)
				}
				if s, err := other.validator.Validate(ctx, raw); err == nil && slices.Contains(s.Groups, "ops") {
					t.Errorf("round %d: a token that is accepted still names the group", round)
				}
			}
		}
	})
}
