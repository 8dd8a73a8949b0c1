// Package trace carries the W3C trace context of a request (the headers traceparent
// and tracestate) to the log and to the requests that are made on its behalf. It makes
// no spans of its own, so it passes the headers on as they came.
package trace

import (
	"context"
	"net/http"
	"strings"
)

// The headers of W3C Trace Context, section 3.
const (
	parentHeader = "Traceparent"
	stateHeader  = "Tracestate"
)

// maxState is the maximum length of a tracestate that is passed on (section 3.3.1.5).
const maxState = 512

// Parent is a valid traceparent, with its tracestate. The zero Parent is none.
type Parent struct {
	header, state string
}

// From returns the trace context of a request's headers. A traceparent that is not valid,
// or comes more than once, counts as none.
func From(h http.Header) Parent {
	values := h[parentHeader]
	if len(values) != 1 || !valid(values[0]) {
		return Parent{}
	}
	p := Parent{header: values[0]}
	if state := strings.Join(h[stateHeader], ","); len(state) <= maxState && printable(state) {
		p.state = state
	}
	return p
}

// valid reports whether a text is a traceparent: version, trace id, span id and flags,
// in lower-case hexadecimal. A later version may have more behind another dash.
func valid(text string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(text) < length || text[:2] == "ff" || len(text) > length && (text[:2] == "00" || text[length] != '-') || len(text) > maxState {
		return false
	}
	for i := range length {
		if i == 2 || i == 35 || i == 52 {
			if text[i] != '-' {
				return false
			}
		} else if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return printable(text) && strings.Trim(text[3:35], "0") != "" && strings.Trim(text[36:52], "0") != ""
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// ID returns the trace id, or "".
func (p Parent) ID() string {
	if p.header == "" {
		return ""
	}
	return p.header[3:35]
}

// Span returns the id of the caller's span, or "".
func (p Parent) Span() string {
	if p.header == "" {
		return ""
	}
	return p.header[36:52]
}

type contextKey struct{}

// With returns a context that carries p; ctx itself if there is none.
func (p Parent) With(ctx context.Context) context.Context {
	if p.header == "" {
		return ctx
	}
	return context.WithValue(ctx, contextKey{}, p)
}

// Pass sets the headers of a request that is made on behalf of the one in ctx.
func Pass(ctx context.Context, h http.Header) {
	p, ok := ctx.Value(contextKey{}).(Parent)
	if !ok {
		return
	}
	h.Set(parentHeader, p.header)
	if p.state != "" {
		h.Set(stateHeader, p.state)
	}
}
