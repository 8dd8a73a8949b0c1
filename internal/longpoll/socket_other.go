//go:build !unix

package longpoll

import "net"

// gone cannot be told without waiting.
func gone(net.Conn) bool { return false }

// writeNow would write what the buffers of a connection take. Here it writes
// nothing: every write has the deadline.
func writeNow(net.Conn, []byte) (int, error) { return 0, nil }
