package oidc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/curfew/internal/loopback"
)

// The maximum size of a response body in bytes. The largest that providers send are
// key sets and ID tokens with groups.
const maxBody = 1 << 20

var (
	errRedirect = errors.New("the provider redirects to another host, or redirects a request that carries a secret; use the address that it redirects to")
	errTooLarge = fmt.Errorf("the response is larger than %d bytes", maxBody)
)

// newHTTPClient returns the HTTP client for all requests to providers, each of which may
// take the timeout. It uses https
// only, except to loopback addresses. It follows a redirect only on the same host, and
// none of a POST, which carries the client secret and the code.
func newHTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:   timeout,
		Transport: bounded{http.DefaultTransport.(*http.Transport).Clone()}, //nolint:errcheck // its type is documented
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			first := via[0]
			if len(via) > 3 || first.Method != http.MethodGet || r.URL.Host != first.URL.Host || r.URL.Scheme != first.URL.Scheme {
				return errRedirect
			}
			return nil
		},
	}
}

// bounded limits the addresses that requests go to and the size of responses.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkAddress(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as http.RoundTripper demands
		}
		return nil, err
	}
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{response.Body, maxBody}
	}
	return response, err
}

// boundedBody fails instead of ending early: half a document could be a valid one.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// checkAddress returns an error if requests must not go to an address: it is not
// encrypted and not on this machine, or has parts that no endpoint has.
func checkAddress(u *url.URL) error {
	switch {
	case u.Host == "" || u.User != nil || u.Opaque != "" || u.Fragment != "":
		return fmt.Errorf("%q is not the address of an endpoint", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && loopback.Is(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q must begin with https://; http:// is for loopback addresses only", u.Redacted())
}

// statusText returns a status for an error, without the provider's own text for it.
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status)))
}

// unreachable wraps the error of a request. It names the host, and no more of the
// address: a query may hold a secret.
func unreachable(address string, err error) error {
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil {
		host = u.Host
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w: %s did not answer in time", ErrUnreachable, host)
	}
	switch {
	case errors.Is(err, errRedirect), errors.Is(err, errTooLarge):
		return fmt.Errorf("%w: %s: %w", ErrMisconfigured, host, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, host, err)
}
