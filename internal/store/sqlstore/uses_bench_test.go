package sqlstore_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// BenchmarkRecordUses measures one batch of uses: in a small and in a large table, and
// when all of them have been recorded already.
func BenchmarkRecordUses(b *testing.B) {
	for engine, database := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(b.TempDir(), "curfew.db") },
		"postgres": func() string { return pgtest.DSN(b) },
	} {
		for _, rows := range []int{1_000, 100_000} {
			s, err := sqlstore.Open(b.Context(), sqlstore.Config{URL: database(), Create: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			for start := 0; start < rows; start += 1000 {
				err := s.Update(b.Context(), func(tx store.Tx) error {
					for i := range 1000 {
						if err := tx.InsertSession(b.Context(), store.Session{ID: fmt.Sprintf("session-%08d", start+i), UserID: "ann"}); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for _, all := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/sessions=%d/written=%v", engine, rows, all), func(b *testing.B) {
					at := int64(b.N) << 20 // above those of the runs before
					for i := 0; b.Loop(); i++ {
						batch := make([]store.Use, 100)
						for k := range batch {
							batch[k] = store.Use{Session: fmt.Sprintf("session-%08d", k*(rows/100)), At: at + int64(i) + 1, Since: 0}
							if all {
								batch[k].Since = batch[k].At
							}
						}
						if err := s.RecordUses(b.Context(), batch); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
