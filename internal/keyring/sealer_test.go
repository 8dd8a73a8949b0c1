package keyring_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"example.com/curfew/internal/keyring"
)

func newSealer(t *testing.T, kek []byte) *keyring.Sealer {
	t.Helper()
	s, err := keyring.NewSealer(kek)
	noErr(t, err)
	return s
}

func TestSealer(t *testing.T) {
	for _, size := range []int{0, 31, 33} {
		_, err := keyring.NewSealer(make([]byte, size))
		is(t, "another size", err, keyring.ErrInvalidKEK)
	}
	secret, bound := []byte("hunter2hunter2"), keyring.Bound("use", "row", "column")
	s := newSealer(t, kek)
	sealed := s.Seal(secret, bound)
	if sealed == s.Seal(secret, bound) {
		t.Error("two texts of one secret are the same")
	}
	if strings.Contains(sealed, string(secret)) {
		t.Error("the secret can be read")
	}
	for _, other := range []*keyring.Sealer{s, newSealer(t, kek)} { // another node has the same key
		got, err := other.Unseal(sealed, bound)
		noErr(t, err)
		if !bytes.Equal(got, secret) {
			t.Errorf("%q, want %q", got, secret)
		}
	}
	got, err := s.Unseal(s.Seal(nil, nil), nil)
	if err != nil || len(got) != 0 {
		t.Errorf("an empty secret: %q, %v", got, err)
	}
	otherKEK := bytes.Clone(kek)
	otherKEK[31]++
	body := strings.TrimPrefix(sealed, "v1.")
	flipped := []byte(body)
	flipped[len(flipped)/2] ^= 1 // another letter of the alphabet, or none
	for what, tt := range map[string]struct {
		by    *keyring.Sealer
		text  string
		bound []byte
	}{
		"another key":             {newSealer(t, otherKEK), sealed, bound},
		"a derived key":           {s.Derive("use"), sealed, bound},
		"sealed by a derived key": {s, s.Derive("use").Seal(secret, bound), bound},
		"derived for another use": {s.Derive("use"), s.Derive("other").Seal(secret, bound), bound},
		"another use":             {s, sealed, keyring.Bound("other", "row", "column")},
		"another row":             {s, sealed, keyring.Bound("use", "row", "columm")},
		"columns shifted":         {s, sealed, keyring.Bound("use", "rowcolumn")},
		"no bound":                {s, sealed, nil},
		"empty":                   {s, "", bound},
		"no version":              {s, body, bound},
		"a later version":         {s, "v2." + body, bound},
		"the version alone":       {s, "v1.", bound},
		"a nonce alone":           {s, sealed[:3+32], bound},
		"cut short":               {s, sealed[:len(sealed)-4], bound},
		"one more":                {s, sealed + "A", bound},
		"changed":                 {s, "v1." + string(flipped), bound},
		"of another alphabet":     {s, strings.NewReplacer("+", "-", "/", "_").Replace(sealed) + "_", bound},
		"a line break":            {s, sealed + "\n", bound},
	} {
		got, err := tt.by.Unseal(tt.text, tt.bound)
		if !errors.Is(err, keyring.ErrUnsealed) || got != nil {
			t.Errorf("%s: %q, error %v, want %v", what, got, err, keyring.ErrUnsealed)
		}
	}
}

func TestDerivedSealer(t *testing.T) {
	sealed := newSealer(t, kek).Derive("cookies").Seal([]byte("secret"), nil)
	got, err := newSealer(t, kek).Derive("cookies").Unseal(sealed, nil)
	if err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
}

// The sealer of a ring opens what that of its key-encryption key has sealed.
func TestSealerOfRing(t *testing.T) {
	got, err := sqlite(t).node().Sealer().Unseal(newSealer(t, kek).Seal([]byte("secret"), nil), nil)
	if err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
}
