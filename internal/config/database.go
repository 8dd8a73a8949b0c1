package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// DefaultDatabase is a file in the working directory.
const DefaultDatabase = "sqlite:curfew.db"

// A Database says where the store is: "sqlite:PATH" or "postgres://…". It may
// hold a password, so it is not for logs: [Database.String] leaves that out.
type Database string

// ParseDatabase reads a database's address. Errors never quote a password.
func ParseDatabase(text string) (Database, error) {
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
	u, err := url.Parse(text)
	if err != nil { // its text quotes the address, password and all
		return "", errors.New("the address is not a URL; use postgres://USER:PASSWORD@HOST/DATABASE, with %-escapes where a password has special characters")
	}
	if u.Opaque != "" || strings.Trim(u.Path, "/") == "" {
		return "", errors.New("names no database; use postgres://USER:PASSWORD@HOST/DATABASE")
	}
	return Database(text), nil
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
