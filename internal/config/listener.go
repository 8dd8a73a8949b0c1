package config

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"example.com/curfew/internal/loopback"
)

// Listener is what server and edge have in common: where they listen, whom they
// believe, and how they speak of it.
type Listener struct {
	// Listen is the address, host:port. Port 0 takes a free one.
	Listen string
	// TLSCert and TLSKey are PEM files. Both empty: no TLS.
	TLSCert, TLSKey string
	// H2C accepts HTTP/2 without TLS, from clients that know of it beforehand (RFC 9113,
	// section 3.3): proxies and load balancers. False: HTTP/1.1 only without TLS.
	// With TLS it changes nothing: HTTP/2 is on.
	H2C bool
	// TrustedProxies are the networks whose X-Forwarded-* headers are believed.
	// Empty: none.
	TrustedProxies []netip.Prefix
	// MetricsListen is the address of the metrics; empty turns them off.
	MetricsListen string
	// LogFormat is "text", "json", or "" for text on a terminal and JSON elsewhere.
	LogFormat string
	LogLevel  slog.Level
	// RevocationCache is how many revocations are kept in memory. Zero or less
	// means a million.
	RevocationCache int
	// CookieDomain is the domain of the session cookie, for several hosts under
	// one domain; empty: the cookie is the host's own.
	CookieDomain string
	// CookieName is the name of the session cookie; empty: __Host-curfew_session, or
	// __Secure-curfew_session with a CookieDomain.
	CookieName string
	// ReturnHosts are the hosts, with port if any, that forward auth may send a
	// browser back to after the sign-in.
	ReturnHosts []string
	// ShutdownDelay is how long the server goes on serving after it has stopped
	// being ready. Zero means not at all; negative, 5 s if its readiness was looked
	// at within the last 30 s.
	ShutdownDelay time.Duration
	// CORSOrigins are the origins of the pages that may call the API from a browser, each
	// as browsers write it: https://app.example. Empty: none but the server's own.
	CORSOrigins []string
	// ShutdownTimeout is how long the shutdown may take, the delay included. Zero or
	// less means 30 s.
	ShutdownTimeout time.Duration
}

// DefaultListen is where a server listens unless told otherwise.
const DefaultListen = "127.0.0.1:8420"

// Certificate loads the certificate; nil without TLS.
func (l *Listener) Certificate() (*tls.Certificate, error) {
	if l.TLSCert == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(l.TLSCert, l.TLSKey)
	if err != nil {
		return nil, invalid("--tls-cert, --tls-key", "cannot use %q and %q: %v", l.TLSCert, l.TLSKey, err)
	}
	return &certificate, nil
}

// Exposed reports whether the listener speaks to other machines in the clear.
func (l *Listener) Exposed() bool {
	if l.TLSCert != "" {
		return false
	}
	host, _, err := net.SplitHostPort(l.Listen)
	if err != nil {
		return false
	}
	return !loopback.Is(host)
}

// together reports values that are valid by themselves but not together.
func (l *Listener) together() []error {
	var errs []error
	if err := checkCookieName(l.CookieName, l.CookieDomain); err != nil {
		errs = append(errs, invalid("--cookie-name", "%q with --cookie-domain %s: %v", l.CookieName, l.CookieDomain, err))
	}
	if (l.TLSCert == "") != (l.TLSKey == "") {
		given, lacking := "--tls-cert", "--tls-key"
		if l.TLSCert == "" {
			given, lacking = lacking, given
		}
		errs = append(errs, invalid(given, "is given without %s; TLS requires both", lacking))
	}
	if l.ShutdownTimeout > 0 && l.ShutdownDelay >= l.ShutdownTimeout {
		errs = append(errs, invalid("--shutdown-delay", "%s leaves no time for requests in progress; it must be below --shutdown-timeout, %s", FormatDuration(l.ShutdownDelay), FormatDuration(l.ShutdownTimeout)))
	}
	if _, port, err := net.SplitHostPort(l.Listen); err == nil && port != "0" && l.Listen == l.MetricsListen {
		errs = append(errs, invalid("--metrics-listen", "%q is already used by --listen; metrics need their own address", l.MetricsListen))
	}
	return errs
}

// listenerOptions are the options of a T that has a Listener.
func listenerOptions[T any](of func(*T) *Listener) []Option[T] {
	text := func(field func(*Listener) *string, check func(string) error) func(*T, []string) error {
		return func(into *T, values []string) error {
			value := last(values)
			if check != nil {
				if err := check(value); err != nil {
					return err
				}
			}
			*field(of(into)) = value
			return nil
		}
	}
	return []Option[T]{
		{Name: "listen", Value: "HOST:PORT", Default: DefaultListen, Usage: "address to listen at",
			set: text(func(l *Listener) *string { return &l.Listen }, checkAddress)},
		{Name: "tls-cert", Value: "FILE", Usage: "certificate chain, PEM; with --tls-key, the listener speaks TLS",
			set: text(func(l *Listener) *string { return &l.TLSCert }, nil)},
		{Name: "tls-key", Value: "FILE", Usage: "private key of the certificate, PEM",
			set: text(func(l *Listener) *string { return &l.TLSKey }, nil)},
		{Name: "h2c", Usage: "accept HTTP/2 without TLS too, for a proxy in front that speaks it; with TLS, HTTP/2 is always on",
			set: func(into *T, values []string) (err error) {
				of(into).H2C, err = parseSwitch(last(values))
				return err
			}},
		{Name: "trusted-proxies", Value: "NETWORK", Repeats: true, Usage: "networks or addresses of proxies whose X-Forwarded-* headers are trusted",
			set: func(into *T, values []string) error { return setPrefixes(of(into), values) }},
		{Name: "metrics-listen", Value: "HOST:PORT", Default: "127.0.0.1:8421", Blank: true, Usage: `address of the Prometheus metrics; "" turns them off`,
			set: text(func(l *Listener) *string { return &l.MetricsListen }, orEmpty(checkAddress))},
		{Name: "log-format", Value: "FORMAT", Usage: "text or json; the default is text on a terminal and json elsewhere",
			set: text(func(l *Listener) *string { return &l.LogFormat }, orEmpty(oneOf("text", "json")))},
		{Name: "log-level", Value: "LEVEL", Default: "info", Usage: "debug, info, warn or error",
			set: func(into *T, values []string) (err error) {
				of(into).LogLevel, err = parseLevel(last(values))
				return err
			}},
		{Name: "revocation-cache", Value: "ENTRIES", Default: "1000000", Usage: "maximum number of revocations in memory",
			set: func(into *T, values []string) (err error) {
				of(into).RevocationCache, err = parseCount(last(values), 1, 100_000_000)
				return err
			}},
		{Name: "cookie-domain", Value: "DOMAIN", Usage: "domain of the session cookie, for several hosts under it; the default is the host alone",
			set: text(func(l *Listener) *string { return &l.CookieDomain }, orEmpty(checkDomain))},
		{Name: "cookie-name", Value: "NAME", Usage: "name of the session cookie, for several installations under one domain; the default is __Host-curfew_session, or __Secure-curfew_session with --cookie-domain",
			set: text(func(l *Listener) *string { return &l.CookieName }, orEmpty(func(name string) error { return checkCookieName(name, "") }))},
		{Name: "return-hosts", Value: "HOST", Repeats: true, Usage: "hosts to which forward auth may redirect a browser after the sign-in",
			set: func(into *T, values []string) error {
				for _, host := range values {
					if err := checkHost(host); err != nil {
						return err
					}
				}
				of(into).ReturnHosts = values
				return nil
			}},
		{Name: "shutdown-delay", Value: "DURATION", Default: "auto", Usage: "at shutdown, how long to go on serving while /readyz answers 503; auto is 5s if /readyz was requested within 30s, else 0",
			set: func(into *T, values []string) (err error) {
				of(into).ShutdownDelay, err = parseDelay(last(values))
				return err
			}},
		{Name: "cors-origins", Value: "ORIGIN", Repeats: true, Usage: "origins whose pages may call the API for their user's sessions, such as https://app.example",
			set: func(into *T, values []string) error { return setOrigins(of(into), values) }},
		{Name: "shutdown-timeout", Value: "DURATION", Default: "30s", Usage: "how long a shutdown may take, the delay included; then connections are closed",
			set: func(into *T, values []string) (err error) {
				of(into).ShutdownTimeout, err = parseWithin(last(values), time.Second, time.Hour)
				return err
			}},
	}
}

func setPrefixes(l *Listener, values []string) error {
	l.TrustedProxies = nil
	for _, text := range values {
		prefix, err := parsePrefix(text)
		if err != nil {
			return err
		}
		l.TrustedProxies = append(l.TrustedProxies, prefix)
	}
	return nil
}

func setOrigins(l *Listener, values []string) error {
	l.CORSOrigins = nil
	for _, origin := range values {
		if err := checkOrigin(origin); err != nil {
			return err
		}
		l.CORSOrigins = append(l.CORSOrigins, origin)
	}
	return nil
}

// last returns the last value: if a flag is given twice, the last one counts.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// orEmpty returns a check that lets the empty text pass, too.
func orEmpty(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		return check(text)
	}
}

// parseDelay reads a shutdown delay; auto is negative.
func parseDelay(text string) (time.Duration, error) {
	if text == "auto" {
		return -1, nil
	}
	return parseWithin(text, 0, time.Hour)
}

// parseWithin reads a duration between two bounds, both allowed.
func parseWithin(text string, least, most time.Duration) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if d < least || d > most {
		return 0, fmt.Errorf("%s is out of range; use %s to %s", FormatDuration(d), FormatDuration(least), FormatDuration(most))
	}
	return d, nil
}
