package sqlstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
)

// selfSigned makes a certificate of localhost that signs itself.
func selfSigned(t *testing.T) (certificate, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noErr(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	noErr(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	noErr(t, err)
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	pair, err = tls.X509KeyPair([]byte(certificate), []byte(key))
	noErr(t, err)
	return certificate, key, pair
}

// acceptTLS starts a server that accepts TLS as PostgreSQL does, and calls serve
// for each connection.
func acceptTLS(t *testing.T, pair tls.Certificate, serve func(conn *tls.Conn)) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noErr(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection, which its client closes
				defer conn.Close()
				_, _ = io.ReadFull(conn, make([]byte, 8)) // SSLRequest
				_, _ = conn.Write([]byte("S"))
				serve(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
			}()
		}
	}()
	return l.Addr().String()
}

// channel_binding=require is a real check: with the server itself everything
// works, pools, notifications and cancellations included; a server in the middle
// that relays every message is refused.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	certificate, key, _ := selfSigned(t)
	server := pgtest.Start(t, pgtest.Options{TCP: true, Certificate: certificate, PrivateKey: key})
	bound := func(address, more string) string {
		return strings.Replace(server.DSNVia(address, "postgres"), "sslmode=disable", more+"&channel_binding=require", 1)
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	noErr(t, os.WriteFile(authority, []byte(certificate), 0o600))
	other, _, otherPair := selfSigned(t)
	otherAuthority := filepath.Join(t.TempDir(), "ca.pem")
	noErr(t, os.WriteFile(otherAuthority, []byte(other), 0o600))

	for name, query := range map[string]string{
		"require": "sslmode=require", "default": "", "its authority": "sslmode=require&sslrootcert=" + authority,
		"verify-ca": "sslmode=verify-ca&sslrootcert=" + authority, "verify-full": "sslmode=verify-full&sslrootcert=" + authority,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, bound(server.Addr(), query))
			other := open(t, bound(server.Addr(), query))
			watch := other.Watch(t.Context())
			<-watch // it listens
			epoch, err := revokeAt(t.Context(), s, time.Now(), revocation.User("ann"))
			noErr(t, err)
			for got := revocation.Epoch(0); got < epoch; {
				<-watch
				got, err = other.Clock(t.Context())
				noErr(t, err)
			}
			encrypted, err := server.Exec(`SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND client_addr IS NOT NULL`)
			noErr(t, err)
			if encrypted != "0" {
				t.Errorf("%s connections are not encrypted", encrypted)
			}
		})
	}

	t.Run("a server in the middle", func(t *testing.T) {
		address := acceptTLS(t, otherPair, func(client *tls.Conn) {
			raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Addr())
			if err != nil {
				return
			}
			defer raw.Close()
			_, _ = raw.Write([]byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f})
			_, _ = io.ReadFull(raw, make([]byte, 1))
			upstream := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
			go func() { _, _ = io.Copy(upstream, client); _ = raw.Close() }()
			_, _ = io.Copy(client, upstream)
		})
		_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: bound(address, "sslmode=require"), Create: true})
		is(t, err, store.ErrUnavailable)
		if !strings.Contains(err.Error(), "channel binding") {
			t.Errorf("the error does not name the reason: %v", err)
		}
	})
	for name, query := range map[string]string{"verify-ca": "verify-ca", "verify-full": "verify-full", "require": "require"} {
		t.Run("another authority, "+name, func(t *testing.T) {
			_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: bound(server.Addr(), "sslmode="+query+"&sslrootcert="+otherAuthority), Create: true})
			is(t, err, store.ErrUnavailable)
			if !strings.Contains(err.Error(), "certificate is refused") {
				t.Errorf("the error does not name the reason: %v", err)
			}
		})
	}
}

// A server that does not ask for channel binding gets no password, and no session.
func TestChannelBindingIsNotLeftOut(t *testing.T) {
	_, _, pair := selfSigned(t)
	authentication := func(code uint32, data string) string {
		body := binary.BigEndian.AppendUint32(nil, code)
		body = append(body, data...)
		return "R" + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + string(body)
	}
	const without = "authenticates without channel binding"
	for _, test := range []struct{ name, sends, says string }{
		{"trusts", authentication(0, ""), without},
		{"wants the password", authentication(3, ""), without},
		{"wants its MD5", authentication(5, "salt"), without},
		{"offers SCRAM alone", authentication(10, "SCRAM-SHA-256\x00\x00"), without},
		{"offers nothing", authentication(10, "\x00"), without},
		{"offers a mechanism with a longer name", authentication(10, "SCRAM-SHA-256-PLUS-2\x00\x00"), without},
		{"sends half a message", "R\x00", "unexpected EOF"},
		{"sends a message without end", "R\xff\xff\xff\xff", "bytes before the session"},
		{"skips the exchange", authentication(10, "SCRAM-SHA-256-PLUS\x00\x00") + authentication(0, ""), "not one of a SCRAM"},
		{"invents a nonce", authentication(10, "SCRAM-SHA-256-PLUS\x00\x00") + authentication(11, "r=x,s=c2FsdA==,i=4096"), "channel_binding=require"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := acceptTLS(t, pair, func(conn *tls.Conn) {
				_, _ = conn.Read(make([]byte, 1024)) // the start of the session
				_, _ = io.WriteString(conn, test.sends)
				_ = conn.CloseWrite()
				rest, _ := io.ReadAll(conn)
				if strings.Contains(string(rest), "s3cret") {
					t.Error("the password was sent")
				}
			})
			_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: "postgres://curfew:s3cret@" + address + "/curfew?sslmode=require&channel_binding=require", Create: true})
			is(t, err, store.ErrUnavailable)
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v, want one that says %q", err, test.says)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

// What libpq documents is understood, or refused by name: nothing only looks as if
// it had an effect.
func TestPostgresParameters(t *testing.T) {
	for _, test := range []struct{ query, says string }{
		{"channel_binding=disable", ""},
		{"channel_binding=prefer", ""},
		{"channel_binding=require", ""},
		{"channel_binding=always", "channel_binding=always: this value is not supported; use disable or prefer or require"},
		{"channel_binding=require&sslmode=disable", "requires TLS, but sslmode is disable"},
		{"channel_binding=require&sslmode=prefer", "requires TLS, but sslmode is prefer"},
		{"channel_binding=require&sslcert=a.crt", "sslcert"},
		{"channel_binding=require&sslrootcert=/no/such", "read sslrootcert"},
		{"ssl=true", ""},
		{"ssl=true&sslmode=verify-full", ""},
		{"pgbouncer=true", "pgbouncer=true: this is a parameter of Prisma; remove it"},
		{"schema=public", "remove it"},
		{"gssencmode=disable", ""},
		{"gssencmode=prefer", ""},
		{"gssencmode=require", "gssencmode=require"},
		{"sslcompression=0", ""},
		{"sslcompression=1", "sslcompression=1"},
		{"sslcertmode=require", "sslcertmode=require"},
		{"sslcrl=a.crl", "sslcrl=a.crl: this parameter is not supported; remove it"},
		{"require_auth=scram-sha-256", "require_auth"},
		{"requirepeer=postgres", "requirepeer"},
		{"keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=10000", ""},
		{"keepalives_idle=0&tcp_user_timeout=0", ""},
		{"keepalives=0", "keepalives=0"},
		{"keepalives_idle=-1", "want a number, 0 or more"},
		{"keepalives_count=many", "want a number, 0 or more"},
		{"tcp_user_timeout=1s", "want a number, 0 or more"},
		{"keepalives_idle=99999999999", "want a number, 0 or more"},
	} {
		t.Run(test.query, func(t *testing.T) {
			_, dsn, _, err := sqlstore.PostgresTLS("postgres://curfew:s3cret@localhost/curfew?" + test.query)
			if test.says == "" {
				noErr(t, err)
				for _, name := range []string{"channel_binding", "gssencmode", "keepalives", "ssl=true", "tcp_user_timeout", "sslcompression"} {
					if strings.Contains(dsn, name) {
						t.Errorf("%s is left in the address", name)
					}
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error is %v, want one that says %q and no password", err, test.says)
			}
		})
	}
	for address, says := range map[string]string{
		"postgres://curfew@localhost/curfew?channel_binding=require":               "requires a password",
		"postgres://curfew:p@/curfew?channel_binding=require&host=/run/postgresql": "and a host instead of a socket",
	} {
		if _, _, _, err := sqlstore.PostgresTLS(address); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", address, err, says)
		}
	}
}

// The smaller of a limit in the address and Curfew's own counts.
func TestPostgresKeepalives(t *testing.T) {
	for _, test := range []struct {
		query                   string
		idle, interval, timeout time.Duration
		count                   int
	}{
		{"", 5 * time.Second, 5 * time.Second, 15 * time.Second, 2},
		{"keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=60000", 5 * time.Second, 5 * time.Second, 15 * time.Second, 2},
		{"keepalives_idle=4&keepalives_interval=3&keepalives_count=1&tcp_user_timeout=9000", 4 * time.Second, 3 * time.Second, 9 * time.Second, 1},
		{"keepalives_idle=0&keepalives_interval=0&keepalives_count=0&tcp_user_timeout=0", 5 * time.Second, 5 * time.Second, 15 * time.Second, 2},
	} {
		idle, interval, count, timeout, err := sqlstore.PostgresKeepalives("postgres://localhost/curfew?" + test.query)
		noErr(t, err)
		if idle != test.idle || interval != test.interval || count != test.count || timeout != test.timeout {
			t.Errorf("%q: %v, %v, %d, %v; want %v, %v, %d, %v", test.query, idle, interval, count, timeout, test.idle, test.interval, test.count, test.timeout)
		}
	}
}
