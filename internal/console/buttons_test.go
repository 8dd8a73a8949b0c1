package console_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	_ "github.com/lib/pq" // the driver

	"example.com/curfew/internal/store/migrated"
)

// A newcomer changes the session timeout, adds a user, and uses every other
// button there is.
func TestEveryButton(t *testing.T) {
	onEngines(t, func(t *testing.T, h *filledServer, l look) {
		w := h.open(t, l)
		w.as("admin")
		name := map[bool]string{false: "New Comer", true: "Plain Comer"}[l.noScript]
		w.buttonsOfSettings()
		w.buttonsOfUsers(name)
		w.buttonsOfServices(name)
		w.buttonsOfAudit(t)
		w.buttonsOfKeys(h)
		w.buttonsOfBulk(t, h)

		w.visit("/profile")
		w.fill("#current", adminPassword)
		w.fill("#new", adminPassword+"!")
		w.fill("#again", adminPassword+"!")
		w.follow("form[action='/profile/password'] button")
		w.says("Password changed.")
		w.fill("#current", adminPassword+"!")
		w.fill("#new", adminPassword)
		w.fill("#again", adminPassword)
		w.follow("form[action='/profile/password'] button")
		w.says("Password changed.")

		w.click("details.account summary")
		w.follow("details.account button")
		w.at("/sign-in")
		w.says("You have signed out.")
		h.signInAdmin()
	})
}

func (w *window) buttonsOfSettings() {
	w.Helper()
	w.follow("nav a[href='/settings/authentication']")
	w.says("Session timeout", "— 20 minutes", "Maximum session duration", "— 20 days")
	w.follow(".presets a[href$='aal2']")
	w.says("— 1 hour", "— 1 day")
	w.follow(".presets a[href$='default']")
	w.fill("#timeout", "5")
	if w.look.noScript {
		w.follow("form[action$='/preview'] button")
	} else {
		w.says("— 5 seconds") // as one types
		w.follow("form[action$='/preview'] button")
	}
	w.says("5 seconds is too short")
	w.fill("#timeout", "1800")
	w.confirmed("form[action$='/preview'] button", func(string) {
		w.says("Session timeout: 20 minutes → 30 minutes", "This ends no live session.")
	})
	w.at("/settings/authentication")
	w.says("Settings saved.", "— 30 minutes", "Session timeout: 20 minutes → 30 minutes")
	w.follow(".presets a[href$='default']")
	w.confirmed("form[action$='/preview'] button", nil)
	w.says("— 20 minutes", "Session timeout: 30 minutes → 20 minutes")
}

func (w *window) buttonsOfUsers(name string) {
	w.Helper()
	w.follow("nav a[href='/users']")
	w.follow("a[href='/new-user']")
	w.fill("#name", "admin")
	w.follow("form[action='/users'] button.primary")
	w.says("Another user has this name or ID, or a similar-looking one.")
	w.fill("#name", name)
	w.fill("#email", "comer@example.com")
	w.click("input[name=how][value=typed]")
	w.fill("#password", userPassword)
	w.follow("form[action='/users'] button.primary")
	w.says(name, "Account created.", "Enabled")

	w.fill("#email", "new@example.com")
	w.follow("#rename ~ form button")
	w.says("Saved.")
	w.click("input[name=UserEdit]")
	w.follow("#permissions ~ form button")
	w.says("Permissions saved.")
	w.fill("#new", "another twelve bytes")
	w.follow("#set-password ~ form button")
	w.says("Password changed", "password changed")
	w.confirmed("a[href$='/disable']", func(string) { w.says("Disable " + name + "?") })
	w.says("Account disabled", "Enable the account")
	w.follow("form[action$='/enable'] button")
	w.says("Account enabled.")
	w.confirmed("a.danger[href$='/revoke']", because(w, "Offboarding"))
	w.says("Sessions revoked.", "Offboarding")
}

func (w *window) buttonsOfServices(name string) {
	w.Helper()
	w.follow("nav a[href='/services']")
	w.fill("#name", name)
	w.click("input[name=follow]")
	w.follow("form[action='/services'] button")
	w.says("it is shown only once")
	secret := w.brief("document.getElementById('secret').textContent")
	if len(secret) < 26 {
		w.Errorf("the secret is %q", secret)
	}
	w.follow("main a.primary")
	w.says(name)
	w.saysNot(secret)
	row := "/services/" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
	w.confirmed("a[href='"+row+"/secret']", nil)
	w.says("works for another 24 hours")
	w.follow("main a.primary")
	w.confirmed("a[href='"+row+"/remove']", func(string) { w.says("Remove " + name + "?") })
	w.says("Service removed.")
	w.saysNot(name)
}

// An identity provider is added, checked, restricted and removed.
func TestButtonsOfProviders(t *testing.T) {
	onEngines(t, func(t *testing.T, h *filledServer, l look) {
		w := h.open(t, l)
		w.as("admin")
		w.buttonsOfProviders(map[bool]string{false: "with-script", true: "plain"}[l.noScript])
	})
}

func (w *window) buttonsOfProviders(name string) {
	w.Helper()
	const secret = "the-secret-of-the-client"
	w.follow("nav a[href='/settings/authentication']")
	w.follow("a[href='/settings/authentication/new-provider']")
	w.fill("#name", name)
	w.fill("#issuer", "http://login.example/realms/"+name)
	w.fill("#client-id", "curfew")
	w.fill("#client-secret", secret)
	w.fill("#groups-claim", "groups")
	w.fill("#group-permissions", "admins = AdministerSystem")
	w.click("input[name=create_users]")
	w.follow("form[action$='/providers'] button.primary")
	w.says("Issuer: Must begin with https://", "Client secret: Enter the client secret again", "/sign-in/"+name+"/callback")
	w.fill("#issuer", "http://127.0.0.1:1/realms/"+name)
	w.click("form[action$='/providers'] button.primary")
	if at := w.brief("document.activeElement.id"); at != "client-secret" {
		w.Errorf("without the secret the focus is on %q", at)
	}
	w.fill("#client-secret", secret)
	w.follow("form[action$='/providers'] button.primary")
	w.says("Identity provider added.", "/sign-in/"+name+"/callback", "/oauth/backchannel-logout", "A secret is set.")
	w.follow("a[href$='/check']")
	w.says("Users can’t sign in through this provider.", "can't be reached", "Each user of the provider gets an account")
	if strings.Contains(w.brief("document.documentElement.outerHTML"), secret) {
		w.Errorf("the page holds the secret")
	}
	w.fill("#allowed-groups", "staff")
	w.follow("form[action$='/" + name + "'] button.primary")
	w.says("Identity provider "+name, "Saved.") // there are no sessions to ask about
	w.follow("main a[href^='/revocations/']")
	w.says("Receipt", "Sessions begun at "+name, "In force everywhere")
	w.visit("/settings/authentication/providers/" + name)
	w.confirmed("a[href$='/remove']", func(step string) { w.fill(step+"#word", "remove") })
	w.says("Receipt", "Sessions begun at "+name, "identity provider removed")
	w.visit("/settings/authentication")
	w.saysNot(name)
	w.confirmed("a[href$='/passwords/off']", func(string) { w.says("Switch passwords off?") })
	w.says("No enabled administrator could sign in any more")
	w.visit("/settings/authentication") // the question is still open, above the menu
}

func (w *window) buttonsOfAudit(t *testing.T) {
	w.Helper()
	w.follow("nav a[href='/audit']")
	w.fill("#person", "Ada Lovelace")
	w.do(chromedp.SetValue(chromedp.CSS("#action"), "sessions.revoke"))
	w.follow("form[action='/audit'] button")
	w.says("Revoked a user’s sessions", "Lost device: left in a train")
	if n := w.brief("document.querySelectorAll('tbody tr').length + ''"); n != "1" {
		t.Errorf("the audit shows %s entries, want 1", n)
	}
	for _, format := range []string{"jsonl", "csv"} {
		export := w.brief("document.querySelector('a[href*=" + format + "]').href")
		cookies, err := chromedp.Call(w.context, network.GetCookies, network.GetCookiesParams{URLs: []string{w.url}})
		w.must(err)
		request, err := http.NewRequestWithContext(w.context, http.MethodGet, export, nil)
		w.must(err)
		for _, c := range cookies.Cookies {
			request.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) // #nosec G124 -- of a request
		}
		response, err := web.Do(request)
		w.must(err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %d, %q", export, response.StatusCode, response.Header.Get("Content-Disposition"))
		}
	}
	w.follow("td[data-label=Action] a")
	w.says("Receipt", "Lost device: left in a train")
	w.visit("/audit?person=Ada+Lovelace")
	w.follow("form[action='/audit'] a[href='/audit']")
	w.says("Audit")
}

func (w *window) buttonsOfKeys(h *filledServer) {
	w.Helper()
	w.follow("nav a[href='/keys']")
	w.says("active", "next", "ES256")
	w.click("li.key details summary")
	w.says(`"kty"`)
	// Whether the next key signs at once depends on how long it has been there.
	w.confirmed("a[href='/keys/rotate']", nil)
	w.at("/keys")
	if text := w.text(); !strings.Contains(text, "Keys rotated.") && !strings.Contains(text, "Rotation scheduled") {
		w.Errorf("after rotating:\n%s", text)
	}
	next := "li.key:not(:has(.tag.on)) a.danger"
	before := len(h.retired(w))
	w.confirmed(next, func(step string) {
		because(w, "Key compromised")(step)
		w.fill(step+"#word", "retire")
	})
	w.at("/keys")
	w.says("Key retired.", "Retired keys")
	if after := len(h.retired(w)); after != before+1 {
		w.Errorf("%d keys are retired, before %d", after, before)
	}
}

// retired returns the rows of retired keys.
func (h *filledServer) retired(w *window) []string {
	return eval[[]string](w, "[...document.querySelectorAll('#past ~ table tbody tr')].map(r => r.innerText)")
}

func (w *window) buttonsOfBulk(t *testing.T, h *filledServer) {
	w.Helper()
	one, two := h.signIn("Alan Turing", firefox, false), h.signIn("Barbara Liskov", firefox, false)
	list := filepath.Join(t.TempDir(), "names.txt")
	w.must(os.WriteFile(list, []byte("barbara liskov\nNobody Known\n"), 0o600))
	w.follow("nav a[href='/revocations']")
	w.follow("a[href='/revocations/new']")
	w.fill("#names", "Alan Turing")
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{list}))
	w.click("input[value='Role change']")
	w.follow("form[action='/revocations'] button")
	w.says("1 name of the list belongs to no user", "Nobody Known", "of 2 users", "Correct the list")
	if !h.accepts(one) || !h.accepts(two) {
		t.Error("checking has revoked")
	}
	w.follow("form.confirm .actions button")
	w.says("The sessions of 2 users", "Role change", "In force everywhere")
	if h.accepts(one) || h.accepts(two) {
		t.Error("a session that was revoked is accepted")
	}
}

// Ten thousand names at once, in the time that a page may take: uploaded, checked,
// and revoked in one transaction, with one receipt. In a program that looks for no
// races, since what takes long is the store.
func TestTenThousandNames(t *testing.T) {
	t.Parallel()
	database := migrated.Postgres(t)
	p := run(t, database)
	db, err := sql.Open("postgres", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `INSERT INTO users
		SELECT 'id-' || n, 'Person ' || n, 'person ' || n, '', '', '[]', 0, 0, '', 0, 0 FROM generate_series(1, 10000) AS n`); err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&names, "PERSON %d\n", i+1)
	}
	list := filepath.Join(t.TempDir(), "names.txt")
	if err := os.WriteFile(list, []byte(names.String()+"Nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := p.open(t, look{})
	w.as("admin")
	w.visit("/revocations/new")
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{list}))
	w.click("input[value='Offboarding']")
	w.follow("form[action='/revocations'] button")
	w.says("The list has 10\u202f001 names. One revocation can have at most 10\u202f000.")
	if err := os.WriteFile(list, []byte(names.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fill("#names", " ")
	w.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{list}))
	w.follow("form[action='/revocations'] button")
	w.says("of 10\u202f000 users, in one step: all or none.")
	w.follow("form.confirm .actions button")
	w.says("The sessions of 10\u202f000 users", "In force everywhere")
	var epochs, users int
	if err := db.QueryRowContext(t.Context(), `SELECT count(DISTINCT epoch), count(*) FROM revocations WHERE kind = 'user'`).Scan(&epochs, &users); err != nil {
		t.Fatal(err)
	}
	if epochs != 1 || users != 10_000 {
		t.Errorf("%d users are revoked, at %d epochs; want 10000 at one", users, epochs)
	}
}
