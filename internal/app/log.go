package app

import (
	"io"
	"log/slog"
	"time"

	"golang.org/x/term"
)

// NewLogger returns a logger that writes to w: text if format is "text", JSON if
// it is "json", and if it is empty text on a terminal and JSON elsewhere.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	if format == "" {
		format = "json"
		if IsTerminal(w) {
			format = "text"
		}
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration { // as text it has its unit
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, options))
	}
	// People read the clock on the wall, and need no nanoseconds of it.
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.String(slog.TimeKey, a.Value.Time().Format(time.TimeOnly))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// IsTerminal reports whether w is a terminal, which a person may be reading.
func IsTerminal(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })    // as *os.File has it
	return ok && term.IsTerminal(int(f.Fd())) // #nosec G115 -- a file descriptor
}
