package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits on time and size of every connection. Handlers that hold a request
// (Prefer: wait, the change feed) move its deadlines. A client that sends headers
// slowly is cut off after readHeaderTimeout, a client that sends a body slowly
// after readTimeout, and a client that does not read its answers after
// writeTimeout.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10

	// An HTTP/2 connection has no time limit for headers. A client that has sent nothing
	// whole for pingAfter is sent a ping, which it can't answer in the middle of headers;
	// without an answer within pingTimeout the connection is closed.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// newServer returns an HTTP server with its limits. It speaks HTTP/1.1 and, over TLS,
// HTTP/2; with h2c, HTTP/2 without TLS too.
func newServer(handler http.Handler, connections *connections, h2c bool, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(h2c)
	return &http.Server{
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeTimeout},
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         connections.track,
		// Operators need not see the mistakes of clients (failed TLS handshakes,
		// bytes that are not HTTP).
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// encrypted returns the listener behind TLS, if there is a certificate.
func encrypted(listener net.Listener, c *certificate) net.Listener {
	if c == nil {
		return listener
	}
	return tls.NewListener(listener, &tls.Config{
		GetCertificate: c.get,
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
	})
}

// serve serves until the server is shut down.
func serve(server *http.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutDown lets requests under way end until ctx ends, then closes the remaining
// connections.
func shutDown(ctx context.Context, servers ...*http.Server) error {
	var errs []error
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, err, server.Close())
		}
	}
	return errors.Join(errs...)
}
