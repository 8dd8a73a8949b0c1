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

	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Config configures a [Follower]. Server or Servers, ClientID, ClientSecret and
// Audience are required.
type Config struct {
	// Server is the URL of a Curfew server or edge, as https://curfew.example.
	Server string
	// Servers are further ones that serve the same installation. When one does not
	// answer, the next is asked.
	Servers []string
	// ClientID and ClientSecret are those of a client with the capability
	// "follow" (curfew client add).
	ClientID     string
	ClientSecret string
	// Audience is what tokens must be meant for: one of those that the server was
	// started with.
	Audience string

	// CacheSize is the number of revocations held at most. Zero means
	// revocation.DefaultCapacity. If there are more, a check may have to ask the
	// server.
	CacheSize int
	// SnapshotFile, if not empty, is where the state is kept between runs: a head
	// start that saves the first transfer. Nothing is answered before a server has
	// been heard. The file must be nobody else's to write; it is made with mode
	// 0600, and one that was changed without knowing ClientSecret is not used.
	SnapshotFile string
	// StartTimeout bounds the time that Open waits for a server that cannot be
	// reached. Zero means 30 s; less means that only Open's context bounds it.
	StartTimeout time.Duration
	// UnknownKeyInterval is as in [token.Config].
	UnknownKeyInterval time.Duration

	// InsecureHTTP allows http:// to a server on another machine: whoever can read
	// along learns the secret, and whoever can write keeps revoked sessions alive.
	InsecureHTTP bool
	// HTTPClient sends the requests. Nil means one with fitting settings; of one
	// that is given only Transport is used.
	HTTPClient *http.Client

	// Observe, if not nil, is told of every decision of the validator: see
	// [token.Config].
	Observe func(reason token.Reason, took time.Duration)
	// OnEvent, if not nil, is told what happens on the way to the servers. It must
	// be quick.
	OnEvent func(Event)
	// Downstream is for programs that serve the feed onwards. Nil for others.
	Downstream Downstream
	// Now returns the time, with a monotonic reading. Nil means time.Now.
	Now func() time.Time
	// Logger is told of servers lost and found. Nil discards.
	Logger *slog.Logger
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	Answered    EventKind = "answered"     // a server answered
	Failed      EventKind = "failed"       // a server did not, or not well
	StartedOver EventKind = "started_over" // the server's store was restored from a backup
	SavedFile   EventKind = "saved"        // the snapshot file was written, or Err says why not
)

// Event is something that happened: for metrics.
type Event struct {
	Kind        EventKind
	Server      string        // "" for SavedFile
	Took        time.Duration // of a request, the time that the server held it included
	Revocations int           // that an answer brought
	Err         error
}

const defaultStartTimeout = 30 * time.Second

func (c *Config) startTimeout() time.Duration {
	if c.StartTimeout == 0 {
		return defaultStartTimeout
	}
	return c.StartTimeout
}

// check returns the servers, or everything that is wrong.
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
		// An edge has doors for whatever its upstream issues.
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

// errRedirect: credentials must not follow wherever an answer points.
var errRedirect = errors.New("the server redirects elsewhere: configure the address that it redirects to")

// client returns the client that requests are sent with. With own connections it
// also returns a function that closes them.
func (c *Config) client() (client *http.Client, closeIdle func()) {
	client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect }}
	if c.HTTPClient != nil {
		client.Transport = c.HTTPClient.Transport
		return client, func() {}
	}
	// HTTP/1.1 only: a request that is given up takes its connection along, so a
	// dead connection is never used again.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: 3, // what is held, a catching up, a look-up
		IdleConnTimeout:     90 * time.Second,
		Protocols:           protocols,
	}
	client.Transport = t
	return client, t.CloseIdleConnections
}

const dialTimeout = 5 * time.Second

func (c *Config) cache(source revocation.Source) *revocation.Cache {
	return revocation.NewCache(revocation.CacheConfig{Capacity: c.CacheSize, Source: source, LookupTimeout: catchUpTime})
}

// randomID names this process to servers.
func randomID() string { return rand.Text() }
