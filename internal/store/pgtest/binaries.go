package pgtest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// debianBinaries is where Debian and its kin keep the server's programs, which
// are not in PATH there: one directory for each major version.
const debianBinaries = "/usr/lib/postgresql/*/bin"

// findBinaries returns the directory that holds PostgreSQL's programs: the
// directory that PATH leads to, else that of the highest version that matches
// pattern.
func findBinaries(pattern string) (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		// PATH may lead to a link; its neighbours are where it points.
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			return filepath.Dir(initdb), nil
		}
	}
	found, err := filepath.Glob(filepath.Join(pattern, "initdb"))
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL in %q: %w", pattern, err)
	}
	best, bestVersion := "", -1.0
	for _, initdb := range found {
		dir := filepath.Dir(initdb)
		version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		if err != nil {
			continue // a directory that is no version: not PostgreSQL's own
		}
		if version > bestVersion {
			best, bestVersion = dir, version
		}
	}
	if best == "" {
		return "", fmt.Errorf("these tests need a real PostgreSQL, and there is no initdb in PATH nor in %s: "+
			"`apt-get install postgresql` (`make test` does it)", strings.TrimSuffix(pattern, "/"))
	}
	return best, nil
}
