//go:build torture

package torture

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// A disk that is full: what cannot be stored is answered with 503 and has not
// happened, checks go on, and it heals by itself.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("curfew-torture", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatalf("this test fills a small file system of its own, which takes the right to mount one (root, or CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("what was mounted at %s stays: %v", dir, err)
		}
	})
	c := newCluster(t, must[string](t)(asShipped()), "sqlite:"+filepath.Join(dir, "curfew.db"))
	node := c.node(t, nil, "--lease", faultLease.String())
	before := c.session(t, node, "before", true)
	dead := c.session(t, node, "dead", true)
	c.revoked(t, node, "dead")
	victim := c.session(t, node, "victim", true)

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	var begun []string // acknowledged
	full := map[string]int{}
	begin := func(user string) {
		status, body, err := c.call(http.MethodPost, node.Addr, "/v1/users/"+user+"/sessions", "", map[string]bool{"remember_me": true})
		switch {
		case err == nil && status == http.StatusCreated:
			begun = append(begun, tokenIn(body))
		case err != nil || status != http.StatusServiceUnavailable:
			t.Fatalf("a sign-in was answered %d %s %v", status, body, err)
		default:
			full["sign-ins"]++
		}
	}
	revoke := func(user string) (acknowledged bool) {
		status, body, err := c.call(http.MethodPost, node.Addr, "/v1/users/"+user+"/revocations", c.admin, map[string]string{"reason": "disk full"})
		if err != nil || status != http.StatusCreated && status != http.StatusServiceUnavailable {
			t.Fatalf("a revocation was answered %d %s %v", status, body, err)
		}
		if status == http.StatusServiceUnavailable {
			full["revocations"]++
		}
		return status == http.StatusCreated
	}
	over := false
	var since time.Time // the disk is full for all writers, and for longer than a lease
	for i := 0; i < 5000 && (full["sign-ins"] < 20 || full["revocations"] < 5 && !over || time.Since(since) < faultBound+time.Second); i++ {
		begin(fmt.Sprintf("user%d", i))
		if full["sign-ins"] == 0 {
			continue // there is room in the write-ahead log yet
		}
		if since.IsZero() {
			since = time.Now()
		}
		if !over && full["revocations"] < 100 { // an administrator's revocations are limited: 600 at once
			over = revoke("victim")
		}
		if want := map[bool]string{false: "", true: "revoked"}[over]; c.verify(node, victim) != want {
			t.Fatalf("a revocation whose acknowledgement was %t: %q", over, c.verify(node, victim))
		}
		c.wants(t, "a check while the disk is full", node, before, "")
		c.wants(t, "a check while the disk is full", node, dead, "revoked")
	}
	t.Logf("%d sessions began; 503: %v", len(begun), full)
	if full["sign-ins"] < 20 || full["revocations"] < 5 && !over {
		t.Fatalf("the disk is not full for those who write: %v", full)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	var healed string
	if !await.Holds(await.Limit, func() bool {
		var o Outcome
		healed, o, _ = c.Begin(node, "healed")
		return o == OK
	}) {
		t.Fatal("it does not heal by itself")
	}
	begun = append(begun, healed, before)
	c.revoked(t, node, "victim")
	check := func(when string) {
		t.Helper()
		for _, raw := range begun {
			c.wants(t, when, node, raw, "")
		}
		for _, raw := range []string{dead, victim} {
			c.wants(t, when, node, raw, "revoked")
		}
	}
	check("with room again")
	node.Kill()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.ready(node); err != nil {
		t.Fatal(err)
	}
	check("after a restart")
}

// fill writes a file until there is no room left.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size >= 512; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is full of %v", err)
	}
	if err := f.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
