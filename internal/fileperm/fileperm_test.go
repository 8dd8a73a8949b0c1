package fileperm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name    string
		mode    fs.FileMode
		own     bool // the group is one of the process
		want    error
		warning bool
	}{
		{"the owner alone", 0o600, true, nil, false},
		{"the owner alone may execute", 0o700, false, nil, false},
		{"read only", 0o400, false, nil, false},
		{"own group may read", 0o640, true, nil, true},
		{"own group may write", 0o620, true, nil, true},
		{"as a volume with fsGroup", 0o660, true, nil, true},
		{"foreign group may read", 0o640, false, ErrExposed, false},
		{"foreign group may write", 0o620, false, ErrExposed, false},
		{"others may read", 0o604, true, ErrExposed, false},
		{"others may write", 0o602, true, ErrExposed, false},
		{"others may execute", 0o601, true, ErrExposed, false},
		{"as a copy is made", 0o644, true, ErrExposed, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			warning, err := check("/data/curfew.db", test.mode, 2000, test.own)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if test.want != nil && !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("%v does not say what to do", err)
			}
			if (warning != "") != test.warning {
				t.Errorf("the warning is %q", warning)
			}
		})
	}
}

// A file that the process has made belongs to one of its groups.
func TestCheckFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, mode := range []fs.FileMode{0o600, 0o660} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		warning, err := Check(path, info)
		if err != nil || (warning != "") != (mode == 0o660) {
			t.Errorf("%04o: warning %q, %v", mode, warning, err)
		}
	}
}
