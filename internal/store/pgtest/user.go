package pgtest

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// serverUser returns the user that the server runs as, nil for the one who runs the
// test. PostgreSQL refuses to run as root, so that root's tests need another user:
// Debian's postgres if it exists, else the unprivileged system user.
func serverUser() (*credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has the id %q: %w", name, found.Uid, err)
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has the group %q: %w", name, found.Gid, err)
		}
		return &credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// makeDir makes a new directory under parent that only the server's user (and root)
// can enter. Everything is within: data, log, and the socket, through which the
// server trusts every client.
func makeDir(parent string, owner *credential) (string, error) {
	if parent == "" {
		parent = parentDir(owner)
	}
	dir, err := os.MkdirTemp(parent, "curfew-pg-")
	if err != nil {
		return "", fmt.Errorf("make a directory for PostgreSQL: %w", err)
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return "", fmt.Errorf("give %s to PostgreSQL's user: %w", dir, err)
		}
	}
	return dir, nil
}

// parentDir returns where temporary servers live: the directory for temporary files,
// or /tmp if the server's user is kept out of that directory, as it is out of root's,
// or if its name leaves no room for a socket's (107 bytes on Linux).
func parentDir(owner *credential) string {
	const maxLength = 60
	if dir := os.TempDir(); len(dir) <= maxLength && (owner == nil || openToAll(dir)) {
		return dir
	}
	return "/tmp"
}

// openToAll reports whether every user may enter dir, whose path is absolute.
func openToAll(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return filepath.IsAbs(dir)
		}
		dir = parent
	}
}
