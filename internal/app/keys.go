package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
)

// keyEncryptionKey returns the key that seals the signing keys: the configured key,
// else the key in the file beside a SQLite database. That file is made only by a
// server, and only where no signing key is sealed yet: a fresh one would not open
// them.
func keyEncryptionKey(ctx context.Context, r store.Reader, cfg config.Store, create bool) ([]byte, error) {
	if cfg.KeyEncryptionKey != nil {
		return cfg.KeyEncryptionKey, nil
	}
	file := cfg.Database.KeyFile()
	if file == "" {
		return nil, errors.New("the signing keys in this database are sealed; set CURFEW_KEY_ENCRYPTION_KEY to the key that its servers use")
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		keys, err := r.Keys(ctx)
		if err != nil {
			return nil, err
		}
		sealed := slices.ContainsFunc(keys, func(k store.Key) bool { return k.Sealed != "" })
		if sealed || !create {
			return nil, fmt.Errorf("the signing keys in %s are sealed with the key in %q, and that file is missing; restore it, or set CURFEW_KEY_ENCRYPTION_KEY", cfg.Database, file)
		}
	}
	return keyring.LoadOrCreateKEK(file)
}
