package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
)

// Health is what `curfew healthcheck` is told: where the server on this machine
// listens.
type Health struct {
	Listener
}

// HealthOptions are the options of `curfew healthcheck`: those of a server that say
// where it listens.
func HealthOptions() []Option[Health] {
	return slices.DeleteFunc(listenerOptions(func(h *Health) *Listener { return &h.Listener }), func(o Option[Health]) bool {
		return o.Name != "listen" && o.Name != "tls-cert"
	})
}

// ResolveHealth is to [Health] what [ResolveServer] is to [Server].
func ResolveHealth(source Source) (Health, error) {
	var h Health
	return h, errors.Join(resolve(&h, HealthOptions(), source)...)
}

// Address returns the scheme and the address at which this machine reaches the
// server.
func (h *Health) Address() (scheme, address string, err error) {
	host, port, err := net.SplitHostPort(h.Listen)
	if err != nil {
		return "", "", invalid("--listen", "%v", err)
	}
	if port == "0" {
		return "", "", invalid("--listen", "%q is any free port; give the one that the server uses", h.Listen)
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "" || err == nil && ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	scheme = "http"
	if h.TLSCert != "" {
		scheme = "https"
	}
	return scheme, net.JoinHostPort(host, port), nil
}

// Certificate returns the server's certificate, the first in the file, in DER. It
// needs no access to the private key.
func (h *Health) Certificate() ([]byte, error) {
	data, err := os.ReadFile(h.TLSCert)
	if err != nil {
		return nil, invalid("--tls-cert", "%v", err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, invalid("--tls-cert", "%q: %v", h.TLSCert, err)
			}
			return block.Bytes, nil
		}
	}
	return nil, invalid("--tls-cert", "%q has no certificate in PEM", h.TLSCert)
}
