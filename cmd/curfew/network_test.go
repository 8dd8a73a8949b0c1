package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// writeCertificate makes a certificate for 127.0.0.1 that signs itself.
func writeCertificate(t *testing.T, dir string) (certificate, key string, pool *x509.CertPool) {
	t.Helper()
	return writeCertificateOf(t, dir, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// writeCertificateOf is writeCertificate for a certificate that begins and ends as given.
func writeCertificateOf(t *testing.T, dir string, begins, ends time.Time) (certificate, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "curfew"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: begins, NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{certificate: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certificate, key, pool
}

// A certificate near its end is on the overview, for administrators who read no metrics.
func TestOverviewHasTheCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		age  time.Duration
		want bool
	}{
		"near its end": {90 * 24 * time.Hour, true},
		"fresh":        {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			certificate, key, pool := writeCertificateOf(t, dir, time.Now().Add(-time.Hour-tt.age), time.Now().Add(25*time.Hour))
			p := startServer(t, &serverProcess{
				dir: dir, args: []string{"--tls-cert", certificate, "--tls-key", key}, env: []string{"CURFEW_ADMIN_PASSWORD=correct horse battery staple"},
			})
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
			defer transport.CloseIdleConnections()
			send := func(method, path, body, cookie string) []byte {
				r, err := http.NewRequestWithContext(t.Context(), method, p.banner()["URL"]+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Cookie", cookie)
				got, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				defer got.Body.Close()
				answer, err := io.ReadAll(got.Body)
				if err != nil || got.StatusCode/100 != 2 {
					t.Fatalf("%s %s: %d %v\n%s", method, path, got.StatusCode, err, answer)
				}
				return answer
			}
			var issued struct{ Token string }
			if err := json.Unmarshal(send(http.MethodPost, "/v1/sessions", `{"username":"admin","password":"correct horse battery staple"}`, ""), &issued); err != nil {
				t.Fatal(err)
			}
			page := string(send(http.MethodGet, "/", "", "__Host-curfew_session="+issued.Token))
			if !strings.Contains(page, "Overview") || strings.Contains(page, "The TLS certificate of this node ends in 24 hours.") != tt.want {
				t.Errorf("the overview speaks of the certificate: %v, want %v", !tt.want, tt.want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key, pool := writeCertificate(t, dir)
	p := startServer(t, &serverProcess{dir: dir, args: []string{"--tls-cert", certificate, "--tls-key", key}})
	address, ok := strings.CutPrefix(p.banner()["URL"], "https://")
	if !ok {
		t.Fatalf("the address is %s, want https", p.banner()["URL"])
	}
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			protocols := new(http.Protocols)
			protocols.SetHTTP2(protocol == "h2")
			protocols.SetHTTP1(protocol != "h2")
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Protocols: protocols}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/readyz", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			got, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			got.Body.Close()
			if hsts := got.Header.Get("Strict-Transport-Security"); hsts != "max-age=31536000" {
				t.Errorf("Strict-Transport-Security: %q", hsts)
			}
			if got.StatusCode != http.StatusOK || (got.ProtoMajor == 2) != (protocol == "h2") {
				t.Errorf("%s %s", got.Proto, got.Status)
			}
		})
	}
	// Nothing older than TLS 1.2, and nothing in the clear.
	old := tls.Client(dial(t, address), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err := old.HandshakeContext(t.Context()); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	if got := exchange(t, address, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusBadRequest {
		t.Errorf("in the clear: %d", got)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

// Input that no honest client sends is refused or cut off, and does not slow down
// other clients.
func TestHostileConnections(t *testing.T) {
	p := startServer(t, &serverProcess{})
	address := p.banner()["ADDRESS"]
	token := p.curfew(t, "token", "issue", "admin")
	const head = "GET /v1/session HTTP/1.1\r\nHost: x\r\n"
	tests := []struct {
		name, send string
		want       []int // status; 0: cut off without an answer
	}{
		{"2 MiB of headers", head + "X: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", []int{431, 0}},
		{"5000 cookies", head + strings.Repeat("Cookie: a=b\r\n", 5000) + "\r\n", []int{431, 0}},
		{"a URL of 64 KiB", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431, 0}},
		{"1 GiB announced", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{", []int{413}},
		{"two lengths", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", []int{400}},
		{"length and chunks", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"no host", "GET /v1/session HTTP/1.1\r\n\r\n", []int{400}},
		{"a folded header", head + "X: a\r\n b\r\n\r\n", []int{400, 401}},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []int{405, 404}},
		{"CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []int{400, 404, 405}},
		{"debug", "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []int{404, 303}},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := exchange(t, address, test.send); !slices.Contains(test.want, got) {
				t.Errorf("status %d, want one of %v", got, test.want)
			}
		})
	}

	// A thousand connections without a request do not slow down a connection with one.
	checks := func() time.Duration {
		var took []time.Duration
		for range 200 {
			began := time.Now()
			if got := p.ask(t, "GET", "/v1/session", token, ""); got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	alone := checks()
	var idle []net.Conn
	for range 1000 {
		conn := dial(t, address)
		if _, err := io.WriteString(conn, "GET / HT"); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	p99 := checks()
	t.Logf("p99 of a check: %v, beside %d connections that dribble: %v", alone, len(idle), p99)
	if p99 > slower*max(alone, 50*time.Millisecond) {
		t.Errorf("p99 is %v, and %v without the connections", p99, alone)
	}
}

// exchange sends bytes and returns the status of the answer; 0 if there was none.
func exchange(t *testing.T, address, send string) int {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(await.Limit))
	go func() { _, _ = io.Copy(conn, bytes.NewBufferString(send)) }() // ends with the connection
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0
	}
	var status int
	if _, err := fmt.Sscanf(line, "HTTP/1.%d %d", new(int), &status); err != nil {
		t.Fatalf("%q is not HTTP", line)
	}
	return status
}
