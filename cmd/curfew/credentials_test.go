package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/config"
)

// Of several processes that find an old token one refreshes it, and none overwrites the
// token of another server.
func TestCredentialsAreChangedByOneAtATime(t *testing.T) {
	const processes = 4
	file := filepath.Join(t.TempDir(), "credentials.json")
	old := map[string]credential{}
	var refreshes [3]atomic.Int64
	var servers []string
	for i := range refreshes {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n := refreshes[i].Add(1)
			_, _ = fmt.Fprintf(w, `{"token":"new %d of %d"}`, n, i)
		}))
		t.Cleanup(server.Close)
		servers = append(servers, server.URL)
		old[server.URL] = credential{Token: "old", Received: time.Now().Add(-time.Hour)}
	}
	data, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for range processes {
		for i, server := range servers {
			work.Go(func() {
				a, err := openRemote(t.Context(), config.Remote{Server: server, Credentials: file}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if got, want := a.(*remote).token, fmt.Sprintf("new 1 of %d", i); got != want {
					t.Errorf("token %q, want %q", got, want)
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	work.Wait()
	kept, err := openCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, server := range servers {
		if n, got := refreshes[i].Load(), kept.entries[server].Token; n != 1 || got != fmt.Sprintf("new 1 of %d", i) {
			t.Errorf("server %d: %d refreshes, and the file has %q", i, n, got)
		}
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
