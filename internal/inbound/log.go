package inbound

import (
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// log writes the line of a request. It has no query and no header but the
// address, since tokens get into both; what looks like a token in the path is
// left out. Handlers of slog quote control characters.
func log(logger *slog.Logger, r *http.Request, record Record) {
	level := slog.LevelInfo
	switch {
	case record.Status >= 500:
		level = slog.LevelError
		if record.Status == http.StatusServiceUnavailable {
			level = slog.LevelWarn // cannot tell now: a state, not a defect
		}
	case record.Code == "not_yet_valid":
		level = slog.LevelWarn // a clock is wrong, here or at another node
	case record.Quiet && record.Status < 400:
		level = slog.LevelDebug
	}
	if !logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", record.ID),
		slog.String("method", safeMethod(r.Method)),
		slog.String("path", safePath(r.URL.EscapedPath())),
		slog.String("route", record.Route),
		slog.Int("status", record.Status),
		slog.Int64("bytes", record.Bytes),
		slog.Float64("took_ms", float64(record.Took.Microseconds())/1000),
		slog.String("address", record.Text()),
	}
	for _, optional := range []struct{ name, value string }{
		{"code", record.Code}, {"user", record.User}, {"client", record.Client},
		{"trace_id", record.Trace.ID()}, {"span_id", record.Trace.Span()},
	} {
		if optional.value != "" {
			attrs = append(attrs, slog.String(optional.name, optional.value))
		}
	}
	if record.Err != nil && level >= slog.LevelWarn {
		attrs = append(attrs, slog.String("error", record.Err.Error()))
	}
	logger.LogAttrs(r.Context(), level, "request", attrs...)
}

const (
	maxPath   = 256
	maxMethod = 32
	maxDevice = 256
)

// looksLikeToken finds a JWT, or a secret of that length, that was pasted into a path.
var looksLikeToken = regexp.MustCompile(`eyJ[A-Za-z0-9_.%-]*|[A-Za-z0-9_-]{43,}`)

func safePath(path string) string {
	return cut(looksLikeToken.ReplaceAllString(path, "(removed)"), maxPath)
}

func safeMethod(method string) string { return cut(method, maxMethod) }

// device makes a User-Agent safe to keep and to show: valid UTF-8, nothing that
// cannot be seen, and short.
func device(agent string) string {
	clean := strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, agent)
	return cut(strings.TrimSpace(clean), maxDevice)
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
