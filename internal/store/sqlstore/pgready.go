package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/lib/pq"

	"example.com/curfew/internal/store"
)

// marked is an error that is also a sentinel of package store, which its text does
// not mention.
type marked struct {
	error
	mark error
}

// Unwrap returns both errors.
func (m marked) Unwrap() []error { return []error{m.error, m.mark} }

// outlook is what can be expected of another attempt to open a database.
type outlook int

const (
	hopeless   outlook = iota // an operator must do something
	mayPass                   // the server may be up soon
	noDatabase                // the server is up and has no such database
)

// markReady marks the explained error of an attempt to open a database by what
// caused it.
func markReady(explained, cause error) error {
	switch outlookOf(cause) {
	case mayPass:
		return marked{explained, store.ErrNotReady}
	case noDatabase:
		return marked{explained, store.ErrNoDatabase}
	case hopeless:
	}
	return explained
}

// outlookOf returns the outlook after an error of lib/pq. With several hosts there
// are several errors: one that needs an operator decides.
func outlookOf(err error) outlook {
	result := hopeless
	for i, one := range leaves(err) {
		o := outlookOfLeaf(one)
		switch {
		case o == hopeless:
			return hopeless
		case i == 0, o == mayPass:
			result = o
		}
	}
	return result
}

// leaves returns the errors that err consists of. Errors of the network and of the
// server stay whole.
func leaves(err error) []error {
	switch err.(type) { //nolint:errorlint // it walks the tree itself
	case *net.OpError, *net.DNSError, *pq.Error:
		return []error{err}
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, leaves(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return leaves(inner)
		}
	}
	return []error{err}
}

func outlookOfLeaf(err error) outlook {
	switch e := err.(type) { //nolint:errorlint // a leaf wraps nothing
	case *pq.Error:
		return outlookOfServer(e)
	case *net.DNSError:
		return mayPass // names of containers appear with the containers
	case *net.OpError:
		// "remote error" is an alert of TLS.
		if e.Op == "remote error" || errors.Is(err, fs.ErrPermission) {
			return hopeless
		}
		return mayPass
	}
	switch {
	case slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, driver.ErrBadConn, context.DeadlineExceeded, errBudget, errStandby},
		func(known error) bool { return errors.Is(err, known) }):
		return mayPass
	// What lib/pq says of a server that does not fit target_session_attrs.
	case strings.Contains(err.Error(), "session is read-only"), strings.Contains(err.Error(), "server is in hot standby mode"):
		return mayPass
	}
	return hopeless
}

func outlookOfServer(e *pq.Error) outlook {
	switch {
	case e.Code == "3D000": // invalid_catalog_name
		return noDatabase
	case e.Code == "57P01", e.Code == "57P02", e.Code == "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return mayPass
	case e.Code.Class() == "53", e.Code.Class() == "08" && e.Code != "08P01": // insufficient_resources, connection_exception
		return mayPass
	case e.Code == "08P01": // PgBouncer's code for everything that it refuses
		for _, text := range []string{"cannot connect to server", "connect failed", "server login", "no more connections allowed", "database is disabled", "shutting down", "starting up"} {
			if strings.Contains(e.Message, text) {
				return mayPass
			}
		}
	}
	return hopeless
}
