//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/wire"
)

// receipt asks a server for the receipt of a revocation.
func (p *serverProcess) receipt(t *testing.T, token string, epoch int64) wire.Receipt {
	t.Helper()
	return receiptOf(t, p.ask(t, http.MethodGet, fmt.Sprintf("/v1/revocations/%d", epoch), token, ""), 200)
}

func receiptOf(t *testing.T, a answer, status int) (r wire.Receipt) {
	t.Helper()
	if a.status != status {
		t.Fatalf("%d %s, want %d", a.status, a.body, status)
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Of three servers one is stopped. A revocation waits for its lease, the receipt says
// so, and every server says the same later: the one that was cut off, too.
func TestReceiptOfAStoppedServer(t *testing.T) {
	database := pgtest.DSN(t)
	env := []string{"CURFEW_DATABASE=" + database, "CURFEW_KEY_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
	var servers []*serverProcess
	for range 3 {
		servers = append(servers, startServer(t, &serverProcess{env: env, args: []string{"--lease", "2s"}}))
	}
	a, b, stopped := servers[0], servers[1], servers[2]
	a.curfew(t, "user", "add", "ann", "--no-password")
	a.curfew(t, "token", "issue", "ann")
	admin := a.curfew(t, "token", "issue", "admin")
	var ann wire.Users
	if err := json.Unmarshal(a.ask(t, http.MethodGet, "/v1/users?search=ann", admin, "").body, &ann); err != nil || len(ann.Users) != 1 {
		t.Fatalf("%+v, %v", ann, err)
	}
	pgtest.StopIdle(t, database, stopped.cmd.Process.Pid)
	defer func() { _ = stopped.signal(syscall.SIGCONT) }()

	first := receiptOf(t, a.ask(t, http.MethodPost, "/v1/users/"+ann.Users[0].ID+"/revocations", admin, `{"reason":"lost device"}`), 201)
	_, port, _ := strings.Cut(stopped.banner()["ADDRESS"], ":")
	e := first.Enforcement
	if e.EffectiveEverywhere || e.ClosedAt != nil || e.ClosedBy != nil || e.Validators != 3 || len(e.Lapsed) != 0 ||
		len(e.Waiting) == 0 || !strings.Contains(strings.Join(e.Waiting, " "), ":"+port) {
		t.Errorf("while the lease runs: %+v, want to wait for the server at port %s", e, port)
	}
	if first.Target == nil || first.Target.ID != ann.Users[0].ID || first.Target.Name != "ann" || first.By.Name != "admin" ||
		first.Sessions == nil || *first.Sessions != 1 || first.Users == nil || *first.Users != 1 || first.CommittedAt.IsZero() {
		t.Errorf("the receipt says %+v", first)
	}
	var closed wire.Receipt
	await.Until(t, "the receipt is closed", func() bool {
		closed = a.receipt(t, admin, first.Epoch)
		return closed.Enforcement.ClosedAt != nil
	})
	e = closed.Enforcement
	if !e.EffectiveEverywhere || e.ClosedAt == nil || e.ClosedBy == nil || *e.ClosedBy != "lease" || e.Validators != 3 || e.Confirmed != 2 ||
		len(e.Waiting) != 0 || len(e.Lapsed) != 1 || !strings.HasSuffix(e.Lapsed[0].Name, ":"+port) || e.Lapsed[0].At.Before(first.CommittedAt) {
		t.Fatalf("after the lease: %+v, want it closed by the lease of the server at port %s", e, port)
	}
	if err := stopped.signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the stopped server is ready again", func() bool {
		got, err := stopped.tryAsk(t.Context(), http.MethodGet, "/readyz", "", "")
		return err == nil && got.status == http.StatusOK
	})
	restarted := startServer(t, &serverProcess{env: env, args: []string{"--lease", "2s"}})
	for _, p := range []*serverProcess{a, b, stopped, restarted} {
		if got := p.receipt(t, admin, first.Epoch); !reflect.DeepEqual(got, closed) {
			t.Errorf("later: %+v\nwant   %+v", got, closed)
		}
	}
	if listed := a.curfew(t, "revocations", "--user", "ann"); !strings.Contains(listed, "(2 of 3)") || !strings.Contains(listed, "lost device") {
		t.Errorf("the command lists\n%s", listed)
	}
}
