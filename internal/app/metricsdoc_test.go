package app

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/internal/manual/manualtest"
	"example.com/curfew/internal/store"
)

// describes is how the client library prints a description.
var describes = regexp.MustCompile(`(?s)^Desc\{fqName: "([^"]*)", help: "(.*)", unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// documentedMetric is a metric as the reference lists it.
type documentedMetric struct{ kind, labels, help string }

// metricsOf returns the metrics of Curfew's own in a registry, by name.
func metricsOf(t *testing.T, registry *prometheus.Registry) map[string]documentedMetric {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descriptions := make(chan *prometheus.Desc)
	go func() { // ends when all are read
		registry.Describe(descriptions)
		close(descriptions)
	}()
	found := map[string]documentedMetric{}
	for d := range descriptions {
		m := describes.FindStringSubmatch(d.String())
		if m == nil || !strings.HasPrefix(m[1], "curfew_") {
			continue
		}
		name := m[1]
		kind := kinds[name]
		if kind == "" && strings.HasSuffix(name, "_total") {
			kind = "counter" // no label has a value yet
		}
		if kind == "" && slices.Contains(labelledGauges, d) {
			kind = "gauge" // of other nodes and followers
		}
		if kind == "" {
			t.Errorf("the kind of %s is not known: let this test make one", name)
		}
		var labels []string
		for label := range strings.SplitSeq(m[3], ",") {
			if label, _, _ = strings.Cut(label, "="); label != "" {
				labels = append(labels, "`"+label+"`")
			}
		}
		for label := range strings.SplitSeq(m[4], ",") {
			if label != "" {
				labels = append(labels, "`"+label+"`")
			}
		}
		found[name] = documentedMetric{kind, strings.Join(labels, ", "), m[2]}
	}
	return found
}

// The reference of metrics lists every metric of a server and of an edge, and no
// other.
func TestMetricsReference(t *testing.T) {
	server, _ := runApp(t, serverConfig(t), Options{})
	client, secret := service(t, server, "edge", store.Follow)
	edge := runEdge(t, client.ID, secret, "http://"+server.Addr().String())
	of := map[string]map[string]documentedMetric{}
	for name, h := range map[string]*host{"server": server.host, "edge": edge.host} {
		get(t, "http://"+h.listener.Addr().String()+"/livez", "") // the durations of requests
		pair := func() (*tls.Certificate, error) { return &tls.Certificate{Leaf: &x509.Certificate{}}, nil }
		c, err := newCertificate(pair, h.log) // of the metrics of a server with TLS
		if err != nil {
			t.Fatal(err)
		}
		if err := h.registry.Register(c.gauge()); err != nil {
			t.Fatal(err)
		}
		of[name] = metricsOf(t, h.registry)
	}
	all := maps.Clone(of["edge"])
	maps.Copy(all, of["server"])
	rows := [][]string{{"metric", "kind", "labels", "of", "meaning"}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		where := "server, edge"
		for _, one := range []string{"server", "edge"} {
			if _, ok := of[one][name]; !ok {
				where = strings.Trim(strings.Replace(where, one, "", 1), ", ")
			}
		}
		rows = append(rows, []string{"`" + name + "`", all[name].kind, all[name].labels, where, all[name].help})
	}
	manualtest.Table(t, "../../cmd/curfew/docs/metrics.md", "## Reference", rows)
}
