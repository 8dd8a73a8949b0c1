package app

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
)

const (
	// inventoryEvery is the minimum time between two counts: they read the database.
	inventoryEvery = time.Minute
	// inventoryTime is the maximum time for which a scrape waits for them.
	inventoryTime = 2 * time.Second
	// maxOpenReceipts is the highest number of open receipts that is reported.
	maxOpenReceipts = 1000
)

// inventory are the metrics about the contents of the database. A scrape counts them
// if the last count is older than inventoryEvery. A count that fails or takes too long
// keeps the values before; without any, the metrics are absent.
type inventory struct {
	store store.Reader
	now   func() time.Time

	mu    sync.Mutex
	asked time.Time
	known []prometheus.Metric
}

var (
	liveSessions = prometheus.NewDesc("curfew_sessions_live", "Live sessions of all users, counted at most once a minute. Every node reports the same number.", nil, nil)
	liveUsers    = prometheus.NewDesc("curfew_sessions_live_users", "Users with a live session, counted with the sessions.", nil, nil)
	openReceipts = prometheus.NewDesc("curfew_receipts_open", "Revocations that are not yet known to be in force everywhere, at most 1000.", nil, nil)
	oldestOpen   = prometheus.NewDesc("curfew_receipts_open_oldest_seconds", "Age of the oldest of them; 0 if there is none.", nil, nil)
	keysByState  = prometheus.NewDesc("curfew_signing_keys", "Signing keys, by state.", []string{"state"}, nil)
	keySince     = prometheus.NewDesc("curfew_signing_key_active_since_seconds", "Instant since which the active key signs, as a date.", nil, nil)
	keyEnd       = prometheus.NewDesc("curfew_signing_key_end_seconds", "End of the retiring key that ends first, as a date; 0 if none is retiring.", nil, nil)
)

func newInventory(s store.Reader, now func() time.Time) *inventory {
	return &inventory{store: s, now: now}
}

// Describe implements prometheus.Collector.
func (*inventory) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{liveSessions, liveUsers, openReceipts, oldestOpen, keysByState, keySince, keyEnd} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (i *inventory) Collect(metrics chan<- prometheus.Metric) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := i.now(); i.asked.IsZero() || now.Sub(i.asked) >= inventoryEvery || now.Before(i.asked) {
		ctx, cancel := context.WithTimeout(context.Background(), inventoryTime)
		defer cancel()
		if counted, err := i.count(ctx, now); err == nil {
			i.known = counted
		}
		i.asked = now
	}
	for _, m := range i.known {
		metrics <- m
	}
}

func (i *inventory) count(ctx context.Context, now time.Time) ([]prometheus.Metric, error) {
	var out []prometheus.Metric
	add := func(d *prometheus.Desc, value float64, labels ...string) {
		out = append(out, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
	}
	live, err := authz.LiveAt(ctx, i.store, now)
	if err != nil {
		return nil, err
	}
	n, err := i.store.CountLive(ctx, live, "", "")
	if err != nil {
		return nil, err
	}
	add(liveSessions, float64(n.Sessions))
	add(liveUsers, float64(n.Users))
	open, err := i.store.OpenReceipts(ctx, maxOpenReceipts)
	if err != nil {
		return nil, err
	}
	age := 0.0
	if len(open) > 0 { // the oldest first
		age = max(0, now.Sub(time.UnixMicro(open[0].CommittedAt)).Seconds())
	}
	add(openReceipts, float64(len(open)))
	add(oldestOpen, age)
	keys, err := i.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	states := map[string]int{}
	var since, end int64
	for _, k := range keys {
		states[k.State]++
		switch {
		case k.State == store.KeyActive:
			since = k.ActivatedAt
		case k.State == store.KeyRetiring && k.RetireAt > 0 && (end == 0 || k.RetireAt < end):
			end = k.RetireAt
		}
	}
	for _, state := range []string{store.KeyNext, store.KeyActive, store.KeyRetiring, store.KeyRetired} {
		add(keysByState, float64(states[state]), state)
	}
	add(keySince, float64(since)/1e6)
	add(keyEnd, float64(end)/1e6)
	return out, nil
}

// registerPools registers the client library's metrics of the connections to the
// database: go_sql_…, with the label db_name.
func registerPools(registry prometheus.Registerer, s store.Store) error {
	pooled, ok := s.(interface{ Pools() map[string]*sql.DB })
	if !ok {
		return nil
	}
	var errs []error
	for name, pool := range pooled.Pools() {
		errs = append(errs, registry.Register(collectors.NewDBStatsCollector(pool, name)))
	}
	return errors.Join(errs...)
}
