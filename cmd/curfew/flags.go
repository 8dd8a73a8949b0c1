package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/config"
)

// duration is a flag in the notation of config.ParseDuration.
type duration struct{ d *time.Duration }

func (f duration) Set(text string) (err error) {
	*f.d, err = config.ParseDuration(text)
	return err
}
func (f duration) Type() string { return "DURATION" }
func (f duration) String() string {
	if f.d == nil || *f.d == 0 {
		return ""
	}
	return config.FormatDuration(*f.d)
}

func durationVar(command *cobra.Command, d *time.Duration, name, usage string) {
	command.Flags().Var(duration{d}, name, usage)
}

// words is a flag that takes words of a list, several at once or one after the
// other.
type words struct {
	all   *[]string
	known []string
}

func (f words) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		known, err := oneOf(word, f.known)
		if err != nil {
			return err
		}
		*f.all = append(*f.all, known)
	}
	return nil
}
func (f words) Type() string   { return strings.Join(f.known, "|") }
func (f words) String() string { return "" }

// oneOf returns the word of a list that is meant, in whatever case it was written.
func oneOf(word string, known []string) (string, error) {
	word = strings.TrimSpace(word)
	if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, word) }); i >= 0 {
		return known[i], nil
	}
	return "", fmt.Errorf("%q is not one of %s", word, strings.Join(known, ", "))
}
