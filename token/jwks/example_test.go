package jwks_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// A server publishes its public keys, and a validator reads them.
func Example() {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	key, err := token.NewKey("2026-11", public)
	if err != nil {
		panic(err)
	}
	document, err := jwks.Marshal(key)
	if err != nil {
		panic(err)
	}

	keys, err := jwks.Parse(document)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(keys), keys[0].ID(), keys[0].Algorithm(), keys[0].Equal(key))
	// Output: 1 2026-11 EdDSA true
}
