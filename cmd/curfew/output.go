package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// plain makes untrusted text harmless on a terminal: it shows invisible characters,
// from escape sequences to marks that change the direction of writing, as escapes.
func plain(text string) string {
	clean := true
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// output is standard output. It keeps the first error, so that callers do not take
// half an answer for a whole one.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// Fd returns the descriptor of standard output, so that it is known for a terminal
// if it is one; an invalid one if it is no file.
func (o *output) Fd() uintptr {
	if file, ok := o.Writer.(interface{ Fd() uintptr }); ok {
		return file.Fd()
	}
	return ^uintptr(0)
}

// printf writes to the terminal. Untrusted text must go through plain.
func (c *cli) printf(format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = plain(text)
		}
	}
	_, _ = fmt.Fprintf(c.stdout, format, args...) // run looks at what became of it
}

// notef writes diagnostics to stderr.
func (c *cli) notef(format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = plain(text)
		}
	}
	_, _ = fmt.Fprintf(c.stderr, format+"\n", args...)
}

// printJSON writes an answer for programs.
func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows in columns, the first of which are the headings.
type table struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer, headings ...string) *table {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	if len(headings) > 0 {
		t.row(headings...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cells[i] = plain(cell); cells[i] == "" {
			cells[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // flush says
}

func (t *table) flush() error { return t.w.Flush() }

// date shows an instant; "" for none.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// micro is date for microseconds since the Unix epoch, of which 0 is none.
func micro(micros int64) string {
	if micros == 0 {
		return ""
	}
	return date(time.UnixMicro(micros))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
