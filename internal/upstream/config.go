package upstream

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"example.com/curfew/internal/loopback"
	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/uses"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Config configures a [Follower]. [example.com/curfew/token/follower.Config] documents
// the fields that both have.
type Config struct {
	Server       string
	Servers      []string
	ClientID     string
	ClientSecret string
	Audience     string // required without a Downstream

	CacheSize          int
	SnapshotFile       string
	StartTimeout       time.Duration
	UnknownKeyInterval time.Duration

	InsecureHTTP bool
	HTTPClient   *http.Client

	Observe func(reason token.Reason, took time.Duration)
	OnEvent func(Event)
	Now     func() time.Time
	Logger  *slog.Logger

	// Uses are uses of sessions to report, besides those that this follower validates.
	// Nil means those alone.
	Uses *uses.Set

	// Downstream is for an edge. Nil for programs that serve no followers.
	Downstream Downstream
}

// Downstream is for programs that serve the feed to other followers, as `curfew
// edge` does.
type Downstream interface {
	// Publish receives every new state: see [replica.Config].
	Publish(replica.State)
	// Confirmed returns the epoch that may be acknowledged to the server while the
	// follower's own view is at view: at most view, and at most what every live
	// follower downstream has acknowledged. behind is the number of these
	// followers. It is called for each request and must not call the Follower.
	Confirmed(view revocation.Epoch) (confirmed revocation.Epoch, behind int64)
}

// EventKind is the kind of an [Event], as in package follower.
type EventKind string

// The kinds of events.
const (
	EventAnswered    EventKind = "answered"
	EventFailed      EventKind = "failed"
	EventStartedOver EventKind = "started_over"
	EventSavedFile   EventKind = "saved"
)

// Event is as in package follower.
type Event struct {
	Kind        EventKind
	Server      string
	Took        time.Duration
	Revocations int
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
	case u.Scheme == "http" && !c.InsecureHTTP && !loopback.Is(u.Hostname()):
		return nil, fmt.Errorf("follower: %q would send the client's secret unencrypted to another machine: use https, or set InsecureHTTP", raw)
	}
	return u, nil
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
		MaxIdleConnsPerHost: 4, // the pending poll, a catch-up, a look-up, a report of uses
		IdleConnTimeout:     90 * time.Second,
		Protocols:           protocols,
	}
	client.Transport = t
	return client, t.CloseIdleConnections
}

const dialTimeout = 5 * time.Second

// randomID returns a name of this process for servers.
func randomID() string { return rand.Text() }
