package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestOneServerAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curfew.db")
	first, err := lockDatabase(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDatabase(path); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the lock stays: %v", err)
	}
	second, err := lockDatabase(path)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
	// What a killed process leaves behind locks nothing.
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := lockDatabase(path)
	if err != nil {
		t.Fatalf("after a killed process: %v", err)
	}
	if err := third.Release(); err != nil {
		t.Fatal(err)
	}
}

// Nor by another name: what the server relies on is to be the only one.
func TestOneServerByWhateverName(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "curfew.db"), filepath.Join(t.TempDir(), "link.db")
	for _, err := range []error{os.WriteFile(path, nil, 0o600), os.Symlink(path, link), os.Symlink(dir, link+".d")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	names := []string{path, link, filepath.Join(link+".d", "curfew.db")}
	for _, first := range names {
		held, err := lockDatabase(first)
		if err != nil {
			t.Fatal(err)
		}
		for _, second := range names {
			if _, err := lockDatabase(second); !errors.Is(err, ErrInUse) {
				t.Errorf("%s while there is a server on %s: %v, want ErrInUse", second, first, err)
			}
		}
		if err := held.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockNeedsADirectory(t *testing.T) {
	_, err := lockDatabase(filepath.Join(t.TempDir(), "nowhere", "curfew.db"))
	if err == nil || !strings.Contains(err.Error(), "does not exist; create it first") {
		t.Errorf("%v, want to be told to make the directory", err)
	}
}

// The file is removed at the end. A process that opened it a moment before must not
// take it for a lock.
func TestLockWhileItIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curfew.db")
	var holders, most atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 300 {
				l, err := lockDatabase(path)
				if errors.Is(err, ErrInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n > most.Load() {
					most.Store(n)
				}
				holders.Add(-1)
				if err := l.Release(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the lock at a time, want 1", most.Load())
	}
}
