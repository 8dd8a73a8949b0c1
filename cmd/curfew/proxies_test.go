package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Kubernetes sets variables for each Service of a namespace. Those of a Service
// called curfew begin as ours do.
func TestServiceCalledCurfew(t *testing.T) {
	p := startServer(t, &serverProcess{env: []string{
		"CURFEW_PORT=tcp://10.96.0.7:8420", "CURFEW_SERVICE_HOST=10.96.0.7", "CURFEW_SERVICE_PORT=8420", "CURFEW_SERVICE_PORT_HTTP=8420",
		"CURFEW_PORT_8420_TCP=tcp://10.96.0.7:8420", "CURFEW_PORT_8420_TCP_ADDR=10.96.0.7",
		"CURFEW_PORT_8420_TCP_PORT=8420", "CURFEW_PORT_8420_TCP_PROTO=tcp",
	}})
	if got := p.ask(t, http.MethodGet, "/readyz", "", ""); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Load balancers that only connect, or ask /livez, every few seconds for ever leave no
// line in the log.
func TestProbesLeaveNoLine(t *testing.T) {
	for _, secure := range []bool{false, true} {
		dir := t.TempDir()
		s := &serverProcess{dir: dir}
		certificate, key, pool := writeCertificate(t, dir)
		if secure {
			s.args = []string{"--tls-cert", certificate, "--tls-key", key}
		}
		p := startServer(t, s)
		address := p.banner()["ADDRESS"]
		for range 50 {
			_ = dial(t, address).Close()
			half := dial(t, address)
			_, _ = half.Write([]byte{0x16})
			_ = half.Close()
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
		for range 20 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.banner()["URL"]+"/livez", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			got, err := transport.RoundTrip(r)
			if err != nil || got.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", got, err)
			}
			_ = got.Body.Close()
		}
		if err := p.stop(); err != nil { // by now the server has dealt with all of them
			t.Error(err)
		}
		log := p.read(p.log)
		for line := range strings.Lines(log) {
			if strings.Contains(line, `"request"`) || strings.Contains(line, "127.0.0.1:") && !strings.Contains(line, `"ready"`) {
				t.Errorf("TLS %v: %s", secure, line)
			}
		}
		if n := strings.Count(log, "\n"); n > 20 {
			t.Errorf("TLS %v: %d lines", secure, n)
		}
	}
}

// What nginx takes by default, four buffers of 8 KiB, Curfew takes as well: cookies of
// other services of the site make headers large.
func TestLargeHeaders(t *testing.T) {
	p := startServer(t, &serverProcess{})
	token := strings.TrimSpace(p.curfew(t, "token", "issue", "admin"))
	for kib := 1; kib <= 31; kib += 3 {
		request := "GET /v1/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n"
		for n := 0; len(request) < kib<<10; n++ {
			request += fmt.Sprintf("Cookie: app%d=%s\r\n", n, strings.Repeat("x", min(7000, max(1, kib<<10-len(request)-30))))
		}
		if got := exchange(t, p.banner()["ADDRESS"], request+"\r\n"); got != http.StatusOK {
			t.Errorf("%d KiB of headers: %d", kib, got)
		}
	}
}
