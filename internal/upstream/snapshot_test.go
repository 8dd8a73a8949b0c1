package upstream

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

func TestSnapshotSavesTheTransfer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snapshot")
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.config.SnapshotFile = file
		ann := b.sign("ann")
		for i := range 25_000 {
			b.server.revoked = append(b.server.revoked, revocation.Revocation{Scope: revocation.User(fmt.Sprint("u", i)), Epoch: b.now() - 100 + revocation.Epoch(i/1000)})
		}
		b.revoke(revocation.User("ann"))
		f := b.open()
		expect(t, f, ann, token.ErrRevoked)
		epoch := f.Epoch()
		closeFollower(t, f)
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v; want a file with mode 0600", info, err)
		}
		if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}

		// The next run begins where this one ended, and keeps what it had.
		before := len(b.questions())
		bob := b.sign("bob")
		b.revoke(revocation.User("bob"))
		g := b.open()
		if got := b.questions()[before].Get("after"); got != fmt.Sprint(int64(epoch)) {
			t.Errorf("the first question was after %s, want %d", got, epoch)
		}
		if got := b.questions()[before].Get("confirmed"); got != "0" {
			t.Errorf("it confirmed %s before a server was heard", got)
		}
		expect(t, g, ann, token.ErrRevoked)
		expect(t, g, bob, token.ErrRevoked)
		expect(t, g, b.sign("carl"), nil)
		if n := g.Cache().Stats().Entries; n != 25_002 {
			t.Errorf("%d entries, want 25 002", n)
		}
		closeFollower(t, g)

		// Nothing is answered before a server has been heard.
		b.instead(func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable")
			return true
		})
		b.config.StartTimeout = time.Second
		if h, err := Open(t.Context(), b.config); err == nil {
			t.Errorf("Open = %v without a server", h)
		}
		b.instead(nil)

		// A store restored from a backup that is older than the file.
		b.mu.Lock()
		b.epoch = 950
		b.revoked = nil
		b.mu.Unlock()
		h := b.open()
		if h.Epoch() != 950 {
			t.Errorf("the view is at %d, want 950", h.Epoch())
		}
		closeFollower(t, h)
	})
}

func TestSnapshotThatIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "snapshot")
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.config.SnapshotFile = file
		ann := b.sign("ann")
		b.revoke(revocation.User("ann"), revocation.User("bob"))
		closeFollower(t, b.open())
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]byte{
			"empty":                   {},
			"cut short":               good[:len(good)/2],
			"without its last byte":   good[:len(good)-1],
			"something else":          []byte(strings.Repeat("something else\n", 100)),
			"a bit flipped":           flip(good, len(good)/2),
			"a bit of the sum":        flip(good, len(good)-3),
			"a revocation left out":   bytes.Replace(good, []byte(`{"scope":"user","id":"ann"`), []byte(`{"scope":"user","id":"eve"`), 1),
			"a later epoch":           bytes.Replace(good, []byte(`{"epoch":1001`), []byte(`{"epoch":1009`), 1),
			"another version's title": bytes.Replace(good, []byte("snapshot 1"), []byte("snapshot 2"), 1),
		} {
			if bytes.Equal(bad, good) {
				t.Fatalf("%s: nothing was changed", name)
			}
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			checkFromScratch(t, b, name, ann)
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSnapshot(file, []byte("another secret")); err == nil {
			t.Error("read with another secret")
		}
		b.config.Audience = "other"
		checkFromZero(t, b, "", false) // another audience of the same installation is fine
		b.config.SnapshotFile = dir
		f := b.open()
		if err := f.Close(); err == nil {
			t.Error("a directory was written as a file")
		}
	})
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func checkFromScratch(t *testing.T, b *bench, name, revoked string) {
	t.Helper()
	f := checkFromZero(t, b, name, true)
	if f == nil {
		return
	}
	expect(t, f, revoked, token.ErrUnavailable) // it is closed
}

// checkFromZero opens and closes a follower, and checks where its first question
// began.
func checkFromZero(t *testing.T, b *bench, name string, want bool) *Follower {
	t.Helper()
	before := len(b.questions())
	f := b.open()
	if zero := b.questions()[before].Get("after") == "0"; zero != want {
		t.Errorf("%s: the first question was after %s", name, b.questions()[before].Get("after"))
	}
	if known, _ := f.Cache().Known("ann", "", false); known == 0 {
		t.Errorf("%s: ann is not revoked", name)
	}
	closeFollower(t, f)
	return f
}

func TestSnapshotIsWrittenNowAndThen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snapshot")
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		b.config.SnapshotFile = file
		f := b.open()
		defer closeFollower(t, f)
		for range 3 {
			b.revoke(revocation.User("ann"))
			time.Sleep(snapshotEvery + time.Second)
			a, err := readSnapshot(file, f.snapshotKey())
			if err != nil || a.Epoch != b.now() {
				t.Fatalf("%v, %v; want the state at %d", a, err, b.now())
			}
		}
	})
}
