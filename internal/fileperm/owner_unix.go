//go:build unix

package fileperm

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Check returns an error that wraps [ErrExposed] if users other than the owner
// and the process's own groups may read or write a file. It returns a warning if
// a group of the process may: a Kubernetes volume with fsGroup gives the group
// access to every file, so that is no reason to refuse a start. Where files have
// no such permissions, as on Windows, it returns neither.
func Check(path string, info fs.FileInfo) (warning string, err error) {
	group, own := groupOf(info)
	return check(path, info.Mode().Perm(), group, own)
}

// groupOf returns the group of a file, and whether the process has its rights:
// as a member, or as root.
func groupOf(info fs.FileInfo) (group uint32, own bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	groups, err := os.Getgroups()
	own = os.Geteuid() == 0 || os.Getegid() == int(stat.Gid) || err == nil && slices.Contains(groups, int(stat.Gid))
	return stat.Gid, own
}
