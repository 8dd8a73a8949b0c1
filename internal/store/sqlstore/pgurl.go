package sqlstore

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"
)

// libpq documents parameters of a connection that lib/pq does not know, and would
// send to the server, which refuses them (PostgreSQL documentation, section
// 34.1.2). takeParameters removes them. A parameter that has no effect here, and
// whose user counts on one, is refused by name.
func takeParameters(query url.Values, config *serverDialer) (bind bool, err error) {
	if query.Get("ssl") == "true" { // as libpq: for addresses of JDBC
		query.Del("ssl")
		if !query.Has("sslmode") {
			query.Set("sslmode", "require")
		}
	}
	for _, p := range parameters {
		if !query.Has(p.name) {
			continue
		}
		value := query.Get(p.name)
		query.Del(p.name)
		if err := p.take(value, config); err != nil {
			return false, fmt.Errorf("%s=%s: %w", p.name, value, err)
		}
		bind = bind || p.name == "channel_binding" && value == "require"
	}
	return bind, nil
}

type parameter struct {
	name string
	take func(value string, config *serverDialer) error
}

var parameters = []parameter{
	{"pgbouncer", foreign},
	{"connection_limit", foreign},
	{"pool_timeout", foreign},
	{"schema", foreign},
	{"channel_binding", accept("disable", "prefer", "require")},
	{"gssencmode", accept("disable", "prefer")}, // without GSSAPI, prefer is TLS
	{"gssdelegation", accept("0")},
	{"sslcompression", accept("0")},
	{"sslcertmode", accept("allow")},
	{"sslcrl", accept()},
	{"sslcrldir", accept()},
	{"requirepeer", accept()},
	{"require_auth", accept()},
	{"gsslib", accept()},
	{"keepalives", accept("1")}, // without them a lost server would be noticed late
	{"keepalives_idle", seconds(func(d *serverDialer) *time.Duration { return &d.keepAlive.Idle })},
	{"keepalives_interval", seconds(func(d *serverDialer) *time.Duration { return &d.keepAlive.Interval })},
	{"keepalives_count", func(value string, d *serverDialer) error {
		n, err := parseLimit(value)
		if n > 0 {
			d.keepAlive.Count = min(d.keepAlive.Count, n)
		}
		return err
	}},
	{"tcp_user_timeout", limit(time.Millisecond, func(d *serverDialer) *time.Duration { return &d.userTimeout })},
}

// accept accepts the values that ask for nothing that Curfew does not do.
func accept(values ...string) func(string, *serverDialer) error {
	return func(value string, _ *serverDialer) error {
		switch {
		case slices.Contains(values, value):
			return nil
		case len(values) == 0:
			return errors.New("this parameter is not supported; remove it")
		}
		return fmt.Errorf("this value is not supported; use %s", strings.Join(values, " or "))
	}
}

// foreign refuses a parameter of another program.
func foreign(string, *serverDialer) error {
	return errors.New("this is a parameter of Prisma; remove it")
}

func seconds(field func(*serverDialer) *time.Duration) func(string, *serverDialer) error {
	return limit(time.Second, field)
}

// limit lowers a limit. A higher one than Curfew's has no effect: within that time
// a node has to notice that a server is lost. Zero means the default.
func limit(unit time.Duration, field func(*serverDialer) *time.Duration) func(string, *serverDialer) error {
	return func(value string, d *serverDialer) error {
		n, err := parseLimit(value)
		if n > 0 {
			*field(d) = min(*field(d), time.Duration(n)*unit)
		}
		return err
	}
}

func parseLimit(value string) (int, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, errors.New("want a number, 0 or more")
	}
	return int(n), nil
}

// hosts returns the servers of a configuration.
func hosts(c pq.Config) []pq.ConfigMultihost {
	return append([]pq.ConfigMultihost{{Host: c.Host, Hostaddr: c.Hostaddr, Port: c.Port}}, c.Multi...)
}

// hostNames returns the name of each server by the address at which lib/pq dials it.
func hostNames(c pq.Config) map[string]string {
	names := map[string]string{}
	for _, h := range hosts(c) {
		host := h.Host
		if h.Hostaddr != (netip.Addr{}) {
			host = h.Hostaddr.String()
		}
		names[net.JoinHostPort(host, strconv.Itoa(int(h.Port)))] = h.Host
	}
	return names
}
