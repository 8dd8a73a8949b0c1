//go:build torture

package torture

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/token/follower"
)

// TestDiskFails has the kernel refuse what SQLite writes, by strace, for longer
// than a lease: what cannot be stored is answered with 503 and has not happened,
// checks go on here and downstream, nothing is corrupt, and it heals without a
// restart.
func TestDiskFails(t *testing.T) {
	binary := must[string](t)(asShipped())
	all := []string{"", "-wal", "-shm"}
	for name, test := range map[string]struct {
		inject string
		files  []string
		goesOn func(*diskTest)
	}{
		"there is no room (ENOSPC)":    {"pwrite64,ftruncate,fallocate:error=ENOSPC", all, (*diskTest).goesOnWithout},
		"it cannot be written (EIO)":   {"pwrite64:error=EIO", all, (*diskTest).goesOnWithout},
		"it cannot be synced (EIO)":    {"fsync,fdatasync:error=EIO", all, (*diskTest).goesOnWithout},
		"it cannot be synced (ENOSPC)": {"fsync,fdatasync:error=ENOSPC", all, (*diskTest).goesOnWithout},
		"now and then it fails (EIO)":  {"pwrite64,fsync,fdatasync:error=EIO:when=9+150", all, (*diskTest).goesOnSomehow},
		// The write-ahead log takes all writes, and cannot be moved into the file.
		"only the log can be written (EIO)": {"pwrite64,fsync,fdatasync:error=EIO", all[:1], (*diskTest).goesOnAsEver},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDiskTest(t, binary)
			mend := w.fail(test.inject, test.files)
			test.goesOn(w)
			mend()
			w.heals()
			w.checks("healed")
			w.node.Kill()
			w.noticed()
			w.isSound()
			if err := w.node.Start(); err != nil {
				t.Fatal(err)
			}
			if err := w.ready(w.node); err != nil {
				t.Fatal(err)
			}
			w.checks("after a crash")
			w.node.Stop()
			w.isSound()
		})
	}
}

// diskTest is a node on a file, and a follower of it.
type diskTest struct {
	*Cluster
	t        *testing.T
	node     *Process
	file     string
	follower *follower.Follower

	victim     string   // good until it heals
	good, dead []string // as acknowledged
	refused    []string // users whose sign-in was

	took       []time.Duration // acknowledged sign-ins
	unaffected bool            // no request may be refused because of the disk
}

func newDiskTest(t *testing.T, binary string) *diskTest {
	dir := must[string](t)(filepath.EvalSymlinks(t.TempDir())) // as the kernel calls it
	w := &diskTest{t: t, file: filepath.Join(dir, "curfew.db")}
	w.Cluster = newCluster(t, binary, "sqlite:"+w.file)
	w.node = w.Cluster.node(t, nil, "--lease", faultLease.String())
	w.dead = []string{w.session(t, w.node, "dead", true)}
	w.revoked(t, w.node, "dead")
	w.good = []string{w.session(t, w.node, "good", true)}
	w.victim = w.session(t, w.node, "victim", true)
	var err error
	if w.follower, err = follower.Open(t.Context(), follower.Config{
		Server: "http://" + w.node.Addr, ClientID: w.client.id, ClientSecret: w.client.secret, Audience: "https://curfew.test",
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.follower.Close() }) // nothing is kept
	return w
}

// fail has system calls of the node on its database fail, until mend is called.
func (w *diskTest) fail(inject string, files []string) (mend func()) {
	w.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		w.t.Fatalf("this test has the disk fail by strace: .ci/install test installs it (%v)", err)
	}
	trace := filepath.Join(w.t.TempDir(), "trace")
	args := []string{"-f", "-q", "-o", trace, "-p", fmt.Sprint(w.node.pid()), "-e", "trace=" + calls(inject), "-e", "inject=" + inject}
	for _, suffix := range files {
		args = append(args, "-P", w.file+suffix)
	}
	cmd := exec.Command(strace, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it lets go, and the node goes on
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with strace
	cannot := func(why any) {
		w.t.Helper()
		w.t.Fatalf("strace cannot attach to the server, which takes the right to trace it (ptrace: root or the same user, CAP_SYS_PTRACE in a container, kernel.yama.ptrace_scope=0): %v", why)
	}
	if !await.Holds(await.Limit, func() bool {
		select {
		case err := <-ended:
			cannot(fmt.Sprintf("%v: %s", err, said.String()))
		default:
		}
		return w.traced()
	}) {
		_ = cmd.Process.Kill() // it has not even begun
		cannot("nothing happens")
	}
	mend = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			w.t.Error(err)
		}
		<-ended //nolint:errcheck // strace ends as the server does: by the signal
		text := must[[]byte](w.t)(os.ReadFile(trace))
		n := bytes.Count(text, []byte("(INJECTED)"))
		w.t.Logf("%d system calls failed", n)
		if n == 0 {
			w.t.Errorf("nothing failed; strace says %s", said.String())
		}
	})
	w.t.Cleanup(mend) // before the node is killed
	return mend
}

// calls returns the names of the system calls that get errors injected.
func calls(inject string) string {
	names, _, _ := strings.Cut(inject, ":")
	return names
}

// traced reports whether every thread of the node is traced.
func (w *diskTest) traced() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.node.pid())) // the pattern is well formed
	for _, name := range threads {
		status, err := os.ReadFile(name)
		if err != nil || bytes.Contains(status, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return len(threads) > 0
}

// begin begins a session; "" if that was refused.
func (w *diskTest) begin(user string) string {
	w.t.Helper()
	raw, o, why := w.Begin(w.node, user)
	if o != OK && o != Unavailable {
		w.t.Errorf("a sign-in: %s %s", o, why)
	}
	return raw
}

// revoke revokes the sessions of a user; false if that was refused.
func (w *diskTest) revoke(user string) bool {
	w.t.Helper()
	_, o, why := w.Revoke(w.node, user, "", 0)
	if o != OK && o != Unavailable {
		w.t.Errorf("a revocation: %s %s", o, why)
	}
	return o == OK
}

// goesOnWithout: nothing can be stored, and all that was stored is checked.
func (w *diskTest) goesOnWithout() {
	w.t.Helper()
	rounds := 0
	for began := time.Now(); time.Since(began) < faultBound+time.Second && !w.t.Failed(); rounds++ {
		user := fmt.Sprintf("refused%d", rounds)
		if w.begin(user) != "" {
			w.t.Error("a sign-in was acknowledged")
		}
		w.refused = append(w.refused, user)
		if w.revoke("victim") {
			w.t.Error("a revocation was acknowledged")
		}
		if _, o, why := w.Refresh(w.node, w.victim); o != Unavailable {
			w.t.Errorf("a refresh: %s %s", o, why)
		}
		w.checks("while nothing can be stored")
		w.wants(w.t, "a revocation that was refused", w.node, w.victim, "")
		if _, err := w.follower.Validator().Validate(w.t.Context(), w.good[0]); err != nil {
			w.t.Errorf("the follower, %v after it began: %v", time.Since(began), err)
		}
	}
	w.t.Logf("%d rounds", rounds)
}

// goesOnSomehow: some writes fail.
func (w *diskTest) goesOnSomehow() {
	w.t.Helper()
	if refused := w.work(); refused == 0 || len(w.good) < 20 || len(w.dead) < 5 {
		w.t.Error("this proves little")
	}
	w.checks("while some writes fail")
}

// goesOnAsEver: no request is affected. On a busy machine, under strace, one may run
// out of time, and what the server logs says whether the disk was the reason: see
// noticed. A sign-in that ran out of time while others took a fiftieth of that waited
// for something else than the machine.
func (w *diskTest) goesOnAsEver() {
	w.t.Helper()
	const budget = 2 * time.Second // of a request
	w.unaffected = true
	refused := w.work()
	if len(w.took) == 0 {
		w.t.Fatal("no sign-in was acknowledged")
	}
	if typical := median(w.took); refused > 0 && 50*typical < budget {
		w.t.Errorf("%d sign-ins were refused; others took %v", refused, typical)
	}
	w.checks("while only the log can be written")
}

// noticed reads the log of the node, which has ended: what the disk refused is in it.
func (w *diskTest) noticed() {
	w.t.Helper()
	n := strings.Count(w.node.log.String(), "the disk is not writable")
	w.t.Logf("%d requests were refused because of the disk", n)
	if w.unaffected == (n > 0) {
		w.t.Errorf("%d requests were refused because of the disk; want none: %v\n%s", n, w.unaffected, w.node.Log())
	}
}

// work begins and revokes sessions, enough of them for the write-ahead log to be
// moved into the file meanwhile, which is after a thousand pages.
func (w *diskTest) work() (refused int) {
	w.t.Helper()
	var mu sync.Mutex // of what was said
	var working sync.WaitGroup
	for worker := range 4 {
		working.Go(func() {
			for i := range 70 {
				user := fmt.Sprintf("worker%d-%d", worker, i)
				began := time.Now()
				raw := w.begin(user)
				took := time.Since(began)
				revoked := raw != "" && i%3 == 0 && w.revoke(user)
				mu.Lock()
				if raw != "" {
					w.took = append(w.took, took)
				}
				switch {
				case revoked:
					w.dead = append(w.dead, raw)
				case raw == "":
					refused++
				case i%3 != 0: // else the outcome is unknown
					w.good = append(w.good, raw)
				}
				mu.Unlock()
			}
		})
	}
	working.Wait()
	w.t.Logf("%d good, %d dead, %d sign-ins refused", len(w.good), len(w.dead), refused)
	return refused
}

// checks: what was acknowledged is so.
func (w *diskTest) checks(when string) {
	w.t.Helper()
	for _, raw := range w.good {
		w.wants(w.t, when, w.node, raw, "")
	}
	for _, raw := range w.dead {
		w.wants(w.t, when, w.node, raw, "revoked")
	}
}

// heals: changes are stored again, and refused changes have not happened.
func (w *diskTest) heals() {
	w.t.Helper()
	var raw string
	healed := time.Now()
	if !await.Holds(await.Limit, func() bool { raw = w.begin("healed"); return raw != "" }) {
		w.t.Fatal("it does not heal by itself")
	}
	w.t.Logf("healed within %v", time.Since(healed).Round(time.Millisecond))
	w.good = append(w.good, raw)
	w.wants(w.t, "a revocation that was refused", w.node, w.victim, "")
	w.revoked(w.t, w.node, "victim")
	w.dead = append(w.dead, w.victim)
	for _, user := range w.refused {
		status, list, err := w.call(http.MethodGet, w.node.Addr, "/v1/users/"+user+"/sessions", w.admin, nil)
		if err != nil || len(sessionIDs(list)) > 0 {
			w.t.Errorf("a sign-in that was refused: %d %s %v", status, list, err)
		}
	}
}

// isSound looks at every page of the file, while no server runs.
func (w *diskTest) isSound() {
	w.t.Helper()
	db := must[*sql.DB](w.t)(sql.Open("sqlite", w.file))
	defer db.Close()
	var said string
	if err := db.QueryRowContext(w.t.Context(), `PRAGMA integrity_check`).Scan(&said); err != nil || said != "ok" {
		w.t.Errorf("the file is damaged: %s %v", said, err)
	}
}
