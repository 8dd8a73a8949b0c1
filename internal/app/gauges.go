package app

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/curfew/internal/feed"
)

// newRegistry returns a registry with the metrics of any process.
func newRegistry() (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "curfew_build_info", Help: "1, with the version in a label.",
		ConstLabels: prometheus.Labels{"version": Version()},
	})
	build.Set(1)
	return registry, errors.Join(
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		registry.Register(build),
	)
}

// gauges are the metrics that are read when they are collected.
type gauges struct {
	look  func() *snapshot
	all   []gauge
	nodes *prometheus.Desc
}

type gauge struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(*snapshot) float64
}

// snapshot holds the values of one scrape.
type snapshot struct {
	feed.Status
	now             time.Time
	hashing, queued int
	hashed          uint64
	open, closed    int64
	unread, givenUp int64
	used, unused    int64
}

// registerGauges registers what status and, if there are passwords, hashes say.
func (h *host) registerGauges(status func() feed.Status, hashes func() (running, waiting int, turns uint64)) error {
	g := &gauges{nodes: prometheus.NewDesc("curfew_nodes", "Nodes on this store whose lease is running, this one included.", nil, nil)}
	g.look = func() *snapshot {
		s := &snapshot{Status: status(), now: h.now()}
		if hashes != nil {
			s.hashing, s.queued, s.hashed = hashes()
		}
		s.open, s.closed = h.connections.counts()
		s.unread, s.givenUp = h.bodies.Counts()
		s.used, s.unused = h.uses.Counts()
		return s
	}
	add := func(kind prometheus.ValueType, name, help string, value func(*snapshot) float64) {
		g.all = append(g.all, gauge{prometheus.NewDesc("curfew_"+name, help, nil, nil), kind, value})
	}
	add(prometheus.GaugeValue, "view_epoch_seconds", "Epoch of this node's view, as a date.", func(s *snapshot) float64 { return seconds(s.Epoch.Time()) })
	add(prometheus.GaugeValue, "view_clock_ahead_seconds", "How far the epoch clock is ahead of this machine's clock; above 60, one of the clocks is wrong.",
		func(s *snapshot) float64 { return max(0, s.Epoch.Time().Sub(s.now).Seconds()) })
	add(prometheus.GaugeValue, "view_lease_seconds", "Remaining lease of this node's view; at 0 the node answers 503.", func(s *snapshot) float64 { return max(0, s.LeaseLeft.Seconds()) })
	add(prometheus.GaugeValue, "view_trusted", "1 while the lease runs, so that the node validates sessions.", func(s *snapshot) float64 { return number(s.Trusted) })
	add(prometheus.GaugeValue, "store_reachable", "1 if the last read of the database succeeded.", func(s *snapshot) float64 { return number(s.Error == nil) })
	add(prometheus.GaugeValue, "followers", "Followers with a lease from this node, including those behind edges.", func(s *snapshot) float64 { return float64(s.Followers) })
	add(prometheus.GaugeValue, "followers_overdue", "Followers that did not confirm a change in time, and get no new lease.", func(s *snapshot) float64 { return float64(s.Overdue) })
	add(prometheus.GaugeValue, "feed_polls_pending", "Polls of followers that wait for a change.", func(s *snapshot) float64 { return float64(s.Polls.Pending) })
	add(prometheus.CounterValue, "feed_polls_refused_total", "Polls of followers that were refused because their client exceeded a limit.", func(s *snapshot) float64 { return float64(s.Polls.Refused) })
	add(prometheus.GaugeValue, "feed_confirmed_epoch_seconds", "Epoch that this node and all its live followers enforce, as a date.", func(s *snapshot) float64 { return seconds(s.Confirmed.Time()) })
	add(prometheus.GaugeValue, "revocation_cache_entries", "Revocations in memory.", func(s *snapshot) float64 { return float64(s.Cache.Entries) })
	add(prometheus.GaugeValue, "revocation_cache_capacity", "Maximum number of revocations in the cache.", func(s *snapshot) float64 { return float64(s.Cache.Capacity) })
	add(prometheus.GaugeValue, "revocation_cache_complete", "1 while the cache holds every revocation, so that no validation reads the database.", func(s *snapshot) float64 { return number(s.Cache.Complete) })
	add(prometheus.CounterValue, "revocation_cache_lookups_total", "Reads of the database for revocations that were not in the cache.", func(s *snapshot) float64 { return float64(s.Cache.Lookups) })
	if hashes != nil {
		add(prometheus.GaugeValue, "password_hashes_running", "Passwords being hashed.", func(s *snapshot) float64 { return float64(s.hashing) })
		add(prometheus.CounterValue, "password_hashes_total", "Passwords that were hashed.", func(s *snapshot) float64 { return float64(s.hashed) })
		add(prometheus.GaugeValue, "password_hashes_waiting", "Passwords that wait to be hashed.", func(s *snapshot) float64 { return float64(s.queued) })
	}
	add(prometheus.GaugeValue, "connections", "Open connections.", func(s *snapshot) float64 { return float64(s.open) })
	add(prometheus.CounterValue, "connections_displaced_total", "Idle connections closed to make room for new ones.", func(s *snapshot) float64 { return float64(s.closed) })
	add(prometheus.GaugeValue, "requests_awaiting_body", "Requests whose bodies are not complete yet.", func(s *snapshot) float64 { return float64(s.unread) })
	add(prometheus.CounterValue, "requests_awaiting_body_displaced_total", "Requests closed while waiting for their bodies, to make room for new ones.", func(s *snapshot) float64 { return float64(s.givenUp) })
	add(prometheus.CounterValue, "session_uses_reported_total", "Uses of sessions that were reported: to the database, or by an edge to its upstream. Each session is reported at most once in five minutes by each process.", func(s *snapshot) float64 { return float64(s.used) })
	add(prometheus.CounterValue, "session_uses_dropped_total", "Uses of sessions that were not reported: the database or the upstream was not reachable or does not take them, or there were too many at once.", func(s *snapshot) float64 { return float64(s.unused) })
	return h.registry.Register(g)
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// The metrics of other nodes, and of the followers of a service client. Operators name
// nodes, and administrators create clients: no caller makes up a label.
var (
	nodeLease      = prometheus.NewDesc("curfew_node_lease_seconds", "Remaining lease of another node, if it does not report again.", []string{"node"}, nil)
	nodeLag        = prometheus.NewDesc("curfew_node_lag_seconds", "Time for which another node has not confirmed a revocation; 0 if it has confirmed all. It compares the clocks of two machines.", []string{"node"}, nil)
	clientCount    = prometheus.NewDesc("curfew_client_followers", "Followers of a service client with a lease from this node, without those behind them.", []string{"client"}, nil)
	clientOverdue  = prometheus.NewDesc("curfew_client_followers_overdue", "Those of them that did not confirm a change in time, and get no new lease.", []string{"client"}, nil)
	clientLease    = prometheus.NewDesc("curfew_client_lease_seconds", "Shortest remaining lease of the followers of a service client.", []string{"client"}, nil)
	clientLag      = prometheus.NewDesc("curfew_client_lag_seconds", "Longest time for which a follower of a service client has not confirmed a revocation; 0 if all are confirmed.", []string{"client"}, nil)
	labelledGauges = []*prometheus.Desc{nodeLease, nodeLag, clientCount, clientOverdue, clientLease, clientLag}
)

// collectLabelled sends the metrics of nodes and clients. Of two nodes with one name,
// of which one has just ended, the one with the longer lease counts.
func collectLabelled(s *snapshot, metrics chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, label string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, label)
	}
	nodes := map[string]feed.NodeState{}
	for _, n := range s.Nodes {
		if old, twice := nodes[n.Name]; !n.Dead && n.ID != s.ID && (!twice || old.LeaseLeft < n.LeaseLeft) {
			nodes[n.Name] = n
		}
	}
	for name, n := range nodes {
		send(nodeLease, n.LeaseLeft.Seconds(), name)
		send(nodeLag, n.Lag.Seconds(), name)
	}
	for _, c := range s.Clients {
		send(clientCount, float64(c.Followers), c.Client)
		send(clientOverdue, float64(c.Overdue), c.Client)
		send(clientLease, c.LeaseLeft.Seconds(), c.Client)
		send(clientLag, c.Lag.Seconds(), c.Client)
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- g.nodes
	for _, d := range labelledGauges {
		descriptions <- d
	}
	for _, one := range g.all {
		descriptions <- one.description
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(metrics chan<- prometheus.Metric) {
	s := g.look()
	for _, one := range g.all {
		metrics <- prometheus.MustNewConstMetric(one.description, one.kind, one.value(s))
	}
	nodes := 1.0
	for _, n := range s.Nodes {
		if !n.Dead && n.ID != s.ID {
			nodes++
		}
	}
	metrics <- prometheus.MustNewConstMetric(g.nodes, prometheus.GaugeValue, nodes)
	collectLabelled(s, metrics)
}
