package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// DefaultDatabase is a file in the working directory.
const DefaultDatabase = "sqlite:curfew.db"

// A Database says where the store is: "sqlite:PATH" or "postgres://…". It may
// hold a password, so it is not for logs: [Database.String] leaves that out.
type Database string

// ParseDatabase reads a database's address. Errors never quote a password.
func ParseDatabase(text string) (Database, error) {
	text = strings.TrimRight(text, "\r\n") // of a file or a secret
	scheme, rest, ok := strings.Cut(text, ":")
	switch {
	case text == "":
		return "", errors.New("is empty; use sqlite:PATH or postgres://…")
	case ok && scheme == "sqlite":
		return parseSQLite(text, rest)
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return parsePostgres(text)
	case ok && !strings.ContainsAny(scheme, `/\.`):
		return "", fmt.Errorf("%q is neither sqlite nor postgres; use sqlite:PATH or postgres://…", scheme)
	}
	if strings.Contains(text, "=") { // it may have a password, which no error quotes
		return "", errors.New("is neither sqlite:PATH nor a URL; write parameters such as host=… as postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	return "", fmt.Errorf("%q does not name a database; did you mean sqlite:%s?", text, text)
}

func parseSQLite(text, path string) (Database, error) {
	path = strings.TrimPrefix(path, "//")
	switch {
	case path == "":
		return "", errors.New("sqlite: requires the path of a file, such as sqlite:curfew.db")
	case path == ":memory:" || strings.HasPrefix(path, "file:"):
		return "", fmt.Errorf("%q: an in-memory database loses revocations at exit; use a file", text)
	case strings.ContainsAny(path, "?#\x00"):
		return "", fmt.Errorf("%q: the path must not contain ? or #; there are no options", text)
	case strings.HasSuffix(path, "/"):
		return "", fmt.Errorf("%q is a directory; name a file in it, such as sqlite:%scurfew.db", text, path)
	}
	return Database("sqlite:" + path), nil
}

func parsePostgres(text string) (Database, error) {
	text, err := hostsInQuery(text)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil { // its text quotes the address, password and all
		return "", errors.New("the address is not a URL; use postgres://USER:PASSWORD@HOST/DATABASE, with %-escapes where a password has special characters")
	}
	if u.Opaque != "" || strings.Trim(u.Path, "/") == "" {
		return "", errors.New("names no database; use postgres://USER:PASSWORD@HOST/DATABASE")
	}
	return Database(text), nil
}

// hostsInQuery rewrites an address with several hosts, as libpq documents it
// (postgres://h1:p1,h2:p2/database), to a URL with the hosts and their ports in the
// query. Other addresses are returned as they are.
func hostsInQuery(text string) (string, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	at := strings.LastIndex(authority, "@") + 1
	user, list := authority[:at], authority[at:]
	if socket, err := url.PathUnescape(list); err == nil && strings.HasPrefix(socket, "/") && socket != list {
		list = socket // libpq writes a socket's directory so
	} else if !strings.Contains(list, ",") {
		return text, nil
	}
	var hosts, ports []string
	portless := true
	for item := range strings.SplitSeq(list, ",") {
		host, port := item, "5432"
		if i := strings.LastIndex(item, ":"); i >= 0 && !strings.HasSuffix(item, "]") {
			host, port, portless = item[:i], item[i+1:], false
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", fmt.Errorf("the port of the host %q is %q, which is not a number from 1 to 65535", host, port)
		}
		if host == "" {
			return "", errors.New("one of the hosts is empty; use postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE")
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	path, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", errors.New("the address has a query that is not URL-encoded")
	}
	if values.Has("host") || values.Has("port") && !portless {
		return "", errors.New("the hosts are given twice: before the database's name, and as host or port in the query")
	}
	values.Set("host", strings.Join(hosts, ","))
	if !values.Has("port") {
		values.Set("port", strings.Join(ports, ","))
	}
	return scheme + "://" + user + path + "?" + values.Encode(), nil
}

// parseListen reads the address of a PostgreSQL database.
func parseListen(text string) (Database, error) {
	database, err := ParseDatabase(text)
	if _, file := database.SQLitePath(); err == nil && file {
		return "", errors.New("is for PostgreSQL; use postgres://… with the same database as --database")
	}
	return database, err
}

// SQLitePath returns the path of the file, and whether the database is SQLite.
func (d Database) SQLitePath() (path string, ok bool) {
	return strings.CutPrefix(string(d), "sqlite:")
}

// Kind returns "sqlite" or "postgres".
func (d Database) Kind() string {
	if _, ok := d.SQLitePath(); ok {
		return "sqlite"
	}
	return "postgres"
}

// String returns the address without a password.
func (d Database) String() string {
	if _, ok := d.SQLitePath(); ok {
		return string(d)
	}
	u, err := url.Parse(string(d))
	if err != nil {
		return "postgres://…"
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

// KeyFile returns where the key-encryption key of a SQLite database is kept
// unless one is given: beside it.
func (d Database) KeyFile() string {
	path, ok := d.SQLitePath()
	if !ok {
		return ""
	}
	return path + ".key"
}
