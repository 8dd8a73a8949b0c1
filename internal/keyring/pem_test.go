package keyring_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	noErr(t, err)
	return k
}

func TestImport(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	noErr(t, err)
	for _, tt := range []struct {
		algorithm, kid string
		private        crypto.Signer
	}{
		{token.ES256, "", newKey(t)},
		{token.ES256, "our-key-2026", newKey(t)},
		{token.EdDSA, "", ed},
		{token.RS256, "", newRSA(t, 2048)},
	} {
		w := sqlite(t)
		n := w.installed()
		made, err := n.Import(t.Context(), caller, tt.kid, pkcs8(t, tt.private))
		noErr(t, err)
		want := tt.kid
		if want == "" {
			want, err = jwks.Thumbprint(tt.private.Public())
			noErr(t, err)
		}
		if made.ID != want || made.Algorithm != tt.algorithm || made.State != store.KeyNext || made.Sealed != "" || made.Epoch == 0 {
			t.Errorf("%s: imported as %+v, want the ID %s", tt.algorithm, made, want)
		}
		trusted, err := keyringTrusted(n)
		noErr(t, err)
		if !trusted[want] { // it verifies at once
			t.Errorf("%s: not trusted", tt.algorithm)
		}
		if e := n.audits(wire.ActionKeyImport)[0]; e.Actor != actor || e.TargetID != want || e.Epoch != made.Epoch {
			t.Errorf("the audit says %+v", e)
		}

		// It signs once it is rotated to, and what it signs verifies.
		w.pass(time.Hour)
		_, _, err = n.Rotate(t.Context(), caller, want, "")
		noErr(t, err)
		key, err := n.Signing(t.Context())
		noErr(t, err)
		if key.ID() != want || !key.Private().Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(tt.private.Public()) {
			t.Errorf("%s: %s signs", tt.algorithm, key.ID())
		}
	}
}

func TestImportRefuses(t *testing.T) {
	good := newKey(t)
	sec1, err := x509.MarshalECPrivateKey(good)
	noErr(t, err)
	spki, err := x509.MarshalPKIXPublicKey(good.Public())
	noErr(t, err)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	noErr(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	noErr(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	noErr(t, err)
	weak := newRSA(t, 1024)
	legacy := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1, Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00112233445566778899AABBCCDDEEFF"}})
	const convert = "openssl pkcs8 -topk8 -nocrypt"

	n := sqlite(t).installed()
	for _, tt := range []struct {
		what, kid string
		file      []byte
		says      string
	}{
		{"nothing", "", nil, "BEGIN PRIVATE KEY"},
		{"no PEM", "", []byte("hello"), "BEGIN PRIVATE KEY"},
		{"DER", "", sec1, "BEGIN PRIVATE KEY"},
		{"cut", "", pkcs8(t, good)[:100], "BEGIN PRIVATE KEY"},
		{"SEC 1", "", block("EC PRIVATE KEY", sec1), convert},
		{"PKCS #1", "", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), convert},
		{"encrypted", "", block("ENCRYPTED PRIVATE KEY", sec1), "openssl pkcs8 -in"},
		{"encrypted as of old", "", legacy, convert},
		{"curve parameters first", "", append(block("EC PARAMETERS", []byte{6, 1, 0}), block("EC PRIVATE KEY", sec1)...), convert},
		{"two keys", "", append(pkcs8(t, good), pkcs8(t, newKey(t))...), "2 PEM blocks"},
		{"a second one that is cut", "", append(pkcs8(t, good), pkcs8(t, newKey(t))[:60]...), "2 PEM blocks"},
		{"a first one that is cut", "", append(append(pkcs8(t, newKey(t))[:60], '\n'), pkcs8(t, good)...), "2 PEM blocks"},
		{"a key and its certificate", "", append(pkcs8(t, good), block("CERTIFICATE", []byte("x"))...), "2 PEM blocks"},
		{"a public key", "", block("PUBLIC KEY", spki), "import the private key"},
		{"a certificate", "", block("CERTIFICATE", []byte("x")), "import the private key"},
		{"OpenSSH", "", block("OPENSSH PRIVATE KEY", []byte("x")), "not a private key in PKCS #8"},
		{"another type", "", block("\x1b[2J", []byte("x")), "not a private key in PKCS #8"},
		{"no key inside", "", block("PRIVATE KEY", []byte("x")), "has no PKCS #8 key"},
		{"SEC 1 under the name of PKCS #8", "", block("PRIVATE KEY", sec1), "has no PKCS #8 key"},
		{"P-384", "", pkcs8(t, p384), "P-256"},
		{"P-224", "", pkcs8(t, p224), "P-256"},
		{"X25519", "", pkcs8(t, x25519), "cannot sign"},
		{"RSA with 1024 bits", "", pkcs8(t, weak), "2048"},
		{"an ID with a space", "a b", pkcs8(t, good), "printable"},
		{"an ID with an escape", "a\x1b[2J", pkcs8(t, good), "printable"},
		{"an ID of 257 characters", strings.Repeat("x", 257), pkcs8(t, good), "257"},
	} {
		_, err := n.Import(t.Context(), caller, tt.kid, tt.file)
		is(t, tt.what, err, token.ErrWeakKey, tt.says)
		noMaterial(t, tt.what, err, tt.file)
	}
	if rows := n.rows(); len(rows) != 2 {
		t.Errorf("%d keys, want the 2 from before", len(rows))
	}
}

// noMaterial fails if an error quotes a line of a file, or control characters.
func noMaterial(t testing.TB, what string, err error, file []byte) {
	t.Helper()
	for line := range bytes.Lines(file) {
		if line = bytes.TrimSpace(line); len(line) > 20 && !bytes.HasPrefix(line, []byte("-----")) && strings.Contains(err.Error(), string(line)) {
			t.Errorf("%s: the error quotes the key", what)
		}
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
		t.Errorf("%s: control characters in %q", what, err)
	}
}

func TestImportOfWhatIsHere(t *testing.T) {
	n := sqlite(t).installed()
	private := newKey(t)
	made, err := n.Import(t.Context(), caller, "first", pkcs8(t, private))
	noErr(t, err)
	try := func(what, kid string, k crypto.Signer, says string) {
		t.Helper()
		_, err := n.Import(t.Context(), caller, kid, pkcs8(t, k))
		is(t, what, err, store.ErrConflict, says)
	}
	try("the same again", "first", private, "first")
	try("another key with its ID", "first", newKey(t), "choose another")
	try("the same key with another ID", "second", private, "first")
	try("the same key with its thumbprint", "", private, "first")
	try("the ID of the active one", n.the(store.KeyActive).ID, newKey(t), "active")

	_, err = n.Retire(t.Context(), caller, made.ID, "it leaked")
	noErr(t, err)
	try("a leaked one, by its ID", "first", private, store.KeyRetired)
	try("a leaked one, by another ID", "third", private, store.KeyRetired)
}
