package store_test

import (
	"strings"
	"testing"

	"example.com/curfew/internal/store"
)

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:0:1:2:3:4:5": "2001:db8:0:1::/64",
		"2001:db8:0:1::": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64", "": "", "unix": "unix",
		strings.Repeat("a", 63) + "é": strings.Repeat("a", 63), strings.Repeat("a", 62) + "éb": strings.Repeat("a", 62) + "é",
	} {
		if got := store.Network(address); got != want {
			t.Errorf("Network(%q) is %q, want %q", address, got, want)
		}
	}
}
