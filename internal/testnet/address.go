package testnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddress returns an address of this machine (host:port) that was not in use a
// moment ago. Its port lies below those that systems give to outgoing connections
// (RFC 6335: from 49152; Linux: from 32768), of which a busy machine opens many: only
// another listener can take it before the caller does.
func FreeAddress() (address string, err error) {
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 16_000+rand.IntN(16_000))); err == nil { // #nosec G404 -- no secret
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
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
