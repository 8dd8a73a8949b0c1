package follower

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"example.com/curfew/token"
)

// Config configures a [Follower]. Server or Servers, ClientID, ClientSecret and
// Audience are required.
type Config struct {
	// Server is the URL of a Curfew server or edge, for example
	// https://curfew.example. Required, unless Servers is set.
	Server string
	// Servers are the URLs of further servers or edges of the same installation. If
	// one does not answer, the follower tries the next.
	Servers []string
	// ClientID and ClientSecret are the credentials of a client with the capability
	// "follow" (curfew client add). Required.
	ClientID     string
	ClientSecret string
	// Audience is the audience that tokens must contain. It must be one of the
	// server's audiences. Required.
	Audience string

	// CacheSize is the maximum number of revocations in memory. Zero means
	// revocation.DefaultCapacity. If there are more revocations, a check may have
	// to ask the server.
	CacheSize int
	// SnapshotFile, if not empty, is a file that keeps the state between runs,
	// which saves the first transfer. The follower still accepts no token before a
	// server has answered. Only this program may be able to write the file. It is
	// created with mode 0600. A file that was changed without knowledge of
	// ClientSecret is not used.
	SnapshotFile string
	// StartTimeout is the maximum time that Open waits for an unreachable server.
	// Zero means 30 s. A negative value means no limit but the context of Open.
	StartTimeout time.Duration
	// UnknownKeyInterval is as in [token.Config]. Zero or less means 5 s.
	UnknownKeyInterval time.Duration

	// InsecureHTTP allows http:// to a server on another machine. False allows it
	// only to this machine. With http:// an eavesdropper learns the secret, and an
	// attacker who can change the traffic keeps revoked sessions valid.
	InsecureHTTP bool
	// HTTPClient sends the requests; only its Transport is used. Nil means a client
	// with suitable settings.
	HTTPClient *http.Client

	// Observe, if not nil, is called after every decision of the validator: see
	// [token.Config].
	Observe func(reason token.Reason, took time.Duration)
	// OnEvent, if not nil, is called for every event of the connections to the
	// servers. It must return quickly.
	OnEvent func(Event)
	// Downstream is for programs that serve the feed to other followers. Nil for
	// all others.
	Downstream Downstream
	// Now returns the current time, with a monotonic reading. Nil means time.Now.
	Now func() time.Time
	// Logger receives a message when a server is lost or found again. Nil discards.
	Logger *slog.Logger
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	Answered    EventKind = "answered"     // a server answered
	Failed      EventKind = "failed"       // a request failed, or its answer was not usable
	StartedOver EventKind = "started_over" // the server's store was restored from a backup
	SavedFile   EventKind = "saved"        // the snapshot file was written; Err is set if that failed
)

// Event is an event for metrics.
type Event struct {
	Kind        EventKind
	Server      string        // "" for SavedFile
	Took        time.Duration // duration of a request, including the time that the server held it
	Revocations int           // number of revocations in an answer
	Err         error
}

const defaultStartTimeout = 30 * time.Second

func (c *Config) startTimeout() time.Duration {
	if c.StartTimeout == 0 {
		return defaultStartTimeout
	}
	return c.StartTimeout
}

// check returns the servers, or an error with everything that is wrong.
func (c *Config) check() ([]*url.URL, error) {
	var errs []error
	for _, missing := range []struct {
		name  string
		empty bool
		hint  string
	}{
		{"Server", c.Server == "" && len(c.Servers) == 0, "the URL of a Curfew server"},
		{"ClientID", c.ClientID == "", "curfew client add makes a client"},
		{"ClientSecret", c.ClientSecret == "", "it was shown when the client was made"},
		// An edge serves every audience that its upstream issues for.
		{"Audience", c.Audience == "" && c.Downstream == nil, "one of those that the server was started with"},
	} {
		if missing.empty {
			errs = append(errs, fmt.Errorf("follower: Config.%s is required: %s", missing.name, missing.hint))
		}
	}
	var servers []*url.URL
	for _, raw := range append([]string{c.Server}, c.Servers...) {
		if raw == "" {
			continue
		}
		u, err := c.checkURL(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		servers = append(servers, u)
	}
	return servers, errors.Join(errs...)
}

func (c *Config) checkURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("follower: a server's URL cannot be read") // it may hold a secret
	case u.User != nil:
		return nil, fmt.Errorf("follower: the URL of %s has a user in it: use ClientID and ClientSecret", u.Host)
	case u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("follower: %q is not the URL of a server: want https://HOST", raw)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("follower: the URL %q has a query or a fragment: leave it out", raw)
	case u.Scheme == "http" && !c.InsecureHTTP && !loopback(u.Hostname()):
		return nil, fmt.Errorf("follower: %q would send the client's secret unencrypted to another machine: use https, or set InsecureHTTP", raw)
	}
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// errRedirect refuses redirects, so that credentials are not sent to another
// address.
var errRedirect = errors.New("the server redirects elsewhere: configure the address that it redirects to")

// client returns the HTTP client for requests, and a function that closes idle
// connections if they are its own.
func (c *Config) client() (client *http.Client, closeIdle func()) {
	client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect }}
	if c.HTTPClient != nil {
		client.Transport = c.HTTPClient.Transport
		return client, func() {}
	}
	// HTTP/1.1 only: a cancelled request closes its connection, so a dead
	// connection is never used again.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: 3, // the pending poll, a catch-up, a look-up
		IdleConnTimeout:     90 * time.Second,
		Protocols:           protocols,
	}
	client.Transport = t
	return client, t.CloseIdleConnections
}

const dialTimeout = 5 * time.Second

// randomID returns a name of this process for servers.
func randomID() string { return rand.Text() }
