package testnet

import (
	"net"
	"testing"
)

// FreeAddress returns an address of this machine (host:port) that was not in use a
// moment ago. Another process may take it before the caller does.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Address is [FreeAddress] for tests: it fails the test if there is none.
func Address(tb testing.TB) string {
	tb.Helper()
	address, err := FreeAddress()
	if err != nil {
		tb.Fatalf("look for a free address: %v", err)
	}
	return address
}
