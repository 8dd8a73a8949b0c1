package loopback_test

import (
	"testing"

	"example.com/curfew/internal/loopback"
)

func TestIs(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost":             true,
		"LocalHost":             true,
		"127.0.0.1":             true,
		"127.255.255.255":       true,
		"::1":                   true,
		"::ffff:127.0.0.1":      true,
		"":                      false,
		"a.localhost":           false,
		"localhost.localdomain": false,
		"localhost.example":     false,
		"126.255.255.255":       false,
		"128.0.0.0":             false,
		"127.0.0.1.example":     false,
		"0177.0.0.1":            false,
		"0.0.0.0":               false,
		"::":                    false,
		"::2":                   false,
		"::ffff:10.0.0.1":       false,
		"127.0.0.1:80":          false,
		"[::1]":                 false,
	} {
		if got := loopback.Is(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
