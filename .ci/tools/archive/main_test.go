package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Both kinds of archives have the same files with the same modes and times, and a
// second archive of other times and modes is the same.
func TestArchives(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	want := []string{
		"curfew-1/curfew -rwxr-xr-x " + at.String() + " program",
		"curfew-1/man/a.1 -rw-r--r-- " + at.String() + " page",
	}
	for _, kind := range []string{".tar.gz", ".zip"} {
		var made [2]string
		for i, mode := range []os.FileMode{0o700, 0o750} {
			dir := filepath.Join(t.TempDir(), "curfew-1")
			if err := os.MkdirAll(filepath.Join(dir, "man"), 0o755); err != nil {
				t.Fatal(err)
			}
			files := []string{"man/a.1", "curfew"} // made in another order
			if i == 1 {
				slices.Reverse(files)
			}
			for _, name := range files {
				content, own := "page", mode&^0o111
				if name == "curfew" {
					content, own = "program", mode
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), own); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Unix(int64(i), 0)); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(t.TempDir(), "archive"+kind)
			if err := write(dir, file, at); err != nil {
				t.Fatal(err)
			}
			if got := list(t, file); !slices.Equal(got, want) {
				t.Errorf("%s has\n%q, want\n%q", kind, got, want)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			made[i] = string(text)
		}
		if made[0] != made[1] {
			t.Errorf("%s: the second archive is another one", kind)
		}
	}
}

// list returns the name, mode, time and content of each file.
func list(t *testing.T, archive string) (files []string) {
	t.Helper()
	add := func(name string, mode os.FileMode, at time.Time, content io.Reader) {
		text, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fmt.Sprintf("%s %v %v %s", name, mode, at.UTC(), text))
	}
	if filepath.Ext(archive) == ".zip" {
		r, err := zip.OpenReader(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, f := range r.File {
			content, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(f.Name, f.Mode(), f.Modified, content)
		}
		return files
	}
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	gz, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" {
			t.Errorf("%s belongs to %d:%d, %s", h.Name, h.Uid, h.Gid, h.Uname)
		}
		add(h.Name, h.FileInfo().Mode(), h.ModTime, r)
	}
}
