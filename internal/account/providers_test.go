package account_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

const (
	issuer       = "https://login.example.com"
	clientSecret = "s3cret-of-the-client"
)

// sealing returns the configuration of a node that can seal.
func sealing(t *testing.T) account.Config {
	t.Helper()
	sealer, err := keyring.NewSealer([]byte("0123456789abcdef0123456789abcdef"))
	noErr(t, err)
	return account.Config{Sealer: func(context.Context) (*keyring.Sealer, error) { return sealer, nil }}
}

func corp() account.ProviderChange {
	return account.ProviderChange{
		Issuer: ptr(issuer), ClientID: ptr("curfew"), ClientSecret: ptr(clientSecret),
		GroupsClaim: ptr("groups"), GroupPermissions: ptr(map[string][]string{"admins": {store.UserEdit, store.AdministerSystem}}),
	}
}

func (n *node) addProvider(name string, change account.ProviderChange) store.Provider {
	n.t.Helper()
	p, err := n.CreateProvider(n.t.Context(), cli, name, change)
	noErr(n.t, err)
	return p
}

// through begins a session of a user at a provider, and links the user to it.
func (n *node) through(u store.User, p store.Provider) *token.Session {
	n.t.Helper()
	sess := n.session(u)
	noErr(n.t, n.store.Update(n.t.Context(), func(tx store.Tx) error {
		row := store.Session{
			ID: token.NewSessionID(), UserID: u.ID, Epoch: sess.Epoch, KeyID: sess.KeyID, BegunBy: store.ActorUser,
			BeganAt: n.now().UnixMicro(), LastSeenAt: n.now().UnixMicro(), ExpiresAt: n.now().Add(time.Hour).UnixMicro(),
		}
		sess.ID = row.ID
		return errors.Join(
			tx.InsertSession(n.t.Context(), row),
			tx.InsertProviderSession(n.t.Context(), store.ProviderSession{SessionID: row.ID, Provider: p.Name, Issuer: p.Issuer, Subject: u.ID}),
			tx.PutIdentity(n.t.Context(), store.Identity{Issuer: p.Issuer, Subject: u.ID, UserID: u.ID, Provider: p.Name, LinkedAt: 1}))
	}))
	return sess
}

// revoked reports whether a session was revoked.
func (n *node) revoked(s *token.Session) bool {
	n.t.Helper()
	r, err := n.store.RevokedBefore(n.t.Context(), s.Subject, s.ID)
	noErr(n.t, err)
	return s.Epoch < r.Before(s.RememberMe)
}

// The number of providers has a maximum.
func TestMaxProviders(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		root := n.as(n.add("root", store.AdministerSystem))
		add := func(i int) error {
			_, err := n.CreateProvider(t.Context(), root, fmt.Sprint("p", i), account.ProviderChange{Issuer: ptr(issuer), ClientID: ptr(fmt.Sprint("c", i))})
			return err
		}
		for i := range account.MaxProviders {
			noErr(t, add(i))
		}
		err := add(account.MaxProviders)
		is(t, "one more", err, account.ErrTooManyProviders)
		is(t, "one more", err, store.ErrConflict)
		if !strings.Contains(err.Error(), "50 identity providers, which is the maximum; remove one first") {
			t.Errorf("the error says %q", err)
		}
		if all, err := n.Providers(t.Context(), root); err != nil || len(all) != account.MaxProviders {
			t.Errorf("%d providers, %v", len(all), err)
		}
		_, _, err = n.ChangeProvider(t.Context(), root, "p0", account.ProviderChange{NameClaim: ptr("email")}, "")
		noErr(t, err)
		_, err = n.DeleteProvider(t.Context(), root, "p0", "")
		noErr(t, err)
		noErr(t, add(account.MaxProviders))
	})
}

func TestProviders(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		root := n.as(n.add("root", store.AdministerSystem))
		p, err := n.CreateProvider(t.Context(), root, "corp", corp())
		noErr(t, err)
		if !slices.Equal(p.Scopes, []string{"openid", "profile", "email"}) || p.NameClaim != "preferred_username" || p.CreateUsers || p.LinkByEmail {
			t.Errorf("the defaults are %+v", p)
		}
		stored, err := n.Provider(t.Context(), root, "corp")
		noErr(t, err)
		if stored.SealedSecret == "" || strings.Contains(stored.SealedSecret, clientSecret) || stored.UpdatedAt == 0 {
			t.Errorf("stored %+v", stored)
		}
		secret, err := n.ClientSecret(t.Context(), stored)
		if err != nil || secret != clientSecret {
			t.Errorf("secret %q, %v", secret, err)
		}
		// A row that was changed to send the secret elsewhere does not open it.
		for what, change := range map[string]func(*store.Provider){
			"name":      func(p *store.Provider) { p.Name = "other" },
			"issuer":    func(p *store.Provider) { p.Issuer = "https://attacker.example" },
			"client id": func(p *store.Provider) { p.ClientID = "other" },
		} {
			moved := stored
			change(&moved)
			_, err := n.ClientSecret(t.Context(), moved)
			is(t, what, err, keyring.ErrUnsealed)
		}
		_, err = n.CreateProvider(t.Context(), root, "corp", corp())
		is(t, "the name again", err, store.ErrConflict)
		_, err = n.CreateProvider(t.Context(), root, "slash", account.ProviderChange{Issuer: ptr(issuer + "/"), ClientID: ptr("x")})
		invalid(t, "an issuer that differs by a slash", err, "issuer")
		n.addProvider("public", account.ProviderChange{Issuer: ptr(issuer), ClientID: ptr("x")})
		all, err := n.Providers(t.Context(), root)
		if err != nil || len(all) != 2 || all[0].Name != "corp" || all[1].Name != "public" {
			t.Errorf("providers %+v, %v", all, err)
		}
		e := n.audits(wire.ActionProviderCreate)[1]
		if e.Actor != root.Actor || e.TargetKind != "provider" || e.TargetID != "corp" || !strings.Contains(e.Detail, issuer) {
			t.Errorf("the audit says %+v", e)
		}
		for _, name := range []string{"none", "", "Corp", "\x00"} {
			_, err := n.Provider(t.Context(), root, name)
			is(t, fmt.Sprintf("provider %q", name), err, store.ErrNotFound)
			_, _, err = n.ChangeProvider(t.Context(), root, name, account.ProviderChange{}, "")
			is(t, fmt.Sprintf("change of %q", name), err, store.ErrNotFound)
			_, err = n.DeleteProvider(t.Context(), root, name, "")
			is(t, fmt.Sprintf("removal of %q", name), err, store.ErrNotFound)
		}
		n.noSecrets(clientSecret, stored.SealedSecret)
	})
}

func TestInvalidProviders(t *testing.T) {
	n := sqlite(t).with(sealing(t))
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprint("m", i))
	}
	type change = func(*account.ProviderChange)
	for _, tt := range []struct {
		what, name string
		change     change
		fields     []string
	}{
		{"empty", "", func(c *account.ProviderChange) { *c = account.ProviderChange{} }, []string{"name", "issuer", "client_id"}},
		{"name too long", strings.Repeat("a", 33), nil, []string{"name"}},
		{"name in upper case", "Corp", nil, []string{"name"}},
		{"name with a hyphen first", "-corp", nil, []string{"name"}},
		{"name with a slash", "a/b", nil, []string{"name"}},
		{"name with a newline", "corp\n", nil, []string{"name"}},
		{"name that is a path", "..", nil, []string{"name"}},
		{"http", "p", func(c *account.ProviderChange) { c.Issuer = ptr("http://login.example.com") }, []string{"issuer"}},
		{"another scheme", "p", func(c *account.ProviderChange) { c.Issuer = ptr("javascript://login.example.com") }, []string{"issuer"}},
		{"no scheme", "p", func(c *account.ProviderChange) { c.Issuer = ptr("login.example.com") }, []string{"issuer"}},
		{"no host", "p", func(c *account.ProviderChange) { c.Issuer = ptr("https:///x") }, []string{"issuer"}},
		{"a port alone", "p", func(c *account.ProviderChange) { c.Issuer = ptr("https://:443") }, []string{"issuer"}},
		{"a query", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "?x") }, []string{"issuer"}},
		{"an empty query", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "?") }, []string{"issuer"}},
		{"a fragment", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "#") }, []string{"issuer"}},
		{"a user", "p", func(c *account.ProviderChange) { c.Issuer = ptr("https://a:b@login.example.com") }, []string{"issuer"}},
		{"a host in upper case", "p", func(c *account.ProviderChange) { c.Issuer = ptr("https://Login.example.com") }, []string{"issuer"}},
		{"a scheme in upper case", "p", func(c *account.ProviderChange) { c.Issuer = ptr("HTTPS://login.example.com") }, []string{"issuer"}},
		{"two slashes at the end", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "//") }, []string{"issuer"}},
		{"dots in the path", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "/a/../b") }, []string{"issuer"}},
		{"the discovery document", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + "/.well-known/openid-configuration") }, []string{"issuer"}},
		{"a space", "p", func(c *account.ProviderChange) { c.Issuer = ptr(issuer + " ") }, []string{"issuer"}},
		{"not ASCII", "p", func(c *account.ProviderChange) { c.Issuer = ptr("https://lögin.example.com") }, []string{"issuer"}},
		{"a name beneath localhost", "p", func(c *account.ProviderChange) { c.Issuer = ptr("http://idp.localhost") }, []string{"issuer"}},
		{"loopback look-alike", "p", func(c *account.ProviderChange) { c.Issuer = ptr("http://localhost.example.com") }, []string{"issuer"}},
		{"client id with a newline", "p", func(c *account.ProviderChange) { c.ClientID = ptr("a\nb") }, []string{"client_id"}},
		{"client id with spaces around", "p", func(c *account.ProviderChange) { c.ClientID = ptr(" a") }, []string{"client_id"}},
		{"client id of 256 bytes", "p", func(c *account.ProviderChange) { c.ClientID = ptr(strings.Repeat("a", 256)) }, []string{"client_id"}},
		{"secret with a newline", "p", func(c *account.ProviderChange) { c.ClientSecret = ptr("a\n") }, []string{"client_secret"}},
		{"secret of a space", "p", func(c *account.ProviderChange) { c.ClientSecret = ptr(" ") }, []string{"client_secret"}},
		{"secret of spaces", "p", func(c *account.ProviderChange) { c.ClientSecret = ptr("   ") }, []string{"client_secret"}},
		{"secret of 1025 bytes", "p", func(c *account.ProviderChange) { c.ClientSecret = ptr(strings.Repeat("a", 1025)) }, []string{"client_secret"}},
		{"no openid", "p", func(c *account.ProviderChange) { c.Scopes = ptr([]string{"email"}) }, []string{"scopes"}},
		{"no scopes", "p", func(c *account.ProviderChange) { c.Scopes = ptr([]string{}) }, []string{"scopes"}},
		{"two scopes in one", "p", func(c *account.ProviderChange) { c.Scopes = ptr([]string{"openid", "email groups"}) }, []string{"scopes"}},
		{"too many scopes", "p", func(c *account.ProviderChange) { c.Scopes = ptr(append([]string{"openid"}, many...)) }, []string{"scopes"}},
		{"no name claim", "p", func(c *account.ProviderChange) { c.NameClaim = ptr("") }, []string{"name_claim"}},
		{"a domain with an at sign", "p", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"@example.com"}) }, []string{"allowed_email_domains"}},
		{"a pattern for domains", "p", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"*.example.com"}) }, []string{"allowed_email_domains"}},
		{"an empty domain", "p", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{""}) }, []string{"allowed_email_domains"}},
		{"a top-level domain", "p", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"com"}) }, []string{"allowed_email_domains"}},
		{"groups without their claim", "p", func(c *account.ProviderChange) { c.GroupsClaim = ptr(""); c.AllowedGroups = ptr([]string{"a"}) }, []string{"allowed_groups", "group_permissions"}},
		{"an empty group", "p", func(c *account.ProviderChange) { c.AllowedGroups = ptr([]string{""}) }, []string{"allowed_groups"}},
		{"an invisible group", "p", func(c *account.ProviderChange) { c.AllowedGroups = ptr([]string{"a\u202eb"}) }, []string{"allowed_groups"}},
		{"an unknown permission", "p", func(c *account.ProviderChange) {
			c.GroupPermissions = ptr(map[string][]string{"admins": {"administersystem"}})
		}, []string{"group_permissions"}},
		{"a capability", "p", func(c *account.ProviderChange) { c.GroupPermissions = ptr(map[string][]string{"a": {store.Issue}}) }, []string{"group_permissions"}},
		{"a group for nothing", "p", func(c *account.ProviderChange) { c.GroupPermissions = ptr(map[string][]string{"a": {}}) }, []string{"group_permissions"}},
	} {
		c := corp()
		if tt.change != nil {
			tt.change(&c)
		}
		_, err := n.CreateProvider(t.Context(), cli, tt.name, c)
		invalid(t, tt.what, err, tt.fields...)
		if strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: the error holds the secret: %v", tt.what, err)
		}
	}
	if all, err := n.Providers(t.Context(), cli); err != nil || len(all) != 0 {
		t.Errorf("%d providers, %v", len(all), err)
	}
	for i, good := range []string{
		issuer, issuer + "/", issuer + "/realms/corp", issuer + ":8443", "https://[2001:db8::1]/x", "http://127.0.0.1:9000", "http://localhost", "http://[::1]:1/a",
	} {
		m := sqlite(t).with(sealing(t))
		c := corp()
		c.Issuer = ptr(good)
		_, err := m.CreateProvider(t.Context(), cli, fmt.Sprint("p", i), c)
		if err != nil {
			t.Errorf("issuer %q: %v", good, err)
		}
	}
}

// What a change ends, and what not.
func TestChangeProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		root := n.as(n.add("root", store.AdministerSystem))
		ann := n.add("ann")
		for i, tt := range []struct {
			what   string
			from   func(*account.ProviderChange) // of corp
			change account.ProviderChange
			ends   bool
		}{
			{"nothing", nil, account.ProviderChange{}, false},
			{"scopes", nil, account.ProviderChange{Scopes: ptr([]string{"openid"})}, false},
			{"name claim", nil, account.ProviderChange{NameClaim: ptr("email")}, false},
			{"secret", nil, account.ProviderChange{ClientSecret: ptr("another")}, false},
			{"no secret", nil, account.ProviderChange{ClientSecret: ptr("")}, false},
			{"create users", nil, account.ProviderChange{CreateUsers: ptr(true)}, false},
			{"link by email", nil, account.ProviderChange{LinkByEmail: ptr(true)}, false},
			{"another permission", nil, account.ProviderChange{GroupPermissions: ptr(map[string][]string{"admins": store.Permissions(), "b": {store.UserEdit}})}, false},
			{"all domains", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"a.example"}) }, account.ProviderChange{AllowedEmailDomains: ptr([]string{})}, false},
			{"one domain more", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"a.example"}) }, account.ProviderChange{AllowedEmailDomains: ptr([]string{"B.example", "a.example"})}, false},
			{"all groups", func(c *account.ProviderChange) { c.AllowedGroups = ptr([]string{"a"}) }, account.ProviderChange{AllowedGroups: ptr([]string{})}, false},
			{"any authentication", func(c *account.ProviderChange) { c.ACRValues = ptr([]string{"mfa"}) }, account.ProviderChange{ACRValues: ptr([]string{})}, false},

			{"issuer", nil, account.ProviderChange{Issuer: ptr("https://other.example"), ClientSecret: ptr("x")}, true},
			{"client id", nil, account.ProviderChange{ClientID: ptr("other"), ClientSecret: ptr("x")}, true},
			{"groups claim", nil, account.ProviderChange{GroupsClaim: ptr("roles")}, true},
			{"a permission less", nil, account.ProviderChange{GroupPermissions: ptr(map[string][]string{"admins": {store.UserEdit}})}, true},
			{"a group less", nil, account.ProviderChange{GroupPermissions: ptr(map[string][]string{})}, true},
			{"only one domain", nil, account.ProviderChange{AllowedEmailDomains: ptr([]string{"a.example"})}, true},
			{"a domain less", func(c *account.ProviderChange) { c.AllowedEmailDomains = ptr([]string{"a.example", "b.example"}) }, account.ProviderChange{AllowedEmailDomains: ptr([]string{"a.example"})}, true},
			{"only one group", nil, account.ProviderChange{AllowedGroups: ptr([]string{"a"})}, true},
			{"another group", func(c *account.ProviderChange) { c.AllowedGroups = ptr([]string{"a"}) }, account.ProviderChange{AllowedGroups: ptr([]string{"b"})}, true},
			{"stronger authentication", nil, account.ProviderChange{ACRValues: ptr([]string{"mfa"})}, true},
		} {
			from := corp()
			if tt.from != nil {
				tt.from(&from)
			}
			p := n.addProvider(fmt.Sprint("p", i), from)
			mine, elsewhere := n.through(ann, p), n.session(ann)
			other := n.through(ann, store.Provider{Name: "other", Issuer: issuer})
			n.applied = nil
			after, receipt, err := n.ChangeProvider(t.Context(), root, p.Name, tt.change, "")
			noErr(t, err)
			if (receipt != nil) != tt.ends || n.revoked(mine) != tt.ends || (len(n.applied) > 0) != tt.ends {
				t.Errorf("%s: receipt %+v, revoked %v, applied %v; ends %v", tt.what, receipt, n.revoked(mine), n.applied, tt.ends)
			}
			if n.revoked(elsewhere) || n.revoked(other) {
				t.Errorf("%s: sessions that did not begin at the provider ended", tt.what)
			}
			if after.UpdatedAt <= p.UpdatedAt || after.CreatedAt != p.CreatedAt {
				t.Errorf("%s: from %d to %d", tt.what, p.UpdatedAt, after.UpdatedAt)
			}
			if receipt == nil {
				continue
			}
			if receipt.Scope != store.ScopeProvider || receipt.ScopeID != p.Name || receipt.Sessions != 1 || receipt.Users != 1 || receipt.Reason == "" || receipt.Actor != (store.Actor{Kind: store.ActorUser, ID: root.User.ID, Name: "root", Address: root.Actor.Address, RequestID: root.Actor.RequestID}) {
				t.Errorf("%s: receipt %+v", tt.what, receipt)
			}
			if int64(receipt.Epoch) != after.UpdatedAt {
				t.Errorf("%s: the receipt is of %d, the change of %d", tt.what, receipt.Epoch, after.UpdatedAt)
			}
		}
		// A secret is never sent to another issuer, or under another id.
		p := n.addProvider("moves", corp())
		for what, change := range map[string]account.ProviderChange{
			"issuer": {Issuer: ptr("https://attacker.example")}, "client id": {ClientID: ptr("other")},
		} {
			_, _, err := n.ChangeProvider(t.Context(), root, p.Name, change, "")
			invalid(t, what+" without a secret", err, "client_secret")
		}
		if after, err := n.Provider(t.Context(), root, p.Name); err != nil || after.Issuer != issuer || after.ClientID != "curfew" {
			t.Errorf("after a refusal: %+v, %v", after, err)
		}
		n.noSecrets(clientSecret)
	})
}

func TestDeleteProvider(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		p := n.addProvider("corp", corp())
		ann, ben := n.add("ann"), n.add("ben")
		sessions := []*token.Session{n.through(ann, p), n.through(ann, p), n.through(ben, p)}
		kept := n.session(ann)
		receipt, err := n.DeleteProvider(t.Context(), cli, "corp", "compromised")
		noErr(t, err)
		if receipt.Sessions != 3 || receipt.Users != 2 || receipt.Reason != "compromised" || len(n.applied) != 3 {
			t.Errorf("receipt %+v, applied %v", receipt, n.applied)
		}
		if stored, err := n.store.Receipt(t.Context(), receipt.Epoch); err != nil || stored.ScopeID != "corp" {
			t.Errorf("stored %+v, %v", stored, err)
		}
		for i, s := range sessions {
			if !n.revoked(s) {
				t.Errorf("session %d goes on", i)
			}
		}
		if n.revoked(kept) {
			t.Error("a session with a password ended")
		}
		// What ended is found under each user, by id and by name.
		for _, person := range []string{ann.ID, "ann", ben.ID, "ben"} {
			found, err := n.store.Receipts(t.Context(), store.ReceiptFilter{User: person}, 10)
			if err != nil || len(found) != 1 || found[0].Epoch != receipt.Epoch {
				t.Errorf("receipts of %s: %+v, %v", person, found, err)
			}
			entries, err := n.store.Audits(t.Context(), store.AuditFilter{Person: person, Action: wire.ActionRevokeSession}, 10)
			noErr(t, err)
			want := map[bool]int{true: 2, false: 1}[person == ann.ID || person == "ann"]
			if len(entries) != want {
				t.Errorf("%d entries about sessions of %s, want %d", len(entries), person, want)
			}
			for _, e := range entries {
				if e.Reason != "compromised" || e.Epoch != receipt.Epoch || e.Scope != revocation.KindSession || e.Actor != cli.Actor || !strings.Contains(e.Detail, `"session":"`) {
					t.Errorf("the entry %+v", e)
				}
			}
		}
		for i, s := range sessions {
			if entries, err := n.store.Audits(t.Context(), store.AuditFilter{Session: s.ID}, 10); err != nil || len(entries) != 1 {
				t.Errorf("session %d has %d entries, %v", i, len(entries), err)
			}
		}
		_, err = n.Provider(t.Context(), cli, "corp")
		is(t, "after the removal", err, store.ErrNotFound)
		if ids, err := n.Identities(t.Context(), cli, ann.ID); err != nil || len(ids) != 1 {
			t.Errorf("the links are gone: %v, %v", ids, err)
		}
	})
}

// A permission that a provider's groups no longer give is taken from the users with an
// account at its issuer, and their sessions end, those without the provider as well.
func TestProviderPermissionsAreTaken(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		root := n.as(n.add("root", store.AdministerSystem))
		p := n.addProvider("corp", corp())
		ann, ben, cat := n.add("ann", store.AdministerSystem, store.UserEdit), n.add("ben", store.UserEdit), n.add("cat")
		dan := n.add("dan", store.AdministerSystem)
		n.through(dan, store.Provider{Name: "other", Issuer: "https://other.example"})
		for _, u := range []store.User{ann, ben, cat} {
			n.through(u, store.Provider{Name: "other", Issuer: issuer})
		}
		sessions := map[string]*token.Session{}
		for _, u := range []store.User{ann, ben, cat, dan} {
			sessions[u.Name] = n.session(u)
		}
		held := func(what string, want map[string][]string, ended ...string) {
			t.Helper()
			for _, u := range []store.User{ann, ben, cat, dan, *root.User} {
				got, err := n.store.User(t.Context(), u.ID)
				noErr(t, err)
				if !slices.Equal(got.Permissions, append([]string{}, want[u.Name]...)) {
					t.Errorf("%s: %s holds %q, want %q", what, u.Name, got.Permissions, want[u.Name])
				}
				if s := sessions[u.Name]; s != nil && n.revoked(s) != slices.Contains(ended, u.Name) {
					t.Errorf("%s: %s's session revoked: %v", what, u.Name, n.revoked(s))
				}
			}
		}
		all := []string{store.AdministerSystem, store.UserEdit}
		to := func(m map[string][]string) account.ProviderChange {
			return account.ProviderChange{GroupPermissions: &m}
		}

		_, receipt, err := n.ChangeProvider(t.Context(), root, p.Name, to(map[string][]string{"admins": {store.UserEdit}, "b": {store.AdministerSystem}}), "")
		noErr(t, err)
		if receipt == nil || receipt.Sessions != 0 {
			t.Errorf("another group gives it: receipt %+v", receipt)
		}
		held("another group gives it", map[string][]string{"ann": all, "ben": {store.UserEdit}, "dan": {store.AdministerSystem}, "root": {store.AdministerSystem}})

		n.applied = nil
		_, receipt, err = n.ChangeProvider(t.Context(), root, p.Name, to(map[string][]string{"admins": {store.UserEdit}}), "")
		noErr(t, err)
		if receipt == nil || receipt.Sessions != 1 || receipt.Users != 1 || len(n.applied) != 1 {
			t.Errorf("receipt %+v, applied %v", receipt, n.applied)
		}
		held("the last group", map[string][]string{"ann": {store.UserEdit}, "ben": {store.UserEdit}, "dan": {store.AdministerSystem}, "root": {store.AdministerSystem}}, "ann")
		if e := n.audits(wire.ActionUserPermissions)[0]; e.TargetID != ann.ID || e.Scope != revocation.KindUser || e.Epoch != receipt.Epoch || e.Actor.ID != root.User.ID {
			t.Errorf("the audit says %+v", e)
		}

		removed, err := n.DeleteProvider(t.Context(), root, p.Name, "")
		noErr(t, err)
		if removed.Users != 1 || removed.Sessions != 1 { // of ben; that of ann has ended before
			t.Errorf("receipt %+v", removed)
		}
		held("removed", map[string][]string{"dan": {store.AdministerSystem}, "root": {store.AdministerSystem}}, "ann", "ben")
	})
}

// What takes a permission leaves an enabled administrator.
func TestProviderLeavesAnAdministrator(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		admin := n.add("admin", store.AdministerSystem)
		p := n.addProvider("corp", corp())
		sess := n.through(admin, p)
		for what, change := range map[string]account.ProviderChange{
			"the mapping": {GroupPermissions: ptr(map[string][]string{})},
			"the claim":   {GroupsClaim: ptr(""), GroupPermissions: ptr(map[string][]string{})},
			"the issuer":  {Issuer: ptr("https://other.example"), ClientSecret: ptr("x")},
		} {
			_, _, err := n.ChangeProvider(t.Context(), cli, p.Name, change, "")
			is(t, what, err, account.ErrLastAdministrator)
		}
		_, err := n.DeleteProvider(t.Context(), cli, p.Name, "")
		is(t, "the removal", err, account.ErrLastAdministrator)
		if u, err := n.store.User(t.Context(), admin.ID); err != nil || len(u.Permissions) != 1 || n.revoked(sess) {
			t.Errorf("after refusals: %+v, %v, session revoked: %v", u, err, n.revoked(sess))
		}
		n.add("second", store.AdministerSystem)
		_, err = n.DeleteProvider(t.Context(), cli, p.Name, "")
		noErr(t, err)
		if !n.revoked(sess) {
			t.Error("the session goes on")
		}
	})
}

// Passwords are off only while an administrator can sign in through a provider; the
// command line on the database is always let in.
func TestPasswordsOff(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		admin := n.add("admin", store.AdministerSystem)
		root := n.as(admin)
		p := n.addProvider("corp", corp())
		off, on := store.SignInMethods{}, store.SignInMethods{Passwords: true}

		is(t, "not linked", n.ChangeSignInMethods(t.Context(), root, off), account.ErrNoAdministratorLeft)
		if m, err := n.SignInMethods(t.Context()); err != nil || m != on {
			t.Fatalf("%+v, %v", m, err)
		}
		noErr(t, n.signIn("admin", good, "192.0.2.1"))
		n.through(n.add("ann"), p)
		is(t, "only another user is linked", n.ChangeSignInMethods(t.Context(), root, off), account.ErrLastAdministrator)
		n.through(admin, p)
		noErr(t, n.ChangeSignInMethods(t.Context(), root, off))
		is(t, "right password", n.signIn("admin", good, "192.0.2.1"), account.ErrPasswordsOff)
		is(t, "wrong password", n.signIn("admin", "wrong", "192.0.2.1"), account.ErrPasswordsOff)
		if len(n.audits(wire.ActionSignInMethods)) != 1 || len(n.audits(wire.ActionSignInFailed)) != 0 {
			t.Error("the audit has other entries")
		}

		second := n.add("second", store.AdministerSystem) // with a password only
		_, err := n.DeleteProvider(t.Context(), root, "corp", "")
		is(t, "removing the provider", err, account.ErrNoAdministratorLeft)
		_, _, err = n.ChangeProvider(t.Context(), root, "corp", account.ProviderChange{Issuer: ptr("https://other.example"), ClientSecret: ptr("")}, "")
		is(t, "another issuer", err, account.ErrNoAdministratorLeft)
		_, err = n.Unlink(t.Context(), root, admin.ID, issuer, admin.ID, "")
		is(t, "unlinking", err, account.ErrNoAdministratorLeft)
		is(t, "disabling", n.change(root, admin.ID, account.UserChange{Disabled: ptr(true)}), account.ErrLastAdministrator)
		is(t, "demoting", n.change(n.as(second), admin.ID, account.UserChange{Permissions: ptr([]string{})}), account.ErrLastAdministrator)
		_, err = n.DeleteUser(t.Context(), n.as(second), admin.ID, "")
		is(t, "deleting", err, account.ErrLastAdministrator)
		if all, err := n.Providers(t.Context(), cli); err != nil || len(all) != 1 || all[0].Issuer != issuer {
			t.Errorf("after refusals: %+v, %v", all, err)
		}

		_, err = n.DeleteProvider(t.Context(), cli, "corp", "")
		noErr(t, err)
		noErr(t, n.ChangeSignInMethods(t.Context(), cli, on))
		noErr(t, n.signIn("admin", good, "192.0.2.1"))
		noErr(t, n.ChangeSignInMethods(t.Context(), cli, off))
		noErr(t, n.ChangeSignInMethods(t.Context(), n.as(second), on))
	})
}

func TestUnlink(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(sealing(t))
		p := n.addProvider("corp", corp())
		ann, ben := n.add("ann"), n.add("ben")
		sess, other := n.through(ann, p), n.through(ben, p)
		for what, of := range map[string][3]string{
			"another user's": {ben.ID, issuer, ann.ID}, "another issuer": {ann.ID, issuer + "/", ann.ID},
			"another case": {ann.ID, issuer, strings.ToUpper(ann.ID) + "x"}, "no user": {"none", issuer, ann.ID},
		} {
			_, err := n.Unlink(t.Context(), cli, of[0], of[1], of[2], "")
			is(t, what, err, store.ErrNotFound)
		}
		receipt, err := n.Unlink(t.Context(), cli, ann.ID, issuer, ann.ID, "left the company")
		noErr(t, err)
		if receipt.Scope != string(revocation.KindUser) || receipt.UserID != ann.ID || receipt.Sessions != 1 || !n.revoked(sess) || n.revoked(other) {
			t.Errorf("receipt %+v, revoked %v, the other's %v", receipt, n.revoked(sess), n.revoked(other))
		}
		if ids, err := n.Identities(t.Context(), n.as(ann), ann.ID); err != nil || len(ids) != 0 {
			t.Errorf("%v, %v", ids, err)
		}
		e := n.audits(wire.ActionUserUnlink)[0]
		if e.Scope != revocation.KindUser || e.TargetID != ann.ID || e.Reason != "left the company" || !strings.Contains(e.Detail, issuer) {
			t.Errorf("the audit says %+v", e)
		}
	})
}

func TestWhoMayManageProviders(t *testing.T) {
	n := sqlite(t).with(sealing(t))
	p := n.addProvider("corp", corp())
	user, administrator := n.add("user"), n.add("root", store.AdministerSystem)
	n.through(user, p)
	n.through(administrator, p)
	for who, caller := range map[string]authz.Caller{
		"no caller": {},
		"a user":    n.as(user),
		"an editor": n.as(n.add("editor", store.UserEdit)),
		"a client":  {Client: &store.Client{ID: "x", Capabilities: store.Capabilities()}},
	} {
		_, err := n.Providers(t.Context(), caller)
		forbidden(t, who+" lists", err, store.AdministerSystem)
		_, err = n.Provider(t.Context(), caller, "corp")
		forbidden(t, who+" reads", err, store.AdministerSystem)
		_, err = n.CreateProvider(t.Context(), caller, "x", corp())
		forbidden(t, who+" creates", err, store.AdministerSystem)
		_, _, err = n.ChangeProvider(t.Context(), caller, "corp", account.ProviderChange{}, "")
		forbidden(t, who+" changes", err, store.AdministerSystem)
		_, err = n.DeleteProvider(t.Context(), caller, "corp", "")
		forbidden(t, who+" removes", err, store.AdministerSystem)
		forbidden(t, who+" sets the methods", n.ChangeSignInMethods(t.Context(), caller, store.SignInMethods{}), store.AdministerSystem)
		if who == "an editor" {
			_, err = n.Unlink(t.Context(), caller, administrator.ID, issuer, administrator.ID, "")
			forbidden(t, who+" unlinks an administrator", err, store.AdministerSystem)
			_, err = n.Unlink(t.Context(), caller, user.ID, issuer, user.ID, "")
			noErr(t, err)
			continue
		}
		_, err = n.Unlink(t.Context(), caller, user.ID, issuer, user.ID, "")
		forbidden(t, who+" unlinks", err, store.UserEdit)
		_, err = n.Identities(t.Context(), caller, administrator.ID)
		forbidden(t, who+" reads identities", err, store.UserEdit)
	}
	// An administrator who was demoted during the call.
	stale := n.as(administrator)
	n.add("second", store.AdministerSystem)
	noErr(t, n.change(cli, administrator.ID, account.UserChange{Permissions: &[]string{}}))
	_, err := n.CreateProvider(t.Context(), stale, "x", corp())
	forbidden(t, "an administrator no more", err, store.AdministerSystem)
	forbidden(t, "an administrator no more", n.ChangeSignInMethods(t.Context(), stale, store.SignInMethods{}), store.AdministerSystem)
}

// Without the key-encryption key no secret is taken.
func TestProviderWithoutKey(t *testing.T) {
	n := sqlite(t).node()
	if _, err := n.CreateProvider(t.Context(), cli, "corp", corp()); err == nil || !strings.Contains(err.Error(), "key-encryption key") {
		t.Errorf("error %v", err)
	}
	n.addProvider("public", account.ProviderChange{Issuer: ptr(issuer), ClientID: ptr("curfew")})
}
