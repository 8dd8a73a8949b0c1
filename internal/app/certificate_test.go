package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A renewed pair takes effect. A pair that cannot be used leaves the previous one
// in force, and is logged once: for the second time that it is read, or at once
// when the operator asked.
func TestCertificateFollowsItsFiles(t *testing.T) {
	pair := func(name string) *tls.Certificate {
		return &tls.Certificate{Certificate: [][]byte{[]byte(name)}, Leaf: &x509.Certificate{NotAfter: time.Unix(0, 0)}}
	}
	first, second := pair("first"), pair("second")
	mismatch, missing := errors.New("private key does not match public key"), errors.New("no such file")
	type step struct {
		pair     *tls.Certificate
		err      error
		report   bool
		want     *tls.Certificate
		warnings int
		replaced int
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"unchanged", []step{{pair: pair("first"), want: first}, {pair: pair("first"), report: true, want: first}}},
		{"renewed", []step{{pair: second, want: second, replaced: 1}, {pair: second, want: second, replaced: 1}}},
		{"seen between its two files", []step{{err: mismatch, want: first}, {pair: second, want: second, replaced: 1}}},
		{"half renewed", []step{
			{err: mismatch, want: first}, {err: mismatch, want: first, warnings: 1}, {err: mismatch, want: first, warnings: 1},
		}},
		{"half renewed, then asked for", []step{{err: mismatch, report: true, want: first, warnings: 1}, {err: mismatch, want: first, warnings: 1}}},
		{"two errors", []step{
			{err: mismatch, want: first}, {err: missing, want: first}, {err: missing, want: first, warnings: 1},
			{err: mismatch, want: first, warnings: 1}, {err: mismatch, want: first, warnings: 2},
		}},
		{"the same error after a renewal", []step{
			{err: missing, report: true, want: first, warnings: 1}, {pair: second, want: second, warnings: 1, replaced: 1},
			{err: missing, want: second, warnings: 1, replaced: 1}, {err: missing, want: second, warnings: 2, replaced: 1},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log strings.Builder
			now := step{pair: first}
			c, err := newCertificate(func() (*tls.Certificate, error) { return now.pair, now.err }, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range test.steps {
				now = s
				c.reload(t.Context(), s.report)
				if got, err := c.get(nil); err != nil || string(got.Certificate[0]) != string(s.want.Certificate[0]) {
					t.Errorf("step %d: the certificate is %s, %v, want %s", i, got.Certificate[0], err, s.want.Certificate[0])
				}
				if got := strings.Count(log.String(), "level=WARN"); got != s.warnings {
					t.Errorf("step %d: %d warnings, want %d:\n%s", i, got, s.warnings, log.String())
				}
				if got := strings.Count(log.String(), "certificate replaced"); got != s.replaced {
					t.Errorf("step %d: %d replacements in the log, want %d:\n%s", i, got, s.replaced, log.String())
				}
			}
		})
	}
}
