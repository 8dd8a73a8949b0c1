//go:build !unix

package fileperm

import "io/fs"

// Check returns nothing, since files have no permissions of this kind here.
func Check(string, fs.FileInfo) (warning string, err error) { return "", nil }
