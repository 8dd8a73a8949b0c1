package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateEvery is the interval at which the files of a certificate are read
// again.
const certificateEvery = 5 * time.Second

// A certificate is the TLS certificate of a listener. It follows its files, so
// that a renewed certificate needs no restart. A pair that cannot be used leaves
// the previous one in force.
type certificate struct {
	load func() (*tls.Certificate, error)
	log  *slog.Logger

	mu       sync.Mutex // one read of the files at a time
	failed   string     // the error of the last read; "" if it succeeded
	reported bool       // failed is in the log

	current atomic.Pointer[tls.Certificate]
}

// newCertificate loads the certificate; nil without TLS.
func newCertificate(load func() (*tls.Certificate, error), log *slog.Logger) (*certificate, error) {
	pair, err := load()
	if err != nil || pair == nil {
		return nil, err
	}
	c := &certificate{load: load, log: log}
	c.current.Store(pair)
	return c, nil
}

// get implements GetCertificate of a [tls.Config].
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// reload reads the files, and puts a pair that differs in force. The two files of
// a renewal are replaced one after the other, so an error is logged when it is
// there for the second time; with report it is logged at once.
func (c *certificate) reload(ctx context.Context, report bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pair, err := c.load()
	if err != nil {
		again := c.failed == err.Error()
		c.reported = again && c.reported
		if !c.reported && (report || again) {
			c.reported = true
			c.log.WarnContext(ctx, "read TLS certificate: failed; the previous certificate stays in use", "error", err, "not_after", c.notAfter())
		}
		c.failed = err.Error()
		return
	}
	c.failed, c.reported = "", false
	if slices.EqualFunc(pair.Certificate, c.current.Load().Certificate, bytes.Equal) {
		return
	}
	c.current.Store(pair)
	c.log.InfoContext(ctx, "TLS certificate replaced", "not_after", c.notAfter())
}

// follow reads the files again and again until ctx ends.
func (c *certificate) follow(ctx context.Context) error {
	ticker := time.NewTicker(certificateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			c.reload(ctx, false)
		}
	}
}

// period returns the beginning and the end of the certificate in force; zero without a
// certificate.
func (c *certificate) period() (begins, ends time.Time) {
	if c == nil {
		return begins, ends
	}
	pair := c.current.Load()
	leaf := pair.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return begins, ends
		}
	}
	return leaf.NotBefore, leaf.NotAfter
}

// notAfter returns the end of the certificate in force.
func (c *certificate) notAfter() time.Time {
	_, ends := c.period()
	return ends
}

// gauge returns the metric of the end.
func (c *certificate) gauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "curfew_tls_certificate_not_after_seconds",
		Help: "End of the TLS certificate in use, as a date.",
	}, func() float64 { return seconds(c.notAfter()) })
}
