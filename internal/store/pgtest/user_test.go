package pgtest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestParentDir checks that a server with a user of its own gets the directory for
// temporary files only where that user can enter it.
func TestParentDir(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "pgtest") //nolint:usetesting // t.TempDir may be within a directory that is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	another := &credential{Uid: 12345, Gid: 12345}
	for _, c := range []struct {
		name  string
		mode  os.FileMode // of the directory above the one for temporary files
		owner *credential
		own   bool // the server gets the directory for temporary files
	}{
		{"this user", 0o700, nil, true},
		{"another user, entered by all", 0o711, another, true},
		{"another user, read by all", 0o744, another, false},
		{"another user, closed", 0o700, another, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Chmod(base, c.mode); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(base, "t")
			if err := os.MkdirAll(dir, 0o711); err != nil { // as .ci/memory makes it
				t.Fatal(err)
			}
			t.Setenv("TMPDIR", dir)
			want := "/tmp"
			if c.own {
				want = dir
			}
			if got := parentDir(c.owner); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
