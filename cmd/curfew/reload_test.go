package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
)

// servedFrom returns the function that reports whether a new connection gets the
// certificate that is in a file.
func servedFrom(t *testing.T, address, file string) func() bool {
	t.Helper()
	return func() bool {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(data)
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
		if err != nil {
			return false
		}
		defer conn.Close()
		return string(conn.ConnectionState().PeerCertificates[0].Raw) == string(block.Bytes)
	}
}

// A renewed certificate is served without a restart, a pair that does not fit
// leaves the previous one in use, and SIGHUP reads the files at once.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	certificate, key, _ := writeCertificate(t, dir)
	p := startServer(t, &serverProcess{dir: dir, args: []string{"--tls-cert", certificate, "--tls-key", key}})
	address := strings.TrimPrefix(p.banner()["URL"], "https://")
	served := servedFrom(t, address, certificate)
	if !served() {
		t.Fatal("the first certificate is not served")
	}
	first, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}

	renewed := t.TempDir()
	writeCertificate(t, renewed)
	if err := os.Rename(filepath.Join(renewed, "cert.pem"), certificate); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the pair that does not fit is in the log", func() bool { return p.logs("the previous certificate stays in use") })
	firstFile := filepath.Join(renewed, "first.pem")
	if err := os.WriteFile(firstFile, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if !servedFrom(t, address, firstFile)() {
		t.Error("with a pair that does not fit, the previous certificate is not served")
	}
	if err := os.Rename(filepath.Join(renewed, "key.pem"), key); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the renewed certificate is served", served)

	writeCertificate(t, dir)
	if err := p.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the server has seen the signal", func() bool { return p.logs("asked to reload") })
	await.Until(t, "the certificate after SIGHUP is served", served)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.banner()["METRICS"], http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	metrics, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(metrics), "\ncurfew_tls_certificate_not_after_seconds 1.") {
		t.Errorf("the metrics do not have the certificate's end: %v\n%s", err, metrics)
	}
}

// SIGHUP ends neither a server nor an edge, with or without TLS.
func TestHangUp(t *testing.T) {
	p := startServer(t, &serverProcess{})
	if err := p.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the server has seen the signal", func() bool { return p.logs("nothing to read again") })
	if got := p.ask(t, http.MethodGet, "/readyz", "", ""); got.status != http.StatusOK {
		t.Errorf("readyz answers %d, want 200", got.status)
	}
}

// After SIGTERM a server whose readiness is looked at says that it is not ready,
// and answers everything else until the shutdown delay is over.
func TestShutdownDelay(t *testing.T) {
	for name, args := range map[string][]string{
		"configured": {"--shutdown-delay", "30m", "--shutdown-timeout", "1h"},
		"automatic":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			p := startServer(t, &serverProcess{args: args})
			if got := p.ask(t, http.MethodGet, "/readyz", "", ""); got.status != http.StatusOK {
				t.Fatalf("readyz answers %d, want 200", got.status)
			}
			if err := p.signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			await.Until(t, "the server says that it serves on", func() bool { return p.logs("requests are served until") })
			// Each on a connection of its own, as a load balancer's check is. On a machine
			// that is busy the automatic delay may be over at the second one.
			ready, err := p.tryAsk(t.Context(), http.MethodGet, "/readyz", "", "")
			if err != nil || ready.status != http.StatusServiceUnavailable {
				t.Errorf("readyz answers %d, %v, want 503", ready.status, err)
			}
			session, err := p.tryAsk(t.Context(), http.MethodGet, "/v1/session", "nonsense", "")
			if name == "configured" && (err != nil || session.status != http.StatusUnauthorized) {
				t.Errorf("a request got %d, %v, want 401", session.status, err)
			}
			if name == "automatic" {
				if err := p.wait(await.Limit); err != nil {
					t.Errorf("ended with %v, want exit code 0", err)
				}
			}
		})
	}
}
