package sqlstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/lib/pq"
	"github.com/xdg-go/scram"
)

// With channel_binding=require the server proves that it knows the password's hash
// and that the TLS connection ends at it (RFC 5802, section 6; RFC 5929, section
// 4), so a server in the middle that any certificate would do for is noticed. lib/pq
// has no channel binding. A binder therefore does the TLS handshake and the
// authentication in its place: lib/pq gets a connection on which the server asks
// for no password.
type binder struct {
	user, password string
	configs        map[string]*tls.Config // by address
	verify         bool                   // the certificate's authority, not its name
}

var errNoBinding = errors.New("channel_binding=require: the server authenticates without channel binding, which needs a password with scram-sha-256 and TLS; " +
	"set password_encryption = 'scram-sha-256', or use sslmode=verify-full without channel_binding")

// newBinder returns the binder for a configuration, which from then on has lib/pq
// not encrypt.
func newBinder(c *pq.Config) (*binder, error) {
	refuse := func(why string) (*binder, error) { return nil, fmt.Errorf("channel_binding=require: %s", why) }
	switch {
	case c.SSLMode != "" && c.SSLMode != pq.SSLModeRequire && c.SSLMode != pq.SSLModeVerifyCA && c.SSLMode != pq.SSLModeVerifyFull:
		return refuse(fmt.Sprintf("requires TLS, but sslmode is %s; use require, verify-ca or verify-full, and a host instead of a socket", c.SSLMode))
	case c.SSLCert != "" || c.SSLInline || c.SSLNegotiation == pq.SSLNegotiationDirect:
		return refuse("Curfew does not support it together with sslcert, sslinline or sslnegotiation=direct; use sslmode=verify-full instead")
	case c.Password == "":
		return refuse("requires a password in the address")
	}
	b := &binder{user: c.User, password: c.Password, configs: map[string]*tls.Config{}}
	roots, explicit, err := readRoots(c.SSLRootCert)
	if err != nil {
		return refuse(err.Error())
	}
	// As in libpq, a certificate authority makes require what verify-ca is.
	b.verify = c.SSLMode == pq.SSLModeVerifyCA || c.SSLMode != pq.SSLModeVerifyFull && explicit
	for address, host := range hostNames(*c) {
		b.configs[address] = &tls.Config{
			ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: c.SSLMode != pq.SSLModeVerifyFull, //nolint:gosec // the channel binding authenticates the server
		}
	}
	c.SSLMode = pq.SSLModeDisable
	return b, nil
}

// readRoots reads the certificate authorities of sslrootcert. Nil means those of
// the system.
func readRoots(file string) (roots *x509.CertPool, explicit bool, err error) {
	if file == "system" {
		return nil, false, nil
	}
	if home, err := os.UserHomeDir(); file == "" && err == nil {
		byDefault := filepath.Join(home, ".postgresql", "root.crt")
		if _, err := os.Stat(byDefault); err == nil {
			file = byDefault
		}
	}
	if file == "" {
		return nil, false, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, false, fmt.Errorf("read sslrootcert: %w", err)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, false, fmt.Errorf("read sslrootcert: %s has no certificate in PEM", file)
	}
	return roots, true, nil
}

// sslRequest asks a server for TLS (PostgreSQL documentation, section 55.2.11).
var sslRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}

// encrypt does the TLS handshake on a new connection.
func (b *binder) encrypt(ctx context.Context, address string, raw net.Conn) (*tls.Conn, error) {
	config := b.configs[address]
	if config == nil {
		return nil, fmt.Errorf("channel_binding=require: %s is not a server of the address", address)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(longAgo) })
	defer stop()
	if _, err := raw.Write(sslRequest); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(raw, answer[:]); err != nil {
		return nil, err
	}
	if answer[0] != 'S' {
		return nil, pq.ErrSSLNotSupported
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if b.verify {
		certificates := conn.ConnectionState().PeerCertificates
		options := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		for _, c := range certificates[1:] {
			options.Intermediates.AddCert(c)
		}
		if _, err := certificates[0].Verify(options); err != nil {
			return nil, &tls.CertificateVerificationError{UnverifiedCertificates: certificates, Err: err}
		}
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// tlsConn is a connection that is encrypted below lib/pq.
type tlsConn struct {
	*tls.Conn
	raw net.Conn
}

// CloseWrite tells the server that nothing follows.
func (c *tlsConn) CloseWrite() error {
	if err := c.Conn.CloseWrite(); err != nil {
		return err
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// boundConn is a new connection to a server. Its Read authenticates with channel
// binding when the server asks for it, before lib/pq gets the first message.
type boundConn struct {
	*tlsConn
	binder *binder
	begun  bool
	rest   bytes.Buffer // what the server sent and lib/pq has not read
}

// Read implements net.Conn.
func (c *boundConn) Read(p []byte) (int, error) {
	if !c.begun {
		if err := c.authenticate(); err != nil {
			return 0, err
		}
		c.begun = true
	}
	if c.rest.Len() > 0 {
		return c.rest.Read(p)
	}
	return c.tlsConn.Read(p)
}

// The messages of the authentication (PostgreSQL documentation, section 55.7).
const (
	messageAuthentication  = 'R'
	messagePassword        = 'p'
	messageErrorResponse   = 'E'
	authenticationSASL     = 10
	authenticationContinue = 11
	authenticationFinal    = 12

	mechanism = "SCRAM-SHA-256-PLUS"

	maxAuthentication = 64 << 10 // bytes of a message before the session
)

// authenticate speaks with the server until it is authenticated, or has refused,
// which lib/pq then reads.
func (c *boundConn) authenticate() error {
	kind, body, err := c.message()
	for err == nil && kind != messageAuthentication && kind != messageErrorResponse {
		kind, body, err = c.passOn(kind, body) // a notice, or a negotiation of versions
	}
	if err != nil {
		return err
	}
	if kind == messageErrorResponse {
		c.keep(kind, body)
		return nil
	}
	mechanisms, ok := saslData(body, authenticationSASL)
	if !ok || !slices.ContainsFunc(bytes.Split(mechanisms, []byte{0}), func(m []byte) bool { return string(m) == mechanism }) {
		return errNoBinding
	}
	state := c.ConnectionState()
	binding, err := scram.NewTLSServerEndpointBinding(&state)
	if err != nil {
		return fmt.Errorf("channel_binding=require: %w", err)
	}
	// PostgreSQL takes the user from the start of the session, and passwords that
	// SASLprep refuses as they are.
	client, err := scram.SHA256.NewClient(c.binder.user, c.binder.password, "")
	if err != nil {
		if client, err = scram.SHA256.NewClientUnprepped(c.binder.user, c.binder.password, ""); err != nil {
			return err
		}
	}
	conversation := client.NewConversationWithChannelBinding(binding)
	first, err := conversation.Step("")
	if err != nil {
		return err
	}
	initial := append([]byte(mechanism), 0)
	initial = binary.BigEndian.AppendUint32(initial, uint32(len(first))) // some dozens
	if err := c.send(append(initial, first...)); err != nil {
		return err
	}
	for _, code := range []uint32{authenticationContinue, authenticationFinal} {
		kind, body, err := c.message()
		if err != nil {
			return err
		}
		data, ok := saslData(body, code)
		if kind == messageErrorResponse {
			c.keep(kind, body)
			return nil
		}
		if kind != messageAuthentication || !ok {
			return errors.New("channel_binding=require: the server's answer is not one of a SCRAM authentication")
		}
		answer, err := conversation.Step(string(data))
		if err != nil {
			return fmt.Errorf("channel_binding=require: %w", err)
		}
		if code == authenticationContinue {
			if err := c.send([]byte(answer)); err != nil {
				return err
			}
		}
	}
	if !conversation.Valid() {
		return errors.New("channel_binding=require: the server has not proved that it knows the password")
	}
	return nil
}

// saslData returns the bytes after the code in an authentication message.
func saslData(body []byte, code uint32) (data []byte, ok bool) {
	if len(body) < 4 || binary.BigEndian.Uint32(body) != code {
		return nil, false
	}
	return body[4:], true
}

// message reads a message of the server.
func (c *boundConn) message() (kind byte, body []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(c.tlsConn, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n < 4 || n > maxAuthentication {
		return 0, nil, fmt.Errorf("the server sent a message of %d bytes before the session", n)
	}
	body = make([]byte, n-4)
	_, err = io.ReadFull(c.tlsConn, body)
	return header[0], body, err
}

// keep leaves a message to lib/pq.
func (c *boundConn) keep(kind byte, body []byte) {
	c.rest.WriteByte(kind)
	c.rest.Write(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) // at most maxAuthentication
	c.rest.Write(body)
}

// passOn leaves a message to lib/pq and reads the next.
func (c *boundConn) passOn(kind byte, body []byte) (byte, []byte, error) {
	c.keep(kind, body)
	if c.rest.Len() > maxAuthentication {
		return 0, nil, errors.New("the server sent too many messages before the session")
	}
	return c.message()
}

// send sends an answer to the server's question.
func (c *boundConn) send(data []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{messagePassword}, uint32(len(data)+4)) // some hundred
	_, err := c.tlsConn.Write(append(message, data...))
	return err
}
