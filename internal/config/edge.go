package config

import (
	"errors"
	"fmt"
	"net/url"

	"example.com/curfew/internal/loopback"
)

// Edge is what `curfew edge` is told.
type Edge struct {
	Listener
	// Upstream are the URLs of the servers to follow; any of them will do.
	Upstream []string
	// ClientID and ClientSecret are those of a client that may follow.
	ClientID, ClientSecret string
	// InsecureUpstreamHTTP allows http:// to an upstream on another machine.
	InsecureUpstreamHTTP bool
	// SnapshotFile is where the state is kept between runs, to save the first
	// transfer. Empty: nowhere.
	SnapshotFile string
	// Audience is the audience that tokens must name. Empty: the upstream's first.
	Audience string
}

// EdgeOptions are the options of `curfew edge`.
func EdgeOptions() []Option[Edge] {
	options := []Option[Edge]{
		{Name: "upstream", Value: "URL", Repeats: true, Usage: "server or edge to follow, may repeat",
			set: func(e *Edge, values []string) error {
				for _, value := range values {
					u, err := url.Parse(value)
					if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
						return fmt.Errorf("%q is not an http or https URL of a server", value)
					}
				}
				e.Upstream = values
				return nil
			}},
		{Name: "client-id", Value: "ID", Usage: "id of a client with the follow capability (curfew client add)",
			set: func(e *Edge, values []string) error {
				e.ClientID = last(values)
				return nil
			}},
		{Name: "client-secret", Value: "SECRET", Secret: true, Usage: "secret of the client; set it in the environment rather than here",
			set: func(e *Edge, values []string) error {
				e.ClientSecret = last(values)
				return nil
			}},
		{Name: "insecure-upstream-http", Development: true, Usage: "allow http:// to another machine; an eavesdropper learns the client's secret, and an attacker on the network can keep revoked sessions alive",
			set: func(e *Edge, values []string) (err error) {
				e.InsecureUpstreamHTTP, err = parseSwitch(last(values))
				return err
			}},
		{Name: "snapshot-file", Value: "FILE", Usage: "file that keeps the state between runs, so that a start needs no full transfer",
			set: func(e *Edge, values []string) error {
				e.SnapshotFile = last(values)
				return nil
			}},
		{Name: "audience", Value: "NAME", Usage: "audience that tokens must carry; the default is the upstream's first",
			set: func(e *Edge, values []string) error {
				e.Audience = last(values)
				return checkAudience(e.Audience)
			}},
	}
	return append(listenerOptions(func(e *Edge) *Listener { return &e.Listener }), options...)
}

// ResolveEdge is to [Edge] what [ResolveServer] is to [Server].
func ResolveEdge(source Source) (Edge, error) {
	var e Edge
	errs := resolve(&e, EdgeOptions(), source)
	errs = append(errs, e.together()...)
	if len(errs) == 0 {
		if len(e.Upstream) == 0 {
			errs = append(errs, invalid("--upstream", "is required: the URL of the server to follow"))
		}
		if !e.InsecureUpstreamHTTP {
			for _, upstream := range e.Upstream {
				if u, err := url.Parse(upstream); err == nil && u.Scheme == "http" && !loopback.Is(u.Hostname()) {
					errs = append(errs, invalid("--upstream", "%q would send the client's secret unencrypted to another machine: use https, or --insecure-upstream-http", upstream))
				}
			}
		}
		if e.ClientID == "" {
			errs = append(errs, invalid("--client-id", "is required: create a client with curfew client add NAME --can follow"))
		}
		if e.ClientSecret == "" {
			errs = append(errs, invalid("CURFEW_CLIENT_SECRET", "is required: the secret of the client"))
		}
	}
	return e, errors.Join(errs...)
}
