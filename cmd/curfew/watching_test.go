package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	rulesFile     = "packaging/prometheus/curfew.rules.yaml"
	rulesTestFile = "packaging/prometheus/curfew.rules.test.yaml"
	dashboardFile = "packaging/grafana/curfew.json"
)

// promtool runs Prometheus's own tool.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s\nDebian has it in the package prometheus: make deps", strings.Join(args, " "), err, out)
	}
}

// The alert rules are valid, each one is quiet while all is well and fires when it
// should.
func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", rulesTestFile)
	rules, tests := readFile(t, rulesFile), readFile(t, rulesTestFile)
	names := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	if len(names) < 15 {
		t.Errorf("%d alerts were found, want 15 at least", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests, "{alertname: "+name[1]+", eval_time: ") || !strings.Contains(tests, "- alertname: "+name[1]+"\n") {
			t.Errorf("%s is not tested both quiet and firing", name[1])
		}
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// documentedMetrics returns the labels of each metric of the reference, which another
// test holds against the code, with the names that a query uses for histograms.
func documentedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	metrics := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(curfew_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(readFile(t, "docs/metrics.md"), -1) {
		var labels []string
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		if row[2] != "histogram" {
			metrics[row[1]] = labels
			continue
		}
		metrics[row[1]+"_count"], metrics[row[1]+"_sum"], metrics[row[1]+"_bucket"] = labels, labels, append(slices.Clone(labels), "le")
	}
	for _, name := range []string{"go_sql_in_use_connections", "go_sql_wait_duration_seconds_total"} { // of the client library
		metrics[name] = []string{"db_name"}
	}
	return metrics
}

// dashboardQueries returns the queries of all panels.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

// ruleQueries returns the expressions of the alert rules.
func ruleQueries(t *testing.T) []string {
	t.Helper()
	var queries []string
	for _, m := range regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindAllStringSubmatch(readFile(t, rulesFile), -1) {
		query := m[1]
		if strings.HasPrefix(query, `"`) {
			if err := json.Unmarshal([]byte(query), &query); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		}
		queries = append(queries, query)
	}
	return queries
}

// Every query of the dashboard and of the alerts is valid, and names metrics and
// labels that exist.
func TestQueriesNameMetrics(t *testing.T) {
	metrics := documentedMetrics(t)
	if _, ok := metrics["curfew_receipt_close_seconds_bucket"]; !ok || len(metrics) < 40 {
		t.Fatalf("the reference was not read: %v", metrics)
	}
	dashboard := dashboardQueries(t)
	queries := append(ruleQueries(t), dashboard...)
	if len(queries) < 50 {
		t.Errorf("%d queries were found, want 50 at least", len(queries))
	}
	for _, query := range queries {
		for _, problem := range checkQuery(query, metrics) {
			t.Errorf("%s: %s", query, problem)
		}
	}
	// The check finds what it looks for.
	for query, want := range map[string]int{
		`rate(curfew_sign_ins_total{outcome="good"}[5m])`: 0, `curfew_sign_in_total`: 1, `sum by (who) (curfew_sign_ins_total)`: 1,
		`curfew_sign_ins_total{reason="x"}`: 1, `sum(up)`: 1, `curfew_feed_lag_seconds`: 1,
	} {
		if got := checkQuery(query, metrics); len(got) != want {
			t.Errorf("%s: %q, want %d problems", query, got, want)
		}
	}

	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, query := range dashboard {
		query = strings.ReplaceAll(query, "$__rate_interval", "5m")
		fmt.Fprintf(&rules, "      - {record: 'query:%d', expr: '%s'}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}

var (
	nameInQuery  = regexp.MustCompile(`\b(?:curfew|go|process)_\w+`)
	matchers     = regexp.MustCompile(`\{([^}]*)\}`)
	matcher      = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	groupings    = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
	commonLabels = []string{"instance", "job"}
)

// checkQuery returns what a query names that no metric in it has.
func checkQuery(query string, metrics map[string][]string) []string {
	var problems []string
	allowed := slices.Clone(commonLabels)
	names := nameInQuery.FindAllString(query, -1)
	if len(names) == 0 {
		problems = append(problems, "it names no metric")
	}
	for _, name := range names {
		labels, ok := metrics[name]
		if !ok {
			problems = append(problems, "there is no metric "+name)
		}
		allowed = append(allowed, labels...)
	}
	var used []string
	for _, m := range matchers.FindAllStringSubmatch(query, -1) {
		for _, label := range matcher.FindAllStringSubmatch(m[1], -1) {
			used = append(used, label[1])
		}
	}
	for _, m := range groupings.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			used = append(used, strings.TrimSpace(label))
		}
	}
	for _, label := range used {
		if !slices.Contains(allowed, label) {
			problems = append(problems, "no metric in it has the label "+label)
		}
	}
	return problems
}
