package app

import (
	"net"
	"net/http"
	"strings"
)

// strictTransport holds a year, in seconds: the minimum of OWASP ASVS 5.0, 3.4.1.
const strictTransport = "max-age=31536000"

// withHSTS tells browsers to use this host over TLS only (RFC 6797). It is for a
// listener with its own TLS: behind a proxy that terminates TLS, that proxy sends
// the header. Left out are:
//   - /v1/verify, since a proxy may pass that answer on under the host of another
//     service, which would then be bound;
//   - localhost, where other programs on other ports have no TLS;
//   - subdomains, which may belong to others.
func withHSTS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isForwardAuth(r.URL.Path) && !isLocalhost(r.Host) {
			w.Header().Set("Strict-Transport-Security", strictTransport)
		}
		next.ServeHTTP(w, r)
	})
}

func isForwardAuth(path string) bool {
	return path == "/v1/verify" || strings.HasPrefix(path, "/v1/verify/")
}

func isLocalhost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost")
}
