package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/wire"
)

// A node that was killed is named while it is waited for, and not waited for any
// longer than its lease.
func TestRevokeWaitsForALeaseAtMost(t *testing.T) {
	env := []string{"CURFEW_DATABASE=" + pgtest.DSN(t), "CURFEW_KEY_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
	a := startServer(t, &serverProcess{env: env, args: []string{"--lease", "2s"}})
	b := startServer(t, &serverProcess{env: env, args: []string{"--lease", "2s"}})
	b.kill()

	ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), "revoke", "everyone", "--yes", "--reason", "test", "--wait", "2m", "--json")
	var out, progress bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = a.dir, a.env, &out, &progress
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	took := time.Since(began)
	var receipt wire.Receipt
	if err := json.Unmarshal(out.Bytes(), &receipt); err != nil {
		t.Fatalf("%s: %v", out.String(), err)
	}
	if !receipt.Enforcement.EffectiveEverywhere || len(receipt.Enforcement.Waiting) > 0 {
		t.Errorf("after %v: %+v", took, receipt.Enforcement)
	}
	_, port, _ := strings.Cut(b.banner()["ADDRESS"], ":")
	if !strings.Contains(progress.String(), "1 of 2 validators have confirmed; waiting for") || !strings.Contains(progress.String(), ":"+port) {
		t.Errorf("the progress does not name the node at port %s:\n%s", port, progress.String())
	}
	// A lease of 2 s, the margin of 1 s, and what a command takes.
	if took > 3*time.Second*slower {
		t.Errorf("waited %v", took)
	}
	t.Logf("waited %v", took)
}
