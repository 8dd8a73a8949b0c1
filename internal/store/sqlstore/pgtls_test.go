package sqlstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// A database on another machine is asked for a certificate that is its own,
// unless the URL says otherwise, which is warned of.
func TestPostgresTLS(t *testing.T) {
	const full, local = "verify-full", "" // lib/pq's default encrypts, too
	for _, tt := range []struct{ name, url, mode, warns string }{
		{"a name", "postgres://curfew@db.internal/curfew", full, ""},
		{"an address", "postgres://curfew@10.0.0.7/curfew", full, ""},
		{"an IPv6 address", "postgres://curfew@[2001:db8::7]:5433/curfew", full, ""},
		{"the host in the query", "postgres:///curfew?host=db.internal", full, ""},
		{"its address in the query", "postgres://localhost/curfew?hostaddr=10.0.0.7", full, ""},
		{"two hosts, one of them remote", "postgres:///curfew?host=localhost,db.internal", full, ""},
		{"a name that begins alike", "postgres://localhost.example.com/curfew", full, ""},
		{"localhost", "postgres://localhost/curfew", local, ""},
		{"no host", "postgres:///curfew", local, ""},
		{"a loopback address", "postgres://127.0.0.2/curfew", local, ""},
		{"the IPv6 loopback address", "postgres://[::1]/curfew", local, ""},
		{"a mapped loopback address", "postgres://[::ffff:127.0.0.1]/curfew", local, ""},
		{"a socket", "postgres:///curfew?host=/run/postgresql", "disable", ""},
		{"an address on this machine, whatever the name is", "postgres://db.internal/curfew?hostaddr=127.0.0.1", local, ""},
		{"a socket, then a remote host", "postgres:///curfew?host=/run/postgresql,db.internal", "disable", "sslmode=disable"},
		{"disabled", "postgres://db.internal/curfew?sslmode=disable", "disable", "sslmode=disable"},
		{"allowed", "postgres://db.internal/curfew?sslmode=allow", "allow", "sslmode=allow"},
		{"preferred", "postgres://db.internal/curfew?sslmode=prefer", "prefer", "sslmode=prefer"},
		{"required", "postgres://db.internal/curfew?sslmode=require", "require", "stand in for the server"},
		{"the authority alone", "postgres://db.internal/curfew?sslmode=verify-ca", "verify-ca", ""},
		{"in full", "postgres://db.internal/curfew?sslmode=verify-full", full, ""},
		{"disabled on this machine", "postgres://localhost/curfew?sslmode=disable", "disable", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mode, dsn, warning, err := sqlstore.PostgresTLS(tt.url)
			noErr(t, err)
			if mode != tt.mode {
				t.Errorf("sslmode is %q, want %q", mode, tt.mode)
			}
			if mode == full && !strings.Contains(dsn, "sslmode="+full) {
				t.Error("the listener's connection is not verified")
			}
			if (warning == "") != (tt.warns == "") || !strings.Contains(warning, tt.warns) {
				t.Errorf("the warning is %q, want one that says %q", warning, tt.warns)
			}
		})
	}
}

// The environment says otherwise, too: libpq's own variable.
func TestPostgresTLSByEnvironment(t *testing.T) {
	t.Setenv("PGSSLMODE", "require")
	mode, _, warning, err := sqlstore.PostgresTLS("postgres://db.internal/curfew")
	noErr(t, err)
	if mode != "require" || warning == "" {
		t.Errorf("sslmode is %q, the warning %q", mode, warning)
	}
}

// A server with a certificate of no known authority gets no password.
func TestPostgresCertificateRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noErr(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	noErr(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noErr(t, err)
	got := make(chan int64, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, 8)) // SSLRequest
		_, _ = conn.Write([]byte("S"))
		n, _ := io.Copy(io.Discard, tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
		got <- n
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = sqlstore.Open(t.Context(), sqlstore.Config{URL: "postgres://curfew:s3cret@localhost:" + port + "/curfew?hostaddr=127.0.0.1&sslmode=verify-full", Create: true})
	is(t, err, store.ErrUnavailable)
	for _, says := range []string{"certificate is refused", "sslrootcert=FILE"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error %q does not say %q", err, says)
		}
	}
	noErr(t, l.Close())
	if n := <-got; n != 0 {
		t.Errorf("%d bytes were sent to the server", n)
	}
}
