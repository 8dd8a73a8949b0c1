package keyring

import (
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"example.com/curfew/internal/fileperm"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

const kekSize = chacha20poly1305.KeySize

// ErrInvalidKEK is wrapped by errors about a key-encryption key that is none.
var ErrInvalidKEK = errors.New("the key-encryption key is not valid")

// ParseKEK reads a key-encryption key: 32 bytes in base64, padded or not, of
// either alphabet. Errors wrap [ErrInvalidKEK] and do not quote it.
func ParseKEK(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != kekSize {
		return nil, fmt.Errorf("%w: want %d bytes in base64; create one with: openssl rand -base64 %d", ErrInvalidKEK, kekSize, kekSize)
	}
	return key, nil
}

// LoadOrCreateKEK reads the key-encryption key from a file, or makes the file
// with a new one if there is none. A file that other users may open is refused, as
// [fileperm.Check] says.
func LoadOrCreateKEK(path string) ([]byte, error) {
	key, err := loadKEK(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKEK(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create the key-encryption key: %w", err)
		}
		key, err = loadKEK(path)
	}
	return key, err
}

func loadKEK(path string) ([]byte, error) {
	// A file that is not regular could wait for a writer or never end. So its type
	// is checked before it is opened, and again afterwards.
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrInvalidKEK, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	if _, err := fileperm.Check(path, info); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidKEK, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<10)) // a whole one has 45 bytes
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	key, err := ParseKEK(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKEK makes the file whole or not at all: a reader that finds it, finds a key.
func createKEK(path string) error {
	var key [kekSize]byte
	rand.Read(key[:])                                                         // never fails
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(key[:]))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // fails if another process was quicker
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const sealVersion = "v1."

func (r *Ring) aead() cipher.AEAD {
	aead, err := chacha20poly1305.NewX(r.config.KEK)
	if err != nil {
		panic(err) // only for another size, and Open has checked that
	}
	return aead
}

// bound is the data that a sealed key is tied to, so that no row can carry
// another's key.
func bound(kid, algorithm string) []byte {
	return []byte("curfew signing key\x00" + algorithm + "\x00" + kid)
}

func (r *Ring) seal(k *token.SigningKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private())
	if err != nil {
		return "", err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(der)+chacha20poly1305.Overhead)
	rand.Read(nonce) // never fails
	sealed := r.aead().Seal(nonce, nonce, der, bound(k.ID(), k.Algorithm()))
	return sealVersion + base64.RawStdEncoding.EncodeToString(sealed), nil
}

// unseal opens the private key of a row, and checks that it belongs to the
// published public key.
func (r *Ring) unseal(row store.Key) (*token.SigningKey, error) {
	text, ok := strings.CutPrefix(row.Sealed, sealVersion)
	sealed, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil || len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: signing key %s is sealed in a format that this version does not support", store.ErrCorrupt, row.ID)
	}
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	der, err := r.aead().Open(nil, nonce, sealed, bound(row.ID, row.Algorithm))
	if err != nil {
		return nil, fmt.Errorf("%w (key %s); set the previous key-encryption key", ErrWrongKEK, row.ID)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: signing key %s", store.ErrCorrupt, row.ID)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: signing key %s cannot sign", store.ErrCorrupt, row.ID)
	}
	key, err := token.NewSigningKey(row.ID, signer)
	if err != nil {
		return nil, err
	}
	public, err := Trusted([]store.Key{row})
	if err != nil || len(public) != 1 || !public[0].Equal(&key.Key) {
		return nil, fmt.Errorf("%w: signing key %s does not match its public key", store.ErrCorrupt, row.ID)
	}
	return key, nil
}

// newRow returns the row of a key.
func (r *Ring) newRow(k *token.SigningKey, state string, now time.Time) (store.Key, error) {
	sealed, err := r.seal(k)
	if err != nil {
		return store.Key{}, err
	}
	public, err := jwk(&k.Key)
	if err != nil {
		return store.Key{}, err
	}
	return store.Key{ID: k.ID(), Algorithm: k.Algorithm(), State: state, PublicJWK: public, Sealed: sealed, CreatedAt: now.UnixMicro()}, nil
}

// jwk returns the public JWK of a key.
func jwk(k *token.Key) (string, error) {
	document, err := jwks.Marshal(k)
	if err != nil {
		return "", err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return "", err
	}
	return string(set.Keys[0]), nil
}
