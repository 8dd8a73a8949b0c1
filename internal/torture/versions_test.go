//go:build torture

package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
)

// firstExpanding is the first commit whose program starts again on a database that a
// later one has migrated: the oldest that has to work beside the current one.
const firstExpanding = "5ceea303aa0bb27599735b283b0f209c2a9958dc"

// buildCommit builds the program of an earlier commit. Where the history lacks it, as
// in a shallow clone, the program of this checkout stands for it: it works beside one
// with a newer schema as well, so the test is about one version less, not about none.
func buildCommit(t *testing.T, commit string) string {
	t.Helper()
	source := t.TempDir()
	archive := exec.Command("git", "archive", "--output", filepath.Join(source, "source.tar"), commit, "--", "go.mod", "go.sum", "cmd", "internal", "revocation", "settings", "token")
	archive.Dir = curfewtest.Module()
	if out, err := archive.CombinedOutput(); err != nil {
		t.Logf("the history lacks commit %.12s (%v: %s): this checkout's program stands for the earlier version; "+
			"git fetch --unshallow fetches the history", commit, err, out)
		return build(t, curfewtest.Module())
	}
	tar := exec.Command("tar", "-xf", "source.tar")
	tar.Dir = source
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return build(t, source)
}

// build builds the program whose source is in a directory.
func build(t *testing.T, source string, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "curfew")
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false"}, flags...), "-o", binary, "./cmd/curfew")...)
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// buildNext builds the current program with one more migration, so that it has a
// newer schema than any released one.
func buildNext(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	migration, overlay := filepath.Join(dir, "next.sql"), filepath.Join(dir, "overlay.json")
	text := "-- +goose Up\nALTER TABLE users ADD COLUMN fresh ctext NOT NULL DEFAULT 'x';\n" +
		"CREATE TABLE fresh (id bigint NOT NULL PRIMARY KEY);\nALTER TABLE sessions ADD COLUMN fresh bigint NOT NULL DEFAULT 0;\n"
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(curfewtest.Module(), "internal/store/sqlstore/migrations/99999_next.sql"): migration,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{migration: []byte(text), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, curfewtest.Module(), "-overlay", overlay)
}

// rolling is a cluster whose nodes are replaced under load. Its load balancer sends
// requests to two places.
type rolling struct {
	*Cluster
	places [2]atomic.Pointer[Process]
	busy   [2]sync.RWMutex // held for reading by requests to the place
}

// at does something with the node at a place, or at the other one while the first is
// being replaced, as a load balancer does.
func (r *rolling) at(i int, do func(p *Process)) {
	i %= 2
	if !r.busy[i].TryRLock() {
		i = 1 - i
		r.busy[i].RLock()
	}
	defer r.busy[i].RUnlock()
	do(r.places[i].Load())
}

// replace puts a node of another version in a place.
func (r *rolling) replace(t *testing.T, i int, binary string) {
	t.Helper()
	r.config.Binary = binary
	next := r.node(t, nil, "--lease", "15s", "--shutdown-timeout", await.Limit.String())
	before := r.places[i].Load()
	if before == nil {
		r.places[i].Store(next)
		return
	}
	// New requests go to the next node from here on; those under way end first.
	r.busy[i].Lock()
	r.places[i].Store(next)
	r.busy[i].Unlock()
	cmd := before.cmd
	before.Stop()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with exit code %d:\n%s", before.Name, code, before.Log())
	}
}

// An upgrade and the way back, node by node, with both versions on one database for
// two minutes of load: no request is refused, and each version enforces what the
// other revokes.
func TestVersionsSideBySide(t *testing.T) {
	before, next := buildCommit(t, firstExpanding), buildNext(t)
	r := &rolling{Cluster: onPostgres(t, before)}
	r.replace(t, 0, before)
	r.replace(t, 1, before)
	kept := r.session(t, r.places[0].Load(), "kept", true)

	var requests, revocations atomic.Int64
	done := make(chan struct{})
	var working sync.WaitGroup
	for worker := range 4 {
		working.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				user := fmt.Sprintf("user%d-%d", worker, i)
				var raw string
				did := func(what string, place int, do func(p *Process) (Outcome, string)) bool {
					ok := false
					r.at(place, func(p *Process) {
						requests.Add(1)
						o, why := do(p)
						if ok = o == OK; !ok {
							t.Errorf("%s of %s at %s: %v %s", what, user, p.Name, o, why)
						}
					})
					return ok
				}
				verified := func(want string) func(p *Process) (Outcome, string) {
					return func(p *Process) (Outcome, string) {
						if got := r.verify(p, raw); got != want {
							return Unknown, fmt.Sprintf("verify says %q, want %q", got, want)
						}
						return OK, ""
					}
				}
				if !did("sign-in", i, func(p *Process) (o Outcome, why string) { raw, o, why = r.Begin(p, user); return o, why }) ||
					!did("check", i+1, verified("")) ||
					!did("refresh", i+1, func(p *Process) (o Outcome, why string) { raw, o, why = r.Refresh(p, raw); return o, why }) ||
					!did("check", i, verified("")) {
					return
				}
				waited := 0 * time.Second
				if i%8 == 0 {
					waited = 30 * time.Second
				}
				var receipt Receipt
				if !did("revocation", i, func(p *Process) (o Outcome, why string) {
					receipt, o, why = r.Revoke(p, user, "", waited)
					return o, why
				}) {
					return
				}
				revocations.Add(1)
				if receipt.Enforcement.EffectiveEverywhere {
					for place := range 2 {
						if !did("check of a revoked session", place, verified("revoked")) {
							return
						}
					}
				}
			}
		})
	}
	phase := func(what string, d time.Duration) {
		t.Helper()
		from := requests.Load()
		time.Sleep(d) // load of a certain length is what this test is about
		for place := range 2 {
			r.wants(t, what, r.places[place].Load(), kept, "")
		}
		t.Logf("%s: %d requests in %v", what, requests.Load()-from, d)
	}
	const half = 30 * time.Second
	r.replace(t, 1, next)
	phase("old and new", 2*half)
	r.replace(t, 0, next)
	phase("new", half/3)
	r.replace(t, 1, before)
	phase("new and old, on the way back", 2*half)
	r.replace(t, 0, before)
	phase("old", half/3)
	close(done)
	working.Wait()
	t.Logf("%d requests, %d revocations, none refused", requests.Load(), revocations.Load())
	if requests.Load() == 0 || revocations.Load() == 0 {
		t.Error("there was no load")
	}
}
