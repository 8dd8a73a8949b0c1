package follower

import (
	"log/slog"
	"net/http"
	"time"

	"example.com/curfew/internal/upstream"
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
	// Now returns the current time, with a monotonic reading. Nil means time.Now.
	Now func() time.Time
	// Logger receives a message when a server is lost or found again. Nil discards.
	Logger *slog.Logger
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	EventAnswered    EventKind = "answered"     // a server answered
	EventFailed      EventKind = "failed"       // a request failed, or its answer was not usable
	EventStartedOver EventKind = "started_over" // the server's database was restored from a backup
	EventSavedFile   EventKind = "saved"        // the snapshot file was written; Err is set if that failed
)

// Event is an event for metrics.
type Event struct {
	Kind        EventKind
	Server      string        // "" for EventSavedFile
	Took        time.Duration // duration of a request, including the time that the server held it
	Revocations int           // number of revocations in an answer
	Err         error
}

func (c *Config) upstream() upstream.Config {
	u := upstream.Config{
		Server: c.Server, Servers: c.Servers, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Audience: c.Audience,
		CacheSize: c.CacheSize, SnapshotFile: c.SnapshotFile, StartTimeout: c.StartTimeout, UnknownKeyInterval: c.UnknownKeyInterval,
		InsecureHTTP: c.InsecureHTTP, HTTPClient: c.HTTPClient,
		Observe: c.Observe, Now: c.Now, Logger: c.Logger,
	}
	if c.OnEvent != nil {
		u.OnEvent = func(e upstream.Event) {
			c.OnEvent(Event{Kind: EventKind(e.Kind), Server: e.Server, Took: e.Took, Revocations: e.Revocations, Err: e.Err})
		}
	}
	return u
}
