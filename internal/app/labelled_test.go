package app

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
)

// The metrics tell of other nodes, of the followers of each client, of receipts, live
// sessions, keys and connections.
func TestMetricsOfOthers(t *testing.T) {
	cfg := serverConfig(t)
	cfg.Database, cfg.KeyEncryptionKey, cfg.AdminPassword = config.Database(migrated.Postgres(t)), make([]byte, 32), "correct horse battery"
	a, _ := runApp(t, cfg, Options{})
	b, _ := runApp(t, cfg, Options{})
	client, secret := service(t, a, "edge", store.Follow)
	runEdge(t, client.ID, secret, "http://"+a.Addr().String())
	url := "http://" + a.Addr().String()
	status, body := send(t, http.MethodPost, url+"/v1/sessions", "", `{"username":"admin","password":"correct horse battery","remember_me":true}`)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	token := regexp.MustCompile(`"token":"([^"]+)"`).FindStringSubmatch(body)[1]
	if status, body := send(t, http.MethodPost, url+"/v1/revocations", token, `{"scope":"users","users":["ghost"],"reason":"x"}`); status == http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := send(t, http.MethodPost, url+"/v1/revocations", token, `{"scope":"everyone","reason":"test"}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	node := regexp.QuoteMeta(nodeName(b.Addr().String()))
	var scraped string
	for _, line := range []string{
		`curfew_node_lease_seconds\{node="` + node + `"\} [0-9.]*[1-9]`, `curfew_node_lag_seconds\{node="` + node + `"\} 0`,
		`curfew_client_followers\{client="` + client.ID + `"\} 1`, `curfew_client_followers_overdue\{client="` + client.ID + `"\} 0`,
		`curfew_client_lease_seconds\{client="` + client.ID + `"\} [0-9.]*[1-9]`, `curfew_client_lag_seconds\{client="` + client.ID + `"\} 0`,
		`curfew_receipt_close_seconds_count\{closed_by="confirmation"\} 1`, `curfew_receipt_close_seconds_count\{closed_by="lease"\} 0`,
		`curfew_sessions_live [01]`, `curfew_sessions_live_users [01]`, `curfew_receipts_open [01]`, `curfew_receipts_open_oldest_seconds `,
		`curfew_signing_keys\{state="active"\} 1`, `curfew_signing_keys\{state="retiring"\} 0`,
		`curfew_signing_key_active_since_seconds 1\.[0-9]+e\+09`, `curfew_signing_key_end_seconds 0`,
		`go_sql_open_connections\{db_name="read"\} [1-9]`, `go_sql_wait_count_total\{db_name="write"\} `,
	} {
		pattern := regexp.MustCompile("(?m)^" + line)
		if !await.Holds(await.Limit, func() bool { // other nodes are read now and then
			_, scraped = get(t, "http://"+a.MetricsAddr().String()+"/metrics", "")
			return pattern.MatchString(scraped)
		}) {
			t.Errorf("no %s in\n%s", line, strings.Join(regexp.MustCompile(`(?m)^curfew_.*$`).FindAllString(scraped, -1), "\n"))
		}
	}
}
