package floors

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSleepsAreJustified(t *testing.T) {
	root := root(t)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found, err := sleeps(name, source)
		for _, place := range found {
			t.Errorf("%s: time.Sleep outside a synctest bubble: wait for the event (internal/await), or say beside it why not", place)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSleeps(t *testing.T) {
	const source = `package p

func Test(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
	})
	time.Sleep(1)
	time.Sleep(2) // the kernel sends no event
	time.Sleep(3)
	// Neither does the disk.
	time.Sleep(4)
	for ; ; time.Sleep(5) {
	}
	go func() { time.Sleep(6) }()
	other.Sleep(7)
	inBubble(t, func() { time.Sleep(8) })
	apart(t, func() { time.Sleep(9) })
}

func inBubble(t *testing.T, f func()) { synctest.Test(t, func(t *testing.T) { f() }) }

func apart(t *testing.T, f func()) { f() }
`
	found, err := sleeps("a_test.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a_test.go:7", "a_test.go:9", "a_test.go:12", "a_test.go:14", "a_test.go:17"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}
