//go:build torture

package torture

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
)

// Damaged SQLite files when a server starts: it reports the fault in one line, with
// the remedy, changes nothing and makes no new database; a truncated write-ahead
// log costs the commit at its end, and nothing else.
func TestSQLiteTrouble(t *testing.T) {
	binary := must[string](t)(asShipped())
	sound := t.TempDir()
	c := newCluster(t, binary, "sqlite:"+filepath.Join(sound, "curfew.db"))
	node := c.node(t, nil)
	good, dead := c.session(t, node, "good", true), c.session(t, node, "dead", true)
	c.revoked(t, node, "dead")
	log := func() int64 { return must[os.FileInfo](t)(os.Stat(filepath.Join(sound, "curfew.db-wal"))).Size() }
	revoked := log()
	await.Until(t, "something is written after the revocation", func() bool { return log() > revoked })
	node.Kill() // the write-ahead log stays
	crashed := map[string][]byte{}
	for _, name := range []string{"curfew.db", "curfew.db-wal"} {
		crashed[name] = must[[]byte](t)(os.ReadFile(filepath.Join(sound, name)))
	}
	if len(crashed["curfew.db-wal"]) < 4096 {
		t.Fatal("there is no write-ahead log: this tries nothing")
	}
	for _, err := range []error{node.Start(), c.ready(node)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	node.Stop() // and now it is in the file
	whole := must[[]byte](t)(os.ReadFile(filepath.Join(sound, "curfew.db")))

	for name, test := range map[string]struct {
		files map[string][]byte
		also  func(t *testing.T, file string)
		says  string
	}{
		"a corrupt page":  {files: map[string][]byte{"curfew.db": spoiled(whole, len(whole)/2)}, says: "curfew restore"},
		"cut short":       {files: map[string][]byte{"curfew.db": whole[:len(whole)/2+1000]}, says: "curfew restore"},
		"a spoilt header": {files: map[string][]byte{"curfew.db": spoiled(whole, 0)}, says: "not an SQLite database"},
		"nothing in it":   {files: map[string][]byte{"curfew.db": nil}, says: "the file is empty"},
		"locked by another process": {files: map[string][]byte{"curfew.db": whole}, also: func(t *testing.T, file string) {
			db := must[*sql.DB](t)(sql.Open("sqlite", file))
			t.Cleanup(func() { _ = db.Close() }) // nothing is kept
			db.SetMaxOpenConns(1)
			if _, err := db.ExecContext(t.Context(), `BEGIN EXCLUSIVE`); err != nil {
				t.Fatal(err)
			}
		}, says: "locked by another process"},
		"read-only": {files: map[string][]byte{"curfew.db": whole}, also: func(t *testing.T, file string) {
			dir := filepath.Dir(file)
			err := syscall.Mount(dir, dir, "", syscall.MS_BIND, "")
			if err == nil {
				t.Cleanup(func() {
					if err := syscall.Unmount(dir, 0); err != nil {
						t.Errorf("what was mounted at %s stays: %v", dir, err)
					}
				})
				err = syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
			}
			if err != nil {
				t.Fatalf("this test makes a directory read-only, which takes the right to mount one (root, or CAP_SYS_ADMIN): %v", err)
			}
		}, says: "read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			file := laidOut(t, test.files)
			if test.also != nil {
				test.also(t, file)
			}
			said := refusal(t, binary, file)
			if !strings.Contains(said, test.says) || strings.Count(said, "\n") != 1 {
				t.Errorf("it says %q, want a line with %q", said, test.says)
			}
			if after := must[[]byte](t)(os.ReadFile(file)); !bytes.Equal(after, test.files["curfew.db"]) {
				t.Error("the file was changed")
			}
		})
	}

	for name, cut := range map[string]int{"a write-ahead log after a crash": 0, "a write-ahead log that is cut short": 1000} {
		t.Run(name, func(t *testing.T) {
			wal := crashed["curfew.db-wal"]
			file := laidOut(t, map[string][]byte{"curfew.db": crashed["curfew.db"], "curfew.db-wal": wal[:len(wal)-cut]})
			restarted := *c
			restarted.config.Database, restarted.Nodes = "sqlite:"+file, nil
			t.Cleanup(restarted.Close)
			node := restarted.node(t, nil)
			c.wants(t, name, node, good, "")
			c.wants(t, name, node, dead, "revoked")
		})
	}
}

// spoiled returns a copy in which a page is not what it was.
func spoiled(file []byte, at int) []byte {
	file = bytes.Clone(file)
	at -= at % 4096
	for i := range 4096 {
		file[at+i] ^= 0x5a
	}
	return file
}

// laidOut writes files into a directory of their own, and returns the name of the
// database there.
func laidOut(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "curfew.db")
}

// refusal has a server start on a file, which it must not, and returns what it says.
func refusal(t *testing.T, binary, file string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "serve", "--database", "sqlite:"+file, "--issuer", "https://curfew.test", "--listen", "127.0.0.1:0", "--metrics-listen", "")
	cmd.Env = append(os.Environ(), "CURFEW_KEY_ENCRYPTION_KEY="+kek)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit code 1; it said %s", err, said.String())
	}
	return said.String()
}
