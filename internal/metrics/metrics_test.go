package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/token"
)

// gather returns each sample as "name{labels} value".
func gather(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			b.WriteString(f.GetName() + " " + m.String() + "\n")
		}
	}
	return b.String()
}

func TestEveryReasonIsThereFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := New(registry)
	if err != nil {
		t.Fatal(err)
	}
	text := gather(t, registry)
	for _, reason := range append(token.Reasons(), "good") {
		if !strings.Contains(text, `value:"`+string(reason)+`"`) {
			t.Errorf("%s is not in the metrics before it occurs, so an alert on it cannot be tried", reason)
		}
	}
	if len(m.Refusals()) != 0 {
		t.Errorf("refusals %v before there was one", m.Refusals())
	}
}

func TestRefusals(t *testing.T) {
	m, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Validation("", time.Millisecond)
	m.Validation(token.ErrRevoked, time.Millisecond)
	m.Validation(token.ErrRevoked, time.Millisecond)
	m.Validation("no such reason", time.Millisecond)
	got := m.Refusals()
	if len(got) != 2 || got[token.ErrRevoked] != 2 || got[token.ErrUnavailable] != 1 {
		t.Errorf("refusals %v", got)
	}
}

// Invented methods do not add time series.
func TestStrangersChooseNoLabel(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := New(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PROPFIND", "get", "", "X\nY"} {
		m.Request("", method, 404, time.Millisecond)
	}
	text := gather(t, registry)
	for _, stranger := range []string{"PROPFIND", `"get"`, `"X`} {
		if strings.Contains(text, stranger) {
			t.Errorf("%s is a label", stranger)
		}
	}
	if n := strings.Count(text, "curfew_http_requests_total"); n != 2 { // GET and other
		t.Errorf("%d series, want 2", n)
	}
}

func TestRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := New(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := New(registry); err == nil {
		t.Error("two sets of metrics by one name")
	}
}
