package sqlstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

var cli = store.Audit{Actor: store.Actor{Kind: store.ActorCLI, Name: "root"}, Action: "restore", Reason: "the disk failed"}

// newBackup makes a database with settings, a key, a client, a node and a
// session, and a backup of it.
func newBackup(t *testing.T) (path, backup string) {
	t.Helper()
	path = newSQLite(t)
	s := open(t, "sqlite:"+path)
	noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
		ctx := t.Context()
		e, err := tx.Advance(ctx, noon)
		noErr(t, err)
		noErr(t, tx.PutSettings(ctx, store.Settings{InForce: settings.InForce{Settings: settings.Default(), Epoch: e}, LongestMaximum: 9}))
		noErr(t, tx.PutInstallation(ctx, store.Installation{Issuer: "issuer", Audience: []string{"a"}, Epoch: e}))
		noErr(t, tx.PutKey(ctx, store.Key{ID: "k1", State: store.KeyActive, Sealed: "sealed", Epoch: e}))
		noErr(t, tx.PutNode(ctx, store.Node{ID: "n1"}, false))
		return tx.InsertSession(ctx, store.Session{ID: "s1", UserID: "ann", Epoch: e, BeganAt: noon.UnixMicro(), LastSeenAt: noon.UnixMicro(), ExpiresAt: noon.Add(time.Hour).UnixMicro()})
	}))
	backup = filepath.Join(t.TempDir(), "backup.db")
	noErr(t, s.Backup(t.Context(), backup))
	noErr(t, s.Close())
	return path, backup
}

func TestRestore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		clock  time.Duration // to which the database that is replaced came, from noon
		now    time.Duration // from noon
		target func(t *testing.T, path string)
		want   revocation.Epoch // the clock, from noon; 0: one above where the old one was
	}{
		{"later than both", time.Hour, 2 * time.Hour, nil, revocation.Epoch(2 * time.Hour / time.Microsecond)},
		{"by a clock that is behind what was replaced", time.Hour, time.Minute, nil, 0},
		{"by a clock that is behind the backup", 0, -time.Hour, nil, 0},
		{"where there is nothing", 0, time.Hour, func(t *testing.T, path string) { noErr(t, os.Remove(path)) }, revocation.Epoch(time.Hour / time.Microsecond)},
		{"where there is nothing but a log", 0, time.Hour, func(t *testing.T, path string) {
			s := open(t, "sqlite:"+path)
			_, err := revokeAt(t.Context(), s, noon, revocation.User("later"))
			noErr(t, err)
			log, err := os.ReadFile(path + "-wal") // sound, and of another file
			noErr(t, err)
			noErr(t, s.Close())
			noErr(t, os.Remove(path))
			noErr(t, os.WriteFile(path+"-wal", log, 0o600))
		}, revocation.Epoch(time.Hour / time.Microsecond)},
		{"over what is damaged, with a log that is not the backup's", 0, time.Hour, func(t *testing.T, path string) {
			noErr(t, os.WriteFile(path, bytes.Repeat([]byte("damaged "), 2000), 0o644))
			noErr(t, os.WriteFile(path+"-wal", bytes.Repeat([]byte("log "), 2000), 0o600))
		}, revocation.Epoch(time.Hour / time.Microsecond)},
		{"over an empty file", 0, time.Hour, func(t *testing.T, path string) { noErr(t, os.Truncate(path, 0)) }, revocation.Epoch(time.Hour / time.Microsecond)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, backup := newBackup(t)
			s := open(t, "sqlite:"+path)
			// After the backup: a revocation, a user, another clock.
			old, err := revokeAt(t.Context(), s, noon.Add(c.clock), revocation.User("later"))
			noErr(t, err)
			noErr(t, s.Close())
			if c.target != nil {
				c.target(t, path)
			}
			before, err := os.ReadFile(backup)
			noErr(t, err)

			noErr(t, sqlstore.Restore(t.Context(), sqlstore.Restoring{
				From: backup, To: "sqlite:" + path, Replace: true, Now: noon.Add(c.now), Audit: cli,
			}))

			want := old + 1
			if c.want != 0 {
				want = c.want + revocation.Epoch(noon.UnixMicro())
			}
			restored(t, path, want, noon.Add(c.now))
			after, err := os.ReadFile(backup)
			noErr(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the backup was changed")
			}
		})
	}
}

// restored fails unless the database is that of newBackup, with everyone revoked
// at the epoch given and all that followers copy moved there.
func restored(t *testing.T, path string, epoch revocation.Epoch, now time.Time) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	noErr(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files beside the database: %v", len(entries)-1, entries)
	}
	info, err := os.Stat(path)
	noErr(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the database has mode %v", info.Mode())
	}
	ctx := t.Context()
	s := open(t, "sqlite:"+path)
	r, err := s.RevokedBefore(ctx, "later", "")
	noErr(t, err)
	if (r != store.RevokedBefore{Clock: epoch, Everyone: epoch}) {
		t.Errorf("revoked before %+v, want everyone at %d and nothing from after the backup", r, epoch)
	}
	n, err := s.CountRevocations(ctx)
	noErr(t, err)
	if n != 500 {
		t.Errorf("%d revocations, want the 500 of the backup", n)
	}
	// A follower that had come to the end of what was replaced gets everything.
	changes, err := s.ChangesAfter(ctx, epoch-1, 1000)
	noErr(t, err)
	if changes.Settings == nil || changes.Settings.LongestMaximum != 9 || changes.Installation == nil ||
		len(changes.Keys) != 1 || changes.Keys[0].Sealed != "sealed" || len(changes.Revocations) != 1 {
		t.Errorf("followers get %+v", changes)
	}
	nodes, err := s.Nodes(ctx)
	noErr(t, err)
	if len(nodes) != 1 || nodes[0].ID != "n1" {
		t.Errorf("nodes %v, want those of the replaced database, and of the backup if they can't be read", nodes)
	}
	live, err := s.CountLive(ctx, store.Live{Now: noon.UnixMicro(), Settings: changes.Settings.InForce}, "", "")
	noErr(t, err)
	if live.Sessions != 0 {
		t.Errorf("%d sessions live", live.Sessions)
	}
	audit, err := s.Audits(ctx, store.AuditFilter{Epoch: epoch}, 10)
	noErr(t, err)
	want := cli
	want.At, want.Epoch, want.Scope, want.TargetKind = now.UnixMicro(), epoch, revocation.KindEveryone, "everyone"
	if len(audit) != 1 {
		t.Fatalf("%d entries of the restoring", len(audit))
	}
	want.ID = audit[0].ID
	if audit[0] != want {
		t.Errorf("the audit says %+v, want %+v", audit[0], want)
	}
	receipts, err := s.Receipts(ctx, store.ReceiptFilter{}, 10)
	noErr(t, err)
	if len(receipts) != 1 || receipts[0].Epoch != epoch || receipts[0].Scope != "everyone" || receipts[0].Actor.Kind != cli.Actor.Kind || receipts[0].Reason != cli.Reason ||
		receipts[0].CommittedAt != now.UnixMicro() || receipts[0].Sessions != store.NotCounted || receipts[0].ClosedAt != 0 {
		t.Errorf("receipts: %+v", receipts)
	}
}

// A server that has just ended has granted leases to followers. A receipt of the
// restored database must wait for them, and not for the nodes of the backup.
func TestRestoreKeepsNodes(t *testing.T) {
	t.Parallel()
	path, backup := newBackup(t)
	s := open(t, "sqlite:"+path)
	e, err := revokeAt(t.Context(), s, noon.Add(time.Minute), revocation.User("later"))
	noErr(t, err)
	ended := store.Node{ID: "n2", Name: "host:8420", Version: "v1", StartedAt: 3, Beat: 7, LeaseMS: 15_000, ViewEpoch: e, Confirmed: e, Followers: 2, Asks: e}
	noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.DeleteNode(t.Context(), "n1"), tx.PutNode(t.Context(), ended, false),
			tx.PutNode(t.Context(), store.Node{ID: "n3", LeaseMS: 15_000, Left: true}, false))
	}))
	noErr(t, s.Close())
	noErr(t, sqlstore.Restore(t.Context(), sqlstore.Restoring{From: backup, To: "sqlite:" + path, Replace: true, Now: noon.Add(time.Hour), Audit: cli}))

	nodes, err := open(t, "sqlite:"+path).Nodes(t.Context())
	noErr(t, err)
	ended.ViewEpoch, ended.Confirmed, ended.Asks = 0, 0, 0
	for i := range nodes {
		if len(nodes[i].Waiting)+len(nodes[i].Lapsed) == 0 {
			nodes[i].Waiting, nodes[i].Lapsed = nil, nil
		}
	}
	if len(nodes) != 1 || !reflect.DeepEqual(nodes[0], ended) {
		t.Errorf("nodes %+v, want the one that has not given up its leases, %+v", nodes, ended)
	}
}

// TestRestoreKeeps: what was there is all there still, under another name, and
// nothing that is there is written over.
func TestRestoreKeeps(t *testing.T) {
	t.Parallel()
	read := func(t *testing.T, path string) []byte {
		t.Helper()
		content, err := os.ReadFile(path)
		noErr(t, err)
		return content
	}
	restore := func(t *testing.T, backup, path, keep string) error {
		return sqlstore.Restore(t.Context(), sqlstore.Restoring{From: backup, To: "sqlite:" + path, Keep: keep, Now: noon.Add(time.Hour), Audit: cli})
	}
	// where puts a database or its remains into a directory of its own.
	where := func(t *testing.T) (path, backup, kept string) {
		path, backup = newBackup(t)
		return path, backup, filepath.Join(t.TempDir(), "kept.db")
	}
	epoch := revocation.Epoch(noon.Add(time.Hour).UnixMicro())

	t.Run("a database", func(t *testing.T) {
		path, backup, kept := where(t)
		s := open(t, "sqlite:"+path)
		later, err := revokeAt(t.Context(), s, noon, revocation.User("later"))
		noErr(t, err)
		// Not closed: some of it is in the log, as after a crash.
		copied := filepath.Join(t.TempDir(), "curfew.db")
		for _, suffix := range []string{"", "-wal"} {
			noErr(t, os.WriteFile(copied+suffix, read(t, path+suffix), 0o600))
		}
		noErr(t, s.Close())
		noErr(t, restore(t, backup, copied, kept))
		restored(t, copied, epoch, noon.Add(time.Hour))
		r, err := open(t, "sqlite:"+kept).RevokedBefore(t.Context(), "later", "")
		noErr(t, err)
		if r.User != later {
			t.Errorf("what was kept has %+v, want the user revoked at %d", r, later)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		path, backup, kept := where(t)
		noErr(t, os.Remove(path))
		noErr(t, restore(t, backup, path, kept))
		restored(t, path, epoch, noon.Add(time.Hour))
		if _, err := os.Lstat(kept); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is something kept: %v", err)
		}
	})
	t.Run("what is damaged, and its log", func(t *testing.T) {
		path, backup, kept := where(t)
		s := open(t, "sqlite:"+path)
		_, err := revokeAt(t.Context(), s, noon, revocation.User("later"))
		noErr(t, err)
		log := read(t, path+"-wal")
		noErr(t, s.Close())
		damaged := bytes.Repeat([]byte("damaged "), 2000)
		noErr(t, os.WriteFile(path, damaged, 0o600))
		noErr(t, os.WriteFile(path+"-wal", log, 0o600))
		noErr(t, restore(t, backup, path, kept))
		restored(t, path, epoch, noon.Add(time.Hour))
		if !bytes.Equal(read(t, kept), damaged) || !bytes.Equal(read(t, kept+"-wal"), log) {
			t.Error("it is not what it was")
		}
	})
	t.Run("over something", func(t *testing.T) {
		path, backup, kept := where(t)
		noErr(t, os.WriteFile(kept, []byte("mine"), 0o600))
		is(t, restore(t, backup, path, kept), store.ErrConflict)
		r, err := open(t, "sqlite:"+path).RevokedBefore(t.Context(), "later", "")
		noErr(t, err)
		if r.Everyone != 0 || string(read(t, kept)) != "mine" {
			t.Errorf("something was written over: %+v", r)
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	path, backup := newBackup(t)
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged")
	content, err := os.ReadFile(backup)
	noErr(t, err)
	spoilt := bytes.Clone(content)
	for i := len(spoilt) / 2; i < len(spoilt)/2+4096; i++ {
		spoilt[i] ^= 0xff
	}
	noErr(t, os.WriteFile(damaged, spoilt, 0o600))
	newer := filepath.Join(dir, "newer")
	noErr(t, os.WriteFile(newer, content, 0o600))
	execRaw(t, newer, contracted)
	foreign := filepath.Join(dir, "foreign")
	noErr(t, os.WriteFile(foreign, []byte("not a backup"), 0o600))

	for _, c := range []struct {
		name     string
		from, to string
		replace  bool
		want     error
		says     string
	}{
		{"no backup", filepath.Join(dir, "none"), path, true, store.ErrNotFound, "no such file"},
		{"a damaged backup", damaged, path, true, store.ErrCorrupt, damaged},
		{"a backup of a newer version", newer, path, true, store.ErrNewerSchema, "newer"},
		{"something else", foreign, path, true, store.ErrForeign, "not an SQLite database"},
		{"the database itself", path, path, true, store.ErrConflict, "itself"},
		{"a database, and no leave to replace it", backup, path, false, store.ErrConflict, "replaced"},
		{"a directory", backup, dir, true, store.ErrForeign, "regular file"},
		{"nowhere", backup, filepath.Join(dir, "none", "curfew.db"), true, store.ErrUnavailable, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := os.ReadFile(path)
			noErr(t, err)
			err = sqlstore.Restore(t.Context(), sqlstore.Restoring{From: c.from, To: "sqlite:" + c.to, Replace: c.replace, Now: noon, Audit: cli})
			is(t, err, c.want)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error %q is not one line that says %q", err, c.says)
			}
			after, err := os.ReadFile(path)
			noErr(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the database was changed")
			}
		})
	}
	err = sqlstore.Restore(t.Context(), sqlstore.Restoring{From: backup, To: "postgres://localhost/curfew"})
	if err == nil || !strings.Contains(err.Error(), "pg_restore") {
		t.Errorf("the error %v does not name pg_restore", err)
	}
}

// TestRestoreWhileServed: a database that a server has open stays where it is,
// sound or damaged.
func TestRestoreWhileServed(t *testing.T) {
	t.Parallel()
	path, backup := newBackup(t)
	restore := func() error {
		return sqlstore.Restore(context.Background(), sqlstore.Restoring{From: backup, To: "sqlite:" + path, Replace: true, Now: noon, Audit: cli})
	}
	locked := func(who string) {
		t.Helper()
		before, err := os.Stat(path)
		noErr(t, err)
		is(t, restore(), store.ErrLocked)
		after, err := os.Stat(path)
		noErr(t, err)
		if !os.SameFile(before, after) {
			t.Errorf("%s: the file was replaced", who)
		}
	}
	s := open(t, "sqlite:"+path)
	_, err := s.Clock(t.Context())
	noErr(t, err)
	locked("here")
	_, err = revokeAt(t.Context(), s, noon)
	noErr(t, err) // the server goes on
	noErr(t, s.Close())

	other := startChild(t, "open", "sqlite:"+path, nil)
	locked("in another process")
	other.end()

	other = startChild(t, "open", "sqlite:"+path, nil)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	noErr(t, err)
	_, err = file.Write(make([]byte, 4096))
	noErr(t, err)
	noErr(t, file.Close())
	locked("in another process, and damaged")
	other.kill()
	noErr(t, restore())
	open(t, "sqlite:"+path)
}

// TestRestoreMeetsStart: when a server starts while a backup is put in the place
// of its database, one of them gives way, or the server has what was restored.
// What it acknowledges is never in a file that is gone.
func TestRestoreMeetsStart(t *testing.T) {
	t.Parallel()
	path, backup := newBackup(t)
	var restored, refused int
	for i := range 30 {
		user := fmt.Sprint("acknowledged-", i)
		done := make(chan error, 1)
		go func() {
			done <- sqlstore.Restore(t.Context(), sqlstore.Restoring{From: backup, To: "sqlite:" + path, Replace: true, Now: noon, Audit: cli})
		}()
		time.Sleep(time.Duration(i%15) * time.Millisecond) // the start meets each stage of the restoring
		s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: "sqlite:" + path})
		noErr(t, err) // it waits for what takes milliseconds
		switch err := <-done; {
		case err == nil:
			restored++
		case errors.Is(err, store.ErrLocked):
			refused++
		default:
			t.Fatal(err)
		}
		_, err = revokeAt(t.Context(), s, noon, revocation.User(user))
		noErr(t, err)
		noErr(t, s.Close())
		s = open(t, "sqlite:"+path)
		r, err := s.RevokedBefore(t.Context(), user, "")
		noErr(t, err)
		if r.User == 0 {
			t.Fatalf("round %d: what was acknowledged is gone (%d restored, %d refused)", i, restored, refused)
		}
		noErr(t, s.Close())
	}
	t.Logf("%d restored, %d refused", restored, refused)
}
