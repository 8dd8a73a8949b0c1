package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/store"
)

// through links a user to an account at a provider, and begins a session there.
func (s *site) through(u store.User, provider string) string {
	s.Helper()
	raw := s.issue(u, false)
	sess, err := s.validator.Validate(s.Context(), raw)
	s.must(err)
	s.must(s.store.Update(s.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.InsertProviderSession(s.Context(), store.ProviderSession{SessionID: sess.ID, Provider: provider, Issuer: "https://login.example", Subject: u.Name}),
			tx.PutIdentity(s.Context(), store.Identity{Issuer: "https://login.example", Subject: u.Name, UserID: u.ID, Provider: provider, LinkedAt: 1, LastSignInAt: time.Now().UnixMicro()}))
	}))
	return raw
}

func TestProviderPages(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	p.get("/settings/authentication").is(http.StatusOK).says("No identity providers.", "Passwords:", "Switch passwords off")
	p.get("/settings/authentication/new-provider").is(http.StatusOK).
		says("Client secret", "preferred_username", issuer+"/sign-in/NAME/callback", issuer+"/oauth/backchannel-logout", "NAME stands for the name below.").
		contains(`href="/docs/sign-in-providers#settings-at-the-provider"`).lacks("/check")
	p.post("/settings/authentication/providers", "name", "corp").is(http.StatusUnprocessableEntity).says(issuer + "/sign-in/corp/callback").lacks("NAME")
	const secret = "the-client-secret"
	values := func(more ...string) []string {
		return append([]string{"issuer", "https://login.example", "client_id", "curfew", "client_secret", secret, "scopes", "openid  email", "name_claim", "email",
			"groups_claim", "groups", "group_permissions", "admins = AdministerSystem, UserEdit\r\n\r\na=b = UserEdit", "create_users", "on"}, more...)
	}
	const form = "/settings/authentication/providers"
	for what, tt := range map[string]struct {
		fields []string
		says   string
	}{
		"no name":          {values(), "Must be 1 to 32 lower-case letters"},
		"wrong issuer":     {[]string{"name", "corp", "issuer", "http://login.example", "client_id", "x", "client_secret", secret}, "Must begin with https://"},
		"wrong permission": {[]string{"name", "corp", "issuer", "https://login.example", "client_id", "x", "scopes", "openid", "name_claim", "sub", "groups_claim", "g", "group_permissions", "a = Everything", "client_secret", secret}, "valid permissions are"},
		"no permission sign": {[]string{"name", "corp", "issuer", "https://login.example", "client_id", "x", "scopes", "openid", "name_claim", "sub", "group_permissions", "admins", "client_secret", secret},
			"Write each line as"},
	} {
		a := p.post(form, tt.fields...).is(http.StatusUnprocessableEntity).says(tt.says)
		if strings.Contains(a.body, secret) {
			t.Errorf("%s: the answer holds the secret", what)
		}
	}
	a := p.post(form, values("name", "corp")...).to(form + "/corp")
	page := p.get(a.location).is(http.StatusOK).says("Identity provider added.", issuer+"/sign-in/corp/callback", issuer+"/oauth/backchannel-logout", "A secret is set.", "a=b = UserEdit")
	if strings.Contains(page.body, secret) || strings.Contains(page.body, "v1.") {
		t.Error("the page holds the secret")
	}
	p.post(form, values("name", "corp")...).is(http.StatusUnprocessableEntity).says("Another provider has this name.")
	p.get("/settings/authentication").is(http.StatusOK).says("corp", "https://login.example")

	// The check.
	s.provider.metadata = oidc.Metadata{Claims: []string{"email", "groups"}, BackchannelLogout: true, EndSessionEndpoint: "https://login.example/end"}
	p.get(form+"/corp/check").is(http.StatusOK).says("its configuration fits", "auth_time", "Each user of the provider")
	s.provider.err = fmt.Errorf("%w: connection refused", oidc.ErrUnreachable)
	p.get(form+"/corp/check").is(http.StatusOK).says("can’t sign in through this provider", "connection refused")

	// A change that ends sessions is confirmed, and the typed values stay.
	raw := s.through(s.user("ann"), "corp")
	edit := values("allowed_groups", "staff\nadmins")
	edit = append(edit[:4:4], edit[6:]...) // without the secret: it is kept
	p.post(form+"/corp", edit...).is(http.StatusOK).says("Saving this ends sessions.", "1 live session of 1 user", "Fewer groups allowed", "staff admins").saysNot("Enter the client secret again")
	p.post(form+"/corp", append(edit, "client_secret", "another")...).is(http.StatusOK).says("Enter the client secret again")
	if s.reason(raw) != "" {
		t.Fatal("the session ended before it was confirmed")
	}
	a = p.post(form+"/corp", append(edit, "confirmed", "on")...)
	saved := p.get(a.location).is(http.StatusOK).says("Identity provider corp", "Saved.", "Receipt of the revocation")
	for _, href := range saved.hrefs() {
		if strings.HasPrefix(href, "/revocations/") {
			p.get(href).is(http.StatusOK).says("Sessions begun at corp")
		}
	}
	if s.reason(raw) != "revoked" {
		t.Errorf("the session: %q", s.reason(raw))
	}
	stored, err := s.accounts.Provider(t.Context(), trusted, "corp")
	s.must(err)
	if kept, err := s.accounts.ClientSecret(t.Context(), stored); err != nil || kept != secret {
		t.Errorf("the secret is %q, %v", kept, err)
	}
	p.get(p.post(form+"/corp", append(edit, "remove_secret", "on", "link_by_email", "on")...).to(form+"/corp").location).is(http.StatusOK).says("Saved.", "No secret is set.")
	p.post(form+"/corp", append(edit, "remove_secret", "on", "client_secret", "x")...).is(http.StatusUnprocessableEntity).says("not both")
	p.post(form+"/none", edit...).is(http.StatusNotFound)

	// The users who lose a permission are counted, with all their sessions.
	eve := s.user("eve", store.UserEdit)
	s.through(eve, "corp")
	raw = s.issue(eve, false)
	demote := append(edit, "group_permissions", "")
	for i := 0; i < len(demote); i += 2 {
		if demote[i] == "group_permissions" {
			demote[i+1] = "admins = AdministerSystem"
		}
	}
	p.post(form+"/corp", demote...).is(http.StatusOK).says("2 live sessions of 1 user", "It takes UserEdit from 1 user with an account at https://login.example")
	p.get(form+"/corp/remove").is(http.StatusOK).says("This ends 2 live sessions of 1 user", "It takes AdministerSystem and UserEdit from 1 user with an account")
	p.post(form+"/corp", append(demote, "confirmed", "on")...).is(http.StatusSeeOther)
	if s.reason(raw) != "revoked" {
		t.Errorf("the session of a user who loses a permission: %q", s.reason(raw))
	}

	raw = s.through(s.user("ben"), "corp")
	p.get(form+"/corp/remove").is(http.StatusOK).says("This ends 1 live session of 1 user", "Type")
	p.post(form + "/corp/remove").is(http.StatusUnprocessableEntity)
	a = p.post(form+"/corp/remove", "word", "remove")
	p.get(a.location).is(http.StatusOK).says("Sessions begun at corp")
	if s.reason(raw) != "revoked" {
		t.Errorf("the session: %q", s.reason(raw))
	}
	if strings.Contains(s.logged.String(), secret) {
		t.Error("the secret is in the log")
	}
}

// No page holds a client secret that was typed: where the form comes back, the secret is to
// be entered again, or the user chooses to save without it. A change that ends no session at
// the moment is saved without a question.
func TestTypedSecretIsNotLost(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	const form, secret = "/settings/authentication/providers", "the-client-secret"
	values := func(issuer string, more ...string) []string {
		return append([]string{"issuer", issuer, "client_id", "curfew", "scopes", "openid", "name_claim", "sub"}, more...)
	}
	kept := func() string {
		stored, err := s.accounts.Provider(t.Context(), trusted, "corp")
		s.must(err)
		if stored.SealedSecret == "" {
			return ""
		}
		opened, err := s.accounts.ClientSecret(t.Context(), stored)
		s.must(err)
		return opened
	}
	const marked, again = `name="secret_typed" value="1"`, "Enter the client secret again"
	asks := func(a answer, without string) {
		t.Helper()
		a.says(again, without).contains(marked, `autocomplete="new-password" required`, `name="without_secret"`).lacks(secret)
	}
	p.get("/settings/authentication/new-provider").is(http.StatusOK).lacks(marked, "without_secret", `autocomplete="new-password" required`)
	first := values("https://login.example", "name", "corp")
	asks(p.post(form, values("http://login.example", "name", "corp", "client_secret", secret)...).is(http.StatusUnprocessableEntity).says("Must begin with https://"), "Add without a client secret")
	asks(p.post(form, append(first, "secret_typed", "1")...).is(http.StatusUnprocessableEntity), "Add without a client secret")
	p.post(form, append(first, "client_secret", "  ")...).is(http.StatusUnprocessableEntity).says("Must not be white space alone.")
	if _, err := s.accounts.Provider(t.Context(), trusted, "corp"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the provider is there: %v", err)
	}
	p.post(form, append(first, "secret_typed", "1", "without_secret", "on")...).to(form + "/corp")
	if got := kept(); got != "" {
		t.Errorf("the secret is %q", got)
	}

	// Without a session that began there, another issuer is saved at once, with the secret.
	a := p.post(form+"/corp", values("https://login2.example", "client_secret", secret)...).is(http.StatusSeeOther)
	p.get(a.location).is(http.StatusOK).says("Identity provider corp", "Saved.", "A secret is set.")
	if got := kept(); got != secret {
		t.Errorf("the secret is %q", got)
	}

	raw := s.through(s.user("ann"), "corp")
	moved := values("https://login.example", "confirmed", "on")
	asks(p.post(form+"/corp", append(moved[:len(moved)-2:len(moved)-2], "client_secret", secret+"2")...).is(http.StatusOK).says("Saving this ends sessions."), "Save without entering the secret")
	for what, fields := range map[string][]string{
		"not entered again":     append(slices.Clip(moved), "secret_typed", "1"),
		"empty":                 append(slices.Clip(moved), "secret_typed", "1", "client_secret", ""),
		"another fault besides": values("http://login.example", "confirmed", "on", "secret_typed", "1"),
	} {
		t.Log(what)
		asks(p.post(form+"/corp", fields...).is(http.StatusUnprocessableEntity), "Save without entering the secret")
	}
	if got := kept(); got != secret || s.reason(raw) != "" {
		t.Errorf("the secret is %q, the session %q", got, s.reason(raw))
	}
	p.post(form+"/corp", append(moved, "secret_typed", "1", "client_secret", secret+"2")...).is(http.StatusSeeOther)
	if got := kept(); got != secret+"2" || s.reason(raw) != "revoked" {
		t.Errorf("the secret is %q, the session %q", got, s.reason(raw))
	}
	p.post(form+"/corp", values("https://login.example", "secret_typed", "1", "without_secret", "on")...).is(http.StatusSeeOther)
	if got := kept(); got != secret+"2" {
		t.Errorf("the secret that was to stay is %q", got)
	}
	p.post(form+"/corp", values("https://login.example", "secret_typed", "1", "remove_secret", "on")...).is(http.StatusSeeOther)
	if got := kept(); got != "" {
		t.Errorf("the secret that was to be removed is %q", got)
	}
}

// The form shows all of its errors at once, with the words of its fields.
func TestProviderFormShowsAllErrors(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	const form = "/settings/authentication/providers"
	wrong := []string{"issuer", "http://login.example", "client_id", "", "scopes", "email", "name_claim", "", "allowed_groups", "staff", "group_permissions", "admins"}
	all := []string{"Issuer: Must begin with https://", "Client ID: Must be", "Scopes: Must contain openid.", "Name claim: Contains",
		"Allowed groups: Needs “Groups claim”, the claim that holds the groups.", "Permissions of groups: Write each line as"}
	p.post(form, append(wrong, "name", "-")...).is(http.StatusUnprocessableEntity).says(append(all, "Name: Must be 1 to 32")...).lacks("groups_claim,")
	p.post(form, "name", "corp", "issuer", "https://login.example", "client_id", "curfew", "scopes", "openid", "name_claim", "sub").to(form + "/corp")
	p.post(form+"/corp", wrong...).is(http.StatusUnprocessableEntity).says(all...).lacks("groups_claim,")
}

// The page "Confirm it is you" does not lose it either.
func TestTypedSecretWhileConfirming(t *testing.T) {
	s := openAsking(t, 5*time.Minute)
	p := s.signedOut()
	p.post("/sign-in", "username", "admin", "password", password).is(http.StatusSeeOther)
	s.wait(6 * time.Minute)
	fields := []string{"name", "corp", "issuer", "https://login.example", "client_id", "curfew", "scopes", "openid", "name_claim", "sub"}
	const form, marked, field = "/settings/authentication/providers", `name="secret_typed" value="1"`, `name="client_secret" type="password" autocomplete="off"`
	p.post(form, append(fields, "client_secret", "")...).is(http.StatusUnauthorized).says("Confirm it is you").contains(field).lacks(marked, field+" required")
	p.post(form, append(fields, "client_secret", "the-client-secret")...).is(http.StatusUnauthorized).says("Confirm it is you").contains(field+" required", marked).lacks("the-client-secret")
	again := p.post(form, append(fields, "secret_typed", "1", "client_secret", "", "confirm_password", "wrong")...).is(http.StatusUnauthorized)
	if strings.Count(again.body, marked) != 1 {
		t.Errorf("the page is %s", again.body)
	}
	p.post(form, append(fields, "secret_typed", "1", "client_secret", "", "confirm_password", password)...).is(http.StatusUnprocessableEntity).says("Enter the client secret again")
}

func TestPasswordsOffPage(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	const off, on = "/settings/authentication/passwords/off", "/settings/authentication/passwords/on"
	p.get(off).is(http.StatusOK).says("Switch passwords off?", "curfew sign-in-methods set")
	p.post(off).is(http.StatusUnprocessableEntity).says("No enabled administrator could sign in any more")
	id, client := "https://login.example", "curfew"
	p.post("/settings/authentication/providers", "name", "corp", "issuer", id, "client_id", client, "scopes", "openid", "name_claim", "sub").to("/settings/authentication/providers/corp")
	s.through(s.admin, "corp")
	p.get(p.post(off).to("/settings/authentication").location).is(http.StatusOK).says("Switch passwords on")
	const none = "Signing in with a password is switched off"
	p.get("/profile").is(http.StatusOK).says(none + ". You sign in with corp: change your password there.").saysNot("Change password")
	p.get("/profile/revoke").is(http.StatusOK).says("You can sign in again afterwards.").saysNot("change it instead")
	p.get("/").is(http.StatusOK).saysNot("first password")
	p.get("/new-user").is(http.StatusOK).says(none + ": users sign in with an identity provider.")
	zoe := p.post("/users", "name", "zoe", "how", "typed", "password", "four unrelated words").is(http.StatusSeeOther).location
	p.get(zoe).is(http.StatusOK).says("Account created. "+none+", so the password has no effect", "Password set; signing in with a password is switched off").saysNot("The user can sign in now")
	p.post("/settings/authentication/providers/corp/remove", "word", "remove").is(http.StatusUnprocessableEntity).says("No enabled administrator could sign in any more")
	p.get(p.post(on).to("/settings/authentication").location).is(http.StatusOK).says("Switch passwords off")
	p.get("/profile").is(http.StatusOK).says("Change password").saysNot(none)
	p.get("/profile/revoke").is(http.StatusOK).says("change it instead")
	p.get("/").is(http.StatusOK).says("first password")
	p.get("/new-user").is(http.StatusOK).saysNot(none)
}

// A user without a password signs in with a provider, and is told so.
func TestProfileWithoutAPassword(t *testing.T) {
	s := open(t)
	s.as(s.admin).post("/settings/authentication/providers", "name", "corp", "issuer", "https://login.example", "client_id", "curfew", "scopes", "openid", "name_claim", "sub").to("/settings/authentication/providers/corp")
	ann, bot := s.user("ann"), s.user("bot")
	p := &person{s, ann, s.through(ann, "corp")}
	p.get("/profile").is(http.StatusOK).says("Your account has no password. You sign in with corp: change your password there.").saysNot("Current password")
	s.as(bot).get("/profile").is(http.StatusOK).says("Your account has no password. Services start your sessions.").saysNot("Current password")
	admin := s.as(s.admin)
	admin.get(userPath(ann.ID)).is(http.StatusOK).says("none: signs in with an identity provider", "A sign-in with an identity provider that sends groups replaces them.")
	admin.get(userPath(bot.ID)).is(http.StatusOK).says("none: only services can start sessions").saysNot("that sends groups")
}

func TestUnlinkPage(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	ann := s.user("ann")
	raw := s.through(ann, "corp")
	page := userPath(ann.ID)
	p.get(page).is(http.StatusOK).says("Accounts at identity providers", "https://login.example", "Unlink")
	const query = "?issuer=https%3A%2F%2Flogin.example&subject=ann"
	p.get(page+"/unlink"+query).is(http.StatusOK).says("Unlink ann from corp?", "This ends 1 live session of ann")
	p.get(page + "/unlink?issuer=https%3A%2F%2Flogin.example&subject=ben").is(http.StatusNotFound)
	p.post(page+"/unlink", "issuer", "https://login.example", "subject", "ben").is(http.StatusNotFound)
	p.get(p.post(page+"/unlink", "issuer", "https://login.example", "subject", "ann").to(page).location).is(http.StatusOK).says("Account unlinked.").saysNot("Accounts at identity providers")
	if s.reason(raw) != "revoked" {
		t.Errorf("the session: %q", s.reason(raw))
	}
}
