package sqlstore_test

import (
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// Sessions that began before there was a column for the network, or that a node of
// the version before begins, make their networks known all the same.
func TestNetworksOfOldRows(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			s := open(t, engine.migrated(t))
			for id, address := range map[string]string{"s1": "2001:db8:0:1::1", "s2": "192.0.2.1"} {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					return tx.InsertSession(t.Context(), store.Session{ID: id, UserID: "ann", Address: address, BeganAt: 1000})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			sqlstore.ForgetNetworks(t, s)
			for _, c := range []struct {
				address string
				since   int64
				want    bool
			}{
				{"2001:db8:0:1:ffff::2", 1000, true}, {"2001:db8:0:1:ffff::2", 1001, false}, {"2001:db8:0:2::1", 0, false},
				{"192.0.2.1", 1000, true}, {"192.0.2.2", 0, false},
			} {
				got, err := s.KnownAddress(t.Context(), "ann", c.address, c.since)
				if err != nil || got != c.want {
					t.Errorf("%s since %d: %v, %v; want %v", c.address, c.since, got, err, c.want)
				}
			}
		})
	}
}
