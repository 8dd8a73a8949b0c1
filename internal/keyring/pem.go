package keyring

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"example.com/curfew/token"
)

// parsePEM reads one private key in PKCS #8. Its errors say how to convert a
// refused key; they quote nothing of the key.
func parsePEM(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block found; the file must contain -----BEGIN PRIVATE KEY-----", token.ErrWeakKey)
	}
	// Also blocks that are not whole: which of them was meant is not to be guessed.
	if n := bytes.Count(data, []byte("-----BEGIN ")); n > 1 {
		return nil, fmt.Errorf("%w: the file has %d PEM blocks; keep only the private key, for example with: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEWFILE", token.ErrWeakKey, n)
	}
	switch block.Type {
	case "PRIVATE KEY":
	case "EC PRIVATE KEY", "RSA PRIVATE KEY":
		return nil, fmt.Errorf("%w: %s is not PKCS #8; convert it with: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEWFILE", token.ErrWeakKey, block.Type)
	case "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%w: the key is encrypted; decrypt it with: openssl pkcs8 -in FILE -out NEWFILE", token.ErrWeakKey)
	case "PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("%w: this is a %s; import the private key", token.ErrWeakKey, block.Type)
	default:
		return nil, fmt.Errorf("%w: the PEM block is not a private key in PKCS #8", token.ErrWeakKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: the PEM block has no PKCS #8 key", token.ErrWeakKey)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot sign", token.ErrWeakKey, key)
	}
	return signer, nil
}
