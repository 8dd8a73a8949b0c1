package config

import (
	"errors"
	"time"
)

// Tools is the configuration of the commands that work on the database.
type Tools struct {
	Store
	// IdentityClaims and InsecureShortTimeouts are as in [Server].
	IdentityClaims        []string
	InsecureShortTimeouts bool
}

// MinimumTimeout returns the shortest session timeout that may be set.
func (t *Tools) MinimumTimeout() time.Duration { return minimumTimeout(t.InsecureShortTimeouts) }

// ToolOptions are the options of every command that works on the database.
func ToolOptions() []Option[Tools] { return toolOptions(func(t *Tools) *Tools { return t }) }

func toolOptions[T any](of func(*T) *Tools) []Option[T] {
	options := storeOptions(func(into *T) *Store { return &of(into).Store })
	options = append(options, identityOption(func(into *T) *[]string { return &of(into).IdentityClaims }))
	return append(options, Option[T]{Name: "insecure-short-timeouts", Development: true, Usage: "allow session timeouts down to 1 second, for development and tests",
		set: func(into *T, values []string) (err error) {
			of(into).InsecureShortTimeouts, err = parseSwitch(last(values))
			return err
		}})
}

// ResolveTools is to [Tools] what [ResolveServer] is to [Server]. A missing
// key-encryption key is no error here: few commands need one.
func ResolveTools(source Source) (Tools, error) {
	var t Tools
	err := errors.Join(resolve(&t, ToolOptions(), source)...)
	_, database := source.Flags["database"]
	if source.has("CURFEW_SERVER") && !database {
		err = errors.Join(err, invalid("CURFEW_SERVER", "is set, but this command works only on a database; give --database, or unset the variable"))
	}
	return t, err
}

// Copy is the configuration of `curfew copy`.
type Copy struct {
	Tools
	// To is the database that is written. // Required.
	To Database
}

// CopyOptions are the options of `curfew copy`.
func CopyOptions() []Option[Copy] {
	return append(storeOptions(func(c *Copy) *Store { return &c.Store }), Option[Copy]{
		Name: "to", Value: "ADDRESS", Secret: true, Usage: "the new database: sqlite:PATH, or postgres://… of an empty database",
		set: func(c *Copy, values []string) (err error) {
			c.To, err = ParseDatabase(last(values))
			return err
		},
	})
}

// ResolveCopy is to [Copy] what [ResolveTools] is to [Tools].
func ResolveCopy(source Source) (Copy, error) {
	var c Copy
	errs := resolve(&c, CopyOptions(), source)
	if c.To == "" && len(errs) == 0 {
		errs = append(errs, invalid("--to", "is required: sqlite:PATH or postgres://…"))
	}
	return c, errors.Join(errs...)
}
