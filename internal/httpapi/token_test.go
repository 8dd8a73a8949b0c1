package httpapi

import (
	"encoding/base64"
	"strings"
	"testing"
)

// decodePart returns a part of a token, decoded.
func decodePart(t *testing.T, raw string, n int) []byte {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	return b
}
