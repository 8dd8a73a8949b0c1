// Package config holds what curfew can be told from outside: the options of its
// programs, their defaults, and what each value may be.
//
// A value comes from the command line, else from the environment, else it is the
// default. Everything that is wrong is reported at once.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// An Option is one thing that can be set in a T.
type Option[T any] struct {
	// Name is the flag's, without the dashes.
	Name string
	// Value names the value in help texts; "" for a switch, which takes none.
	Value string
	// Usage is one line of help.
	Usage string
	// Default is the value if none is given; "" leaves the zero value.
	Default string
	// Repeats: the option may be given several times, and values may be separated by
	// commas, on the command line and in the environment.
	Repeats bool
	// Secret: the value may also be in a file, named by the environment variable
	// with _FILE at its end, and errors never quote it.
	Secret bool
	// Blank: the empty text is a value. Otherwise a variable that is set to
	// nothing is as good as not set, since that is how many programs unset one.
	Blank bool
	// Environment: there is no flag. Command lines are seen by other users.
	Environment bool
	// Development: for development and tests. Help leaves it out, the reference of the
	// configuration lists it apart.
	Development bool

	set func(into *T, values []string) error
}

// Env returns the name of the environment variable.
func (o Option[T]) Env() string {
	return "CURFEW_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
}

// Switch reports whether the option takes no value.
func (o Option[T]) Switch() bool { return o.Value == "" }

// Source is where values come from.
type Source struct {
	// Flags are the options given on the command line, by name. Those that were
	// not given are absent.
	Flags map[string][]string
	// Lookup returns an environment variable. Nil means [os.LookupEnv].
	Lookup func(name string) (string, bool)
	// ReadFile reads the file of a secret. Nil means [os.ReadFile].
	ReadFile func(name string) ([]byte, error)
}

func (s Source) lookup(name string) (string, bool) {
	if s.Lookup == nil {
		return os.LookupEnv(name)
	}
	return s.Lookup(name)
}

// has reports whether an environment variable is set, to a text that is not empty.
func (s Source) has(name string) bool {
	text, ok := s.lookup(name)
	return ok && text != ""
}

func (s Source) readFile(name string) ([]byte, error) {
	if s.ReadFile == nil {
		return os.ReadFile(name) // #nosec G304 -- the file that the operator named
	}
	return s.ReadFile(name)
}

// ErrInvalid is wrapped by every error about a value that cannot be used.
var ErrInvalid = errors.New("configuration")

// An OptionError names a mistake in one option and the valid values. It wraps
// [ErrInvalid].
type OptionError struct {
	Option  string // as the user gave it: --listen, or CURFEW_LISTEN
	Problem string
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Problem }

// Unwrap returns [ErrInvalid].
func (e *OptionError) Unwrap() error { return ErrInvalid }

func invalid(option, format string, args ...any) error {
	return &OptionError{Option: option, Problem: fmt.Sprintf(format, args...)}
}

// resolve sets every option of into and returns everything that was wrong.
func resolve[T any](into *T, options []Option[T], source Source) []error {
	var errs []error
	for _, option := range options {
		values, from, err := find(option, source)
		if err == nil && values != nil {
			if problem := option.set(into, values); problem != nil {
				err = &OptionError{Option: from, Problem: problem.Error()}
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// find returns the values of an option and where they were found. Nil values
// mean that there are none.
func find[T any](o Option[T], source Source) (values []string, from string, err error) {
	if values, ok := source.Flags[o.Name]; ok && !o.Environment {
		if o.Repeats {
			values = slices.Collect(eachItem(values))
		}
		return values, "--" + o.Name, nil
	}
	name := o.Env()
	text, ok := source.lookup(name)
	if o.Secret {
		text = withoutNewline(text)
	}
	ok = ok && (text != "" || o.Blank)
	if o.Secret {
		file, inFile := source.lookup(name + "_FILE")
		inFile = inFile && file != ""
		switch {
		case ok && inFile:
			return nil, "", invalid(name, "is set, but %s_FILE is set too; unset one of them", name)
		case inFile:
			text, err := readSecret(file, source)
			if err != nil {
				return nil, "", invalid(name+"_FILE", "%v", err)
			}
			return []string{text}, name + "_FILE", nil
		}
	}
	switch {
	case ok && o.Repeats:
		return splitList(text), name, nil
	case ok:
		return []string{text}, name, nil
	case o.Default != "" && o.Repeats:
		return splitList(o.Default), "--" + o.Name, nil
	case o.Default != "":
		return []string{o.Default}, "--" + o.Name, nil
	}
	return nil, "", nil
}

// withoutNewline returns a secret without the newline that editors, echo and openssl
// leave at its end. Kubernetes hands it on from a file to a variable.
func withoutNewline(secret string) string {
	return strings.TrimSuffix(strings.TrimSuffix(secret, "\n"), "\r")
}

// readSecret reads the secret in a file.
func readSecret(file string, source Source) (string, error) {
	data, err := source.readFile(file)
	if err != nil {
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathError.Err
		}
		return "", fmt.Errorf("read %q: %w", file, err)
	}
	text := withoutNewline(string(data))
	if text == "" {
		return "", fmt.Errorf("%q is empty", file)
	}
	return text, nil
}

// eachItem returns the items of values that are lists. An empty value stays, so that
// it is refused.
func eachItem(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range values {
			items := splitList(value)
			if len(items) == 0 {
				items = []string{value}
			}
			for _, item := range items {
				if !yield(item) {
					return
				}
			}
		}
	}
}

// splitList splits at commas; an empty text is no values, which is not the same
// as nil, "not given".
func splitList(text string) []string {
	values := []string{}
	for value := range strings.SplitSeq(text, ",") {
		if value = strings.TrimSpace(value); value != "" {
			values = append(values, value)
		}
	}
	return values
}
