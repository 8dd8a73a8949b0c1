//go:build !unix

package sqlstore

// heldElsewhere cannot tell; where files that are open cannot be replaced, it
// need not.
func heldElsewhere(string) bool { return false }
