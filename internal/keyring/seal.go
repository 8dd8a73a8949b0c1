package keyring

import (
	"bytes"
	"crypto"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
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

// ErrUnsealed is wrapped by the errors about a text that [Sealer.Unseal] can't open: it
// was changed, sealed for another use, or sealed with another key.
var ErrUnsealed = errors.New("the sealed text can't be opened with this key-encryption key")

// Sealer encrypts and authenticates secrets with the key-encryption key, or with a key
// derived from it: XChaCha20-Poly1305 with a random nonce. It is safe for concurrent
// use.
type Sealer struct {
	key []byte
}

// NewSealer returns the sealer of a key-encryption key. An error wraps [ErrInvalidKEK].
func NewSealer(kek []byte) (*Sealer, error) {
	if len(kek) != kekSize {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrInvalidKEK, len(kek), kekSize)
	}
	return &Sealer{key: bytes.Clone(kek)}, nil
}

// Sealer returns the sealer of the key-encryption key.
func (r *Ring) Sealer() *Sealer { return r.sealer }

// Derive returns a sealer with a key of its own (HKDF-SHA256, RFC 5869). Texts that are
// not stored, such as cookies, are sealed with one, so that the number of texts that
// clients can request does not wear out the key of the stored secrets.
func (s *Sealer) Derive(use string) *Sealer {
	key, err := hkdf.Key(sha256.New, s.key, nil, use, kekSize)
	if err != nil {
		panic(err) // only for a longer key
	}
	return &Sealer{key: key}
}

// Seal returns secret as text in which it can't be read. The text opens only with the
// same bound, which names the use and the row, so that no row can carry the secret of
// another; see [Bound].
func (s *Sealer) Seal(secret, bound []byte) string {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(secret)+chacha20poly1305.Overhead)
	rand.Read(nonce) // never fails
	return sealVersion + base64.RawStdEncoding.EncodeToString(s.aead().Seal(nonce, nonce, secret, bound))
}

// Unseal opens a text of Seal. An error wraps [ErrUnsealed] and quotes neither text.
func (s *Sealer) Unseal(text string, bound []byte) ([]byte, error) {
	text, ok := strings.CutPrefix(text, sealVersion)
	sealed, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || strings.ContainsAny(text, "\r\n") || len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: %w: this version does not support its format", store.ErrCorrupt, ErrUnsealed)
	}
	secret, err := s.aead().Open(nil, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], bound)
	if err != nil {
		return nil, ErrUnsealed
	}
	return secret, nil
}

func (s *Sealer) aead() cipher.AEAD {
	aead, err := chacha20poly1305.NewX(s.key)
	if err != nil {
		panic(err) // only for another size, and NewSealer has checked that
	}
	return aead
}

// Bound returns what [Sealer.Seal] ties a secret to: its use and the columns that
// identify its row. The columns contain no NUL.
func Bound(use string, columns ...string) []byte {
	return []byte(use + "\x00" + strings.Join(columns, "\x00"))
}

func boundKey(kid, algorithm string) []byte {
	return Bound("curfew signing key", algorithm, kid)
}

func (r *Ring) seal(k *token.SigningKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private())
	if err != nil {
		return "", err
	}
	return r.sealer.Seal(der, boundKey(k.ID(), k.Algorithm())), nil
}

// unseal opens the private key of a row, and checks that it belongs to the
// published public key.
func (r *Ring) unseal(row store.Key) (*token.SigningKey, error) {
	der, err := r.sealer.Unseal(row.Sealed, boundKey(row.ID, row.Algorithm))
	switch {
	case errors.Is(err, store.ErrCorrupt):
		return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
	case err != nil:
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
