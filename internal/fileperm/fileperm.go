// Package fileperm decides whether the permissions of a file protect the secrets
// in it.
package fileperm

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrExposed is wrapped by the error about a file that other users may open.
var ErrExposed = errors.New("accessible by other users")

// check is [Check] for the attributes of a file. own means that the group is one of
// the process.
func check(path string, mode fs.FileMode, group uint32, own bool) (string, error) {
	const (
		byGroup  = 0o070
		byOthers = 0o007
	)
	switch {
	case mode&byOthers != 0:
		return "", fmt.Errorf("%w: %s has mode %04o; run chmod 600 on it, and replace the secrets in it if they may be compromised", ErrExposed, path, mode)
	case mode&byGroup != 0 && !own:
		return "", fmt.Errorf("%w: %s has mode %04o and belongs to group %d, which is not a group of this process; run chmod 600 on it, and replace the secrets in it if they may be compromised",
			ErrExposed, path, mode, group)
	case mode&byGroup != 0:
		return fmt.Sprintf("%s has mode %04o, so the members of group %d may open it; run chmod 600 on it, unless a volume sets the group (Kubernetes fsGroup)", path, mode, group), nil
	}
	return "", nil
}
