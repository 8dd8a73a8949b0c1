package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/fileperm"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newSQLite makes a database with some hundred revocations in it, and returns
// the path of the file.
func newSQLite(tb testing.TB) string {
	tb.Helper()
	url := migrated.SQLite(tb)
	s := open(tb, url)
	var scopes []revocation.Scope
	for i := range 500 {
		scopes = append(scopes, revocation.User(fmt.Sprintf("user-%d", i)))
	}
	_, err := revokeAt(tb.Context(), s, noon, scopes...)
	noErr(tb, err)
	noErr(tb, s.Close())
	return strings.TrimPrefix(url, "sqlite:")
}

// raw opens a database as any other program would.
func raw(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, OmitHost: true}).String())
	noErr(tb, err)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func execRaw(tb testing.TB, path string, statements ...string) {
	tb.Helper()
	db := raw(tb, path)
	for _, s := range statements {
		_, err := db.ExecContext(tb.Context(), s)
		noErr(tb, err)
	}
	noErr(tb, db.Close())
}

func TestSQLiteIsMadeWhereThereIsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?#%41&ü'\"")
	noErr(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "c d?mode=memory#%.db")
	s := open(t, "sqlite:"+path)
	_, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
	noErr(t, err)
	entries, err := os.ReadDir(dir)
	noErr(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(path)) {
			t.Errorf("%s lies about", e.Name())
		}
		info, err := e.Info()
		noErr(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if w := s.Warnings(t.Context()); w != nil {
		t.Errorf("warnings: %q", w)
	}
	for _, mode := range []fs.FileMode{0o660, 0o644} {
		noErr(t, os.Chmod(path, mode))
		if w := s.Warnings(t.Context()); len(w) != 1 || !strings.Contains(w[0], "chmod 600") {
			t.Errorf("warnings of a file with mode %04o: %q", mode, w)
		}
	}
	noErr(t, s.Close())
	_, err = sqlstore.Open(t.Context(), sqlstore.Config{URL: "sqlite:" + path, Create: true})
	is(t, err, fileperm.ErrExposed)
	noErr(t, os.Chmod(path, 0o660))
	open(t, "sqlite:"+path)
}

func TestSQLiteRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "sqlite:curfew.db")
	e, err := revokeAt(t.Context(), s, noon)
	noErr(t, err)
	got, err := open(t, "sqlite:./curfew.db").Clock(t.Context())
	noErr(t, err)
	if got != e {
		t.Fatalf("clock %d, want %d", got, e)
	}
}

// TestSQLiteStartsTogether: of several first starts at the same time, all go on
// with one database.
func TestSQLiteStartsTogether(t *testing.T) {
	t.Parallel()
	for range 5 {
		url := "sqlite:" + filepath.Join(t.TempDir(), "curfew.db")
		const starts = 4
		var running, opened sync.WaitGroup
		opened.Add(starts)
		var epochs [starts]revocation.Epoch
		for i := range starts {
			running.Go(func() {
				s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true})
				opened.Done()
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				opened.Wait()
				if epochs[i], err = revokeAt(t.Context(), s, noon); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		slices.Sort(epochs[:])
		for i, e := range epochs {
			if want := revocation.Epoch(noon.UnixMicro() + int64(i)); e != want {
				t.Errorf("epoch %d, want %d: they do not share a clock", e, want)
			}
		}
	}
}

// TestSQLiteRefuses: files that are no intact database of Curfew are refused, with
// the remedy, and are not changed.
func TestSQLiteRefuses(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, content []byte) string {
		path := filepath.Join(t.TempDir(), "file")
		noErr(t, os.WriteFile(path, content, 0o600))
		return path
	}
	header := []byte("SQLite format 3\x00")
	both := []bool{false, true}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T) string
		create []bool
		want   error
		says   string
	}{
		{"nothing", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, []bool{false}, store.ErrNotFound, "curfew serve"},
		{"no directory", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none", "curfew.db") }, []bool{true}, store.ErrUnavailable, "no such file"},
		{"a directory", func(t *testing.T) string { return t.TempDir() }, both, store.ErrForeign, "directory"},
		{"an empty file", func(t *testing.T) string { return write(t, nil) }, both, store.ErrForeign, "empty"},
		{"a text", func(t *testing.T) string { return write(t, bytes.Repeat([]byte("not a database\n"), 1000)) }, both, store.ErrForeign, "not an SQLite database"},
		{"zeros", func(t *testing.T) string { return write(t, make([]byte, 65536)) }, both, store.ErrForeign, "not an SQLite database"},
		{"a header and no more", func(t *testing.T) string { return write(t, header) }, both, store.ErrForeign, "not an SQLite database"},
		{"a database of another program", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			execRaw(t, path, `CREATE TABLE users (id TEXT)`)
			return path
		}, both, store.ErrForeign, "another program"},
		{"a newer schema", func(t *testing.T) string {
			path := newSQLite(t)
			execRaw(t, path, contracted)
			return path
		}, both, store.ErrNewerSchema, "998"},
		{"an older schema", func(t *testing.T) string {
			path := newSQLite(t)
			execRaw(t, path, `DELETE FROM curfew_schema WHERE version_id > 0`)
			return path
		}, []bool{false}, store.ErrOlderSchema, "curfew serve"},
		{"no version", func(t *testing.T) string {
			path := newSQLite(t)
			execRaw(t, path, `DROP TABLE curfew_schema`)
			return path
		}, both, store.ErrUnavailable, "curfew_schema"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			for _, create := range c.create {
				refused(t, path, create, c.want, c.says)
			}
		})
	}
}

// refused fails unless a file is refused, and is afterwards what it was before.
func refused(t *testing.T, path string, create bool, want error, says string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: "sqlite:" + path, Create: create})
	if err == nil {
		_ = s.Close()
	}
	is(t, err, want)
	if !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error %q is not one line about %s that says %q", err, path, says)
	}
	after, _ := os.ReadFile(path)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestSQLiteDamagedPages(t *testing.T) {
	t.Parallel()
	path := newSQLite(t)
	sound, err := os.ReadFile(path)
	noErr(t, err)
	const page = 4096
	for n := 1; n <= len(sound)/page; n++ {
		damaged := bytes.Clone(sound)
		from := (n - 1) * page
		if n == 1 {
			from = 100 // behind the header
		}
		for i := from; i < n*page; i++ {
			damaged[i] ^= 0x5a
		}
		noErr(t, os.WriteFile(path, damaged, 0o600))
		refused(t, path, true, store.ErrCorrupt, "curfew restore")
	}
}

// TestSQLiteDamagedLarge: of a file that is too large to be read whole at a start,
// what decides who gets in is read.
func TestSQLiteDamagedLarge(t *testing.T) {
	sqlstore.CheckDecisiveOnly(t)
	path := newSQLite(t)
	root := map[string]int64{}
	db := raw(t, path)
	for _, name := range []string{"revocations", "clock", "audit_by_time"} {
		var page int64
		noErr(t, db.QueryRowContext(t.Context(), `SELECT rootpage FROM sqlite_master WHERE name = ?`, name).Scan(&page))
		root[name] = page
	}
	noErr(t, db.Close())
	sound, err := os.ReadFile(path)
	noErr(t, err)
	for name, page := range root {
		damaged := bytes.Clone(sound)
		for i := (page - 1) * 4096; i < page*4096; i++ {
			damaged[i] ^= 0x5a
		}
		noErr(t, os.WriteFile(path, damaged, 0o600))
		if name != "audit_by_time" {
			refused(t, path, true, store.ErrCorrupt, "curfew restore")
			continue
		}
		s := open(t, "sqlite:"+path) // comes to light when it is used
		_, err := s.AuditBuckets(t.Context(), 1, 1, []string{""})
		is(t, err, store.ErrCorrupt)
		_, err = revokeAt(t.Context(), s, noon)
		is(t, err, store.ErrCorrupt)
		noErr(t, s.Close())
	}
}

func TestSQLiteDiskFull(t *testing.T) {
	path := newSQLite(t)
	s := open(t, "sqlite:"+path)
	before, err := s.Clock(t.Context())
	noErr(t, err)
	sqlstore.LimitPages(t, s, 1) // none more than there are
	var scopes []revocation.Scope
	for i := range 2000 {
		scopes = append(scopes, revocation.Session(fmt.Sprint("session-", i)))
	}
	for range 3 {
		_, err := revokeAt(t.Context(), s, noon, scopes...)
		is(t, err, store.ErrUnavailable)
		is(t, err, store.ErrDisk)
		if !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("the error %q does not say that the disk is full", err)
		}
		after, err := s.Clock(t.Context())
		noErr(t, err)
		if after != before {
			t.Errorf("clock %d, want %d: nothing has happened", after, before)
		}
	}
	sqlstore.LimitPages(t, s, 1<<20)
	_, err = revokeAt(t.Context(), s, noon, scopes...)
	noErr(t, err)
}

func TestSQLiteCutShort(t *testing.T) {
	t.Parallel()
	path := newSQLite(t)
	sound, err := os.ReadFile(path)
	noErr(t, err)
	for _, size := range []int{1000, 4096, 5000, len(sound) / 2, len(sound) - 4096, len(sound) - 1} {
		noErr(t, os.WriteFile(path, sound[:size], 0o600))
		refused(t, path, true, store.ErrCorrupt, "curfew restore")
		refused(t, path, false, store.ErrCorrupt, "curfew restore")
	}
	for _, size := range []int{1, 99} { // what it was cannot be told
		noErr(t, os.WriteFile(path, sound[:size], 0o600))
		refused(t, path, true, store.ErrForeign, "restore")
	}
}

// TestSQLiteWriteAheadLog: after a crash the write-ahead log holds commits that are
// not in the file yet. Cut short anywhere, it still gives whole commits, the first
// ones, in their order.
func TestSQLiteWriteAheadLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curfew.db")
	s := open(t, "sqlite:"+path)
	epochs := []revocation.Epoch{0}
	for i := range 20 {
		e, err := revokeAt(t.Context(), s, noon, revocation.User(fmt.Sprint(i)), revocation.Session(fmt.Sprint(i)))
		noErr(t, err)
		epochs = append(epochs, e)
	}
	file, err := os.ReadFile(path)
	noErr(t, err)
	log, err := os.ReadFile(path + "-wal")
	noErr(t, err)
	last := len(epochs) - 1
	for size := len(log); size > 0; size -= len(log)/25 + 13 {
		crashed := filepath.Join(t.TempDir(), "curfew.db")
		noErr(t, os.WriteFile(crashed, file, 0o600))
		noErr(t, os.WriteFile(crashed+"-wal", log[:size], 0o600))
		s := open(t, "sqlite:"+crashed)
		clock, err := s.Clock(t.Context())
		noErr(t, err)
		for last >= 0 && epochs[last] != clock {
			last--
		}
		if last < 0 {
			t.Fatalf("with %d bytes of the log, the clock %d is none that was committed, or goes up", size, clock)
		}
		n, err := s.CountRevocations(t.Context())
		noErr(t, err)
		entries, err := s.Audits(t.Context(), store.AuditFilter{}, 100)
		noErr(t, err)
		if n != int64(2*last) || len(entries) != last {
			t.Fatalf("with %d bytes of the log: %d revocations and %d entries after %d commits", size, n, len(entries), last)
		}
		if size == len(log) && last != 20 {
			t.Fatalf("with the whole log, %d commits of 20", last)
		}
		noErr(t, s.Close())
	}
	if last > 1 {
		t.Fatalf("with hardly any log, still %d commits", last)
	}
}

func TestSQLiteReadOnly(t *testing.T) {
	path := newSQLite(t)
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		noErr(t, os.Chmod(dir, 0o755))
	}
	for _, c := range []struct {
		name string
		file os.FileMode
		says string
	}{
		{"may be read", 0o444, "read-only"},
		{"may not be read", 0o000, "cannot be opened"},
	} {
		t.Run(c.name, func(t *testing.T) {
			noErr(t, os.Chmod(path, c.file))
			if os.Geteuid() != 0 {
				noErr(t, os.Chmod(filepath.Dir(path), 0o500))
				defer func() { _ = os.Chmod(filepath.Dir(path), 0o700) }()
			}
			before, err := os.Stat(path)
			noErr(t, err)
			other := prepareChild(t, "open", "sqlite:"+path, asNobody(t))
			noErr(t, other.command.Start())
			_ = other.input.Close()
			said, err := io.ReadAll(other.output)
			noErr(t, err)
			if err := other.command.Wait(); err == nil {
				t.Error("it was opened")
			}
			if !strings.Contains(string(said), c.says) || strings.Count(string(said), "\n") != 1 {
				t.Errorf("it says %q, want a line with %q", said, c.says)
			}
			after, err := os.Stat(path)
			noErr(t, err)
			if !os.SameFile(before, after) {
				t.Error("the file was replaced")
			}
		})
	}
}

func TestSQLiteLockedElsewhere(t *testing.T) {
	t.Parallel()
	path := newSQLite(t)
	s := open(t, "sqlite:"+path)
	other := startChild(t, "lock", "sqlite:"+path, nil)

	began := time.Now()
	failed := make(chan error, 2)
	go func() {
		another, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: "sqlite:" + path})
		if err == nil {
			_ = another.Close()
		}
		failed <- err
	}()
	go func() {
		_, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
		failed <- err
	}()
	// Meanwhile reading goes on.
	n, err := s.CountRevocations(t.Context())
	noErr(t, err)
	if n != 500 {
		t.Errorf("%d revocations, want 500", n)
	}
	for range 2 {
		err := <-failed
		is(t, err, store.ErrLocked)
		is(t, err, store.ErrUnavailable)
	}
	if d := time.Since(began); d < 4*time.Second || d > slowness*5*time.Second {
		t.Errorf("it took %v, want about the 5 s of the busy timeout", d)
	}
	other.end()
	_, err = revokeAt(t.Context(), s, noon, revocation.Everyone())
	noErr(t, err)
}

// TestSQLiteOtherProcess: what another process commits is noticed soon, and is
// read as it was committed.
func TestSQLiteOtherProcess(t *testing.T) {
	t.Parallel()
	path := newSQLite(t)
	s := open(t, "sqlite:"+path)
	other := startChild(t, "revoke", "sqlite:"+path, nil)
	watch := s.Watch(t.Context())
	for i := range 5 {
		quiet(watch) // wake-ups left from before
		before, err := s.Clock(t.Context())
		noErr(t, err)
		// Both advance one clock.
		mine, err := revokeAt(t.Context(), s, noon)
		noErr(t, err)
		if mine <= before {
			t.Fatalf("epoch %d after %d", mine, before)
		}
		user := fmt.Sprint("theirs-", i)
		_, err = fmt.Fprintln(other.input, user)
		noErr(t, err)
		for {
			woken(t, "by another process", watch)
			r, err := s.RevokedBefore(t.Context(), user, "")
			noErr(t, err)
			if r.User > 0 {
				if r.User <= mine || r.Clock < r.User {
					t.Fatalf("revoked at %d, after %d, when the clock stood at %d", r.User, mine, r.Clock)
				}
				break
			}
		}
	}
	other.end()
}

func TestSQLiteBackup(t *testing.T) {
	t.Parallel()
	path := newSQLite(t)
	s := open(t, "sqlite:"+path)
	dir := t.TempDir()
	backup := filepath.Join(dir, "back up?.db")

	// Consistent during writes: as many entries as revoking calls.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := revokeAt(t.Context(), s, noon, revocation.Session(fmt.Sprint(i))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	noErr(t, s.Backup(t.Context(), backup))
	cancel()
	noErr(t, <-done)

	info, err := os.Stat(backup)
	noErr(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v", info.Mode())
	}
	content, err := os.ReadFile(backup)
	noErr(t, err)
	is(t, s.Backup(t.Context(), backup), store.ErrConflict)
	again, err := os.ReadFile(backup)
	noErr(t, err)
	if !bytes.Equal(content, again) {
		t.Error("the backup was overwritten")
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "none", "backup.db")); err == nil {
		t.Error("backed up to a directory that is not there")
	}

	copied := open(t, "sqlite:"+backup)
	n, err := copied.CountRevocations(t.Context())
	noErr(t, err)
	entries, err := copied.Audits(t.Context(), store.AuditFilter{}, 1_000_000)
	noErr(t, err)
	if n < 500 || int64(len(entries)) != 1+n-500 {
		t.Errorf("the backup has %d revocations and %d entries", n, len(entries))
	}
	noErr(t, copied.Close())
	files, err := os.ReadDir(dir)
	noErr(t, err)
	if len(files) != 1 {
		t.Errorf("%d files, want only the backup", len(files))
	}
}
