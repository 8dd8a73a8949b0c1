package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"example.com/curfew/internal/loopback"
)

// Admin is the configuration of the commands that work on the database or, over the
// API, on a server.
type Admin struct {
	Tools
	Remote
}

// Remote is a server that is administered over its API.
type Remote struct {
	// Server is its address without a slash at the end; "" means none.
	Server string
	// ServerCA is a PEM file with the authorities that the server's certificate is
	// checked against; "" means those of the system.
	ServerCA string
	// Credentials is the file of the tokens from `curfew login`; "" means
	// curfew/credentials.json in the user's configuration.
	Credentials string
	// Token is a session token; "" means that `curfew login` has stored one.
	Token string
}

// RemoteOptions are the options that name a server.
func RemoteOptions() []Option[Remote] { return remoteOptions(func(r *Remote) *Remote { return r }) }

func remoteOptions[T any](of func(*T) *Remote) []Option[T] {
	return []Option[T]{
		{Name: "server", Value: "URL", Usage: "server to work on over its API instead of the database; sign in with curfew login, or set CURFEW_TOKEN",
			set: func(into *T, values []string) (err error) {
				of(into).Server, err = parseServer(last(values))
				return err
			}},
		{Name: "server-ca", Value: "FILE", Usage: "certificate authority of the server, PEM; the default is those of the system",
			set: func(into *T, values []string) error {
				of(into).ServerCA = last(values)
				return nil
			}},
		{Name: "token", Value: "TOKEN", Secret: true, Environment: true, Usage: "session token for --server, instead of the one from curfew login",
			set: func(into *T, values []string) error {
				of(into).Token = last(values)
				return nil
			}},
		{Name: "credentials", Value: "FILE", Environment: true, Usage: "file for the tokens of curfew login; the default is curfew/credentials.json in the user's configuration directory",
			set: func(into *T, values []string) error {
				of(into).Credentials = last(values)
				return nil
			}},
	}
}

// parseServer reads the address of a server. Credentials go there: it must be
// encrypted, unless it is this machine.
func parseServer(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil: // the message must not repeat the password
		return "", errors.New("the address has a user or a password in it; use https://HOST, and sign in with curfew login")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(text, "?#"):
		return "", fmt.Errorf("%q is not the address of a server; use https://HOST", text)
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		return "", fmt.Errorf("%q would send passwords and tokens unencrypted to another machine; use https", text)
	}
	for len(u.Path) > 0 && u.Path[len(u.Path)-1] == '/' {
		u.Path = u.Path[:len(u.Path)-1]
	}
	u.RawPath = ""
	return u.String(), nil
}

// AdminOptions are the options of [Admin].
func AdminOptions() []Option[Admin] {
	return append(toolOptions(func(a *Admin) *Tools { return &a.Tools }), remoteOptions(func(a *Admin) *Remote { return &a.Remote })...)
}

// ResolveAdmin is to [Admin] what [ResolveTools] is to [Tools]. A flag wins over
// the variables: --database over CURFEW_SERVER, and --server over CURFEW_DATABASE.
func ResolveAdmin(source Source) (Admin, error) {
	var a Admin
	err := errors.Join(resolve(&a, AdminOptions(), source)...)
	_, database := source.Flags["database"]
	_, server := source.Flags["server"]
	inEnvironment := source.has("CURFEW_DATABASE") || source.has("CURFEW_DATABASE_FILE")
	switch {
	case database && server:
		err = errors.Join(err, invalid("--server", "is given with --database; a command works on one of them"))
	case database:
		a.Remote = Remote{}
	case a.Server != "" && !server && inEnvironment:
		err = errors.Join(err, invalid("CURFEW_SERVER", "is set, but CURFEW_DATABASE is set too; unset one of them, or give --server or --database"))
	}
	return a, err
}

// ResolveRemote returns the server that `curfew login` signs in to.
func ResolveRemote(source Source) (Remote, error) {
	var r Remote
	errs := resolve(&r, slices.DeleteFunc(RemoteOptions(), func(o Option[Remote]) bool { return o.Name == "token" }), source)
	if len(errs) == 0 && r.Server == "" {
		errs = append(errs, invalid("--server", "is required: the address of the server"))
	}
	return r, errors.Join(errs...)
}
