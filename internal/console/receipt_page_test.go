package console_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/pgtest"
)

// While a node has not confirmed, the receipt says so; when it has, the page says
// that by itself, with a script and without.
func TestReceiptUpdatesItself(t *testing.T) {
	t.Parallel()
	database := migrated.Postgres(t)
	// A receipt closes when the lease of a node that is silent has ended: long after
	// the page has been looked at.
	one := run(t, database, "--lease", "30s")
	two := run(t, database, "--lease", "30s")
	ada := one.addUser("Ada Lovelace")
	for _, l := range []look{{}, {noScript: true}} {
		w := one.open(t, l)
		w.as("admin")
		w.visit("/users/" + ada + "/revoke")
		w.click("input[value='Lost device']")
		pgtest.StopIdle(t, database, two.process.PID())
		w.follow("form.confirm .actions button")
		w.says("Sessions revoked.", "Spreading", "Confirmed by 1 of 2 validators.", "no validator accepts the revoked sessions", "Waiting for:")
		if l.noScript {
			w.follow("noscript a")
			w.says("Spreading")
		} else {
			w.accessible()
		}
		two.signal(syscall.SIGCONT)
		w.says("In force everywhere", "Confirmed by all 2 validators.")
		w.says("Lost device", "admin")
	}
}

func (p *program) signal(s syscall.Signal) {
	p.Helper()
	if err := p.process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// Times are those of the viewer, to the microsecond in a receipt; without a
// script they are UTC, and say so.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	at := time.UnixMicro(h.epoch)
	india := time.FixedZone("", 5*3600+1800)
	w := h.open(t, look{})
	w.as("admin")
	w.visit(fmt.Sprintf("/revocations/%d", h.epoch))
	w.says(at.In(india).Format("2 January 2006 at 15:04:05.000000")+" GMT+5:30", "Times are in Asia/")
	w = h.open(t, look{noScript: true})
	w.as("admin")
	w.visit(fmt.Sprintf("/revocations/%d", h.epoch))
	w.says(at.UTC().Format("2 January 2006, 15:04:05.000000 UTC"), "Times are UTC.")
}

func TestCopy(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{})
	w.as("admin")
	w.visit("/users/" + h.ada)
	// What the clipboard takes is taken down: a browser without a window has none.
	eval[chromedp.Void](w, "navigator.clipboard.writeText = t => { window.copied = t; return Promise.resolve() }; void 0")
	w.click("[data-copy]")
	w.says("Copied")
	if got := w.brief("window.copied"); got != h.ada {
		t.Errorf("copied %q, want %q", got, h.ada)
	}
}
