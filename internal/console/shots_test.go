//go:build screenshots

package console_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// TestScreenshots writes a picture of every page, at four widths, light and
// dark, into the directory CURFEW_SCREENSHOTS: `make screenshots`.
func TestScreenshots(t *testing.T) {
	directory := os.Getenv("CURFEW_SCREENSHOTS")
	if directory == "" {
		t.Fatal("CURFEW_SCREENSHOTS must name a directory to write to: make screenshots sets it")
	}
	database := onSQLite(t)
	p := &filledServer{program: run(t, database)}
	first := run(t, onSQLite(t))
	p.fillServer()
	p.remember(database)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 820, 1280, 1920} {
			w := p.open(t, look{width: width, height: 800, dark: scheme == "dark"})
			save := func(name string, of chromedp.Action[[]byte]) {
				picture, err := chromedp.Run(w.context, of)
				w.must(err)
				file := filepath.Join(directory, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
				if err := os.WriteFile(file, picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			shoot := func(name string) { save(name, chromedp.FullScreenshot(100)) }
			// A picture of the whole page has parts that are fixed to the window in odd places.
			shootWindow := func(name string) { save(name, chromedp.CaptureScreenshot()) }
			w.visit("/sign-in?why=idle_timeout")
			shoot("sign-in")
			w.as("admin")
			for _, path := range p.paths(t) {
				w.visit(path.path)
				shoot(path.name)
			}
			for _, d := range p.inPlace(t) {
				w.visit(d.path)
				w.do(chromedp.Click(chromedp.CSS(d.open)), chromedp.WaitVisible(chromedp.CSS("dialog[open]")))
				shootWindow("dialog-" + d.name)
			}
			w.visit("/audit")
			w.do(chromedp.Click(chromedp.CSS(".log tr:nth-child(2) .more summary")))
			shootWindow("audit-details")
			w.visit("/settings/authentication/preview?session_timeout_seconds=900&maximum_session_duration_seconds=43200&tag=%221%22")
			shoot("settings-lost-race")
			w.visit("/reauthenticate?return=%2Fprofile&max_age=1")
			shoot("reauthenticate")
			w.visit("/new-user")
			w.fill("#name", fmt.Sprintf("Newcomer %d %s", width, scheme))
			w.follow("form[action='/users'] button.primary")
			shoot("password")
			w.do(chromedp.Reload())
			shoot("password-again")
			w.visit(fmt.Sprintf("/revocations/%d", p.epoch))
			call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
			shoot("receipt-print")
			call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			w.visit("/services")
			w.fill("#name", fmt.Sprintf("Shop %d %s", width, scheme))
			w.click("input[name=introspect]")
			w.follow("form[action='/services'] button")
			shoot("secret")
			w.visit("/revocations/new")
			w.fill("#names", "Alan Turing\nBarbara Liskov\nNobody Known")
			w.click("input[value='Malicious activity']")
			w.follow("form[action='/revocations'] button")
			shoot("revocations-checked")
			p.shootEnded(w, shoot, shootWindow)
			w = first.open(t, look{width: width, height: 800, dark: scheme == "dark"})
			w.as("admin")
			w.visit("/")
			shoot("overview-first")
		}
	}
	if entries, _ := os.ReadDir(directory); len(entries) < 240 {
		t.Errorf("only %d pictures: %s", len(entries), strings.TrimSpace(fmt.Sprint(entries)))
	}
}

// shootEnded takes the pages for a user without a permission, and without a session.
func (h *filledServer) shootEnded(w *window, shoot, shootWindow func(string)) {
	w.visit("/sign-in")
	w.signIn("Hedy Lamarr", userPassword, false)
	w.visit("/keys")
	shoot("forbidden")
	w.visit("/profile")
	shoot("profile-of-a-user")
	w.fill("#current", userPassword)
	var found struct{ Users []struct{ ID string } }
	h.api(h.admin, http.MethodGet, "/v1/users?search=hedy", nil, &found)
	h.api(h.admin, http.MethodPost, "/v1/users/"+found.Users[0].ID+"/revocations", map[string]any{"reason": "test", "keep_current": false}, nil)
	w.says("An administrator revoked your sessions.")
	shootWindow("ended-while-open")
	w.fill("#new", userPassword)
	w.fill("#again", userPassword)
	w.follow("form[action='/profile/password'] button")
	shoot("ended-form")
}

// remember gives the house a past: a week in which people came and went by day
// more than by night, so that the plots have something to show.
func (h *filledServer) remember(database string) {
	h.Helper()
	ctx := context.Background()
	s, err := sqlstore.Open(ctx, sqlstore.Config{URL: database})
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	var entries []store.Audit
	var sessions []store.Session
	for ago := 7 * 24 * time.Hour; ago > 2*time.Minute; ago -= time.Minute {
		at := now.Add(-ago)
		daylight := math.Max(0.05, math.Sin(float64(at.Hour()*60+at.Minute()-6*60)/(14*60)*math.Pi))
		for action, often := range map[string]float64{wire.ActionSignIn: 0.8, wire.ActionSignInFailed: 0.06, wire.ActionRevokeUser: 0.012} {
			if random.Float64() < often*daylight {
				entries = append(entries, store.Audit{At: at.UnixMicro(), Action: action, Actor: store.Actor{Kind: store.ActorUser, ID: h.ada, Name: "Ada Lovelace"}})
				if action == wire.ActionSignIn {
					seen := at.Add(time.Duration(random.IntN(int(min(ago, 3*time.Hour)))))
					sessions = append(sessions, store.Session{
						ID: token.NewSessionID(), UserID: h.people[random.IntN(len(h.people))], Epoch: revocation.Epoch(at.UnixMicro()), KeyID: h.key, Device: edge, Address: "192.0.2.7",
						BeganAt: at.UnixMicro(), LastSeenAt: seen.UnixMicro(), ExpiresAt: seen.Add(20 * time.Minute).UnixMicro(),
					})
				}
			}
		}
	}
	err = s.Update(ctx, func(tx store.Tx) error {
		for _, row := range sessions {
			if err := tx.InsertSession(ctx, row); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, entries...)
	})
	if err != nil {
		h.Fatal(err)
	}
}
