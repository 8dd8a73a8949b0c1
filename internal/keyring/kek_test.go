package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
)

func TestParseKEK(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(0xf0 + i) // + and / in base64
	}
	for what, text := range map[string]string{
		"standard":           base64.StdEncoding.EncodeToString(key),
		"standard, unpadded": base64.RawStdEncoding.EncodeToString(key),
		"for URLs":           base64.URLEncoding.EncodeToString(key),
		"for URLs, unpadded": base64.RawURLEncoding.EncodeToString(key),
		"as openssl does":    base64.StdEncoding.EncodeToString(key) + "\n",
		"spaces around":      "  " + base64.StdEncoding.EncodeToString(key) + "\r\n",
	} {
		got, err := keyring.ParseKEK(text)
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: %x, %v", what, got, err)
		}
	}
	for what, text := range map[string]string{
		"empty":           "",
		"31 bytes":        base64.StdEncoding.EncodeToString(key[:31]),
		"33 bytes":        base64.StdEncoding.EncodeToString(append(key, 0)),
		"64 digits":       strings.Repeat("0123456789abcdef", 4),
		"a passphrase":    "correct horse battery staple, thirty-two",
		"a line break in": base64.StdEncoding.EncodeToString(key)[:20] + "\n!" + base64.StdEncoding.EncodeToString(key)[20:],
		"stray bits":      base64.RawStdEncoding.EncodeToString(key)[:42] + "/",
	} {
		_, err := keyring.ParseKEK(text)
		is(t, what, err, keyring.ErrInvalidKEK, "openssl rand -base64 32")
		if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error quotes it: %v", what, err)
		}
	}
}

func TestKEKFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "curfew.db.key")
	made, err := keyring.LoadOrCreateKEK(file)
	noErr(t, err)
	info, err := os.Stat(file)
	noErr(t, err)
	if info.Mode() != 0o600 || len(made) != 32 {
		t.Errorf("mode %v, %d bytes", info.Mode(), len(made))
	}
	again, err := keyring.LoadOrCreateKEK(file)
	noErr(t, err)
	if !bytes.Equal(made, again) {
		t.Error("another key at the second start")
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	noErr(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files are left, want 1", len(entries))
	}
}

func TestKEKFileThatIsRefused(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(kek)
	for what, mode := range map[string]fs.FileMode{
		"others may read":  0o604,
		"others may write": 0o602,
		"all may do all":   0o777,
	} {
		file := filepath.Join(t.TempDir(), "key")
		noErr(t, os.WriteFile(file, []byte(text), 0o600))
		noErr(t, os.Chmod(file, mode))
		_, err := keyring.LoadOrCreateKEK(file)
		is(t, what, err, keyring.ErrInvalidKEK, "chmod 600", file)
	}
	for what, content := range map[string]string{
		"empty: a crash, or a full disk": "",
		"half":                           text[:20],
		"another thing":                  "SQLite format 3\x00",
		"endless":                        strings.Repeat("A", 1<<20),
	} {
		file := filepath.Join(t.TempDir(), "key")
		noErr(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := keyring.LoadOrCreateKEK(file)
		is(t, what, err, keyring.ErrInvalidKEK, file)
		if left, err := os.ReadFile(file); err != nil || string(left) != content {
			t.Errorf("%s: the file was replaced", what)
		}
	}
	dir := t.TempDir()
	_, err := keyring.LoadOrCreateKEK(dir)
	is(t, "a directory", err, keyring.ErrInvalidKEK, "not a regular file")
	_, err = keyring.LoadOrCreateKEK(filepath.Join(dir, "missing", "key"))
	is(t, "no such directory", err, fs.ErrNotExist)
}

// Processes that start together get one key, and none reads half of it.
func TestKEKFileAtOnce(t *testing.T) {
	for range 20 {
		file := filepath.Join(t.TempDir(), "key")
		keys := make([][]byte, 8)
		var running sync.WaitGroup
		for i := range keys {
			running.Go(func() {
				var err error
				if keys[i], err = keyring.LoadOrCreateKEK(file); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		for _, k := range keys {
			if !bytes.Equal(k, keys[0]) {
				t.Fatal("two processes have two keys")
			}
		}
	}
}

func TestOpenRefusesAnotherKEK(t *testing.T) {
	w := sqlite(t)
	n := w.installed()
	other := bytes.Repeat([]byte{1}, 32)
	_, err := keyring.Open(t.Context(), keyring.Config{Store: n.store, KEK: other})
	is(t, "another key", err, keyring.ErrWrongKEK, "the previous key-encryption key")
	for _, k := range []([]byte){nil, kek[:31], append(bytes.Clone(kek), 0)} {
		_, err := keyring.Open(t.Context(), keyring.Config{Store: n.store, KEK: k})
		is(t, "a key of another size", err, keyring.ErrInvalidKEK)
	}
	before, err := n.store.Clock(t.Context())
	noErr(t, err)
	_, err = keyring.Open(t.Context(), keyring.Config{Store: n.store, KEK: kek})
	noErr(t, err)
	if after, err := n.store.Clock(t.Context()); err != nil || after != before {
		t.Errorf("opening has written: the clock went from %d to %d, %v", before, after, err)
	}
}

// An attacker who can write to the database moves sealed keys, or changes them.
func TestOpenRefusesWhatWasTamperedWith(t *testing.T) {
	for what, tt := range map[string]struct {
		change func(active, next *store.Key)
		want   error
	}{
		"another row's private key": {func(a, n *store.Key) { a.Sealed = n.Sealed }, keyring.ErrWrongKEK},
		"another algorithm":         {func(a, _ *store.Key) { a.Algorithm = "RS256" }, keyring.ErrWrongKEK},
		"one bit of it":             {func(a, _ *store.Key) { a.Sealed = a.Sealed[:40] + flip(a.Sealed[40]) + a.Sealed[41:] }, keyring.ErrWrongKEK},
		"cut":                       {func(a, _ *store.Key) { a.Sealed = a.Sealed[:10] }, store.ErrCorrupt},
		"another version":           {func(a, _ *store.Key) { a.Sealed = "v2." + a.Sealed[3:] }, store.ErrCorrupt},
		"another public key":        {func(a, n *store.Key) { a.PublicJWK = strings.Replace(n.PublicJWK, n.ID, a.ID, 1) }, store.ErrCorrupt},
		"another row's public key":  {func(a, n *store.Key) { a.PublicJWK = n.PublicJWK }, store.ErrCorrupt},
		"no public key":             {func(a, _ *store.Key) { a.PublicJWK = "{}" }, store.ErrCorrupt},
	} {
		t.Run(what, func(t *testing.T) {
			n := sqlite(t).installed()
			active, next := n.the(store.KeyActive), n.the(store.KeyNext)
			tt.change(&active, &next)
			noErr(t, n.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutKey(t.Context(), active) }))
			_, err := keyring.Open(context.Background(), keyring.Config{Store: n.store, KEK: kek})
			is(t, what, err, tt.want, active.ID)
		})
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
